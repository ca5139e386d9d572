//! Opening a FIFO waits for its other end, or the first read does: what a program sees is what std shows.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use fs::{File, OpenOptions};
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::ready::{Interest, Poll as Readiness};
use runtime::time::timeout;
use runtime::{metrics, spawn, submit};
use rustix::fs::{CWD, FileType, Mode};

#[macro_use]
#[path = "../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/open.rs"]
mod open;

use folder::Folder;
use open::descriptors_of;

on_ring_and_fallback! {
    an_open_to_write_waits_for_who_reads,
    a_nonblocking_open_of_a_fifo_answers_as_in_std,
    opening_and_reading_what_is_no_fifo_does_not_wait,
    a_read_that_begins_before_anybody_writes_gets_the_first_bytes,
    a_reader_sees_the_end_when_a_writer_came_and_went,
    a_dropped_open_closes_what_it_opens_too_late,
}

const O_NONBLOCK: i32 = 0o4000;
const LONG: Duration = Duration::from_secs(10);

fn fifo(folder: &Folder) -> PathBuf {
    let path = folder.file("fifo");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

/// std's file, opened without waiting for anybody.
fn far_reader(path: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).unwrap()
}

/// As soon as somebody reads, or waits to.
async fn far_writer(path: &Path) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    let opened = async {
        loop {
            match options.write(true).custom_flags(O_NONBLOCK).open(path) {
                Ok(file) => return file,
                Err(error) => assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error())),
            }
            submit(Nop).await.unwrap();
        }
    };
    timeout(LONG, opened).await.expect("nobody comes to read")
}

async fn still_waits<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> bool {
    for _ in 0..200 {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return false;
        }
        submit(Nop).await.unwrap();
    }
    true
}

/// By a path, and beneath a directory.
/// Catches: ENXIO, which a ring says to whoever opens before anybody reads.
async fn an_open_to_write_waits_for_who_reads() {
    for is_confined in [false, true] {
        let folder = Folder::new();
        let path = fifo(&folder);
        let dir = fs::Dir::open(&*folder).await.unwrap();
        let mut options = OpenOptions::new();
        options.write(true);
        let mut open = Box::pin(async {
            if is_confined { dir.open_file_with("fifo", &options).await } else { options.open(&path).await }
        });
        assert!(still_waits(&mut open).await, "nobody reads");
        let mut reader = far_reader(&path);
        let writer = timeout(LONG, open).await.expect("somebody reads").unwrap();
        writer.write_all(b"hello").await.unwrap();
        writer.close().await.unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "hello");
    }
}

