//! Scenarios for datagrams between unix sockets.

use std::os::unix::net::SocketAddr;

use runtime::fd::SharedFd;
use runtime::op::ready::{Interest, Poll};
use runtime::op::socket::{End, Send};
use runtime::{call, submit};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType};

use crate::addressed::{recv_from, send_to};
use crate::scene::{LOOPBACK, Scene, count, recv};
use crate::unix::{to, unix};

fn socket() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket"))
}

fn pair() -> (SharedFd, SharedFd) {
    let (one, other) = call::socketpair(SocketType::DGRAM).expect("two descriptors");
    (SharedFd::new(one), SharedFd::new(other))
}

/// One that must not wait: on a ring what waited would be sent empty.
fn send(fd: &SharedFd, bytes: &[u8]) -> Send<Vec<u8>> {
    Send { fd: fd.clone(), buf: bytes.to_vec(), flags: SendFlags::DONTWAIT, whole: false }
}

impl Scene {
    fn bound_datagrams(&self, name: &str) -> (SharedFd, SocketAddr) {
        let (fd, address) = (socket(), self.unix_path(name));
        call::bind(&fd, &address).expect("nobody else has the name");
        (fd, address)
    }

    async fn tell_readiness(&self, what: &str, fd: &SharedFd) {
        for (name, interest) in [("readable", Interest::READABLE), ("writable", Interest::WRITABLE)] {
            let came = self.ask(Poll { fd: fd.clone(), interest }).await;
            // A ring tells whoever waits to write of the end, too.
            let end = PollFlags::RDHUP.bits();
            let came = came.map(|came| Interest::from_bits(came.bits() & !end));
            self.tell(format!("{what}: {name}"), &came);
        }
    }
}

