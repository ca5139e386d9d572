//! What epoll watches: edges, numbers that are used again, several waits on one descriptor, time.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;

use super::{Desk, READABLE, pair, pair_numbered, received, recv};
use crate::driver::Park;
use crate::fd::SharedFd;
use crate::inflight::held::Came;
use crate::inflight::slots::{Consequence, Event};
use crate::op::Reply;
use crate::op::file::{Position, Read, Write};
use crate::op::ready::{Interest, Poll, PollMany};
use crate::op::socket::{Recv, Send};

type Received = Recv<Vec<u8>>;

/// Catches: `register` that takes `is_registered` for the truth and spares itself the system call.
#[test]
fn an_edge_that_came_while_nobody_waited_is_found_by_the_next_wait() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let first = desk.start(recv(&ours, 4));
    theirs.write_all(b"onetwothree!").unwrap();
    assert_eq!(received(desk.finish::<Received>(first)), b"onet");

    // A second descriptor keeps the driver asking, so that the edge of the third word is reported to nobody.
    let (elsewhere, _quiet) = pair();
    let quiet = desk.start(recv(&elsewhere, 1));
    theirs.write_all(b"four").unwrap();
    desk.settle();

    assert_eq!(received(desk.run(recv(&ours, 8))), b"wothree!");
    assert_eq!(received(desk.run(recv(&ours, 8))), b"four");
    assert!(desk.answer::<Received>(quiet).is_none());
}

/// Catches: `modify` without the `add` that ENOENT asks for.
#[test]
fn a_descriptor_number_that_is_used_again_is_watched_anew() {
    let mut desk = Desk::new();
    for round in 0..100_u8 {
        let (ours, mut theirs) = pair_numbered(800);
        let key = desk.start(recv(&ours, 8));
        desk.wait(Park::No);
        assert!(desk.answer::<Received>(key).is_none());
        theirs.write_all(&[round]).unwrap();
        assert_eq!(received(desk.finish::<Received>(key)), [round]);
    }
}

/// Catches: an event that is taken for an answer, or for a reason to stop watching; one that is not asked which file it
/// is of.
#[test]
fn epoll_events_of_a_closed_file_whose_clone_lives_are_ignored() {
    let mut desk = Desk::new();
    let (first, mut first_peer) = pair_numbered(700);
    let mut clone = UnixStream::from(first.os().unwrap().try_clone_to_owned().unwrap());
    let key = desk.start(recv(&first, 1));
    first_peer.write_all(b"1").unwrap();
    assert_eq!(received(desk.finish::<Received>(key)), b"1");
    drop(first);

    // The clone keeps the first file registered, under the number that another one gets now.
    let (second, mut second_peer) = pair_numbered(700);
    let poll = desk.start(Poll { fd: second.clone(), interest: READABLE });
    let key = desk.start(recv(&second, 8));
    desk.settle();
    first_peer.write_all(b"to the clone").unwrap();
    desk.settle();
    assert!(desk.answer::<Received>(key).is_none());
    assert!(desk.answer::<Poll>(poll).is_none());
    desk.fallback.cancel(poll);

    second_peer.write_all(b"2").unwrap();
    assert_eq!(received(desk.finish::<Received>(key)), b"2");
    let mut kept = [0; 12];
    clone.read_exact(&mut kept).unwrap();
    assert_eq!(&kept, b"to the clone");
}

/// Catches: a second wait whose interest replaces the first one's.
#[test]
fn readers_and_a_writer_wait_on_one_descriptor_at_once() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let filled = fill(&mut desk, &ours);

    let one = desk.start(recv(&ours, 3));
    let two = desk.start(recv(&ours, 3));
    let writer = desk.start(send(&ours, b"last".to_vec()));
    desk.settle();
    assert_eq!(desk.fallback.waiting, 3);

    theirs.write_all(b"onetwo").unwrap();
    assert_eq!(received(desk.finish::<Received>(one)), b"one");
    assert_eq!(received(desk.finish::<Received>(two)), b"two");
    assert!(desk.answer::<Send<Vec<u8>>>(writer).is_none());

    theirs.read_exact(&mut vec![0; filled]).unwrap();
    assert_eq!(desk.finish::<Send<Vec<u8>>>(writer).unwrap().0, 4);
    let mut last = [0; 4];
    theirs.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"last");
    assert_eq!(desk.fallback.waiting, 0);
}

