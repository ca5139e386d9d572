//! Ops on open files: read, write, sync, seek, close, and the transfers that do not wait.

use std::io::{self, SeekFrom};

use runtime::fd::SharedFd;
use runtime::op::OFFSET_MAX;
use runtime::op::file::{Close, Fsync, Position, Truncate};
use runtime::op::path::Stat;
use runtime::{call, submit};
use rustix::fs::OFlags;
use rustix::net::RecvFlags;

use crate::pipes::{
    a_deadline_takes_no_byte_out_of_a_pipe, a_small_write_goes_into_a_pipe_whole, fills_a_pipe_and_waits_for_room,
    makes_pipes_that_end_on_either_side, reads_what_a_pipe_has_and_waits_otherwise, small_writes_take_pages_of_a_pipe,
    tries_to_write_to_a_pipe,
};
use crate::row;
use crate::scene::{
    Either, Kinds, Scene, at_once_on_every_kind, count, on_every_kind, on_kinds, pair, read, recv, recv_to_end, write,
};
use crate::shown::Shown;
use crate::table::Row;

pub fn rows() -> Vec<Row> {
    vec![
        row!("Read": reads_at_every_place_of_a_file, reads_at_the_cursor, reads_of_every_kind_of_descriptor,
            reads_what_a_pipe_has_and_waits_otherwise, a_deadline_takes_no_byte_out_of_a_pipe),
        row!("Write": writes_at_every_place_of_a_file, writes_at_the_cursor, writes_to_every_kind_of_descriptor,
            appends_wherever_it_is_told_to_write, a_hundred_random_steps_on_one_file,
            fills_a_pipe_and_waits_for_room, a_small_write_goes_into_a_pipe_whole),
        row!("Truncate": cuts_and_fills_up_every_kind_of_descriptor, cuts_to_every_length, the_cursor_stays_where_it_was),
        row!("Fsync": syncs_every_kind_of_descriptor, what_was_written_is_still_there_after_a_sync),
        row!("Close": closes_every_kind_of_descriptor, the_far_side_of_a_closed_stream_comes_to_its_end,
            closing_with_bytes_unread_resets_the_far_side),
        row!("call::seek": seeks_in_every_kind_of_descriptor, seeks_every_place_of_a_file),
        row!("call::pipe": makes_pipes_that_end_on_either_side),
        row!("call::try_read": tries_every_kind_of_descriptor, tries_every_place_of_a_file),
        row!("call::try_write": tries_to_write_to_a_pipe, small_writes_take_pages_of_a_pipe),
    ]
}

/// Offsets around the ends of what there is and of what there can be.
const PLACES: [u64; 12] =
    [0, 3, 9, 10, 11, 511, 4_096, 1 << 40, OFFSET_MAX - 20, OFFSET_MAX - 1, OFFSET_MAX, OFFSET_MAX + 1];

async fn reads_at_every_place_of_a_file(scene: Scene) {
    for contents in [&b""[..], b"0123456789", &[7; 5_000]] {
        let file = scene.file("file", contents, OFlags::RDONLY).await;
        for offset in PLACES.into_iter().chain([u64::MAX]) {
            for len in [0, 1, 4, 20, 6_000] {
                let outcome = scene.ask(read(&file, len, Position::At(offset))).await;
                scene.tell(format!("{len} bytes at {offset} of {} bytes", contents.len()), &outcome);
            }
        }
        scene.tell("the cursor has not moved", &scene.ask(read(&file, 4, Position::Cursor)).await);
    }
}

async fn reads_at_the_cursor(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDONLY).await;
    for len in [0, 4, 4, 4, 4] {
        scene.tell(format!("the next {len} bytes"), &scene.ask(read(&file, len, Position::Cursor)).await);
        scene.tell("a byte elsewhere", &scene.ask(read(&file, 1, Position::At(1))).await);
    }
    let again = scene.opened("file", OFlags::RDONLY).await;
    scene.tell("a cursor of its own", &scene.ask(read(&again, 3, Position::Cursor)).await);
}

/// Whether it lies on a disk, as far as the caller knows.
fn is_file(kind: &str) -> bool {
    ["file", "path", "directory"].iter().any(|word| kind.contains(word))
}

