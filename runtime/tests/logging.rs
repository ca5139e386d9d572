//! What the runtime logs through `tracing`: rare events that matter, with what was tried, what it means and what
//! helps.

#[path = "common/logged.rs"]
mod logged;

use std::ffi::CString;
use std::future::pending;
use std::io::{Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use logged::listen;
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::file::{Position, Read};
use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags};
use runtime::testing::{Driver, builder, is_here};
use runtime::{Builder, metrics, spawn, spawn_blocking, spawn_on, submit, yield_now};

/// What this test's thread has logged: others run beside it.
fn lines_with(words: &[&str]) -> Vec<String> {
    logged::lines_with(Some(thread::current().id()), words)
}

#[test]
fn a_runtime_that_starts_logs_its_driver_and_sizes() {
    listen();
    let runtime = builder(Driver::Fallback).ignore_environment().entries(32).build().unwrap();
    drop(runtime);
    assert_eq!(lines_with(&["DEBUG", "runtime starts", "driver=\"fallback\"", "entries=32"]).len(), 1);
}

/// Catches: an end that leaves a thread behind and tells nobody.
#[test]
fn a_core_that_does_not_end_is_logged_by_its_number() {
    listen();
    let (entered, has_entered) = mpsc::channel();
    let (opens, gate) = mpsc::channel::<()>();
    let runtime = builder(Driver::Fallback).cores(2).build().unwrap();
    runtime.block_on(async move {
        drop(spawn_on(1, move || async move {
            entered.send(()).unwrap();
            gate.recv().unwrap_err();
        }));
    });
    has_entered.recv().unwrap();
    drop(runtime);
    drop(opens);
    assert_eq!(lines_with(&["WARN", "core 1 does not end", "left behind"]).len(), 1);
}

/// Catches: a stall that is measured from the last time the core parked, which would tell of every long wait.
#[test]
fn a_task_that_blocks_its_core_is_logged_and_one_that_waits_is_not() {
    listen();
    let runtime = builder(Driver::Fallback).build().unwrap();
    let told = || lines_with(&["WARN", "kept their core for", "spawn_blocking"]).len();
    runtime.block_on(async {
        for _wait in 0..5 {
            runtime::time::sleep(Duration::from_millis(120)).await;
        }
        spawn_blocking(|| thread::sleep(Duration::from_millis(120))).await.unwrap();
        // A busy machine may have stopped this thread in the middle of a turn, but not each time.
        let before = metrics().stalls;
        assert!(before < 6, "waiting is told as blocking");
        spawn(async {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(150) {
                std::hint::spin_loop();
            }
        })
        .await
        .unwrap();
        let ticks = metrics().ticks;
        while metrics().ticks == ticks {
            yield_now().await;
        }
        assert!(metrics().stalls > before);
        assert_eq!(metrics().stalls, u64::try_from(told()).unwrap());
    });
}

/// Catches: a core that is borrowed while a subscriber hears of it.
#[test]
fn an_overflow_of_the_completion_queue_is_logged_with_the_setting_that_enlarges_it() {
    listen();
    if !is_here(Driver::Ring, "an overflow of the completion queue") {
        return;
    }
    let runtime = builder(Driver::Ring).ignore_environment().entries(4).cq_entries(8).build().unwrap();
    runtime.block_on(async {
        logged::CALLS_BACK.set(Some(|| {
            assert_eq!(metrics().driver, "ring");
            drop(spawn(submit(Nop)));
        }));
        let (readers, mut writers): (Vec<_>, Vec<_>) = (0..100).map(|_| pipe().unwrap()).unzip();
        let read = |reader| submit(Read { fd: SharedFd::new(reader), buf: [0], position: Position::Cursor });
        let reads: Vec<_> = readers.into_iter().map(|reader| spawn(read(OwnedFd::from(reader)))).collect();
        while metrics().submitted < 100 {
            yield_now().await;
        }
        // Their replies are all due at once.
        for writer in &mut writers {
            writer.write_all(b"!").unwrap();
        }
        for read in reads {
            read.await.unwrap().unwrap();
        }
        let overflows = metrics().overflows;
        let told = lines_with(&["WARN", "Builder::cq_entries", "cq_entries=8"]);
        let doublings = usize::try_from(overflows.checked_ilog2().map_or(0, |log| log + 1)).unwrap();
        // What comes in one wait is told as one.
        assert!((1..=doublings).contains(&told.len()), "{overflows} overflows: {told:?}");
        logged::CALLS_BACK.set(None);
    });
}

#[test]
fn a_panic_of_a_detached_task_is_logged() {
    listen();
    let runtime = Builder::new().build().unwrap();
    runtime.block_on(async {
        drop(spawn(async { panic!("the reactor is hot") }));
        while metrics().tasks > 0 {
            yield_now().await;
        }
    });
    assert_eq!(lines_with(&["ERROR", "panicked", "the reactor is hot"]).len(), 1);
}

/// Catches: an end that leaves tasks without a word, and one that says nothing of what it leaks.
#[test]
fn tasks_that_are_leaked_at_the_end_are_logged() {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            let again = Again;
            drop(spawn(async move {
                let _again = again;
                pending::<()>().await;
            }));
        }
    }
    listen();
    let runtime = Builder::new().build().unwrap();
    runtime.block_on(async { drop(Again) });
    drop(runtime);
    assert!(!lines_with(&["ERROR", "leaked", "their Drop still spawns"]).is_empty());
}

/// Nobody ever opens the other end, so the thread that opens this one does not come back.
/// Catches: an end that waits for ever, and one that leaks an op without naming it.
#[test]
fn an_op_that_does_not_end_is_leaked_and_logged_by_name() {
    listen();
    let path = std::env::temp_dir().join(format!("gimmal-logging-{}", std::process::id()));
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let runtime = builder(Driver::Fallback).build().unwrap();
    let began = Instant::now();
    let opening = path.clone();
    runtime.block_on(async move {
        let how = OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::empty());
        let path = CString::new(opening.into_os_string().into_vec()).unwrap();
        drop(spawn(submit(Open { base: Base::Current, path, how })));
        // Until a thread has taken it: before that it could be recalled.
        while metrics().pool_threads == 0 || metrics().pool_queued > 0 {
            yield_now().await;
        }
    });
    drop(runtime);
    let took = began.elapsed();
    std::fs::remove_file(&path).unwrap();
    assert!(took >= Duration::from_secs(1), "an end of {took:?} has not waited");
    let told = lines_with(&["WARN", "1 operations did not end within 1s", "leaked", "Open", "orphaned"]);
    assert_eq!(told.len(), 1, "{told:?}");
}