/// Catches: an open that is sent to wait without the O_NONBLOCK that it came with.
async fn a_nonblocking_open_of_a_fifo_answers_as_in_std() {
    let folder = Folder::new();
    let path = fifo(&folder);
    let ours = timeout(LONG, OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&path)).await;
    let ours = ours.expect("it waits").map(drop);
    let std = std::fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&path).map(drop);
    assert_eq!(ours.unwrap_err().raw_os_error(), std.unwrap_err().raw_os_error());

    let ours = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path).await.unwrap();
    let mut std = far_reader(&path);
    assert_eq!((ours.read(&mut [0; 1]).await.unwrap(), std.read(&mut [0; 1]).unwrap()), (0, 0), "nobody writes");
    assert_eq!(ours.read_owned([0; 1]).await.unwrap().0, 0);
    let _writer = far_writer(&path).await;
    assert_eq!(ours.read(&mut [0; 1]).await.unwrap_err().kind(), std.read(&mut [0; 1]).unwrap_err().kind());
    assert_eq!(ours.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Catches: ENXIO of a socket that becomes another error where it is tried again.
async fn opening_and_reading_what_is_no_fifo_does_not_wait() {
    let folder = Folder::new();
    let path = folder.file("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let ours = timeout(LONG, OpenOptions::new().write(true).open(&path)).await.unwrap();
    let std = std::fs::OpenOptions::new().write(true).open(&path);
    assert_eq!(ours.unwrap_err().raw_os_error(), std.unwrap_err().raw_os_error());
    // An end is an end.
    std::fs::write(folder.file("empty"), "").unwrap();
    let empty = File::open(folder.file("empty")).await.unwrap();
    assert_eq!(timeout(LONG, empty.read(&mut [0; 4])).await.unwrap().unwrap(), 0);
    assert_eq!(timeout(LONG, empty.read_owned([0; 4])).await.unwrap().unwrap().0, 0);
    let null = File::open("/dev/null").await.unwrap();
    assert_eq!(timeout(LONG, null.read(&mut [0; 4])).await.unwrap().unwrap(), 0);
    assert_eq!(timeout(LONG, null.read_owned([0; 4])).await.unwrap().unwrap().0, 0);
}

/// Lent, given, and as a whole. Where a ring serves, the open may be over before anybody writes, and then the first
/// read waits.
/// Catches: a read by read(2), which takes a writer who has not come yet for one who has gone.
async fn a_read_that_begins_before_anybody_writes_gets_the_first_bytes() {
    let folder = Folder::new();
    let path = fifo(&folder);
    for way in ["lent", "given", "whole"] {
        let from = path.clone();
        let mut reading = Box::pin(spawn(async move {
            if way == "whole" {
                return fs::read(from).await.unwrap();
            }
            let file = File::open(from).await.unwrap();
            let mut all = Vec::new();
            loop {
                let mut buf = [0; 4];
                let count = if way == "lent" {
                    file.read(&mut buf).await.unwrap()
                } else {
                    let (count, given) = file.read_owned(buf).await.unwrap();
                    buf = given;
                    count
                };
                match count {
                    0 => return all,
                    count => all.extend_from_slice(&buf[..count]),
                }
            }
        }));
        assert!(still_waits(&mut reading).await, "{way}: nobody has written");
        let mut writer = far_writer(&path).await;
        assert!(still_waits(&mut reading).await, "{way}: the writer is silent");
        for part in [b"hel".as_slice(), b"lo"] {
            writer.write_all(part).unwrap();
            assert!(still_waits(&mut reading).await, "{way}: the writer is there");
        }
        drop(writer);
        let read = timeout(LONG, reading).await.expect("the writer has gone").unwrap();
        assert_eq!(read, b"hello", "{way}");
    }
}

/// Catches: a read that takes the end for nothing, and waits on.
async fn a_reader_sees_the_end_when_a_writer_came_and_went() {
    let folder = Folder::new();
    let path = fifo(&folder);
    for is_lent in [true, false] {
        let from = path.clone();
        let mut reading = Box::pin(spawn(async move {
            let file = File::open(from).await.unwrap();
            if is_lent { file.read(&mut [0; 4]).await.unwrap() } else { file.read_owned([0; 4]).await.unwrap().0 }
        }));
        assert!(still_waits(&mut reading).await);
        drop(far_writer(&path).await);
        assert_eq!(timeout(LONG, reading).await.expect("the writer has gone").unwrap(), 0);
    }
}

/// Whether a thread has taken its job.
fn has_begun() -> bool {
    metrics().pool_threads == 1 && metrics().pool_queued == 0
}

/// It goes on where it waits, on a thread, and nobody takes what it gets there.
/// Catches: a job that gives a mere number, which closes nothing.
async fn a_dropped_open_closes_what_it_opens_too_late() {
    let folder = Folder::new();
    let path = fifo(&folder);
    let mut options = OpenOptions::new();
    loop {
        let mut open = Box::pin(options.write(true).open(&path));
        while !has_begun() {
            assert!(still_waits(&mut open).await);
        }
        drop(open);
        submit(Nop).await.unwrap();
        // Without a ring the thread may have found that nobody wants it any more.
        if metrics().driver == "ring" || metrics().in_flight == 1 {
            break;
        }
    }
    let reader = far_reader(&path);
    // A FIFO that was opened so tells a hang-up when a writer has come and gone, not before.
    let fd = SharedFd::new(OwnedFd::from(reader.try_clone().unwrap()));
    let gone = timeout(LONG, submit(Readiness { fd, interest: Interest::READABLE }));
    gone.await.expect("what was opened stays open").unwrap();
    drop(reader);
    assert_eq!(descriptors_of(&path), 0);
}
