//! Ops that move bytes on connections: receive, send, and both without waiting.

use std::time::Duration;

use runtime::fd::SharedFd;
use runtime::op::ready::Interest;
use runtime::op::socket::{Recv, Send};
use runtime::time::now;
use runtime::{call, spawn, submit, yield_now};
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use crate::addressed::{
    a_stranger_hears_of_no_refusal, an_address_that_is_none_is_refused, cuts_a_datagram_that_does_not_fit,
    receives_a_datagram_on_every_kind_of_descriptor, sends_a_datagram_on_every_kind_of_descriptor,
    tells_whose_a_datagram_is, waits_for_somebodys_datagram,
};
use crate::datagrams::{
    a_datagram_that_nobody_takes_is_told_later, datagrams_end_when_they_are_shut_down,
    datagrams_keep_their_bounds_and_their_order, hears_only_of_whom_it_is_connected_to,
    refuses_datagrams_that_are_too_long, waits_for_a_datagram,
};
use crate::file::random;
use crate::row;
use crate::scene::{
    Either, Scene, at_once_on_every_kind, break_off, count, is_ready, on_every_kind, on_kinds, pair, recv, recv_to_end,
    send,
};
use crate::shown::Shown;
use crate::table::Row;
use crate::unix_datagrams::{
    a_connected_unix_socket_hears_from_its_peer_alone, fills_the_room_between_two_unix_sockets_of_datagrams,
    names_beside_the_files_are_different_for_datagrams, says_that_a_unix_socket_has_no_room,
    unix_datagrams_end_when_they_are_shut_down, unix_datagrams_have_names_too,
};

pub fn rows() -> Vec<Row> {
    vec![
        row!("Recv": receives_on_every_kind_of_descriptor, waits_for_bytes_or_the_end, takes_what_fits,
            looks_without_taking, wants_all_or_what_there_is, a_broken_connection_is_told_once,
            a_deadline_loses_no_byte, refuses_an_empty_buffer, waits_for_a_datagram, hears_only_of_whom_it_is_connected_to),
        row!("Send": sends_on_every_kind_of_descriptor, sends_all_of_a_million_bytes, sends_nothing,
            sends_what_there_is_room_for, talks_back_and_forth, an_end_does_not_stop_the_other_direction,
            datagrams_keep_their_bounds_and_their_order, a_datagram_that_nobody_takes_is_told_later,
            refuses_datagrams_that_are_too_long, datagrams_end_when_they_are_shut_down,
            fills_the_room_between_two_unix_sockets_of_datagrams, unix_datagrams_end_when_they_are_shut_down,
            a_connected_unix_socket_hears_from_its_peer_alone),
        row!("SendTo": sends_a_datagram_on_every_kind_of_descriptor, tells_whose_a_datagram_is,
            a_stranger_hears_of_no_refusal, an_address_that_is_none_is_refused, unix_datagrams_have_names_too,
            says_that_a_unix_socket_has_no_room, names_beside_the_files_are_different_for_datagrams),
        row!("RecvFrom": receives_a_datagram_on_every_kind_of_descriptor, cuts_a_datagram_that_does_not_fit,
            waits_for_somebodys_datagram),
        row!("call::try_recv": tries_to_receive_on_every_kind_of_descriptor, takes_what_has_come),
        row!("call::try_send": tries_to_send_on_every_kind_of_descriptor, fills_the_room_and_then_would_block),
    ]
}

async fn receives_on_every_kind_of_descriptor(scene: Scene) {
    let all_flags = [
        RecvFlags::empty(),
        RecvFlags::DONTWAIT,
        RecvFlags::PEEK,
        RecvFlags::WAITALL,
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
        RecvFlags::OOB,
    ];
    for flags in all_flags {
        for poll_first in [false, true] {
            let asking = scene.clone();
            let what = format!("7 bytes with {flags:?}, poll first: {poll_first},");
            let open = move |kind: &str| open_for(kind, flags, poll_first);
            on_kinds(&scene, &what, open, move |fd| asking.ask(Recv { fd, buf: vec![b'.'; 7], flags, poll_first }))
                .await;
        }
    }
}

pub const WAITING_FOR_NO_SOCKET: Either = Either {
    among: &["WouldBlock", "waits", "Uncategorized: Socket operation on non-socket"],
    says: "to wait first, on what is no socket: ENOTSOCK of recv(2), or the wait of io_uring_enter(2), EAGAIN where it cannot",
};

