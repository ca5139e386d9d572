//! Dropping a future loses nothing, leaks nothing, and overtakes nothing.

use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use runtime::op::Nop;

#[macro_use]
#[path = "../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;
#[path = "common/dropped.rs"]
mod dropped;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/open.rs"]
mod open;

use dropped::begin_and_drop;
use folder::Folder;
use open::descriptors_of;

on_ring_and_fallback! {
    a_dropped_read_leaves_the_cursor_where_it_was,
    what_a_dropped_read_took_from_a_pipe_goes_to_the_next,
    what_a_dropped_read_took_from_an_eventfd_goes_to_the_next,
    a_dropped_write_goes_out_whole_and_before_the_next,
    a_dropped_write_never_overwrites_a_later_one,
    a_dropped_write_at_the_cursor_is_before_its_clones_next,
    the_error_of_a_dropped_write_is_told_once,
    a_dropped_open_leaks_no_descriptor,
    closing_waits_for_what_was_dropped,
    turns_at_the_cursor_come_in_order_and_survive_drops,
    a_vector_holds_what_was_read_when_reading_on_is_dropped,
}

/// Until the kernel has nothing of ours. Each trip asks it once, so this ends with the slowest.
async fn nothing_in_flight() {
    for _ in 0..1_000_000 {
        if runtime::metrics().in_flight == 0 {
            return;
        }
        runtime::submit(Nop).await.unwrap();
    }
    panic!("something stays in flight: {:?}", runtime::metrics());
}

fn digits(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'0' + u8::try_from(at % 10).unwrap()).collect()
}

/// Catches: an `abandon` that does not seek back; a turn that ends with the future instead of the op.
async fn a_dropped_read_leaves_the_cursor_where_it_was() {
    let folder = Folder::new();
    std::fs::write(folder.file("file"), digits(100_000)).unwrap();
    let file = fs::File::open(folder.file("file")).await.unwrap();
    let (mut at, mut dropped) = (0, 0);
    for round in 0..500 {
        dropped += usize::from(begin_and_drop(file.read_owned(vec![0; 1 + round])).is_none());
        let (n, buf) = file.read_owned([0; 7]).await.unwrap();
        assert_eq!(&buf[..n], &digits(100_000)[at..at + n], "round {round}");
        at += n;
        assert_eq!(file.stream_position().await.unwrap(), at as u64, "round {round}");
    }
    assert_eq!(dropped, 500, "no read was dropped in flight");
}

/// Catches: an `abandon` that drops the bytes where nothing can be sought.
async fn what_a_dropped_read_took_from_a_pipe_goes_to_the_next() {
    let (reader, mut writer) = io::pipe().unwrap();
    let file = fs::File::from(std::os::fd::OwnedFd::from(reader));
    for round in 0..200_u32 {
        writer.write_all(&round.to_le_bytes()).unwrap();
        assert!(begin_and_drop(file.read_owned([0; 3])).is_none());
        nothing_in_flight().await;
        let mut lent = [0; 2];
        file.read_exact(&mut lent).await.unwrap();
        let ((), given) = file.read_exact_owned([0; 2]).await.unwrap();
        assert_eq!([lent, given].concat(), round.to_le_bytes());
    }
    drop(writer);
    assert_eq!(file.read(&mut [0; 4]).await.unwrap(), 0);
}

/// Its lseek(2) succeeds and does nothing, as that of a timerfd, a signalfd and an inotify.
/// Catches: an `abandon` that believes a seek that moved nothing.
async fn what_a_dropped_read_took_from_an_eventfd_goes_to_the_next() {
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let file = fs::File::from(event.try_clone().unwrap());
    for round in 1..=100_u64 {
        rustix::io::write(&event, &round.to_ne_bytes()).unwrap();
        assert!(begin_and_drop(file.read_owned([0; 8])).is_none());
        nothing_in_flight().await;
        let next = runtime::time::timeout(Duration::from_secs(10), file.read_owned([0; 8])).await;
        let (n, count) = next.expect("what was read is lost").unwrap();
        assert_eq!((n, u64::from_ne_bytes(count)), (8, round));
    }
}

