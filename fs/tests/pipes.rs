//! A call that waits for the other end of a pipe holds nothing that others need, loses nothing, and fails as in std.

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fs::File;
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::file::Position;
use runtime::time::timeout;
use runtime::{JoinHandle, call, metrics, spawn, submit};
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

#[macro_use]
#[path = "../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;

on_ring_and_fallback! {
    silent_terminals_hold_no_buffer,
    a_reader_that_comes_too_late_for_the_bytes_keeps_waiting,
    nonblocking_descriptors_answer_as_in_std,
}

/// More than a core has buffers.
const PIPES: usize = 80;

/// One test at a time has so many descriptors. Each is alone on its thread, so holding a lock while it awaits stops
/// nobody else there.
#[derive(Debug)]
struct Alone {
    _guard: MutexGuard<'static, ()>,
}

fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    Alone { _guard: ALONE.lock().unwrap_or_else(PoisonError::into_inner) }
}

fn pipe() -> (File, File) {
    let (reader, writer) = call::pipe().unwrap();
    (File::from(reader), File::from(writer))
}

/// A pipe with no room for a byte more, and how much that is.
async fn full_pipe() -> (File, File, usize) {
    let (reader, writer) = call::pipe().unwrap();
    let writer = SharedFd::new(writer);
    let mut filled = 0;
    loop {
        match call::try_write(&writer, &[b'-'; 4096], Position::Cursor) {
            Ok(written) => filled += written,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::AGAIN.raw_os_error()) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        submit(Nop).await.unwrap();
    }
    (File::from(reader), File::from(writer.try_into_fd().unwrap()), filled)
}

/// Each of the `waiting` has begun and got as far as it gets, and has no buffer. Files are served beside them, by the
/// very buffers.
async fn nobody_is_held_up_by(waiting: &[JoinHandle<impl Debug>]) {
    for _ in 0..4 * PIPES {
        submit(Nop).await.unwrap();
    }
    assert!(waiting.iter().all(|task| !task.is_finished()), "somebody waits no longer");
    assert_eq!(metrics().buffers, 0, "who waits holds a buffer");
    let path =
        std::env::temp_dir().join(format!("gimmal-fs-beside-{}-{:?}", std::process::id(), std::thread::current().id()));
    let beside = async {
        fs::write(&path, "written by a buffer").await.unwrap();
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).append(true).open(&path).await.unwrap();
        file.write_all(b", and another").await.unwrap();
        if metrics().driver == "simulated" {
            return;
        }
        std::fs::remove_file(&path).unwrap();
        // What /proc tells is never there at once.
        let stat = File::open("/proc/self/stat").await.unwrap();
        assert!(stat.read_at(&mut [0; 16], 0).await.unwrap() > 0);
    };
    timeout(Duration::from_secs(10), beside).await.expect("a file waits for pipes");
}