const WAITING_WITHOUT_WAITING: Either = Either {
    among: &["WouldBlock", "NotConnected", "InvalidInput", "ConnectionReset", "0, ", "5, "],
    says: "to wait first, and not to wait: EAGAIN, or as without waiting first; io_uring_enter(2) knows no such question",
};

const URGENT_AFTER_WAITING: Either = Either {
    among: &["waits", "InvalidInput"],
    says: "to wait first, and for urgent bytes: the readiness that is waited for is not theirs, recv(2) and poll(2)",
};

pub fn open_for(kind: &str, flags: RecvFlags, poll_first: bool) -> Option<&'static Either> {
    let is_no_socket = kind.contains("file") || kind.contains("pipe") || kind == "directory";
    let is_open = !kind.contains("path") && !kind.contains("another world");
    match poll_first && is_open {
        false => None,
        true if is_no_socket => Some(&WAITING_FOR_NO_SOCKET),
        true if flags.contains(RecvFlags::DONTWAIT) => Some(&WAITING_WITHOUT_WAITING),
        true if flags.contains(RecvFlags::OOB) && !kind.contains("listener") => Some(&URGENT_AFTER_WAITING),
        true => None,
    }
}

async fn waits_for_bytes_or_the_end(scene: Scene) {
    let (ours, theirs) = pair().await;
    for bytes in [&b"a"[..], b"bcd", b"efghijkl"] {
        let waiting = spawn(submit(recv(&ours, 20, RecvFlags::empty())));
        yield_now().await;
        submit(send(&theirs, bytes)).await.expect("there is room");
        scene.tell(
            format!("{} bytes", bytes.len()),
            &gathered(&ours, waiting.await.expect("no panic"), bytes.len()).await,
        );
    }
    let waiting = spawn(submit(recv(&ours, 20, RecvFlags::empty())));
    yield_now().await;
    drop(theirs);
    scene.tell("the end", &waiting.await.expect("no panic"));
    scene.tell("and once more", &submit(recv(&ours, 20, RecvFlags::empty())).await);
}

type Received = Result<(usize, Vec<u8>), runtime::buf::BufError<Vec<u8>>>;

/// A stream has no boundaries: what was sent in one piece may come in several.
async fn gathered(fd: &SharedFd, first: Received, len: usize) -> String {
    let mut all = Vec::new();
    let mut next = first;
    loop {
        match next {
            Ok((0, _)) => return format!("{} and the end", all.shown()),
            Ok((count, buf)) => all.extend_from_slice(&buf[..count]),
            Err(error) => return format!("{} and {}", all.shown(), Err::<(), _>(std::io::Error::from(error)).shown()),
        }
        if all.len() >= len {
            return all.shown();
        }
        next = submit(recv(fd, len - all.len(), RecvFlags::empty())).await;
    }
}

async fn takes_what_fits(scene: Scene) {
    let (ours, theirs) = pair().await;
    submit(send(&theirs, b"0123456789")).await.expect("there is room");
    drop(theirs);
    for len in [1, 2, 3, 3] {
        scene.tell(format!("{len} bytes"), &submit(recv(&ours, len, RecvFlags::WAITALL)).await);
    }
    scene.tell("the rest", &recv_to_end(&ours).await);
}

async fn looks_without_taking(scene: Scene) {
    let (ours, theirs) = pair().await;
    submit(send(&theirs, b"0123456789")).await.expect("there is room");
    drop(theirs);
    submit(recv(&ours, 2, RecvFlags::WAITALL)).await.expect("they came");
    for _ in 0..2 {
        let first = submit(recv(&ours, 1, RecvFlags::PEEK)).await;
        scene.tell("a look", &first);
    }
    scene.tell("all is there", &recv_to_end(&ours).await);
    scene.tell("a look at the end", &submit(recv(&ours, 1, RecvFlags::PEEK)).await);
}

async fn wants_all_or_what_there_is(scene: Scene) {
    let (ours, theirs) = pair().await;
    let waiting = spawn(submit(recv(&ours, 10, RecvFlags::WAITALL)));
    for piece in [&b"012"[..], b"345", b"6789"] {
        submit(send(&theirs, piece)).await.expect("there is room");
        yield_now().await;
    }
    scene.tell("all of ten", &waiting.await.expect("no panic"));
    let waiting = spawn(submit(recv(&ours, 10, RecvFlags::WAITALL)));
    submit(send(&theirs, b"rest")).await.expect("there is room");
    drop(theirs);
    scene.tell_either(
        "all of ten, of which four come before the end",
        &waiting.await.expect("no panic"),
        &SHORT_OF_ALL,
    );
    scene.tell("then", &recv_to_end(&ours).await.ends_with("and the end").to_string());
}