pub async fn add_kinds(all: &mut Vec<(&'static str, SharedFd)>, far: &mut Vec<SharedFd>) {
    all.push(("fresh unix socket of datagrams", socket()));
    let bound = socket();
    call::bind(&bound, SocketAddr::from_pathname("").expect("no name")).expect("there are names enough");
    all.push(("bound unix socket of datagrams", bound));
    let (ours, theirs) = pair();
    all.push(("connected unix socket of datagrams", ours));
    far.push(theirs);
    let (ours, theirs) = pair();
    submit(send(&theirs, b"hello")).await.expect("there is room");
    all.push(("unix socket with a datagram", ours));
    far.push(theirs);
    all.push(("unix socket of datagrams whose peer is gone", pair().0));
}

pub async fn makes_pairs_that_send_each_other_datagrams(scene: Scene) {
    let (one, other) = scene.makes_pair(SocketType::DGRAM);
    for (from, to) in [(&one, &other), (&other, &one)] {
        scene.tell("its name", &call::name(from, End::Local));
        scene.tell("the other's", &call::name(from, End::Peer));
        for len in [5, 0, 5] {
            scene.tell(format!("sending {len} bytes"), &submit(send(from, &vec![b'd'; len])).await);
        }
        scene.tell_readiness("then", to).await;
        for (len, flags) in
            [(5, RecvFlags::PEEK), (5, RecvFlags::WAITALL), (9, RecvFlags::empty()), (2, RecvFlags::TRUNC)]
        {
            scene.tell(format!("receiving with {flags:?}"), &submit(recv(to, len, flags)).await);
        }
        scene.tell("nothing more", &scene.ask(recv(to, 5, RecvFlags::empty())).await);
    }
    scene.tell("of what is too long", &count(submit(send(&one, &vec![7; 16 << 20])).await));
    call::bind(&one, scene.unix_path("one")).expect("nobody else has the name");
    let named = call::name(&other, End::Peer).expect("it is connected");
    scene.tell("whether the other learns a name", &(named == scene.unix_path("one").into()).to_string());
    submit(send(&one, b"last words")).await.expect("there is room");
    drop(one);
    scene.tell_readiness("alone", &other).await;
    scene.tell("what came before", &submit(recv(&other, 20, RecvFlags::empty())).await);
    scene.tell("who was there", &call::name(&other, End::Peer).map(|name| (name == named).to_string()));
    for _ in 0..2 {
        scene.tell("sending to who is gone", &submit(send(&other, b"hello")).await);
    }
    scene.tell("who is there", &call::name(&other, End::Peer));
}

pub async fn fills_the_room_between_two_unix_sockets_of_datagrams(scene: Scene) {
    let (one, other) = pair();
    let mut sent = 0;
    while submit(send(&one, &[7; 1_000])).await.is_ok() {
        sent += 1;
    }
    scene.tell("one more", &submit(send(&one, b"hello")).await);
    scene.tell("the other way", &submit(send(&other, b"hello")).await);
    scene.tell_readiness("full", &one).await;
    for _ in 0..sent {
        submit(recv(&other, 9, RecvFlags::empty())).await.expect("it came");
    }
    scene.tell_readiness("empty", &one).await;
    scene.tell("one more", &submit(send(&one, b"hello")).await);
    scene.tell("which comes", &submit(recv(&other, 9, RecvFlags::empty())).await);
}

pub async fn unix_datagrams_have_names_too(scene: Scene) {
    let (ours, to) = scene.bound_datagrams("ours");
    let (theirs, name) = scene.bound_datagrams("theirs");
    submit(send_to(&socket(), b"who am I", &to)).await.expect("it is sent");
    scene.tell("from who has no name", &submit(recv_from(&ours, 9)).await);
    submit(send_to(&theirs, b"it is me", &to)).await.expect("it is sent");
    let ((_, from), buf) = submit(recv_from(&ours, 4)).await.expect("it came");
    scene.tell("from who has one", &(from == (&name).into()).to_string());
    scene.tell("cut", &buf);
    scene.tell("to itself", &submit(send_to(&ours, b"hello", &to)).await);
    scene.tell(
        "which comes",
        &submit(recv_from(&ours, 9)).await.map(|((count, _), _)| count).map_err(std::io::Error::from),
    );
    scene.tell("to nobody", &submit(send_to(&theirs, b"hello", scene.unix_path("nobody"))).await);
    scene.tell("to nobody beside the files", &submit(send_to(&theirs, b"hello", scene.unix_name("ours"))).await);
    scene
        .tell("to no name", &submit(send_to(&theirs, b"hello", SocketAddr::from_pathname("").expect("no name"))).await);
    scene.tell("to an IPv4 address", &submit(send_to(&theirs, b"hello", LOOPBACK)).await);
    scene.tell("too long", &count(submit(send_to(&theirs, &vec![7; 16 << 20], &to)).await));
    drop(ours);
    scene.tell("to who is gone", &submit(send_to(&theirs, b"hello", &to)).await);
    let (listener, to) = scene.unix_listener("listener", 1);
    scene.tell("to a stream", &submit(send_to(&theirs, b"hello", &to)).await);
    drop(listener);
}

pub async fn names_beside_the_files_are_different_for_datagrams(scene: Scene) {
    let name = scene.unix_name("both");
    let (stream, datagrams) = (unix(), socket());
    call::bind(&stream, &name).expect("nobody else has the name");
    scene.tell("connecting", &submit(to(&socket(), &name)).await);
    scene.tell("sending", &submit(send_to(&socket(), b"hello", &name)).await);
    scene.tell("taking it", &call::bind(&datagrams, &name));
    scene.tell("sending", &submit(send_to(&socket(), b"hello", &name)).await);
    scene.tell("which comes", &submit(recv_from(&datagrams, 9)).await);
    scene.tell("a stream that connects", &submit(to(&unix(), &name)).await);
}

pub async fn a_connected_unix_socket_hears_from_its_peer_alone(scene: Scene) {
    let (ours, us) = scene.bound_datagrams("ours");
    let (theirs, them) = scene.bound_datagrams("theirs");
    let stranger = socket();
    scene.tell("not connected", &submit(send(&ours, b"hello")).await);
    scene.tell("connecting", &submit(to(&ours, &them)).await);
    scene.tell("to whom", &(call::name(&ours, End::Peer).expect("connected") == (&them).into()).to_string());
    scene.tell("the peer's peer", &call::name(&theirs, End::Peer));
    scene.tell("a stranger sends", &submit(send_to(&stranger, b"hello", &us)).await);
    scene.tell("a stranger connects", &submit(to(&stranger, &us)).await);
    scene.tell("the peer sends", &submit(send_to(&theirs, b"hello", &us)).await);
    scene.tell("and connects", &submit(to(&theirs, &us)).await);
    scene.tell("who speaks to others sends there", &submit(send_to(&theirs, b"to myself", &them)).await);
    scene.tell("connecting to a file", &submit(to(&stranger, scene.unix_path("folder-of-sockets"))).await);
    scene.tell("to nobody", &submit(to(&stranger, scene.unix_path("nobody"))).await);
    let (_third, third) = scene.bound_datagrams("third");
    scene.tell("connecting elsewhere, with something unread", &submit(to(&ours, &third)).await);
    scene.tell("which is gone", &scene.ask(recv(&ours, 9, RecvFlags::empty())).await);
    scene.tell("as the peer is told", &submit(send(&theirs, b"hello")).await);
    scene.tell("who is not heard any more", &submit(send(&theirs, b"hello")).await);
}

pub async fn unix_datagrams_end_when_they_are_shut_down(scene: Scene) {
    for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        let (ours, theirs) = pair();
        submit(send(&theirs, b"hello")).await.expect("there is room");
        scene.tell(format!("shutting down: {how:?}"), &call::shutdown(&ours, how));
        scene.tell_readiness("then", &ours).await;
        scene.tell("receiving", &submit(recv(&ours, 9, RecvFlags::DONTWAIT)).await);
        scene.tell("sending", &submit(send(&ours, b"hello")).await);
        scene.tell("the other way", &submit(send(&theirs, b"hello")).await);
        scene.tell_readiness("the other", &theirs).await;
        scene.tell("of who is not connected", &call::shutdown(&socket(), how));
    }
}

/// Catches: a ring that is left to wait, and sends what is empty once there is room.
pub async fn says_that_a_unix_socket_has_no_room(scene: Scene) {
    let (ours, to) = scene.bound_datagrams("ours");
    let theirs = socket();
    let mut sent = 0;
    let full = loop {
        match submit(send_to(&theirs, b"hello", &to)).await {
            Ok(_) => sent += 1,
            Err(error) => break std::io::Error::from(error),
        }
    };
    scene.tell("when there is no room", &Err::<(), _>(full));
    scene.tell("one that came", &submit(recv_from(&ours, 9)).await);
    scene.tell("one more", &submit(send_to(&theirs, b"the last", &to)).await);
    for _ in 1..sent {
        submit(recv_from(&ours, 9)).await.expect("it came");
    }
    scene.tell("which comes", &submit(recv_from(&ours, 9)).await);
    scene.tell("nothing more", &scene.ask(recv_from(&ours, 9)).await);
}
