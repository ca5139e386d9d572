//! What never waits: making sockets, naming them, setting them up and shutting them down.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use runtime::fd::SharedFd;
use runtime::op::socket::{Accept, End, Send, SocketOption};
use runtime::{call, spawn, submit, yield_now};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType, ipproto};

use crate::row;
use crate::scene::{
    LOOPBACK, Scene, at_once_on_every_kind, bound, connect, count, listener, local, pair, recv, recv_to_end, send, tcp,
};
use crate::shown::Shown;
use crate::table::Row;
use crate::unix::{
    a_name_of_a_unix_socket_is_a_file, a_unix_stream_ends_for_both_sides, binds_unix_sockets_to_names,
    makes_pairs_that_speak_with_each_other,
};
use crate::unix_datagrams::makes_pairs_that_send_each_other_datagrams;

pub fn rows() -> Vec<Row> {
    vec![
        row!("call::socket": makes_sockets_of_every_family),
        row!("call::socketpair": makes_pairs_that_speak_with_each_other, makes_pairs_that_send_each_other_datagrams),
        row!("call::bind": binds_every_kind_of_descriptor, an_address_is_had_once, a_family_keeps_to_its_addresses,
            an_address_is_free_again_when_its_socket_is_closed, binds_unix_sockets_to_names, a_name_of_a_unix_socket_is_a_file),
        row!("call::listen": listens_on_every_kind_of_descriptor, one_listener_an_address, any_backlog_will_do),
        row!("call::name": names_both_ends_of_every_kind_of_descriptor, both_ends_know_each_other),
        row!("call::set_option": sets_every_option_on_every_kind_of_descriptor, a_listeners_address_can_be_taken_over,
            a_peer_that_takes_nothing_loses_the_connection),
        row!("call::shutdown": a_unix_stream_ends_for_both_sides, shuts_every_kind_of_descriptor_down, ends_one_direction_or_both,
            a_listener_that_was_shut_down_takes_nobody),
    ]
}

pub const LOOPBACK_6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

async fn makes_sockets_of_every_family(scene: Scene) {
    let families =
        [("inet", AddressFamily::INET), ("inet6", AddressFamily::INET6), ("no family", AddressFamily::from_raw(250))];
    let types = [("stream", SocketType::STREAM), ("datagram", SocketType::DGRAM), ("no type", SocketType::from_raw(9))];
    let protocols = [("the usual protocol", None), ("TCP", Some(ipproto::TCP)), ("UDP", Some(ipproto::UDP))];
    for (family_name, family) in families {
        for (type_name, kind) in types {
            for (protocol_name, protocol) in protocols {
                let made = call::socket(family, kind, protocol);
                scene.tell(format!("{family_name}, {type_name}, {protocol_name}"), &made);
                let name = made.and_then(|fd| call::name(&SharedFd::new(fd), End::Local));
                scene.tell("its name", &name.map_err(|error| error.kind().into()));
            }
        }
    }
}

async fn binds_every_kind_of_descriptor(scene: Scene) {
    at_once_on_every_kind(&scene, "binding", |fd| call::bind(fd, LOOPBACK)).await;
    at_once_on_every_kind(&scene, "binding to an address of the other family", |fd| call::bind(fd, LOOPBACK_6)).await;
}

async fn an_address_is_had_once(scene: Scene) {
    let first = bound();
    let address = local(&first);
    scene.tell("a second socket at its address", &call::bind(&tcp(), address));
    scene.tell("the same socket once more", &call::bind(&first, LOOPBACK));
    let any = SocketAddr::new([0, 0, 0, 0].into(), address.port());
    scene.tell("a socket at all addresses", &call::bind(&tcp(), any));
    let other = SocketAddr::new([127, 0, 0, 2].into(), address.port());
    scene.tell("a socket at another address, with its port", &call::bind(&tcp(), other));
    for (one, two) in [(false, false), (true, false), (false, true), (true, true)] {
        let [first, second] = [one, two].map(|reuses| {
            let fd = tcp();
            call::set_option(&fd, SocketOption::ReuseAddress(reuses)).expect("it is a socket");
            fd
        });
        call::bind(&first, LOOPBACK).expect("a free port");
        let what = format!("with reuse {one} and {two}");
        scene.tell(format!("{what}, a second socket"), &call::bind(&second, local(&first)));
        scene.tell(format!("{what}, listening on the first"), &call::listen(&first, 1));
        scene.tell(format!("{what}, listening on the second"), &call::listen(&second, 1));
        let third = tcp();
        call::set_option(&third, SocketOption::ReuseAddress(true)).expect("it is a socket");
        scene.tell(format!("{what}, a third socket beside a listener"), &call::bind(&third, local(&first)));
    }
}

