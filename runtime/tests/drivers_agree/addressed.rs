//! Scenarios for datagrams with addresses.

use std::net::{Ipv6Addr, SocketAddr};

use runtime::fd::SharedFd;
use runtime::op::address::SocketAddress;
use runtime::op::datagram::{RecvFrom, SendTo, Sender};
use runtime::op::ready::Interest;
use runtime::op::socket::End;
use runtime::{call, spawn, submit, yield_now};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use crate::scene::{LOOPBACK, Scene, connect, count, is_ready, local, on_every_kind, on_kinds, recv, udp};
use crate::stream::open_for;

pub fn send_to(fd: &SharedFd, bytes: &[u8], to: impl Into<SocketAddress>) -> SendTo<Vec<u8>> {
    SendTo { fd: fd.clone(), buf: bytes.to_vec(), to: to.into(), flags: SendFlags::empty() }
}

pub fn recv_from(fd: &SharedFd, len: usize) -> RecvFrom<Vec<u8>> {
    let (buf, flags) = (vec![b'.'; len], RecvFlags::empty());
    RecvFrom { fd: fd.clone(), buf, from: Sender::room(), flags, poll_first: false }
}

fn bound_udp() -> SharedFd {
    let fd = udp();
    call::bind(&fd, LOOPBACK).expect("a free port");
    fd
}

pub async fn sends_a_datagram_on_every_kind_of_descriptor(scene: Scene) {
    let listener = bound_udp();
    let to = local(&listener);
    for flags in [SendFlags::empty(), SendFlags::DONTWAIT] {
        let asking = scene.clone();
        on_every_kind(&scene, &format!("7 bytes with {flags:?}"), move |fd| {
            asking.ask(SendTo { flags, ..send_to(&fd, b"seven b", to) })
        })
        .await;
    }
}

pub async fn receives_a_datagram_on_every_kind_of_descriptor(scene: Scene) {
    for flags in [RecvFlags::empty(), RecvFlags::DONTWAIT, RecvFlags::PEEK] {
        for poll_first in [false, true] {
            let asking = scene.clone();
            let what = format!("7 bytes with {flags:?}, poll first: {poll_first},");
            let open = move |kind: &str| open_for(kind, flags, poll_first);
            on_kinds(&scene, &what, open, move |fd| asking.ask(RecvFrom { flags, poll_first, ..recv_from(&fd, 7) }))
                .await;
        }
    }
}

pub async fn tells_whose_a_datagram_is(scene: Scene) {
    let (ours, theirs, unbound) = (bound_udp(), bound_udp(), udp());
    for (who, fd) in [("bound", &theirs), ("unbound", &unbound)] {
        scene.tell(format!("{who}, sending"), &submit(send_to(fd, b"hello", local(&ours))).await);
        let received = submit(recv_from(&ours, 9)).await;
        scene.tell(format!("{who}, receiving"), &received);
        let Ok(((_, from), _)) = received else { return };
        let port = from.ip().expect("it came from a socket that speaks IP").port();
        scene.tell("whose port that is", &(port == local(fd).port()).to_string());
        scene.tell("an answer", &count(submit(send_to(&ours, b"well met", from)).await));
        scene.tell("which comes", &submit(recv_from(fd, 9)).await);
    }
    scene.tell("the name of the unbound", &call::name(&unbound, End::Local));
    scene.tell("and its peer", &call::name(&unbound, End::Peer));
    submit(connect(&theirs, local(&unbound))).await.expect("datagrams need nobody");
    scene.tell("past a connection", &count(submit(send_to(&theirs, b"elsewhere", local(&ours))).await));
    scene.tell("which comes", &submit(recv_from(&ours, 9)).await);
    submit(send_to(&ours, b"stranger", local(&theirs))).await.expect("it is sent");
    submit(send_to(&unbound, b"friend", local(&theirs))).await.expect("it is sent");
    scene.tell("who is heard through a connection", &submit(recv_from(&theirs, 9)).await);
}

pub async fn cuts_a_datagram_that_does_not_fit(scene: Scene) {
    let (ours, theirs) = (bound_udp(), bound_udp());
    for len in [10, 0, 1, 5] {
        submit(send_to(&theirs, &vec![b'd'; len], local(&ours))).await.expect("it is sent");
    }
    for len in [4, 4, 0, 5] {
        scene.tell(format!("room for {len} bytes"), &submit(recv_from(&ours, len)).await);
    }
    scene.tell("nothing more", &scene.ask(recv_from(&ours, 10)).await);
    for flags in [RecvFlags::PEEK | RecvFlags::TRUNC, RecvFlags::TRUNC] {
        submit(send_to(&theirs, b"ten bytes.", local(&ours))).await.expect("it is sent");
        scene.tell(format!("with {flags:?}"), &submit(RecvFrom { flags, ..recv_from(&ours, 4) }).await);
        scene.tell(format!("receiving with {flags:?}"), &submit(recv(&ours, 4, flags)).await);
    }
    for len in [65_507, 65_508] {
        scene.tell(format!("sending {len} bytes"), &count(submit(send_to(&theirs, &vec![7; len], local(&ours))).await));
    }
    scene.tell(
        "which comes",
        &submit(recv_from(&ours, 70_000)).await.map(|((count, _), _)| count).map_err(std::io::Error::from),
    );
}

pub async fn waits_for_somebodys_datagram(scene: Scene) {
    let (ours, theirs) = (bound_udp(), bound_udp());
    for poll_first in [false, true] {
        let waiting = spawn(submit(RecvFrom { poll_first, ..recv_from(&ours, 20) }));
        yield_now().await;
        submit(send_to(&theirs, b"hello", local(&ours))).await.expect("it is sent");
        scene.tell("it came", &waiting.await.expect("no panic"));
        scene.tell("nothing comes", &scene.ask(RecvFrom { poll_first, ..recv_from(&ours, 20) }).await);
    }
}

pub async fn a_stranger_hears_of_no_refusal(scene: Scene) {
    let holder = bound_udp();
    let address = local(&holder);
    drop(holder);
    let fd = bound_udp();
    scene.tell("to nobody", &submit(send_to(&fd, b"hello", address)).await);
    scene.tell("nothing comes", &scene.ask(recv_from(&fd, 9)).await);
    submit(connect(&fd, address)).await.expect("datagrams need nobody");
    scene.tell("connected to nobody", &submit(send_to(&fd, b"hello", address)).await);
    is_ready(&fd, Interest::READABLE).await.expect("the refusal came");
    scene.tell("receiving", &submit(recv_from(&fd, 9)).await);
}

pub async fn an_address_that_is_none_is_refused(scene: Scene) {
    scene.tell("port 0", &submit(send_to(&udp(), b"hello", LOOPBACK)).await);
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
    scene.tell("of another family", &submit(send_to(&udp(), b"hello", six)).await);
    let fd = SharedFd::new(call::socket(AddressFamily::INET6, SocketType::DGRAM, None).expect("a socket"));
    call::bind(&fd, SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).expect("a free port");
    scene.tell("over IPv6", &submit(send_to(&fd, b"hello", local(&fd))).await);
    scene.tell("to itself", &submit(recv_from(&fd, 9)).await);
}