const AT_A_PLACE_OF_A_STREAM: Either = Either {
    among: &[
        "NotSeekable",
        "NotConnected",
        "InvalidInput",
        "BrokenPipe",
        "Uncategorized: Bad file descriptor",
        "ConnectionReset",
        "waits",
        "0, ",
        "5, ",
        "7, ",
        "Uncategorized: Destination address required",
        "ConnectionRefused",
    ],
    says: "what has no places: ESPIPE of pread(2) and pwrite(2), or as at the cursor, since a ring takes no heed of the \
           place (io_uring_enter(2) wants 0 or -1 there)",
};

const NOTHING_TO_A_STREAM: Either = Either {
    among: &[
        "BrokenPipe",
        "ConnectionReset",
        "ConnectionRefused",
        "NotConnected",
        "0, ",
        "Uncategorized: Destination address required",
    ],
    says: "no bytes written to a stream: «the results are not specified», write(2)",
};

fn open_at(kind: &str, position: Position) -> Option<&'static Either> {
    let has_places = is_file(kind) || kind.contains("another world");
    (!has_places && position != Position::Cursor).then_some(&AT_A_PLACE_OF_A_STREAM)
}

async fn reads_of_every_kind_of_descriptor(scene: Scene) {
    for (what, position) in [("at the cursor", Position::Cursor), ("at 0", Position::At(0)), ("at 5", Position::At(5))]
    {
        let asking = scene.clone();
        let open = move |kind: &str| open_at(kind, position);
        on_kinds(&scene, &format!("7 bytes {what}"), open, move |fd| asking.ask(read(&fd, 7, position))).await;
    }
}

async fn contents(file: &SharedFd) -> String {
    match submit(read(file, 20_000, Position::At(0))).await {
        Ok((count, buf)) => buf[..count].shown(),
        Err(error) => Err::<(), std::io::Error>(error.into()).shown(),
    }
}

async fn writes_at_every_place_of_a_file(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDWR).await;
    for offset in [0, 3, 9, 10, 20, 4_100] {
        for bytes in [&b""[..], b"x", b"wxyz", &[8; 700]] {
            let outcome = scene.ask(write(&file, bytes, Position::At(offset))).await;
            scene.tell(format!("{} bytes to {offset}", bytes.len()), &count(outcome));
            scene.tell("then the file holds", &contents(&file).await);
        }
    }
    for offset in PLACES.into_iter().skip(8).chain([u64::MAX]) {
        for bytes in [&b""[..], b"x", b"wxyz"] {
            let outcome = scene.ask(write(&file, bytes, Position::At(offset))).await;
            scene.tell(format!("{} bytes to {offset}", bytes.len()), &count(outcome));
        }
    }
    scene.tell("in the end the file holds", &contents(&file).await);
    scene.tell("and statx says", &submit(Stat::file(file)).await);
}

async fn writes_at_the_cursor(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDWR).await;
    for bytes in [&b""[..], b"ab", b"cde", b"fghijklm"] {
        scene.tell(format!("{} bytes", bytes.len()), &scene.ask(write(&file, bytes, Position::Cursor)).await);
        scene.tell("a byte elsewhere", &scene.ask(write(&file, b"!", Position::At(1))).await);
        scene.tell("then the file holds", &contents(&file).await);
    }
    scene.tell("what lies behind the cursor", &scene.ask(read(&file, 4, Position::Cursor)).await);
}

async fn writes_to_every_kind_of_descriptor(scene: Scene) {
    for (what, position) in [("at the cursor", Position::Cursor), ("at 0", Position::At(0)), ("at 5", Position::At(5))]
    {
        for bytes in [&b""[..], b"seven b"] {
            let asking = scene.clone();
            let what = format!("{} bytes {what}", bytes.len());
            let open = move |kind: &str| match open_at(kind, position) {
                None if bytes.is_empty() && !is_file(kind) => Some(&NOTHING_TO_A_STREAM),
                open => open,
            };
            on_kinds(&scene, &what, open, move |fd| asking.ask(write(&fd, bytes, position))).await;
        }
    }
}

async fn appends_wherever_it_is_told_to_write(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDWR | OFlags::APPEND).await;
    for (bytes, position) in [(b"at", Position::At(3)), (b"cu", Position::Cursor), (b"00", Position::At(0))] {
        scene.tell(format!("2 bytes, {position:?}"), &count(scene.ask(write(&file, bytes, position)).await));
        scene.tell("then the file holds", &contents(&file).await);
        scene.tell("and behind the cursor lies", &scene.ask(read(&file, 4, Position::Cursor)).await);
    }
}