/// The pipe is a blocking one, as std makes it. Catches: an attempt that is a plain read(2) or write(2): it never
/// returns.
#[test]
fn a_blocking_pipe_blocks_nobody() {
    let mut desk = Desk::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let (reader, writer) = (SharedFd::new(OwnedFd::from(reader)), SharedFd::new(OwnedFd::from(writer)));
    let read = |len| Read { fd: reader.clone(), buf: vec![0; len], position: Position::Cursor };
    let write = |bytes: &[u8]| Write { fd: writer.clone(), buf: bytes.to_vec(), position: Position::Cursor };

    let key = desk.start(read(8));
    desk.settle();
    assert!(desk.answer::<Read<Vec<u8>>>(key).is_none());
    assert_eq!(desk.run(write(b"pipe")).unwrap().0, 4);
    assert_eq!(received(desk.finish::<Read<Vec<u8>>>(key)), b"pipe");

    let (mut filled, key) = loop_until_full(&mut desk, write);
    while filled > 0 {
        filled -= desk.run(read(filled)).unwrap().0;
    }
    assert_eq!(desk.finish::<Write<Vec<u8>>>(key).unwrap().0, 4096);
}

/// inotify knows no `RWF_NOWAIT`. Catches: an attempt that sends such descriptors to the pool, or gives up on them.
#[test]
fn a_file_without_nowait_is_read_once_it_is_readable() {
    use rustix::fs::inotify;
    let mut desk = Desk::new();
    let folder = std::env::temp_dir().join(format!("gimmal-fallback-inotify-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, &folder, inotify::WatchFlags::CREATE).unwrap();

    let key = desk.start(Read { fd: SharedFd::new(watch), buf: vec![0; 256], position: Position::Cursor });
    desk.settle();
    assert!(desk.answer::<Read<Vec<u8>>>(key).is_none());
    assert_eq!(desk.fallback.waiting, 1, "it waits for an event, and no thread does");

    std::fs::write(folder.join("news"), b"").unwrap();
    let event = received(desk.finish::<Read<Vec<u8>>>(key));
    assert!(event.windows(4).any(|name| name == b"news"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Catches: a level-triggered registration, which says the same each turn; and a poll that ends with its first answer.
#[test]
fn a_poll_of_many_answers_once_an_edge() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let key = desk.start(PollMany { fd: ours.clone(), interest: READABLE });
    desk.settle();
    assert_eq!(desk.items(key).len(), 0);
    for _edge in 0..3 {
        theirs.write_all(b"x").unwrap();
        desk.settle();
        let items = desk.items(key);
        assert_eq!(items.len(), 1);
        let came = items.into_iter().next().unwrap().unwrap().count().unwrap();
        assert!(Interest::from_bits(u16::try_from(came).unwrap()).intersects(READABLE));
    }
    desk.fallback.cancel(key);
    desk.settle();
    let end = desk.answer::<PollMany>(key).expect("its last reply").unwrap_err();
    assert!(super::is_cancelled(&end));
}

/// Catches: edges that are queued one by one; joined ones of which the first or the last alone is kept; a stop that is
/// asked for too early, or twice.
#[test]
fn edges_that_nobody_has_taken_are_one_item_and_stop_the_poll_when_there_are_many() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let key = desk.start(PollMany { fd: ours.clone(), interest: READABLE });
    for _edge in 0..16 {
        theirs.write_all(b"x").unwrap();
        desk.wait(Park::No);
    }
    assert_eq!(desk.stopped, []);
    theirs.shutdown(Shutdown::Write).unwrap();
    desk.wait(Park::No);
    assert_eq!(desk.stopped, [key]);
    let edge = |mask| Event::More(key, Came::Driver(Ok(Reply::Count(mask))));
    assert!(matches!(desk.slots.deliver(edge(1)), Consequence::Nothing), "that is said once");

    let told: Vec<_> = desk.items(key).into_iter().map(|item| item.unwrap().count().unwrap()).collect();
    let [came] = told[..] else { panic!("{told:?}") };
    assert_eq!(came, usize::from((READABLE | Interest::SEVERAL).bits()), "bytes, and the end");

    for mask in [1, 4] {
        assert!(matches!(desk.slots.deliver(edge(mask)), Consequence::Nothing));
    }
    let both = Interest::from_bits(1 | 4) | Interest::SEVERAL;
    assert_eq!(desk.item(key).unwrap().unwrap().count().unwrap(), usize::from(both.bits()));
}

/// I10. Catches: a registration that outlives the last one who waited.
#[test]
fn an_event_after_a_cancel_wakes_nobody() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let [poll, other] =
        [PollMany { fd: ours.clone(), interest: READABLE }, PollMany { fd: ours.clone(), interest: READABLE }]
            .map(|poll| desk.start(poll));
    desk.settle();
    desk.fallback.cancel(poll);
    desk.settle();
    theirs.write_all(b"x").unwrap();
    desk.settle();
    assert_eq!(desk.items(other).len(), 1, "the other one still waits");
    desk.fallback.cancel(other);
    desk.settle();

    theirs.write_all(b"x").unwrap();
    let soon = Instant::now() + Duration::from_millis(30);
    desk.wait(Park::Until(Some(soon)));
    assert!(Instant::now() >= soon - Duration::from_millis(1), "something ended the wait");
    assert_eq!(received(desk.run(recv(&ours, 8))), b"xx");
}

#[test]
fn a_poll_tells_what_is_there_and_takes_nothing() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    assert!(desk.run(Poll { fd: ours.clone(), interest: Interest::WRITABLE }).unwrap().intersects(Interest::WRITABLE));
    theirs.write_all(b"here").unwrap();
    for _again in 0..2 {
        assert!(desk.run(Poll { fd: ours.clone(), interest: READABLE }).unwrap().intersects(READABLE));
    }
    assert_eq!(received(desk.run(recv(&ours, 8))), b"here");
}

/// Z75. Catches: level-triggered registrations.
#[test]
fn an_event_that_nobody_waits_for_wakes_the_core_once() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let key = desk.start(recv(&ours, 1));
    theirs.write_all(b"xx").unwrap();
    assert_eq!(received(desk.finish::<Received>(key)), b"x");
    theirs.shutdown(Shutdown::Both).unwrap();
    drop(theirs);
    assert!(desk.enters_until(Instant::now() + Duration::from_millis(30)) < 8);
}

