//! Closing a ring does not stop a disk: what it still reads must not land in memory that is somebody else's by then.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use runtime::buf::IoBuf;
use runtime::testing::{Driver, builder, is_here};
use rustix::fs::OFlags;

#[path = "common/folder.rs"]
mod folder;

use folder::Folder;

const READS: usize = 64;
const LEN: usize = 1 << 20;
const ALIGNMENT: usize = 4096;
const ROUNDS: usize = 50;
const CANARY: u8 = 0x5a;

/// What the ends of dropped reads come into, if nobody waited for them, is filled with canaries.
/// Catches: a runtime that ends without waiting for the last reply; buffers that are freed with their futures.
#[test]
fn reads_in_flight_when_the_runtime_ends_never_land_in_freed_memory() {
    if !is_here(Driver::Ring, "ending while a disk writes") {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("file");
    std::fs::write(&path, vec![0xff; READS * LEN]).unwrap();
    let Some(direct) = open_direct(&path) else { return };
    let untouched = vec![CANARY; LEN + ALIGNMENT];
    for round in 0..ROUNDS {
        let begun = begin_reads_and_end(&path);
        assert_eq!(begun, READS, "round {round}: a read was answered before the runtime ended");
        let canaries: Vec<Vec<u8>> = (0..READS).map(|_| untouched.clone()).collect();
        // The disk takes these after all that it still had to do.
        wait_for_the_disk(&direct);
        assert!(canaries.iter().all(|canary| *canary == untouched), "round {round}: a read landed late");
    }
}

fn open_direct(path: &Path) -> Option<std::fs::File> {
    std::fs::File::open(path).unwrap().sync_all().unwrap();
    match std::fs::OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            runtime::testing::skipped(format_args!("{} has no direct I/O: {error}", path.display()));
            None
        }
    }
}

/// Returns how many reads were in flight when the runtime ended.
fn begin_reads_and_end(path: &Path) -> usize {
    let runtime = builder(Driver::Ring).build().unwrap();
    runtime.block_on(async {
        let options = fs::OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).clone();
        let file = options.open(path).await.unwrap();
        assert!(rustix::fs::fcntl_getfl(file.as_fd()).unwrap().contains(OFlags::DIRECT));
        let mut reads: Vec<Pin<Box<dyn Future<Output = io::Result<()>>>>> = Vec::new();
        let file = &*Box::leak(Box::new(file));
        for number in 0..READS {
            let buf = vec![0; LEN + ALIGNMENT];
            let start = buf.as_ptr().align_offset(ALIGNMENT);
            let offset = (number * LEN) as u64;
            let read = file.read_at_owned(buf.slice(start..start + LEN), offset);
            reads.push(Box::pin(async move { Ok(read.await.map(drop)?) }));
        }
        let pending = |read: &mut Pin<Box<dyn Future<Output = io::Result<()>>>>| {
            matches!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
        };
        let begun = reads.iter_mut().filter_map(|read| pending(read).then_some(())).count();
        // The kernel has them when it answers this.
        runtime::submit(runtime::op::Nop).await.unwrap();
        begun
    })
}

fn wait_for_the_disk(direct: &std::fs::File) {
    let mut buf = vec![0; LEN + ALIGNMENT];
    let start = buf.as_ptr().align_offset(ALIGNMENT);
    for number in 0..READS {
        direct.read_exact_at(&mut buf[start..start + LEN], (number * LEN) as u64).unwrap();
    }
}
