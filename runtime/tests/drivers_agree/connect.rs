//! Ops that make connections: connect, accept once, accept many.

use std::net::SocketAddr;
use std::time::Duration;

use runtime::fd::SharedFd;
use runtime::op::ready::{Interest, Poll};
use runtime::op::socket::{Accept, AcceptMany, Connect, End, SocketOption};
use runtime::time::now;
use runtime::{Step, call, replies, spawn, submit};
use rustix::net::{AddressFamily, RecvFlags, SocketType};

use crate::names::LOOPBACK_6;
use crate::row;
use crate::scene::{
    Either, LOOPBACK, Scene, bound, connect, is_ready, listener, local, next, on_every_kind, recv, recv_to_end, send,
    tcp,
};
use crate::shown::Shown;
use crate::table::Row;
use crate::unix::{
    accepts_on_a_unix_listener, connects_unix_sockets_by_their_names, waits_for_room_in_the_backlog_of_a_unix_listener,
};

pub fn rows() -> Vec<Row> {
    vec![
        row!("Connect": connects_every_kind_of_descriptor, is_refused_where_nobody_listens, keeps_to_the_family,
            works_whoever_made_the_socket, names_itself, connects_over_either_family, is_told_once_that_it_failed,
            connects_unix_sockets_by_their_names, waits_for_room_in_the_backlog_of_a_unix_listener),
        row!("Accept": accepts_on_every_kind_of_descriptor, accepts_in_the_order_of_connecting, tells_who_connected,
            waits_until_somebody_connects, a_deadline_loses_no_connection, takes_who_has_left_already,
            accepts_on_a_unix_listener),
        row!("AcceptMany": accepts_many_on_every_kind_of_descriptor, accepts_all_who_come, stops_when_it_is_told_to),
    ]
}

async fn connects_every_kind_of_descriptor(scene: Scene) {
    let listener = listener();
    let address = local(&listener);
    for ours in [true, false] {
        let asking = scene.clone();
        on_every_kind(&scene, &format!("connecting, ours: {ours},"), move |fd| {
            asking.ask(Connect { fd, address: address.into(), ours })
        })
        .await;
    }
}

/// A port where nobody listens, since a socket has it that does not.
fn nobody() -> (SharedFd, SocketAddr) {
    let fd = bound();
    let address = local(&fd);
    (fd, address)
}

async fn is_refused_where_nobody_listens(scene: Scene) {
    for ours in [true, false] {
        let (_holder, address) = nobody();
        let fd = tcp();
        let refused = |fd: &SharedFd| submit(Connect { fd: fd.clone(), address: address.into(), ours });
        scene.tell(format!("ours: {ours}, the first time"), &refused(&fd).await);
        scene.tell("the second time", &refused(&fd).await);
        let ready = scene.ask(Poll { fd: fd.clone(), interest: Interest::WRITABLE }).await;
        scene.tell("ready for", &ready.map(|came| came.intersects(Interest::WRITABLE).to_string()));
        scene.tell_either("receiving", &scene.ask(recv(&fd, 9, RecvFlags::empty())).await, &AFTER_A_FAILURE);
        let listener = listener();
        scene.tell(
            "then where somebody listens",
            &submit(Connect { fd: fd.clone(), address: local(&listener).into(), ours }).await,
        );
        scene.tell("and once more", &submit(Connect { fd, address: local(&listener).into(), ours }).await);
    }
    scene.tell("port 0", &submit(connect(&tcp(), LOOPBACK)).await);
}

async fn is_told_once_that_it_failed(scene: Scene) {
    let (_holder, address) = nobody();
    let fd = tcp();
    scene.tell("refused", &submit(connect(&fd, address)).await);
    scene.tell("then sending", &submit(send(&fd, b"hello")).await);
    scene.tell("the peer's name", &call::name(&fd, End::Peer));
    scene.tell_either("listening", &call::listen(&fd, 1), &AFTER_A_FAILURE);
}

const AFTER_A_FAILURE: Either = Either {
    among: &["NotConnected", "0, ", "done", "InvalidInput"],
    says: "after a connect that failed, what else the socket is good for: «consider the state of the socket as unspecified», connect(2)",
};