async fn a_family_keeps_to_its_addresses(scene: Scene) {
    let six = || SharedFd::new(call::socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket"));
    scene.tell("IPv6 to IPv6", &call::bind(&six(), LOOPBACK_6));
    scene.tell("IPv6 to IPv4", &call::bind(&six(), LOOPBACK));
    scene.tell("IPv4 to IPv6", &call::bind(&tcp(), LOOPBACK_6));
    scene.tell("IPv4 to all", &call::bind(&tcp(), SocketAddr::new([0, 0, 0, 0].into(), 0)));
    let fd = six();
    call::bind(&fd, LOOPBACK_6).expect("a free port");
    scene.tell("which is", &call::name(&fd, End::Local));
}

async fn an_address_is_free_again_when_its_socket_is_closed(scene: Scene) {
    let first = bound();
    let address = local(&first);
    drop(first);
    let second = tcp();
    scene.tell("after a socket without connections", &call::bind(&second, address));
    scene.tell("listening", &call::listen(&second, 1));
    drop(second);
    scene.tell("after a listener", &call::bind(&tcp(), address));
}

async fn listens_on_every_kind_of_descriptor(scene: Scene) {
    at_once_on_every_kind(&scene, "listening", |fd| call::listen(fd, 5)).await;
}

async fn one_listener_an_address(scene: Scene) {
    let first = listener();
    scene.tell("once more", &call::listen(&first, 3));
    let unnamed = tcp();
    scene.tell("a socket without a name", &call::listen(&unnamed, 3));
    scene.tell("which is", &call::name(&unnamed, End::Local));
    let client = tcp();
    scene.tell(
        "which can be connected to",
        &submit(connect(&client, SocketAddr::new([127, 0, 0, 1].into(), local(&unnamed).port()))).await,
    );
}

async fn any_backlog_will_do(scene: Scene) {
    for backlog in [0, 1, -1, i32::MAX, i32::MIN] {
        let fd = bound();
        scene.tell(format!("backlog {backlog}"), &call::listen(&fd, backlog));
        let client = tcp();
        scene.tell("one connects", &submit(connect(&client, local(&fd))).await);
        scene.tell("and is accepted", &submit(Accept::new(fd)).await.map(|_accepted| ()));
    }
}

async fn names_both_ends_of_every_kind_of_descriptor(scene: Scene) {
    for end in [End::Local, End::Peer] {
        at_once_on_every_kind(&scene, &format!("{end:?} name"), |fd| call::name(fd, end)).await;
    }
}

async fn both_ends_know_each_other(scene: Scene) {
    let (client, server) = pair().await;
    let name = |fd: &SharedFd, end| call::name(fd, end).expect("it is connected");
    scene.tell("ours is theirs", &format!("{}", name(&client, End::Local) == name(&server, End::Peer)));
    scene.tell("theirs is ours", &format!("{}", name(&client, End::Peer) == name(&server, End::Local)));
    drop(server);
    crate::scene::is_ready(&client, runtime::op::ready::Interest::READABLE).await.expect("the end came");
    scene.tell("the peer's name after its end", &call::name(&client, End::Peer));
}

async fn sets_every_option_on_every_kind_of_descriptor(scene: Scene) {
    for on in [true, false] {
        let timeout = SocketOption::UserTimeout(if on { Duration::MAX } else { Duration::ZERO });
        for option in [SocketOption::NoDelay(on), SocketOption::ReuseAddress(on), timeout] {
            at_once_on_every_kind(&scene, &format!("{option:?}"), |fd| call::set_option(fd, option)).await;
        }
    }
}

/// The option comes when the sender waits already, or before.
async fn a_peer_that_takes_nothing_loses_the_connection(scene: Scene) {
    let timeout = SocketOption::UserTimeout(Duration::from_millis(300));
    for is_early in [true, false] {
        let (client, server) = pair().await;
        if is_early {
            call::set_option(&client, timeout).expect("TCP knows it");
        }
        let buf = vec![7; 64 << 20];
        let sending = spawn(submit(Send { fd: client.clone(), buf, flags: SendFlags::empty(), whole: true }));
        yield_now().await;
        if !is_early {
            call::set_option(&client, timeout).expect("TCP knows it");
        }
        let sent = sending.await.expect("no panic");
        scene.tell("all is sent", &format!("{}", sent.is_ok_and(|(count, _)| count == 64 << 20)));
        // ETIMEDOUT, or EPIPE where a send that had sent a part has swallowed it: tcp(7) leaves open who is told.
        scene.tell("sending on fails", &format!("{}", submit(send(&client, b"more")).await.is_err()));
        let received = count(submit(recv(&server, 1, RecvFlags::empty())).await);
        scene.tell("what came before is read", &received);
    }
}

async fn a_listeners_address_can_be_taken_over(scene: Scene) {
    let first = listener();
    let address = local(&first);
    let client = tcp();
    submit(connect(&client, address)).await.expect("somebody listens");
    let (server, _) = submit(Accept::new(first.clone())).await.expect("it is connected");
    drop(first);
    let plain = tcp();
    scene.tell("beside an old connection, without reuse", &call::bind(&plain, address));
    let reusing = tcp();
    call::set_option(&reusing, SocketOption::ReuseAddress(true)).expect("it is a socket");
    scene.tell("beside an old connection, with reuse", &call::bind(&reusing, address));
    drop(server);
}

const WAYS: [(&str, Shutdown); 3] =
    [("reading", Shutdown::Read), ("writing", Shutdown::Write), ("both", Shutdown::Both)];

async fn shuts_every_kind_of_descriptor_down(scene: Scene) {
    for (what, how) in WAYS {
        at_once_on_every_kind(&scene, &format!("shut down for {what}"), |fd| call::shutdown(fd, how)).await;
    }
}

async fn ends_one_direction_or_both(scene: Scene) {
    for (what, how) in WAYS {
        let (ours, theirs) = pair().await;
        submit(send(&ours, b"before")).await.expect("there is room");
        scene.tell(format!("shut down for {what}"), &call::shutdown(&ours, how));
        scene.tell("once more", &call::shutdown(&ours, how));
        scene.tell("then sending", &submit(send(&ours, b"after")).await);
        let received = scene.ask(crate::scene::recv(&ours, 9, rustix::net::RecvFlags::empty())).await;
        scene.tell("then receiving", &received);
        call::shutdown(&ours, Shutdown::Both).expect("it is connected");
        scene.tell("and the far side receives", &recv_to_end(&theirs).await);
    }
}

async fn a_listener_that_was_shut_down_takes_nobody(scene: Scene) {
    for (what, how) in WAYS {
        let fd = listener();
        let address = local(&fd);
        let early = tcp();
        submit(connect(&early, address)).await.expect("somebody listens");
        scene.tell(format!("shut down for {what}"), &call::shutdown(&fd, how));
        let late = tcp();
        scene.tell("who connects", &submit(connect(&late, address)).await);
        scene.tell("accepting", &scene.ask(Accept::new(fd.clone())).await.map(|_accepted| ()));
        scene.tell("listening once more", &call::listen(&fd, 1));
        scene.tell(
            "who waited",
            &scene.ask(crate::scene::recv(&early, 9, rustix::net::RecvFlags::empty())).await.shown(),
        );
    }
}
