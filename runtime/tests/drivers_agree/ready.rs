//! Ops on readiness: once, and each time anew.

use std::time::Duration;

use runtime::fd::SharedFd;
use runtime::op::ready::{Interest, Poll, PollMany};
use runtime::time::now;
use runtime::{Step, call, replies, spawn, submit};
use rustix::net::Shutdown;

use crate::row;
use crate::scene::{
    Either, Scene, connect, is_ready, listener, local, next, on_every_kind, on_kinds, pair, recv, send, tcp,
};
use crate::shown::{Shown, shown_error};
use crate::table::Row;

pub fn rows() -> Vec<Row> {
    vec![
        row!("Poll": tells_what_every_kind_of_descriptor_is_ready_for, waits_for_what_comes, wakes_all_who_wait,
            a_deadline_takes_nothing_away),
        row!("PollMany": tells_each_time_anew, stops_when_it_is_told_to, fails_on_what_is_no_descriptor),
    ]
}

async fn tells_what_every_kind_of_descriptor_is_ready_for(scene: Scene) {
    let interests = [
        ("reading", Interest::READABLE),
        ("writing", Interest::WRITABLE),
        ("both", Interest::READABLE | Interest::WRITABLE),
    ];
    for (what, interest) in interests {
        let asking = scene.clone();
        on_every_kind(&scene, &format!("ready for {what}"), move |fd| {
            let poll = asking.ask(Poll { fd, interest });
            async move { poll.await.map(|came| asked_for(came, interest)) }
        })
        .await;
    }
    let nothing = Interest::from_bits(0);
    let asking = scene.clone();
    let open = |_kind: &str| Some(&READY_FOR_NOTHING);
    on_kinds(&scene, "ready for nothing", open, move |fd| asking.ask(Poll { fd, interest: nothing })).await;
}

/// A ring tells of `RDHUP` whether or not it was asked for; poll(2) does not.
fn asked_for(came: Interest, interest: Interest) -> Interest {
    let hang_up = rustix::event::PollFlags::RDHUP.bits();
    Interest::from_bits(came.bits() & (!hang_up | interest.bits()))
}

const READY_FOR_NOTHING: Either = Either {
    among: &["waits", "ERR", "HUP", "RDHUP", "InvalidInput", "WouldBlock", "Uncategorized: Bad file descriptor"],
    says: "asked for no event: errors and hang-ups, or an error of its own; poll(2) means a descriptor to be passed over by it",
};

async fn waits_for_what_comes(scene: Scene) {
    let (ours, theirs) = pair().await;
    let waiting = spawn(submit(Poll { fd: ours.clone(), interest: Interest::READABLE }));
    submit(send(&theirs, b"hello")).await.expect("there is room");
    scene.tell("when bytes come", &waiting.await.expect("no panic"));
    submit(recv(&ours, 5, rustix::net::RecvFlags::WAITALL)).await.expect("they came");
    let waiting = spawn(submit(Poll { fd: ours.clone(), interest: Interest::READABLE }));
    call::shutdown(&theirs, Shutdown::Write).expect("it is connected");
    scene.tell("when the end comes", &waiting.await.expect("no panic"));
    let listener = listener();
    let waiting = spawn(submit(Poll { fd: listener.clone(), interest: Interest::READABLE }));
    let client = tcp();
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    scene.tell("when somebody connects", &waiting.await.expect("no panic"));
    let (ours, theirs) = pair().await;
    let waiting = spawn(submit(Poll { fd: ours.clone(), interest: Interest::READABLE }));
    crate::scene::break_off(&ours, theirs).await;
    let broke = waiting.await.expect("no panic");
    scene.tell("when the connection breaks", &broke.map(|came| asked_for(came, Interest::WRITABLE)));
}

async fn wakes_all_who_wait(scene: Scene) {
    let (ours, theirs) = pair().await;
    let waiting: Vec<_> =
        (0..5).map(|_| spawn(submit(Poll { fd: ours.clone(), interest: Interest::READABLE }))).collect();
    submit(send(&theirs, b"hello")).await.expect("there is room");
    for task in waiting {
        scene.tell("one of five", &task.await.expect("no panic"));
    }
}