/// Lent and given, at the cursor.
/// Catches: a write that is cancelled by its drop; a turn that ends with the future.
async fn a_dropped_write_goes_out_whole_and_before_the_next() {
    let folder = Folder::new();
    let file = fs::File::create(folder.file("file")).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..200_usize {
        let first = digits(1 + round * 300);
        match round % 2 {
            0 => assert!(begin_and_drop(file.write(&first)).is_none()),
            _ => assert!(begin_and_drop(file.write_owned(first.clone())).is_none()),
        }
        file.write_all(b"|").await.unwrap();
        expected.extend(first);
        expected.push(b'|');
    }
    file.close().await.unwrap();
    assert!(std::fs::read(folder.file("file")).unwrap() == expected);
}

/// A large write takes longer than a small one that comes after it.
/// Catches: a later write that does not wait for a dropped one.
async fn a_dropped_write_never_overwrites_a_later_one() {
    let folder = Folder::new();
    let path = folder.file("file");
    let file = fs::File::create(&path).await.unwrap();
    for round in 0..300_u32 {
        let stale = vec![b'-'; 200_000];
        match round % 2 {
            0 => assert!(begin_and_drop(file.write_at(&stale, 0)).is_none()),
            _ => assert!(begin_and_drop(file.write_at_owned(stale, 0)).is_none()),
        }
        let fresh = round.to_string().into_bytes();
        match round % 3 {
            0 => file.write_all_at(&fresh, 150_000).await.unwrap(),
            1 => drop(file.write_all_at_owned(fresh.clone(), 150_000).await.unwrap()),
            _ => file.set_len(150_000).await.unwrap(),
        }
        if round % 50 == 0 {
            file.sync_data().await.unwrap();
        }
        let found = std::fs::read(&path).unwrap();
        match round % 3 {
            2 => assert_eq!(found.len(), 150_000, "round {round}: the dropped write came after the cut"),
            _ => assert_eq!(&found[150_000..][..fresh.len()], fresh, "round {round}"),
        }
    }
}

/// Two handles of one open file.
/// Catches: turns that each handle has for itself.
async fn a_dropped_write_at_the_cursor_is_before_its_clones_next() {
    let folder = Folder::new();
    let file = fs::File::create(folder.file("file")).await.unwrap();
    let clone = file.try_clone().unwrap();
    for _ in 0..100 {
        assert!(begin_and_drop(file.write_owned(vec![b'a'; 50_000])).is_none());
        clone.write_all(b"b").await.unwrap();
    }
    let found = std::fs::read(folder.file("file")).unwrap();
    assert_eq!(found.len(), 100 * 50_001);
    assert!(found.chunks(50_001).all(|chunk| chunk.ends_with(b"ab")));
}

/// By whoever comes first: a write, a sync, the close.
/// Catches: an `abandon` that forgets the error.
async fn the_error_of_a_dropped_write_is_told_once() {
    let full = || fs::OpenOptions::new().write(true).clone();
    let full = async || full().open("/dev/full").await.unwrap();

    let file = full().await;
    assert!(begin_and_drop(file.write(b"x")).is_none());
    assert_eq!(file.sync_all().await.unwrap_err().kind(), ErrorKind::StorageFull);
    assert_ne!(file.sync_all().await.map_err(|error| error.kind()), Err(ErrorKind::StorageFull), "told twice");

    assert!(begin_and_drop(file.write_at_owned(*b"x", 0)).is_none());
    nothing_in_flight().await;
    let (error, buf) = file.write_owned(*b"y").await.unwrap_err().into_parts();
    assert_eq!((error.kind(), buf), (ErrorKind::StorageFull, *b"y"));
    file.close().await.unwrap();

    let file = full().await;
    assert!(begin_and_drop(file.write_owned(*b"x")).is_none());
    assert_eq!(file.close().await.unwrap_err().kind(), ErrorKind::StorageFull);
}

