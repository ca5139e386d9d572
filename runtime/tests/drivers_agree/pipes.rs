//! Scenarios for pipes.

use std::time::Duration;

use runtime::fd::SharedFd;
use runtime::op::file::Position;
use runtime::op::path::Stat;
use runtime::op::ready::{Interest, Poll};
use runtime::time::now;
use runtime::{call, spawn, submit, yield_now};

use crate::scene::{Either, Scene, count, read, write};
use crate::shown::Shown;

/// How much a pipe holds, in all kernels as they come.
const ROOM: usize = 64 << 10;

pub fn pipe() -> (SharedFd, SharedFd) {
    let (reader, writer) = call::pipe().expect("two descriptors");
    (SharedFd::new(reader), SharedFd::new(writer))
}

pub async fn add_kinds(all: &mut Vec<(&'static str, SharedFd)>, far: &mut Vec<SharedFd>) {
    let (reader, writer) = pipe();
    all.push(("pipe with nothing in it", reader));
    all.push(("pipe to write to", writer));
    let (reader, writer) = pipe();
    put(&writer, b"hello").await;
    all.push(("pipe with bytes", reader));
    far.push(writer);
    all.push(("pipe that was ended", pipe().0));
    let (reader, writer) = pipe();
    put(&writer, &[7; ROOM]).await;
    all.push(("full pipe", writer));
    far.push(reader);
    all.push(("pipe that nobody reads", pipe().1));
}

async fn put(writer: &SharedFd, bytes: &[u8]) {
    let (written, _) = submit(write(writer, bytes, Position::Cursor)).await.expect("there is room");
    assert_eq!(written, bytes.len());
}

async fn read_to_end(reader: &SharedFd) -> String {
    let mut all = Vec::new();
    loop {
        match submit(read(reader, 20_000, Position::Cursor)).await {
            Ok((0, _)) => return format!("{} and the end", all.shown()),
            Ok((count, buf)) => all.extend_from_slice(&buf[..count]),
            Err(error) => return Err::<(), _>(std::io::Error::from(error)).shown(),
        }
    }
}

pub async fn makes_pipes_that_end_on_either_side(scene: Scene) {
    scene.tell("a pipe", &call::pipe());
    let (reader, writer) = pipe();
    scene.tell("to read from is", &submit(Stat::file(reader.clone())).await);
    scene.tell("to write to is", &call::stat_now(&writer));
    put(&writer, b"last words").await;
    drop(writer);
    scene.tell("when it is closed", &submit(read(&reader, 4, Position::Cursor)).await);
    scene.tell("all of it", &read_to_end(&reader).await);
    let (reader, writer) = pipe();
    put(&writer, b"never read").await;
    drop(reader);
    scene.tell("when nobody reads", &submit(write(&writer, b"more", Position::Cursor)).await);
    let (reader, writer) = pipe();
    let waiting = spawn(submit(read(&reader, 4, Position::Cursor)));
    yield_now().await;
    drop(writer);
    scene.tell("who waited for bytes", &waiting.await.expect("no panic"));
    let (reader, writer) = pipe();
    put(&writer, &[7; ROOM]).await;
    let waiting = spawn(submit(write(&writer, b"more", Position::Cursor)));
    yield_now().await;
    drop(reader);
    scene.tell("who waited for room", &waiting.await.expect("no panic"));
}

pub async fn reads_what_a_pipe_has_and_waits_otherwise(scene: Scene) {
    let (reader, writer) = pipe();
    let waiting = spawn(submit(read(&reader, 9, Position::Cursor)));
    yield_now().await;
    put(&writer, b"hello").await;
    scene.tell("what comes", &waiting.await.expect("no panic"));
    put(&writer, b"0123456789").await;
    for len in [1, 3, 9] {
        scene.tell(format!("{len} bytes"), &submit(read(&reader, len, Position::Cursor)).await);
    }
    scene.tell("at no place", &{
        let mut buf = *b"....";
        call::try_read(&reader, &mut buf, Position::Cursor).map(|count| (count, buf))
    });
    let first = spawn(submit(read(&reader, 5, Position::Cursor)));
    let second = spawn(submit(read(&reader, 5, Position::Cursor)));
    yield_now().await;
    put(&writer, b"01234").await;
    put(&writer, b"56789").await;
    let mut both = [first.await.expect("no panic").shown(), second.await.expect("no panic").shown()];
    // Who of two that wait is first, no page says.
    both.sort_unstable();
    scene.tell("two who wait", &both.join(" and "));
}

pub async fn a_deadline_takes_no_byte_out_of_a_pipe(scene: Scene) {
    let (reader, writer) = pipe();
    scene.tell("nothing comes", &scene.ask(read(&reader, 9, Position::Cursor)).await);
    put(&writer, b"hello").await;
    let past = now().checked_sub(Duration::from_secs(1)).unwrap_or_else(now);
    let late = submit(read(&reader, 2, Position::Cursor)).deadline(past).await;
    let mut all = late.as_ref().map_or_else(|_| String::new(), |(count, buf)| text(&buf[..*count]));
    scene.tell_either("with a deadline that is past", &late, &READ_OR_TIMED_OUT);
    drop(writer);
    while let Ok((count @ 1.., buf)) = submit(read(&reader, 9, Position::Cursor)).await {
        all.push_str(&text(&buf[..count]));
    }
    scene.tell("with what comes then", &all);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const READ_OR_TIMED_OUT: Either = Either {
    among: &["2, ", "waits"],
    says: "read, or timed out, when the deadline is past: io_uring_enter(2) does not say which of an op and its cancel is first",
};

pub async fn fills_a_pipe_and_waits_for_room(scene: Scene) {
    let (reader, writer) = pipe();
    scene.tell("more than it holds", &count(submit(write(&writer, &[7; ROOM + 5_000], Position::Cursor)).await));
    scene.tell("ready", &scene.ask(Poll { fd: writer.clone(), interest: Interest::WRITABLE }).await);
    scene.tell("a byte more", &scene.limit(submit(write(&writer, b"1", Position::Cursor))).await.is_none().to_string());
    // That one was left to finish, as every write is. Which of two that wait goes in first is not said, so they are
    // alike.
    let waiting = spawn(submit(write(&writer, b"1", Position::Cursor)));
    yield_now().await;
    scene.tell("reading", &count(submit(read(&reader, 8_192, Position::Cursor)).await));
    scene.tell("who waited", &waiting.await.expect("no panic"));
    drop(writer);
    scene.tell("all of it", &read_to_end(&reader).await);
}

pub async fn a_small_write_goes_into_a_pipe_whole(scene: Scene) {
    let (reader, writer) = pipe();
    put(&writer, &[7; ROOM - 4_096]).await;
    put(&writer, &[8; 100]).await;
    put(&writer, &[7; 3_996]).await;
    let waiting = spawn(submit(write(&writer, &[9; 4_096], Position::Cursor)));
    yield_now().await;
    let mut left = ROOM;
    while left > 0 {
        let Ok((count, _)) = submit(read(&reader, 3_000.min(left), Position::Cursor)).await else { break };
        left -= count;
    }
    scene.tell("a page, when there was room for it", &count(waiting.await.expect("no panic")));
    drop(writer);
    scene.tell("which comes in one piece", &read_to_end(&reader).await);
}

/// Catches: a pipe that takes a byte wherever one is free.
pub async fn small_writes_take_pages_of_a_pipe(scene: Scene) {
    let (reader, writer) = pipe();
    let try_write = |len: usize| call::try_write(&writer, &vec![7; len], Position::Cursor);
    let fitting = std::iter::repeat_with(|| try_write(3_000)).take(30).take_while(Result::is_ok).count();
    scene.tell("writes of 3,000 bytes", &fitting.to_string());
    scene.tell("ready", &scene.ask(Poll { fd: writer.clone(), interest: Interest::WRITABLE }).await);
    scene.tell("1,097 bytes more", &try_write(1_097));
    scene.tell("1,096, behind those in the last page", &try_write(1_096));
    scene.tell("a byte, when that is full", &try_write(1));
    scene.tell("reading most of a page", &count(submit(read(&reader, 2_999, Position::Cursor)).await));
    scene.tell("a byte then", &try_write(1));
    scene.tell("reading the rest of it", &count(submit(read(&reader, 1, Position::Cursor)).await));
    scene.tell("a hundred bytes, in a page of their own", &try_write(100));
    scene.tell("reading two pages", &count(submit(read(&reader, 6_000, Position::Cursor)).await));
    scene.tell("three pages and 900 bytes", &try_write(3 * 4_096 + 900));
    scene.tell("a byte more", &try_write(1));
    scene.tell("reading all", &count(submit(read(&reader, ROOM, Position::Cursor)).await));
    scene.tell("three bytes", &try_write(3));
    scene.tell("reading two", &count(submit(read(&reader, 2, Position::Cursor)).await));
    scene.tell("4,094, with which they are more than a page", &try_write(4_094));
    scene.tell("sixteen pages", &try_write(ROOM));
    drop(writer);
    scene.tell("all of it", &read_to_end(&reader).await);
}

pub async fn tries_to_write_to_a_pipe(scene: Scene) {
    let (reader, writer) = pipe();
    scene.tell("nothing", &call::try_write(&writer, b"", Position::Cursor));
    scene.tell("a few bytes", &call::try_write(&writer, b"hello", Position::Cursor));
    scene.tell("at no place", &call::try_write(&writer, b"hello", Position::At(5)));
    scene.tell("to the end to read from", &call::try_write(&reader, b"hello", Position::Cursor));
    let (reader, writer) = pipe();
    scene.tell("more than it holds", &call::try_write(&writer, &[7; ROOM + 5_000], Position::Cursor));
    scene.tell("a byte more", &call::try_write(&writer, b"1", Position::Cursor));
    scene.tell("reading", &count(submit(read(&reader, 3 * 4_096, Position::Cursor)).await));
    scene.tell("a page, when there is room for it", &call::try_write(&writer, &[9; 4_096], Position::Cursor));
    drop(reader);
    scene.tell("when nobody reads", &call::try_write(&writer, b"1", Position::Cursor));
}