/// Numbers that are the same in each run, for steps that nobody chose.
pub fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

async fn a_hundred_random_steps_on_one_file(scene: Scene) {
    for seed in 1..=5 {
        let mut draw = random(seed);
        let name = format!("file {seed}");
        let mut file = scene.file(&name, b"0123456789", OFlags::RDWR).await;
        for step in 0..100 {
            let len = usize::try_from(draw(3_000)).expect("small");
            let position = if draw(2) == 0 { Position::Cursor } else { Position::At(draw(10_000)) };
            let what = format!("seed {seed}, step {step}, {len} bytes, {position:?}");
            match draw(10) {
                0..4 => scene.tell(format!("{what}: read"), &submit(read(&file, len, position)).await),
                4..8 => {
                    let bytes = vec![u8::try_from(step).expect("a hundred"); len];
                    scene.tell(format!("{what}: write"), &submit(write(&file, &bytes, position)).await);
                }
                8 => scene.tell(format!("{what}: sync"), &submit(Fsync { fd: file.clone(), data_only: true }).await),
                _ => {
                    let flags = [OFlags::RDWR, OFlags::RDWR | OFlags::APPEND, OFlags::RDWR | OFlags::TRUNC];
                    let flags = flags[usize::try_from(draw(3)).expect("one of three")];
                    file = scene.opened(&name, flags).await;
                    scene.tell(format!("opened anew with {flags:?}"), &submit(Stat::file(file.clone())).await);
                }
            }
        }
        scene.tell("in the end the file holds", &contents(&file).await);
    }
}

async fn set_len(fd: SharedFd, len: u64) -> io::Result<()> {
    submit(Truncate { fd, len }).await
}

async fn cuts_and_fills_up_every_kind_of_descriptor(scene: Scene) {
    for len in [0, 5, 20, OFFSET_MAX] {
        let open = move |_kind: &str| (len == OFFSET_MAX).then_some(&TOO_LONG);
        on_kinds(&scene, &format!("to {len} bytes"), open, move |fd| set_len(fd, len)).await;
    }
}

const TOO_LONG: Either = Either {
    among: &["FileTooLarge", "InvalidInput", "Uncategorized: Bad file descriptor"],
    says: "a length that no file can have: EFBIG or EINVAL, ftruncate(2)",
};

async fn cuts_to_every_length(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDWR).await;
    for len in [10, 9, 9, 0, 3, 4_097, 511, 1] {
        scene.tell(format!("to {len} bytes"), &set_len(file.clone(), len).await);
        scene.tell("then the file holds", &contents(&file).await);
        scene.tell("and statx says", &submit(Stat::file(file.clone())).await);
    }
    scene.tell("a length above the largest", &submit(Truncate { fd: file.clone(), len: OFFSET_MAX + 1 }).await);
}

async fn the_cursor_stays_where_it_was(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDWR).await;
    scene.tell("to the middle", &submit(read(&file, 5, Position::Cursor)).await);
    scene.tell("cut before it", &set_len(file.clone(), 2).await);
    scene.tell("reading there", &submit(read(&file, 5, Position::Cursor)).await);
    scene.tell("writing there", &count(submit(write(&file, b"ab", Position::Cursor)).await));
    scene.tell("then the file holds", &contents(&file).await);
}

async fn syncs_every_kind_of_descriptor(scene: Scene) {
    for data_only in [false, true] {
        let asking = scene.clone();
        let what = format!("a sync, data only: {data_only},");
        on_every_kind(&scene, &what, move |fd| asking.ask(Fsync { fd, data_only })).await;
    }
}

async fn what_was_written_is_still_there_after_a_sync(scene: Scene) {
    let file = scene.file("file", b"", OFlags::RDWR).await;
    for data_only in [true, false] {
        scene.tell("a write", &count(submit(write(&file, b"durable", Position::Cursor)).await));
        scene.tell("a sync", &submit(Fsync { fd: file.clone(), data_only }).await);
        scene.tell("then the file holds", &contents(&file).await);
    }
}

