//! What a warm runtime allocates: nothing, on the ring. The fallback's numbers are printed, and bounded.

#[path = "common/counting.rs"]
mod counting;

use std::cell::Cell;
use std::env;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use counting::{Counting, asked};
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::datagram::{RecvFrom, SendTo, Sender};
use runtime::op::file::{Position, Read, Write};
use runtime::op::socket::{Recv, Send};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now, sleep_until, timeout};
use runtime::{call, spawn, submit, yield_now};
use rustix::net::{RecvFlags, SendFlags};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 2_000;
const MEASURED: usize = 1_000;

/// Allocations of this thread for each of many rounds, when it has done as many before.
async fn per_round<F: Future>(mut round: impl FnMut() -> F) -> f64 {
    for _round in 0..WARM_UP {
        round().await;
    }
    let before = asked();
    for _round in 0..MEASURED {
        round().await;
    }
    let allocated = u32::try_from(asked() - before).unwrap();
    f64::from(allocated) / f64::from(u32::try_from(MEASURED).unwrap())
}

/// What is measured, by name, and how many allocations a round it took.
async fn measure() -> Vec<(&'static str, f64)> {
    let file = SharedFd::new(OwnedFd::from(std::fs::File::open(env::current_exe().unwrap()).unwrap()));
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (SharedFd::new(OwnedFd::from(near)), SharedFd::new(OwnedFd::from(far)));
    let buffers = Cell::new(Some((vec![0_u8; 4096], vec![0_u8; 4096])));
    let read = || async {
        let (buf, other) = buffers.take().expect("it came back");
        let (count, buf) = submit(Read { fd: file.clone(), buf, position: Position::At(0) }).await.unwrap();
        assert_eq!(count, buf.len());
        buffers.set(Some((buf, other)));
    };
    let ping = || async {
        let (ping, pong) = buffers.take().expect("they came back");
        let send = Send { fd: near.clone(), buf: ping, flags: SendFlags::empty(), whole: true };
        let recv = Recv { fd: far.clone(), buf: pong, flags: RecvFlags::empty(), poll_first: false };
        let (_sent, ping) = submit(send).await.unwrap();
        let (_received, pong) = submit(recv).await.unwrap();
        buffers.set(Some((ping, pong)));
    };
    let (reader, writer) = call::pipe().unwrap();
    let (reader, writer) = (SharedFd::new(reader), SharedFd::new(writer));
    let pipe = || async {
        let (ping, pong) = buffers.take().expect("they came back");
        let write = Write { fd: writer.clone(), buf: ping, position: Position::Cursor };
        let (_written, ping) = submit(write).await.unwrap();
        let (_read, pong) = submit(Read { fd: reader.clone(), buf: pong, position: Position::Cursor }).await.unwrap();
        buffers.set(Some((ping, pong)));
    };
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = udp.local_addr().unwrap().into();
    let udp = SharedFd::new(OwnedFd::from(udp));
    let datagram = || async {
        let (ping, pong) = buffers.take().expect("they came back");
        let send = SendTo { fd: udp.clone(), buf: ping, to, flags: SendFlags::empty() };
        let (_sent, ping) = submit(send).await.unwrap();
        let (from, flags) = (Sender::room(), RecvFlags::empty());
        let recv = RecvFrom { fd: udp.clone(), buf: pong, from, flags, poll_first: false };
        let (_received, pong) = submit(recv).await.unwrap();
        buffers.set(Some((ping, pong)));
    };
    vec![
        ("nop", per_round(|| async { submit(Nop).await.unwrap() }).await),
        ("read of a file", per_round(read).await),
        ("send and receive", per_round(ping).await),
        ("write to and read of a pipe", per_round(pipe).await),
        ("datagram there and back", per_round(datagram).await),
        ("sleep of 1 us", per_round(|| sleep_until(now() + Duration::from_micros(1))).await),
        ("timeout around a nop", per_round(|| timeout(Duration::from_secs(1), submit(Nop))).await),
        ("deadline of a nop", per_round(|| submit(Nop).deadline(now() + Duration::from_secs(1))).await),
        ("nop that is dropped", per_round(drop_a_nop).await),
        ("spawn and join", per_round(|| async { spawn(async {}).await.unwrap() }).await),
        ("yield", per_round(yield_now).await),
    ]
}

async fn drop_a_nop() {
    let mut nop = submit(Nop);
    std::future::poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut nop).poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(nop);
    yield_now().await;
}

fn run(driver: Driver) -> Vec<(&'static str, f64)> {
    if !is_here(driver, "counting allocations") {
        return Vec::new();
    }
    let measured = builder(driver).build().unwrap().block_on(measure());
    for (what, allocations) in &measured {
        println!("{driver:?}: {what}: {allocations} allocations");
    }
    measured
}

/// Catches: cells of ops that are not used again; a task or a timer that is boxed; a `Waker` that is cloned into an
/// `Arc`.
#[test]
fn a_warm_ring_allocates_nothing() {
    for (what, allocations) in run(Driver::Ring) {
        assert!(allocations == 0.0, "{what}: {allocations} allocations a round");
    }
}

/// What goes to the blocking pool costs a job and its errand; nothing else allocates.
/// Catches: an allocation in what waits for epoll.
#[test]
fn a_warm_fallback_allocates_for_what_goes_to_its_threads_only() {
    for (what, allocations) in run(Driver::Fallback) {
        let bound = if what == "read of a file" { 4.0 } else { 0.0 };
        assert!(allocations <= bound, "{what}: {allocations} allocations a round, and {bound} are expected");
    }
}
