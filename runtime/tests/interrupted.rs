//! Signals: a thousand a second for each thread cost nothing but time, and none is raised by a peer that is gone.

#[path = "common/child.rs"]
mod child;
#[path = "common/interrupting.rs"]
mod interrupting;

use std::future::pending;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interrupting::Interrupting;
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags, c_path};
use runtime::op::socket::{Send, SendFlags};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{now, sleep};
use runtime::{Builder, call, spawn, spawn_blocking, spawn_on, submit};
use rustix::fs::{CWD, FileType, mknodat};
use signal_hook::consts::SIGPIPE;

/// The end of a runtime takes a second at most; the machine may be busy besides.
const END_MAX: Duration = Duration::from_secs(2);

/// So many signals arrive in each round.
const HITS: u64 = 2_000;

/// In a process of its own: signals are for all its threads.
///
/// Catches: EINTR that is an error of the ring's enter or of epoll_wait(2) (while waiting, or at the end), or of an
/// open on the pool; a sleep that ends with a signal.
#[test]
fn signals_every_millisecond_fail_no_op_and_end_no_sleep() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "signals every millisecond") {
            let test = "signals_every_millisecond_fail_no_op_and_end_no_sleep";
            child::in_a_child(
                test,
                &format!("{driver:?}"),
                |_command| {},
                || {
                    let _interrupting = Interrupting::begin();
                    while Interrupting::hits() < HITS {
                        live(builder(driver));
                    }
                },
            );
        }
    }
}

/// All that a runtime does, from its making to its end.
fn live(builder: Builder) {
    let runtime = builder.cores(2).build().unwrap();
    let folder = std::env::temp_dir().join(format!("gimmal-interrupted-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    runtime.block_on(async {
        let parts = [
            spawn(converse()),
            spawn(write_and_read(folder.join("file"))),
            spawn(wait_for_a_partner(folder.join("fifo"))),
            spawn(wait_for_time()),
            spawn(ask_others()),
        ];
        for part in parts {
            part.await.unwrap();
        }
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        drop(spawn(async move { drop(listener.accept().await) }));
        drop(spawn(pending::<()>()));
        submit(Nop).await.unwrap();
    });
    std::fs::remove_dir_all(&folder).unwrap();
    let began = Instant::now();
    drop(runtime);
    assert!(began.elapsed() < END_MAX, "its end took {:?}", began.elapsed());
}

async fn converse() {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _peer) = listener.accept().await.unwrap();
    let echo = spawn(async move {
        let mut received = [0; 4];
        while far.read_exact(&mut received).await.is_ok() {
            far.write_all(&received).await.unwrap();
        }
    });
    for number in 0..300_u32 {
        near.write_all_owned(number.to_le_bytes()).await.unwrap();
        let ((), back) = near.read_exact_owned([0; 4]).await.unwrap();
        assert_eq!(u32::from_le_bytes(back), number);
    }
    near.shutdown(net::Shutdown::Write).await.unwrap();
    echo.await.unwrap();
}

async fn write_and_read(path: PathBuf) {
    let content: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    fs::write(&path, &content).await.unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).await.unwrap();
    file.sync_all().await.unwrap();
    assert!(fs::read(&path).await.unwrap() == content);
    file.set_len(100_000).await.unwrap();
    assert_eq!(fs::metadata(&path).await.unwrap().len(), 100_000);
}

/// The open waits in the kernel, for the other end.
async fn wait_for_a_partner(path: PathBuf) {
    if !path.exists() {
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let writing = spawn(open_to_write(path.clone()));
    let hits = Interrupting::hits();
    while Interrupting::hits() < hits + 20 {
        sleep(Duration::from_millis(1)).await;
    }
    let other_end = spawn_blocking(move || std::fs::File::open(path).unwrap());
    writing.await.unwrap();
    drop(other_end.await.unwrap());
}

async fn open_to_write(path: PathBuf) {
    // Where a file may be made, a ring does not try without waiting.
    let how = OpenHow::new(OFlags::WRONLY | OFlags::CREATE, Mode::RUSR, ResolveFlags::empty());
    let opened = submit(Open { base: Base::Current, path: c_path(&path).unwrap(), how }).await;
    drop(opened.expect("a signal is no error of the open's"));
}

async fn wait_for_time() {
    for ms in 1..10 {
        let began = now();
        sleep(Duration::from_millis(ms)).await;
        let took = now() - began;
        assert!(took >= Duration::from_millis(ms), "{took:?} are no {ms} ms");
    }
}

async fn ask_others() {
    for number in 0..100 {
        let elsewhere = spawn_on(1, move || async move { spawn_blocking(move || number + 1).await.unwrap() });
        assert_eq!(elsewhere.await.unwrap(), number + 1);
    }
}

/// Rust's programs ignore SIGPIPE from the start, but who embeds them may not.
///
/// Catches: a plain send without MSG_NOSIGNAL, which the kernel adds to those of a ring by itself.
#[test]
fn writing_to_a_peer_that_is_gone_raises_no_sigpipe() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, raised.clone()).unwrap();
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "writing to who is gone") {
            builder(driver).build().unwrap().block_on(write_to_who_is_gone());
            assert!(!raised.load(Ordering::Relaxed), "{driver:?}");
        }
    }
    signal_hook::low_level::raise(SIGPIPE).unwrap();
    assert!(raised.load(Ordering::Relaxed), "it would have been heard");
}

async fn write_to_who_is_gone() {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let fd = SharedFd::new(OwnedFd::from(near));
    for whole in [false, true] {
        let send = Send { fd: fd.clone(), buf: *b"late", flags: SendFlags::empty(), whole };
        assert_eq!(submit(send).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    assert_eq!(call::try_send(&fd, b"late", SendFlags::empty()).unwrap_err().kind(), ErrorKind::BrokenPipe);

    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    near.shutdown(net::Shutdown::Write).await.unwrap();
    assert_eq!(near.write(b"late").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(near.write_owned(*b"late").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(near.write_all_owned(*b"late").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}