async fn a_deadline_takes_nothing_away(scene: Scene) {
    let (ours, theirs) = pair().await;
    scene.tell("nothing comes", &scene.ask(Poll { fd: ours.clone(), interest: Interest::READABLE }).await);
    submit(send(&theirs, b"hello")).await.expect("there is room");
    scene.tell("something came", &is_ready(&ours, Interest::READABLE).await);
    let past = now().checked_sub(Duration::from_secs(1)).unwrap_or_else(now);
    let late = submit(Poll { fd: ours.clone(), interest: Interest::READABLE }).deadline(past).await;
    scene.tell_either("with a deadline that is past", &late, &READY_OR_TIMED_OUT);
    scene.tell("it is still there", &submit(recv(&ours, 9, rustix::net::RecvFlags::empty())).await);
}

const READY_OR_TIMED_OUT: Either = Either {
    among: &["IN", "waits"],
    says: "ready, or timed out, when the deadline is past: io_uring_enter(2) does not say which of an op and its cancel is first",
};

/// What a stream of replies says until `enough`, each event once: the same readiness may be announced more than once.
async fn events_until(fd: &SharedFd, interest: Interest, enough: impl Fn(Interest) -> bool) -> String {
    let mut seen = Interest::from_bits(0);
    let mut events = replies(PollMany { fd: fd.clone(), interest });
    while !enough(seen) {
        match next(&mut events).await {
            // In how many edges it came is the driver's matter.
            Step::Item(Ok(came)) => seen = Interest::from_bits((seen | came).bits() & !Interest::SEVERAL.bits()),
            // It may end at any time without an error: then it is asked anew.
            Step::End(Ok(came)) => {
                seen = seen | came;
                events = replies(PollMany { fd: fd.clone(), interest });
            }
            Step::Item(Err(error)) | Step::End(Err(error)) => return shown_error(&error),
        }
    }
    seen.shown()
}

async fn tells_each_time_anew(scene: Scene) {
    let (ours, theirs) = pair().await;
    let has = |wanted: Interest| move |seen: Interest| seen.bits() & wanted.bits() == wanted.bits();
    let input = Interest::from_bits(rustix::event::PollFlags::IN.bits());
    for round in 0..3 {
        submit(send(&theirs, b"hello")).await.expect("there is room");
        scene.tell(format!("round {round}"), &events_until(&ours, Interest::READABLE, has(input)).await);
        submit(recv(&ours, 5, rustix::net::RecvFlags::WAITALL)).await.expect("they came");
    }
    call::shutdown(&theirs, Shutdown::Write).expect("it is connected");
    scene.tell("the end", &events_until(&ours, Interest::READABLE, has(Interest::READABLE)).await);
}

async fn stops_when_it_is_told_to(scene: Scene) {
    let (ours, _theirs) = pair().await;
    let mut events = replies(PollMany { fd: ours, interest: Interest::READABLE });
    let waits = std::future::poll_fn(|context| std::task::Poll::Ready(events.poll_next(context).is_pending())).await;
    scene.tell("nothing has come", if waits { "it waits" } else { "something came" });
    events.stop();
    scene.tell(
        "after it was told to stop",
        &match next(&mut events).await {
            Step::Item(item) => format!("an item, {}", item.shown()),
            Step::End(end) => format!("the end, {}", end.shown()),
        },
    );
}

async fn fails_on_what_is_no_descriptor(scene: Scene) {
    scene.put("file", b"");
    for (what, fd) in [
        ("a path", scene.opened("file", rustix::fs::OFlags::PATH).await),
        ("a descriptor of another world", crate::scene::foreign(&scene)),
    ] {
        let mut events = replies(PollMany { fd, interest: Interest::READABLE });
        scene.tell(
            what,
            &match next(&mut events).await {
                Step::Item(item) => format!("an item, {}", item.shown()),
                Step::End(end) => format!("the end, {}", end.shown()),
            },
        );
    }
}
