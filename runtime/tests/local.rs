//! Unix sockets and pipes: deadlines, waiting without a thread, and datagrams that go out whole.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;

use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read, Write};
use runtime::op::ready::{Interest, Poll};
use runtime::op::socket::{Accept, Connect, Recv, Send};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now};
use runtime::{call, metrics, spawn, submit, yield_now};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

fn unix() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap())
}

fn connect(to: &SocketAddr) -> Connect {
    Connect { fd: unix(), address: to.into(), ours: true }
}

/// Where a full listener makes it wait, a connect keeps a thread of the kernel's, which says that it was interrupted.
/// Catches: a deadline that tells of the interruption instead of itself; a connect that comes about after its deadline.
#[test]
fn a_deadline_ends_a_connect_that_waits_for_a_full_unix_listener() {
    for driver in [Driver::Ring, Driver::Simulated] {
        if !is_here(driver, "a connect with a deadline") {
            continue;
        }
        builder(driver).build().unwrap().block_on(async {
            let name = format!("gimmal-full-{}-{driver:?}", std::process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let listener = unix();
            call::bind(&listener, &address).unwrap();
            call::listen(&listener, 0).unwrap();
            submit(connect(&address)).await.unwrap();

            let late = submit(connect(&address)).deadline(now() + Duration::from_millis(30)).await;
            assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{driver:?}");
            assert_eq!(metrics().in_flight, 0);

            submit(Accept::new(listener.clone())).await.unwrap();
            let nobody = submit(Accept::new(listener)).deadline(now() + Duration::from_millis(30)).await;
            assert_eq!(nobody.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{driver:?}");
        });
    }
}

/// Catches: a read of a pipe, or a write to one, that goes to the blocking pool, which has a single thread here.
#[test]
fn pipes_that_wait_keep_no_thread_of_the_fallbacks() {
    let runtime = builder(Driver::Fallback).blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let pipes: Vec<_> = (0..20)
            .map(|_| call::pipe().map(|(reader, writer)| (SharedFd::new(reader), SharedFd::new(writer))).unwrap())
            .collect();
        let mut waiting = Vec::new();
        for (reader, _writer) in &pipes {
            let read = Read { fd: reader.clone(), buf: vec![0; 1 << 17], position: Position::Cursor };
            waiting.push(spawn(async { submit(read).await.unwrap().0 }));
        }
        yield_now().await;
        for (_reader, writer) in &pipes {
            // The first fills it, and the second waits for the reader.
            for _ in 0..2 {
                let write = Write { fd: writer.clone(), buf: vec![7; 1 << 16], position: Position::Cursor };
                drop(spawn(async { drop(submit(write).await) }));
            }
        }
        for read in waiting {
            assert!(read.await.unwrap() > 0);
        }
        assert_eq!(runtime::spawn_blocking(|| 7).await.unwrap(), 7);
    });
}

/// What `Send` says of datagrams that must wait for room: this is the way that loses none.
#[test]
fn a_unix_datagram_that_waits_for_room_by_poll_goes_out_whole() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "a unix datagram that waits for room") {
            continue;
        }
        builder(driver).build().unwrap().block_on(async {
            let socket = || SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap());
            let name = format!("gimmal-room-{}-{driver:?}", std::process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let (ours, theirs) = (socket(), socket());
            call::bind(&ours, &address).unwrap();
            submit(Connect { fd: theirs.clone(), address: (&address).into(), ours: true }).await.unwrap();
            let send = || {
                let buf = b"whole".to_vec();
                submit(Send { fd: theirs.clone(), buf, flags: SendFlags::DONTWAIT, whole: false })
            };
            let mut sent = 0;
            while send().await.is_ok() {
                sent += 1;
            }
            let polling = spawn(submit(Poll { fd: theirs.clone(), interest: Interest::WRITABLE }));
            yield_now().await;
            let recv = || submit(Recv { fd: ours.clone(), buf: [0; 9], flags: RecvFlags::empty(), poll_first: false });
            for _ in 0..sent {
                assert_eq!(recv().await.unwrap().0, 5, "{driver:?}");
            }
            polling.await.unwrap().unwrap();
            assert_eq!(send().await.unwrap().0, 5, "{driver:?}");
            let (count, buf) = recv().await.unwrap();
            assert_eq!(&buf[..count], b"whole", "{driver:?}");
        });
    }
}
