//! Where the process may start no more threads, as at `ulimit -u` or pids.max of a container.

use std::ffi::CString;
use std::sync::mpsc::channel;
use std::thread;

use runtime::op::Nop;
use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags};
use runtime::testing::{Driver, builder};
use runtime::{metrics, spawn_blocking, submit, yield_now};

use crate::denied::deny;
use crate::logged::{lines_with, listen};

/// This thread, and those that it starts, start no more. There are others in this process, which may.
fn start_no_more_threads() {
    deny(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN);
}

/// Catches: a job that fails, or is lost, though there is a thread that will come by; an error that nobody is told, or
/// that is told while a core is borrowed.
#[test]
fn a_job_for_which_no_thread_can_be_started_is_done_by_those_there_are_and_that_is_told() {
    let told = || lines_with(None, &["WARN", "cannot start another thread", "os error 11", "threads=1"]).len();
    listen();
    let program = move || {
        builder(Driver::Fallback).build().unwrap().block_on(async {
            let (opens, gate) = channel::<()>();
            let first = spawn_blocking(move || {
                gate.recv().unwrap_err();
                thread::current().id()
            });
            while metrics().pool_threads == 0 || metrics().pool_queued > 0 {
                yield_now().await;
            }
            start_no_more_threads();
            let second = spawn_blocking(|| thread::current().id());
            while metrics().pool_queued == 0 {
                yield_now().await;
            }
            assert_eq!(told(), 0, "a core is no place to tell it at");
            drop(opens);
            assert_eq!(first.await.unwrap(), second.await.unwrap());
            assert_eq!(told(), 1);
        });
    };
    thread::spawn(program).join().unwrap();
}

/// Catches: a core that ends with the job; one that waits for a thread in vain.
#[test]
fn without_a_first_thread_a_job_and_an_op_say_why_and_their_core_goes_on() {
    let program = || {
        start_no_more_threads();
        builder(Driver::Fallback).build().unwrap().block_on(async {
            let error = spawn_blocking(|| ()).await.unwrap_err().to_string();
            for part in ["cannot start its first thread", "os error 11", "ulimit -u", "pids.max"] {
                assert!(error.contains(part), "no «{part}» in: {error}");
            }
            let how = OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::empty());
            let open = Open { base: Base::Current, path: CString::from(c"/dev/null"), how };
            assert_eq!(submit(open).await.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
            submit(Nop).await.unwrap();
        });
    };
    thread::spawn(program).join().unwrap();
}