async fn keeps_to_the_family(scene: Scene) {
    let six = SharedFd::new(call::socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket"));
    let listener = listener();
    scene.tell("IPv6 to IPv4", &submit(connect(&six, local(&listener))).await);
    let address = SocketAddr::new(LOOPBACK_6.ip(), local(&listener).port());
    scene.tell("IPv4 to IPv6", &submit(connect(&tcp(), address)).await);
}

async fn works_whoever_made_the_socket(scene: Scene) {
    for ours in [true, false] {
        for is_bound in [true, false] {
            let listener = listener();
            let fd = if is_bound { bound() } else { tcp() };
            let outcome = submit(Connect { fd: fd.clone(), address: local(&listener).into(), ours }).await;
            scene.tell(format!("ours: {ours}, bound: {is_bound}"), &outcome);
            let (server, _) = submit(Accept::new(listener)).await.expect("it is connected");
            submit(send(&fd, b"hello")).await.expect("there is room");
            drop(fd);
            scene.tell("the far side receives", &recv_to_end(&SharedFd::new(server)).await);
        }
    }
}

async fn names_itself(scene: Scene) {
    let fd = tcp();
    scene.tell("before", &call::name(&fd, End::Local));
    let listener = listener();
    submit(connect(&fd, local(&listener))).await.expect("somebody listens");
    scene.tell("after", &call::name(&fd, End::Local));
    scene.tell("the other end", &call::name(&fd, End::Peer));
    scene.tell("to no address in particular", &{
        let fd = tcp();
        let to = SocketAddr::new([0, 0, 0, 0].into(), local(&listener).port());
        let connected = submit(connect(&fd, to)).await;
        format!("{}, {}", connected.shown(), call::name(&fd, End::Peer).shown())
    });
}

async fn connects_over_either_family(scene: Scene) {
    for (what, family, at) in [("IPv4", AddressFamily::INET, LOOPBACK), ("IPv6", AddressFamily::INET6, LOOPBACK_6)] {
        let socket = || SharedFd::new(call::socket(family, SocketType::STREAM, None).expect("a socket"));
        let (listener, client) = (socket(), socket());
        call::bind(&listener, at).expect("a free port");
        call::listen(&listener, 1).expect("nobody else listens there");
        scene.tell(format!("{what}: connecting"), &submit(connect(&client, local(&listener))).await);
        let (server, peer) = submit(Accept::new(listener)).await.expect("it is connected");
        scene.tell("who", &peer.ip());
        submit(send(&client, b"hello")).await.expect("there is room");
        drop(client);
        scene.tell("the far side receives", &recv_to_end(&SharedFd::new(server)).await);
    }
}

async fn accepts_on_every_kind_of_descriptor(scene: Scene) {
    let asking = scene.clone();
    on_every_kind(&scene, "accepting", move |fd| {
        let accept = asking.ask(Accept::new(fd));
        async { accept.await.and_then(|(fd, peer)| Ok(format!("{} from {}", fd.shown(), peer.ip()?.shown()))) }
    })
    .await;
}

async fn accepts_in_the_order_of_connecting(scene: Scene) {
    let listener = listener();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let client = tcp();
        submit(connect(&client, local(&listener))).await.expect("somebody listens");
        clients.push((local(&client), client));
    }
    let mut in_order = 0;
    for (address, _client) in &clients {
        let (_server, peer) = submit(Accept::new(listener.clone())).await.expect("it is connected");
        in_order += usize::from(peer.ip().expect("IP") == *address);
    }
    scene.tell("five in their order", &in_order);
}

async fn tells_who_connected(scene: Scene) {
    let listener = listener();
    let client = tcp();
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    let (server, peer) = submit(Accept::new(listener.clone())).await.expect("it is connected");
    let server = SharedFd::new(server);
    let peer = peer.ip().expect("IP");
    scene.tell("it is the client", &format!("{}", peer == local(&client)));
    scene.tell(
        "and the peer's name",
        &format!("{}", call::name(&server, End::Peer).expect("it is connected") == peer.into()),
    );
    scene.tell("our end has the listener's address", &format!("{}", local(&server) == local(&listener)));
}

async fn waits_until_somebody_connects(scene: Scene) {
    let listener = listener();
    let waiting: Vec<_> = (0..3).map(|_| spawn(submit(Accept::new(listener.clone())))).collect();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = tcp();
        scene.tell("connecting", &submit(connect(&client, local(&listener))).await);
        clients.push(client);
    }
    for task in waiting {
        scene.tell("accepting", &task.await.expect("no panic").map(|(fd, _peer)| fd));
    }
}

