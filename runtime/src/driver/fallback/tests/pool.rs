//! What goes to the blocking pool: regular files, paths, overload, failure.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Desk, READABLE, is_cancelled, received};
use crate::blocking::pool::{Pool, Source};
use crate::driver::Park;
use crate::fd::SharedFd;
use crate::op::file::{Position, Read, Write};
use crate::op::path::{Base, Open, OpenHow};
use crate::op::ready::Poll;

/// A file of its own for a test, gone at its end.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("gimmal-fallback-{name}-{}", std::process::id())))
    }

    fn filled(name: &str, bytes: &[u8]) -> (Scratch, SharedFd) {
        let scratch = Scratch::new(name);
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(true).open(&scratch.0).unwrap();
        file.write_all(bytes).unwrap();
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
        (scratch, SharedFd::new(OwnedFd::from(file)))
    }

    pub(super) fn open(&self) -> Open {
        Open {
            base: Base::Current,
            path: CString::new(self.0.to_str().unwrap()).unwrap(),
            how: OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::empty()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

pub(super) fn read_at(fd: &SharedFd, offset: u64) -> Read<Vec<u8>> {
    Read { fd: fd.clone(), buf: vec![0; 4], position: Position::At(offset) }
}

/// Z65. Catches: EPERM of epoll_ctl(2) that becomes the answer.
#[test]
fn files_that_epoll_refuses_are_served_like_all_others() {
    let mut desk = Desk::new();
    let (_scratch, file) = Scratch::filled("cursor", b"abcdefgh");
    assert_eq!(received(desk.run(read_at(&file, 2))), b"cdef");

    let at_cursor = || Read { fd: file.clone(), buf: vec![0; 6], position: Position::Cursor };
    assert_eq!(received(desk.run(at_cursor())), b"abcdef");
    assert_eq!(received(desk.run(at_cursor())), b"gh");
    assert_eq!(received(desk.run(at_cursor())), b"");
    let write = Write { fd: file.clone(), buf: b"ij".to_vec(), position: Position::Cursor };
    assert_eq!(desk.run(write).unwrap().0, 2);
    assert_eq!(received(desk.run(read_at(&file, 6))), b"ghij");

    assert!(desk.run(Poll { fd: file.clone(), interest: READABLE }).unwrap().intersects(READABLE));
    assert_eq!(desk.fallback.waiting, 0);
}

#[test]
fn an_error_of_the_pool_is_the_plain_calls_error() {
    let mut desk = Desk::new();
    let folder = SharedFd::new(OwnedFd::from(File::open("/").unwrap()));
    let error = desk.run(Read { fd: folder.clone(), buf: vec![0; 4], position: Position::Cursor }).unwrap_err();
    assert_eq!(error.error().raw_os_error(), Some(Errno::ISDIR.raw_os_error()));
    let error = desk.run(read_at(&folder, 0)).unwrap_err();
    assert_eq!(error.error().raw_os_error(), Some(Errno::ISDIR.raw_os_error()));
    let error = desk.run(Scratch::new("nowhere").open()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

/// Catches: answers that a thread leaves without waking the core; a core that asks for them once only.
#[test]
fn a_parked_core_hears_of_each_answer_of_the_pool() {
    let mut desk = Desk::new();
    let (_scratch, file) = Scratch::filled("parked", b"0123");
    for round in 0..500_u32 {
        let keys: Vec<_> = (0..=round % 8).map(|_| desk.start(read_at(&file, 0))).collect();
        for key in keys {
            assert_eq!(received(desk.finish::<Read<Vec<u8>>>(key)), b"0123");
        }
    }
    assert_eq!(desk.fallback.errands.len(), 0);
}

/// Catches: a line that moves only when something joins it.
#[test]
fn more_requests_than_the_pool_has_room_for_wait_in_line() {
    let mut desk = Desk::with_pool(Pool::new(1, 1));
    let (_scratch, file) = Scratch::filled("overload", b"0123");
    let keys: Vec<_> = (0..200).map(|_| desk.start(read_at(&file, 0))).collect();
    // Every third is recalled while it stands in line, or runs already.
    for key in keys.iter().skip(2).step_by(3) {
        desk.fallback.cancel(*key);
    }
    for (place, key) in keys.into_iter().enumerate() {
        match desk.finish::<Read<Vec<u8>>>(key) {
            Ok((4, buf)) => assert_eq!(buf, b"0123"),
            Ok((len, _)) => panic!("a read of {len} bytes"),
            Err(error) => assert!(place % 3 == 2 && is_cancelled(error.error()), "{place}: {error}"),
        }
    }
    assert_eq!(desk.fallback.errands.len(), 0);
}

/// As where a disk hangs, and who waits for it gives up and tries again.
/// Catches: a line in which those who were recalled stand until the pool has room.
#[test]
fn a_request_cancelled_in_line_for_the_pool_leaves_nothing_there() {
    let pool = Pool::new(1, 1);
    let busy = Busy::new(&pool);
    let (_scratch, file) = Scratch::filled("giving-up", b"0123");
    let mut desk = Desk::with_pool(pool.clone());
    let patient: Vec<_> = (0..100).map(|_| desk.start(read_at(&file, 0))).collect();
    for _again in 0..10_000 {
        let key = desk.start(read_at(&file, 0));
        desk.fallback.cancel(key);
        assert!(is_cancelled(desk.finish::<Read<Vec<u8>>>(key).unwrap_err().error()));
    }
    assert_eq!((pool.counters().queued, pool.counters().in_line), (1, 99));
    drop(busy);
    for key in patient {
        assert_eq!(received(desk.finish::<Read<Vec<u8>>>(key)), b"0123");
    }
}

/// Catches: a driver that goes and leaves its requests in line, which then are nobody's.
#[test]
fn a_driver_that_goes_leaves_the_line_of_the_pool() {
    let pool = Pool::new(1, 1);
    let busy = Busy::new(&pool);
    let (_scratch, file) = Scratch::filled("line", b"0123");
    let mut desk = Desk::with_pool(pool.clone());
    for _queued in 0..8 {
        desk.start(read_at(&file, 0));
    }
    assert_eq!(pool.counters().in_line, 7);
    drop(desk);
    assert_eq!(pool.counters().in_line, 0);

    drop(busy);
    let mut other = Desk::with_pool(pool);
    assert_eq!(received(other.run(read_at(&file, 0))), b"0123");
}

/// Catches: a request that a closed pool drops and nobody answers.
#[test]
fn requests_on_a_closed_pool_are_answered_as_cancelled() {
    let pool = Pool::new(1, 8);
    let mut desk = Desk::with_pool(pool.clone());
    let (_scratch, file) = Scratch::filled("closed", b"0123");
    let busy = Busy::new(&pool);
    let queued = desk.start(read_at(&file, 0));
    assert_eq!(pool.close(Instant::now()).threads, 1);
    assert!(is_cancelled(desk.run(read_at(&file, 0)).unwrap_err().error()));

    // What was queued when the pool closed is answered by the cancelling that ends a runtime.
    desk.fallback.cancel(queued);
    desk.wait(Park::No);
    assert!(is_cancelled(desk.answer::<Read<Vec<u8>>>(queued).expect("an answer").unwrap_err().error()));
    drop(busy);
}

/// Opening one for reading blocks until somebody opens it for writing.
pub(super) struct Fifo(pub(super) Scratch);

impl Fifo {
    pub(super) fn new(name: &str) -> Fifo {
        let scratch = Scratch::new(name);
        rustix::fs::mknodat(rustix::fs::CWD, &scratch.0, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        Fifo(scratch)
    }

    /// Lets the reader go on.
    pub(super) fn open_for_writing(&self) -> File {
        File::options().write(true).open(&self.0.0).unwrap()
    }
}

/// A thread of the pool that has something else to do until this is dropped.
pub(super) struct Busy {
    _until_dropped: mpsc::Sender<()>,
    _source: Source,
}

impl Busy {
    pub(super) fn new(pool: &Arc<Pool>) -> Busy {
        let (until_dropped, gate) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let job = move || {
            begun.send(()).unwrap();
            let _dropped = gate.recv();
        };
        let source = pool.source();
        assert!(source.submit(Box::new(job)).is_ok());
        begins.recv().unwrap();
        Busy { _until_dropped: until_dropped, _source: source }
    }
}