/// Dropped before the kernel has it, and after it has answered.
/// Catches: an open whose late descriptor nobody takes.
async fn a_dropped_open_leaks_no_descriptor() {
    let folder = Folder::new();
    std::fs::write(folder.file("file"), "x").unwrap();
    for round in 0..200 {
        let path = folder.file("file");
        let mut open = Box::pin(fs::File::open(&path));
        assert!(open.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        if round % 2 == 0 {
            drop(open);
            nothing_in_flight().await;
        } else {
            runtime::submit(Nop).await.unwrap();
            drop(open);
            nothing_in_flight().await;
        }
        assert_eq!(descriptors_of(&folder), 0, "round {round}");
    }
    for _ in 0..200 {
        drop(fs::File::open(folder.file("file")).await.unwrap());
        assert_eq!(descriptors_of(&folder), 0, "a drop with nothing in flight closes at once");
    }
}

/// Catches: a close that takes the descriptor from under a request, or is skipped because of one.
async fn closing_waits_for_what_was_dropped() {
    let folder = Folder::new();
    std::fs::write(folder.file("file"), digits(100_000)).unwrap();
    for round in 0..60 {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(folder.file("file")).await.unwrap();
        assert!(begin_and_drop(file.read_at_owned(vec![0; 50_000], 0)).is_none());
        assert!(begin_and_drop(file.write_at_owned(digits(10), 100_000 + 10 * round)).is_none());
        if round % 10 == 0 {
            assert!(begin_and_drop(file.sync_all()).is_none());
        }
        if round % 2 == 0 {
            file.close().await.unwrap();
        } else {
            let mut std = file.into_std().await.unwrap();
            let mut found = Vec::new();
            std.read_to_end(&mut found).unwrap();
            assert!(found == digits(found.len()));
        }
        assert_eq!(descriptors_of(&folder), 0, "round {round}");
        assert_eq!(std::fs::metadata(folder.file("file")).unwrap().len(), 100_000 + 10 * (round + 1));
    }
}

/// Catches: a newcomer who is let in before those who wait; a turn that is lost with a future that waits for it.
async fn turns_at_the_cursor_come_in_order_and_survive_drops() {
    let folder = Folder::new();
    let file = Rc::new(fs::File::create(folder.file("file")).await.unwrap());
    let mut tasks = Vec::new();
    for number in 0..100_u32 {
        let file = file.clone();
        tasks.push(runtime::spawn(async move {
            if number % 3 == 0 {
                let write = file.write_owned(*b"never\n");
                // It stands in line behind the others, and leaves.
                if begin_and_drop(write).is_some() {
                    unreachable!("a write is never ready at once");
                }
            }
            file.write_all(format!("{number}\n").as_bytes()).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let text = std::fs::read_to_string(folder.file("file")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| *line != "never").collect();
    // Who gives up its place gets a new one, before those whose first poll comes later.
    let expected: Vec<String> = (0..100_u32).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);
    assert!(text.lines().filter(|line| *line == "never").count() <= 1, "only the first of them had the turn:\n{text}");
}

/// Catches: a vector that is left longer than what was read.
async fn a_vector_holds_what_was_read_when_reading_on_is_dropped() {
    let (reader, mut writer) = io::pipe().unwrap();
    let file = fs::File::from(std::os::fd::OwnedFd::from(reader));
    let mut read = b"before ".to_vec();
    writer.write_all(b"some").unwrap();
    assert!(begin_and_drop(file.read_to_end(&mut read)).is_none(), "the pipe is open");
    assert_eq!(read, b"before some");
    writer.write_all(b" more").unwrap();
    drop(writer);
    assert_eq!(file.read_to_end(&mut read).await.unwrap(), 5);
    assert_eq!(read, b"before some more");
}