async fn a_deadline_loses_no_connection(scene: Scene) {
    let listener = listener();
    scene.tell("nobody comes", &scene.ask(Accept::new(listener.clone())).await.map(|(fd, _peer)| fd));
    let client = tcp();
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    is_ready(&listener, Interest::READABLE).await.expect("it is connected");
    let past = now().checked_sub(Duration::from_secs(1)).unwrap_or_else(now);
    let first = submit(Accept::new(listener.clone())).deadline(past).await.map(|(fd, _peer)| fd);
    scene.tell_either("with a deadline that is past", &first, &ACCEPTED_OR_TIMED_OUT);
    let server = match first {
        Ok(fd) => fd,
        Err(_timed_out) => submit(Accept::new(listener)).await.expect("it is still there").0,
    };
    submit(send(&client, b"hello")).await.expect("there is room");
    drop(client);
    scene.tell("whoever accepts it receives", &recv_to_end(&SharedFd::new(server)).await);
}

const ACCEPTED_OR_TIMED_OUT: Either = Either {
    among: &["a descriptor", "waits"],
    says: "accepted, or timed out, when the deadline is past: io_uring_enter(2) does not say which of an op and its cancel is first",
};

async fn takes_who_has_left_already(scene: Scene) {
    let listener = listener();
    let client = tcp();
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    submit(send(&client, b"hello")).await.expect("there is room");
    drop(client);
    let (server, _) = submit(Accept::new(listener)).await.expect("it was connected");
    scene.tell("who left still said", &recv_to_end(&SharedFd::new(server)).await);
}

async fn accepts_many_on_every_kind_of_descriptor(scene: Scene) {
    let patience = scene.clone();
    on_every_kind(&scene, "accepting many", move |fd| {
        let patience = patience.clone();
        async move {
            let mut accepted = replies(AcceptMany { fd });
            let first = match patience.limit(next(&mut accepted)).await {
                None => return "waits".to_owned(),
                Some(Step::Item(item)) => format!("an item, {}", item.shown()),
                Some(Step::End(end)) => return format!("the end, {}", end.shown()),
            };
            accepted.stop();
            match next(&mut accepted).await {
                Step::Item(item) => format!("{first}; another item, {}", item.shown()),
                Step::End(end) => format!("{first}; the end, {}", end.shown()),
            }
        }
    })
    .await;
}

async fn accepts_all_who_come(scene: Scene) {
    let listener = listener();
    call::set_option(&listener, SocketOption::NoDelay(true)).expect("it is a socket");
    let address = local(&listener);
    let clients = spawn(async move {
        let mut clients = Vec::new();
        for index in 0..20_u8 {
            let client = tcp();
            submit(connect(&client, address)).await.expect("somebody listens");
            submit(send(&client, &[index; 3])).await.expect("there is room");
            clients.push(client);
        }
    });
    let mut accepted = replies(AcceptMany { fd: listener.clone() });
    let mut said = Vec::new();
    while said.len() < 20 {
        match next(&mut accepted).await {
            Step::Item(fd) | Step::End(fd @ Ok(_)) => {
                let fd = SharedFd::new(fd.expect("it is connected"));
                said.push(recv_to_end(&fd).await);
            }
            Step::End(Err(error)) => return scene.tell("the end came early", &Err::<(), _>(error)),
        }
    }
    clients.await.expect("no panic");
    said.sort();
    scene.tell("twenty said", &said.join(", "));
}

async fn stops_when_it_is_told_to(scene: Scene) {
    let listener = listener();
    let mut accepted = replies(AcceptMany { fd: listener.clone() });
    let waits = std::future::poll_fn(|context| std::task::Poll::Ready(accepted.poll_next(context).is_pending())).await;
    scene.tell("nobody has come", if waits { "it waits" } else { "somebody came" });
    accepted.stop();
    scene.tell(
        "after it was told to stop",
        &match next(&mut accepted).await {
            Step::Item(item) => format!("an item, {}", item.shown()),
            Step::End(end) => format!("the end, {}", end.shown()),
        },
    );
    let client = tcp();
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    scene.tell("who comes later", &submit(Accept::new(listener)).await.map(|(fd, _peer)| fd));
}