/// Catches: a read that takes its buffer before there is something to read.
#[runtime::test(driver = each, seeds = 20)]
async fn silent_pipes_hold_no_buffer_and_stop_no_file() {
    let _alone = alone();
    let (mut writers, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..PIPES {
        let (reader, writer) = pipe();
        writers.push(writer);
        tasks.push(spawn(async move {
            let mut read = [0; 7];
            reader.read_exact(&mut read).await.unwrap();
            (read, reader)
        }));
    }
    nobody_is_held_up_by(&tasks).await;
    for writer in &writers {
        writer.write_all(b"at last").await.unwrap();
    }
    let mut readers = Vec::new();
    for task in tasks {
        let (read, reader) = task.await.unwrap();
        assert_eq!(&read, b"at last");
        readers.push(reader);
    }
    let ended = readers.into_iter().map(|reader| spawn(async move { reader.read(&mut [0; 7]).await.unwrap() }));
    let ended: Vec<_> = ended.collect();
    nobody_is_held_up_by(&ended).await;
    drop(writers);
    for task in ended {
        assert_eq!(task.await.unwrap(), 0, "the end, which comes to who waits already");
    }
}

/// Catches: a write that takes its buffer before there is room.
#[runtime::test(driver = each, seeds = 20)]
async fn full_pipes_hold_no_buffer_and_stop_no_file() {
    let _alone = alone();
    let (mut readers, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..PIPES {
        let (reader, writer, filled) = full_pipe().await;
        readers.push((reader, filled));
        tasks.push(spawn(async move {
            let written = writer.write_all(b"at last").await;
            drop(writer);
            (number, written.map_err(|error| error.kind()))
        }));
    }
    nobody_is_held_up_by(&tasks).await;
    // Every other one is read; of the others the end goes.
    for (number, (reader, filled)) in readers.into_iter().enumerate() {
        if number % 2 == 0 {
            reader.read_exact(&mut vec![0; filled]).await.unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"at last");
        }
    }
    for task in tasks {
        let (number, written) = task.await.unwrap();
        let expected = if number % 2 == 0 { Ok(()) } else { Err(ErrorKind::BrokenPipe) };
        assert_eq!(written, expected, "{number}");
    }
}

/// A terminal's driver cannot tell whether a read would wait.
/// Catches: a terminal that is taken for a disk.
async fn silent_terminals_hold_no_buffer() {
    let _alone = alone();
    let open = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx");
    if let Err(error) = open() {
        return runtime::testing::skipped(format_args!("silent terminals, for want of /dev/ptmx: {error}"));
    }
    let (mut near, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..PIPES {
        let file = File::from(open().unwrap());
        near.push(file.try_clone().unwrap());
        tasks.push(spawn(async move {
            let mut read = [0; 7];
            file.read_exact(&mut read).await.unwrap();
            read
        }));
    }
    nobody_is_held_up_by(&tasks).await;
    for terminal in near {
        // It echoes; at the cursor the reader has the turn.
        rustix::io::write(&terminal, b"at last").unwrap();
    }
    for task in tasks {
        assert_eq!(&task.await.unwrap(), b"at last");
    }
}

/// A hundred readers with open files of their own, of one pipe: whoever is first empties it.
/// Catches: a read that tells who comes too late that nothing is there.
async fn a_reader_that_comes_too_late_for_the_bytes_keeps_waiting() {
    let _alone = alone();
    let (reader, mut writer) = io::pipe().unwrap();
    let mut tasks: Vec<JoinHandle<usize>> = Vec::new();
    for _ in 0..100 {
        let file = File::from(OwnedFd::from(reader.try_clone().unwrap()));
        tasks.push(spawn(async move { file.read(&mut [0; 1]).await.unwrap() }));
    }
    drop(reader);
    while !tasks.is_empty() {
        nobody_is_held_up_by(&tasks).await;
        let left = tasks.len();
        let written = left.min(7);
        writer.write_all(&[b'x'; 7][..written]).unwrap();
        while tasks.len() > left - written {
            submit(Nop).await.unwrap();
            tasks.retain(|task| !task.is_finished());
        }
    }
}

/// Catches: a read that waits between its attempt and its result.
#[runtime::test(driver = each, seeds = 200)]
async fn reads_that_are_dropped_before_or_after_the_bytes_come_lose_none() {
    let (reader, writer) = pipe();
    let (mut sent, mut all) = (Vec::new(), Vec::new());
    for round in 0..60_u8 {
        let mut context = Context::from_waker(Waker::noop());
        let mut buf = [0; 3];
        let came = {
            let mut read = pin!(reader.read(&mut buf));
            let mut came = read.as_mut().poll(&mut context);
            if round % 3 > 0 {
                writer.write_all(&[round; 2]).await.unwrap();
                sent.extend([round; 2]);
            }
            for _ in 0..round % 5 {
                submit(Nop).await.unwrap();
                if came.is_pending() {
                    came = read.as_mut().poll(&mut context);
                }
            }
            came
        };
        if let Poll::Ready(count) = came {
            all.extend_from_slice(&buf[..count.unwrap()]);
        }
    }
    drop(writer);
    reader.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, sent);
    assert_eq!(metrics().buffers, 0);
}

/// A write that waits has written nothing yet, so dropping it writes nothing.
/// Catches: a write that is in the kernel's hands while it waits.
#[runtime::test(driver = each, seeds = 50)]
async fn a_write_that_is_dropped_before_there_is_room_has_written_nothing() {
    let (reader, writer, filled) = full_pipe().await;
    for _ in 0..20 {
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(writer.write(b"never")).poll(&mut context).is_pending());
        submit(Nop).await.unwrap();
    }
    let reading = spawn(async move {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        all
    });
    writer.write_all(b"at last").await.unwrap();
    writer.close().await.unwrap();
    let all = reading.await.unwrap();
    assert_eq!((all.len(), &all[filled..]), (filled + 7, b"at last".as_slice()));
}

/// O_NONBLOCK, of pipes, eventfds and terminals: each call of std's and of ours, on the same kind of thing in the same
/// state.
/// Catches: a ring that is asked for what is not to wait, and waits.
async fn nonblocking_descriptors_answer_as_in_std() {
    let (ours, std) = (Things::new(), Things::new());
    for ((name, ours), (_, std)) in ours.all.into_iter().zip(std.all) {
        let ours = File::from(ours);
        let mut std = std::fs::File::from(std);
        for round in 0..150 {
            let what = format!("{name}, round {round}");
            same(&what, bounded(ours.read(&mut [0; 64])).await, std.read(&mut [0; 64]));
            let given = bounded(ours.read_owned([0; 64])).await;
            same(&what, given.map(|(count, _)| count).map_err(io::Error::from), std.read(&mut [0; 64]));
            if name == "a terminal" {
                // What it echoes comes when it comes.
                continue;
            }
            same(&what, bounded(ours.write(&[1; 5000])).await, std.write(&[1; 5000]));
            let given = bounded(ours.write_owned([1; 5000])).await;
            same(&what, given.map(|(count, _)| count).map_err(io::Error::from), std.write(&[1; 5000]));
        }
        assert_eq!(metrics().buffers, 0, "{name}");
    }
}

struct Things {
    all: Vec<(&'static str, OwnedFd)>,
    _far: [OwnedFd; 2],
}

impl Things {
    fn new() -> Things {
        let pipe = || pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        let ((empty, far), (near, with_room)) = (pipe(), pipe());
        let ((ended, writer), (reader, unread)) = (pipe(), pipe());
        rustix::io::write(&writer, b"last words").unwrap();
        drop((writer, reader));
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let mut all = vec![
            ("an empty pipe", empty),
            ("a pipe with room", with_room),
            ("a pipe that was ended", ended),
            ("a pipe that nobody reads", unread),
            ("an eventfd", event),
        ];
        let mut options = std::fs::OpenOptions::new();
        match options.read(true).write(true).custom_flags(O_NONBLOCK).open("/dev/ptmx") {
            Ok(terminal) => all.push(("a terminal", terminal.into())),
            Err(error) => runtime::testing::skipped(format_args!("a terminal, for want of /dev/ptmx: {error}")),
        }
        Things { all, _far: [far, near] }
    }
}

const O_NONBLOCK: i32 = 0o4000;

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("it waits")
}

#[track_caller]
fn same(what: &str, ours: io::Result<usize>, std: io::Result<usize>) {
    let shown = |result: io::Result<usize>| result.map_err(|error| (error.kind(), error.raw_os_error()));
    assert_eq!(shown(ours), shown(std), "{what}");
}