async fn closes_every_kind_of_descriptor(scene: Scene) {
    for (kind, fd) in Kinds::new(&scene).await.all {
        let Ok(fd) = fd.try_into_fd() else { panic!("nobody else has the {kind}") };
        scene.tell_either(format!("closing a {kind}"), &submit(Close::new(fd)).await, &CLOSED);
    }
}

/// A descriptor of another world is no descriptor of this one, but the fallback lets std close it, which says nothing.
const CLOSED: Either = Either {
    among: &["done", "Uncategorized: Bad file descriptor"],
    says: "done, or EBADF for what another kernel made: no man page knows of such",
};

async fn the_far_side_of_a_closed_stream_comes_to_its_end(scene: Scene) {
    let (ours, theirs) = pair().await;
    let Ok(ours) = ours.try_into_fd() else { panic!("nobody else has it") };
    scene.tell("closing", &submit(Close::new(ours)).await);
    scene.tell("then the far side receives", &recv_to_end(&theirs).await);
}

async fn closing_with_bytes_unread_resets_the_far_side(scene: Scene) {
    let (ours, theirs) = pair().await;
    submit(crate::scene::send(&theirs, b"unread")).await.expect("there is room");
    scene.tell("a look at what came", &submit(recv(&ours, 6, RecvFlags::PEEK)).await);
    let Ok(ours) = ours.try_into_fd() else { panic!("nobody else has it") };
    scene.tell("closing", &submit(Close::new(ours)).await);
    scene.tell("then the far side receives", &recv_to_end(&theirs).await);
}

async fn seeks_in_every_kind_of_descriptor(scene: Scene) {
    for to in [SeekFrom::Current(0), SeekFrom::Start(3), SeekFrom::Current(-4)] {
        at_once_on_every_kind(&scene, &format!("to {to:?}"), |fd| call::seek(fd, to)).await;
    }
}

async fn seeks_every_place_of_a_file(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDWR).await;
    let places = [SeekFrom::Start(0), SeekFrom::Start(9), SeekFrom::End(0), SeekFrom::End(-3), SeekFrom::End(-11)];
    let further = [SeekFrom::Start(20), SeekFrom::Start(1 << 63), SeekFrom::Start(u64::MAX), SeekFrom::End(i64::MAX)];
    let from_there = [SeekFrom::Current(-2), SeekFrom::Current(0), SeekFrom::Current(i64::MIN)];
    for to in places.into_iter().chain(further).chain(from_there) {
        scene.tell(format!("to {to:?}"), &call::seek(&file, to));
        scene.tell("what comes there", &scene.ask(read(&file, 4, Position::Cursor)).await);
    }
    call::seek(&file, SeekFrom::End(2)).expect("a place behind the end");
    scene.tell("writing there", &scene.ask(write(&file, b"x", Position::Cursor)).await);
    scene.tell("the whole", &scene.ask(read(&file, 20, Position::At(0))).await);
}

async fn tries_every_kind_of_descriptor(scene: Scene) {
    for (what, position) in [("at the cursor", Position::Cursor), ("at 5", Position::At(5))] {
        let open = move |kind: &str| match open_at(kind, position) {
            None if kind == "directory" => Some(&A_DIRECTORY_AT_ONCE),
            open => open,
        };
        on_kinds(&scene, &format!("7 bytes {what}"), open, |fd| async move {
            let mut buf = vec![b'.'; 7];
            call::try_read(&fd, &mut buf, position).map(|count| (count, buf))
        })
        .await;
    }
}

const A_DIRECTORY_AT_ONCE: Either = Either {
    among: &["Unsupported", "IsADirectory"],
    says: "a directory: EISDIR of read(2), or EOPNOTSUPP where its file system knows no RWF_NOWAIT, preadv2(2)",
};

async fn tries_every_place_of_a_file(scene: Scene) {
    let file = scene.file("file", b"0123456789", OFlags::RDONLY).await;
    submit(read(&file, 10, Position::At(0))).await.expect("then it is in memory");
    for offset in PLACES.into_iter().chain([u64::MAX]) {
        for len in [0, 1, 20] {
            let mut buf = vec![b'.'; len];
            let tried = call::try_read(&file, &mut buf, Position::At(offset)).map(|count| buf[..count].shown());
            scene.tell(format!("{len} bytes at {offset}"), &tried);
        }
        submit(runtime::op::Nop).await.expect("a turn of its own for each place");
    }
}
