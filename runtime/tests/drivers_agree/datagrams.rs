//! Datagrams: what comes is what was sent, piece by piece.

use runtime::op::ready::Interest;
use runtime::op::socket::{End, Recv, Send};
use runtime::testing::skipped;
use runtime::{call, spawn, submit, yield_now};
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use crate::scene::{Either, LOOPBACK, Scene, connect, count, datagram_pair, is_ready, local, recv, send, udp};
use crate::table::{Variant, Without};

pub async fn datagrams_keep_their_bounds_and_their_order(scene: Scene) {
    let (ours, theirs) = datagram_pair().await;
    for len in [3, 0, 1, 1_500, 9_000, 60_000] {
        scene.tell(format!("sending {len} bytes"), &count(submit(send(&theirs, &vec![b'd'; len])).await));
    }
    for flags in [RecvFlags::empty(), RecvFlags::WAITALL, RecvFlags::PEEK, RecvFlags::empty()] {
        scene.tell(format!("receiving with {flags:?}"), &submit(recv(&ours, 10, flags)).await);
    }
    scene.tell("what does not fit is gone", &submit(recv(&ours, 10, RecvFlags::empty())).await);
    scene.tell("the next is whole", &submit(recv(&ours, 10_000, RecvFlags::empty())).await);
    scene.tell("and the last", &submit(recv(&ours, 60_000, RecvFlags::empty())).await);
    scene.tell("nothing more", &scene.ask(recv(&ours, 10, RecvFlags::empty())).await);
}

pub async fn waits_for_a_datagram(scene: Scene) {
    let (ours, theirs) = datagram_pair().await;
    let waiting = spawn(submit(recv(&ours, 20, RecvFlags::WAITALL)));
    yield_now().await;
    submit(send(&theirs, b"hello")).await.expect("there is room");
    scene.tell("it came", &waiting.await.expect("no panic"));
    scene.tell("ready for", &scene.ask(runtime::op::ready::Poll { fd: ours, interest: Interest::WRITABLE }).await);
}

pub async fn a_datagram_that_nobody_takes_is_told_later(scene: Scene) {
    let holder = udp();
    call::bind(&holder, LOOPBACK).expect("a free port");
    let address = local(&holder);
    drop(holder);
    let fd = udp();
    scene.tell("connecting to nobody", &submit(connect(&fd, address)).await);
    scene.tell("sending to nobody", &submit(send(&fd, b"hello")).await);
    is_ready(&fd, Interest::READABLE).await.expect("the refusal came");
    scene.tell("receiving", &submit(recv(&fd, 9, RecvFlags::empty())).await);
    scene.tell("sending once more", &submit(send(&fd, b"hello")).await);
    is_ready(&fd, Interest::READABLE).await.expect("the refusal came");
    scene.tell("sending after that", &submit(send(&fd, b"hello")).await);
}

pub async fn refuses_datagrams_that_are_too_long(scene: Scene) {
    let (ours, _theirs) = datagram_pair().await;
    for len in [65_507, 65_508, 100_000] {
        for whole in [true, false] {
            let op = Send { fd: ours.clone(), buf: vec![7; len], flags: SendFlags::empty(), whole };
            scene.tell(format!("{len} bytes, whole: {whole}"), &count(submit(op).await));
        }
    }
}

/// How much waits in a socket where nobody has said otherwise.
const ROOM: &str = "212992";

/// What a datagram takes beside its bytes shows in how many of them wait at most.
/// Catches: bytes that are counted, and not what the kernel keeps beside them.
#[test]
fn of_a_burst_that_nobody_reads_every_driver_keeps_as_much() {
    let room = std::fs::read_to_string("/proc/sys/net/core/rmem_default").unwrap_or_default();
    if room.trim_end() != ROOM || !cfg!(target_arch = "x86_64") {
        return skipped(format_args!("net.core.rmem_default is {room:?}, on another machine than was measured"));
    }
    let drivers = [Variant::Ring(Without::Nothing), Variant::Fallback, Variant::Simulated { seed: 0 }];
    let kept: Vec<(Variant, Vec<usize>)> = drivers
        .into_iter()
        .filter_map(|driver| {
            let runtime = driver.build().inspect_err(|why| println!("not {driver:?}: {why}")).ok()?;
            Some((driver, runtime.block_on(kept_of_bursts())))
        })
        .collect();
    for (driver, numbers) in &kept {
        assert_eq!(*numbers, kept[0].1, "{driver:?} and {:?}", kept[0].0);
    }
}

/// How many are kept of 300 each.
async fn kept_of_bursts() -> Vec<usize> {
    let mut kept = Vec::new();
    for len in [0, 197, 198, 645, 646, 1_000, 1_669, 1_670, 3_717, 3_718, 7_813, 7_814, 16_900, 18_530, 18_531, 60_000]
    {
        let (ours, theirs) = datagram_pair().await;
        for _ in 0..300 {
            submit(send(&theirs, &vec![b'd'; len])).await.expect("what finds no room is lost on the way");
        }
        // Behind all of them.
        submit(send(&ours, b"enough")).await.expect("there is room");
        submit(recv(&theirs, 9, RecvFlags::empty())).await.expect("it comes");
        let mut count = 0;
        while submit(recv(&ours, 9, RecvFlags::DONTWAIT)).await.is_ok() {
            count += 1;
        }
        kept.push(count);
    }
    kept
}

pub async fn hears_only_of_whom_it_is_connected_to(scene: Scene) {
    let (ours, theirs) = datagram_pair().await;
    let stranger = udp();
    submit(connect(&stranger, local(&ours))).await.expect("datagrams need nobody");
    submit(send(&stranger, b"stranger")).await.expect("there is room");
    submit(send(&theirs, b"friend")).await.expect("there is room");
    scene.tell("who is heard", &submit(recv(&ours, 9, RecvFlags::empty())).await);
    let third = udp();
    call::bind(&third, LOOPBACK).expect("a free port");
    scene.tell("connecting elsewhere", &submit(connect(&ours, local(&third))).await);
    scene.tell(
        "that is the peer now",
        &(call::name(&ours, End::Peer).expect("it is connected") == local(&third).into()).to_string(),
    );
    submit(send(&ours, b"third")).await.expect("there is room");
    scene.tell("who hears", &submit(recv(&third, 9, RecvFlags::empty())).await);
}

pub async fn datagrams_end_when_they_are_shut_down(scene: Scene) {
    for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        let (ours, _theirs) = datagram_pair().await;
        scene.tell(format!("shutting down: {how:?}"), &call::shutdown(&ours, how));
        let op = Recv { fd: ours.clone(), buf: vec![b'.'; 9], flags: RecvFlags::empty(), poll_first: false };
        scene.tell_either("receiving", &scene.ask(op).await, &AFTER_SHUTTING_DOWN);
        scene.tell("sending", &submit(send(&ours, b"hello")).await);
    }
}

const AFTER_SHUTTING_DOWN: Either = Either {
    among: &["0, ", "waits"],
    says: "a socket of datagrams that is shut down for reading: recv(2) knows an end of streams only; Linux answers 0 or waits",
};