/// epoll tells of the first byte, and MSG_DONTWAIT takes what is there.
const SHORT_OF_ALL: Either = Either {
    among: &["4, ", "1, ", "2, ", "3, "],
    says: "fewer bytes than MSG_WAITALL asks for at the end of a stream, recv(2)",
};

async fn a_broken_connection_is_told_once(scene: Scene) {
    let (ours, theirs) = pair().await;
    break_off(&ours, theirs).await;
    scene.tell("receiving", &submit(recv(&ours, 9, RecvFlags::empty())).await);
    scene.tell("receiving again", &submit(recv(&ours, 9, RecvFlags::empty())).await);
    scene.tell("sending", &submit(send(&ours, b"hello")).await);
    scene.tell("sending again", &submit(send(&ours, b"hello")).await);
    let (ours, theirs) = pair().await;
    break_off(&ours, theirs).await;
    scene.tell("sending first", &submit(send(&ours, b"hello")).await);
    scene.tell("sending again", &submit(send(&ours, b"hello")).await);
    scene.tell("then receiving", &submit(recv(&ours, 9, RecvFlags::empty())).await);
    scene.tell("shutting down", &call::shutdown(&ours, Shutdown::Both));
    scene.tell("the peer's name", &call::name(&ours, runtime::op::socket::End::Peer));
}

async fn a_deadline_loses_no_byte(scene: Scene) {
    let (ours, theirs) = pair().await;
    for poll_first in [false, true] {
        let op = Recv { fd: ours.clone(), buf: vec![b'.'; 9], flags: RecvFlags::empty(), poll_first };
        scene.tell("nothing comes", &scene.ask(op).await);
    }
    submit(send(&theirs, b"hello")).await.expect("there is room");
    is_ready(&ours, Interest::READABLE).await.expect("they came");
    drop(theirs);
    let past = now().checked_sub(Duration::from_secs(1)).unwrap_or_else(now);
    let late = submit(recv(&ours, 2, RecvFlags::empty())).deadline(past).await;
    let mut all = String::new();
    if let Ok((count, buf)) = &late {
        all.push_str(&String::from_utf8_lossy(&buf[..*count]));
    }
    scene.tell_either("with a deadline that is past", &late, &RECEIVED_OR_TIMED_OUT);
    while let Ok((count @ 1.., buf)) = submit(recv(&ours, 9, RecvFlags::empty())).await {
        all.push_str(&String::from_utf8_lossy(&buf[..count]));
    }
    scene.tell("with what comes then", &all);
}

const RECEIVED_OR_TIMED_OUT: Either = Either {
    among: &["2, ", "1, ", "waits"],
    says: "received, or timed out, when the deadline is past: io_uring_enter(2) does not say which of an op and its cancel is first",
};

async fn refuses_an_empty_buffer(scene: Scene) {
    let (ours, _theirs) = pair().await;
    scene.tell("no room", &scene.ask(recv(&ours, 0, RecvFlags::empty())).await);
}

async fn sends_on_every_kind_of_descriptor(scene: Scene) {
    for flags in [SendFlags::empty(), SendFlags::DONTWAIT, SendFlags::NOSIGNAL, SendFlags::MORE] {
        for whole in [true, false] {
            let asking = scene.clone();
            let what = format!("7 bytes with {flags:?}, whole: {whole},");
            on_every_kind(&scene, &what, move |fd| asking.ask(Send { fd, buf: b"seven b".to_vec(), flags, whole }))
                .await;
        }
    }
}

async fn sends_all_of_a_million_bytes(scene: Scene) {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|index| u8::try_from(index % 251).expect("below 256")).collect();
    let (ours, theirs) = pair().await;
    let reading = spawn(async move { recv_to_end(&theirs).await });
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let sent = count(submit(send(&ours, rest)).await);
        scene.tell_either("sent", &sent.as_ref().copied().map_err(|error| error.kind().into()), &SENT);
        let Ok(sent) = sent else { return };
        rest = &rest[sent..];
        if rest.is_empty() {
            break;
        }
    }
    drop(ours);
    scene.tell("the far side receives", &reading.await.expect("no panic"));
}

const SENT: Either =
    Either { among: &["1", "2", "3", "4", "5", "6", "7", "8", "9"], says: "fewer bytes than were given, send(2)" };

async fn sends_nothing(scene: Scene) {
    let (ours, theirs) = pair().await;
    for whole in [true, false] {
        let nothing = Send { fd: ours.clone(), buf: Vec::new(), flags: SendFlags::empty(), whole };
        scene.tell("no bytes", &submit(nothing).await);
    }
    drop(ours);
    scene.tell("the far side receives", &recv_to_end(&theirs).await);
}