/// Catches: a time-out that is rounded down and asked for again at once, over and over.
#[test]
fn less_than_a_millisecond_is_waited_for_without_spinning() {
    let mut desk = Desk::new();
    let enters: u64 = (0..20).map(|_| desk.enters_until(Instant::now() + Duration::from_micros(2500))).sum();
    assert!(enters <= 20 * 4, "{enters} system calls");
}

/// Catches: a wait that forgets what was answered before it.
#[test]
fn a_turn_with_answers_does_not_wait() {
    let mut desk = Desk::new();
    let key = desk.start(crate::op::Nop);
    let (quiet, _theirs) = pair();
    let waits = desk.start(recv(&quiet, 1));
    desk.wait_in_time();
    assert_eq!(desk.turn, (0, 1));
    desk.answer::<crate::op::Nop>(key).expect("an answer").unwrap();
    assert!(desk.answer::<Received>(waits).is_none());
}

#[test]
fn another_thread_wakes_a_core_that_waits() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    let caller = std::thread::spawn(move || inbox.notify_only());
    desk.wait_in_time();
    caller.join().unwrap();
    assert_eq!(desk.turn, (0, 0));
}

fn send(fd: &SharedFd, buf: Vec<u8>) -> Send<Vec<u8>> {
    Send { fd: fd.clone(), buf, flags: SendFlags::empty(), whole: false }
}

/// Fills a socket's send buffer; how many bytes that took.
fn fill(desk: &mut Desk, fd: &SharedFd) -> usize {
    let mut filled = 0;
    loop {
        let key = desk.start(send(fd, vec![b'.'; 4096]));
        desk.wait(Park::No);
        match desk.answer::<Send<Vec<u8>>>(key) {
            Some(sent) => filled += sent.unwrap().0,
            None => {
                desk.fallback.cancel(key);
                desk.wait(Park::No);
                assert!(super::is_cancelled(desk.answer::<Send<Vec<u8>>>(key).unwrap().unwrap_err().error()));
                return filled;
            }
        }
    }
}

/// Writes until a write waits; how many bytes went in, and the one that waits.
fn loop_until_full(desk: &mut Desk, write: impl Fn(&[u8]) -> Write<Vec<u8>>) -> (usize, crate::inflight::slots::Key) {
    let mut filled = 0;
    loop {
        let key = desk.start(write(&[b'.'; 4096]));
        desk.wait(Park::No);
        match desk.answer::<Write<Vec<u8>>>(key) {
            Some(written) => filled += written.unwrap().0,
            None => return (filled, key),
        }
    }
}