/// How much there is room for is the kernel's affair; that it ends, and goes on when there is room again, is not.
async fn sends_what_there_is_room_for(scene: Scene) {
    let (ours, theirs) = pair().await;
    let piece = || Send { fd: ours.clone(), buf: vec![7; 256 << 10], flags: SendFlags::DONTWAIT, whole: false };
    let mut sent = 0;
    let full = loop {
        match count(submit(piece()).await) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    scene.tell("when there is no room", &Err::<(), _>(full));
    scene.tell(
        "ready to write",
        &scene.ask(runtime::op::ready::Poll { fd: ours.clone(), interest: Interest::WRITABLE }).await,
    );
    let waiting = spawn(submit(send(&ours, b"the last")));
    let mut received = 0;
    while received < sent + 8 {
        let Ok((count @ 1.., _)) = submit(recv(&theirs, 64 << 10, RecvFlags::empty())).await else { break };
        received += count;
    }
    scene.tell("the last are sent", &waiting.await.expect("no panic"));
    scene.tell("what was received of what was sent is all", &(received == sent + 8).to_string());
}

async fn talks_back_and_forth(scene: Scene) {
    let (ours, theirs) = pair().await;
    let mut draw = random(7);
    for round in 0..200 {
        let len = usize::try_from(draw(5_000)).expect("small") + 1;
        let bytes: Vec<u8> = (0..len).map(|_| u8::try_from(draw(256)).expect("a byte")).collect();
        let (from, to) = if draw(2) == 0 { (&ours, &theirs) } else { (&theirs, &ours) };
        scene.tell(format!("round {round}, sending"), &count(submit(send(from, &bytes)).await));
        let first = submit(recv(to, len, RecvFlags::empty())).await;
        scene.tell(format!("round {round}, receiving"), &gathered(to, first, len).await);
    }
}

async fn an_end_does_not_stop_the_other_direction(scene: Scene) {
    let (ours, theirs) = pair().await;
    call::shutdown(&ours, Shutdown::Write).expect("it is connected");
    scene.tell("the far side sees", &submit(recv(&theirs, 9, RecvFlags::empty())).await);
    scene.tell("and still sends", &submit(send(&theirs, b"reply")).await);
    drop(theirs);
    scene.tell("which comes", &recv_to_end(&ours).await);
    scene.tell("sending after our end", &submit(send(&ours, b"more")).await);
}

async fn tries_to_receive_on_every_kind_of_descriptor(scene: Scene) {
    for flags in [RecvFlags::empty(), RecvFlags::PEEK, RecvFlags::WAITALL] {
        for len in [7, 0] {
            at_once_on_every_kind(&scene, &format!("{len} bytes with {flags:?}"), |fd| {
                let mut buf = vec![b'.'; len];
                call::try_recv(fd, &mut buf, flags).map(|count| (count, buf))
            })
            .await;
        }
    }
}

async fn takes_what_has_come(scene: Scene) {
    let (ours, theirs) = pair().await;
    submit(send(&theirs, b"0123456789")).await.expect("there is room");
    drop(theirs);
    submit(recv(&ours, 10, RecvFlags::PEEK | RecvFlags::WAITALL)).await.expect("they came");
    let mut all = Vec::new();
    loop {
        is_ready(&ours, Interest::READABLE).await.expect("it is connected");
        let mut buf = [0; 3];
        match call::try_recv(&ours, &mut buf, RecvFlags::empty()) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&buf[..count]),
            Err(error) => return scene.tell("what was there", &Err::<(), _>(error)),
        }
    }
    scene.tell("all", &all);
}

async fn tries_to_send_on_every_kind_of_descriptor(scene: Scene) {
    for bytes in [&b"seven b"[..], b""] {
        let what = format!("{} bytes", bytes.len());
        at_once_on_every_kind(&scene, &what, |fd| call::try_send(fd, bytes, SendFlags::empty())).await;
    }
}

async fn fills_the_room_and_then_would_block(scene: Scene) {
    let (ours, theirs) = pair().await;
    let mut sent = 0;
    let full = loop {
        yield_now().await;
        match call::try_send(&ours, &[7; 64 << 10], SendFlags::empty()) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    scene.tell("when there is no room", &Err::<(), _>(full));
    drop(ours);
    let mut received = 0;
    while let Ok((count @ 1.., _)) = submit(recv(&theirs, 64 << 10, RecvFlags::empty())).await {
        received += count;
    }
    scene.tell("what was received of what was sent is all", &(received == sent).to_string());
}
