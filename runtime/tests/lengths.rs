//! Buffers of 2 GiB and more: a transfer is shorter than was asked for, never nothing and never an error.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use runtime::fd::SharedFd;
use runtime::op::LEN_MAX;
use runtime::op::file::{Position, Read, Write};
use runtime::op::socket::{Recv, RecvFlags, Send, SendFlags};
use runtime::testing::{Driver, builder, is_here};
use runtime::{call, submit};

/// Each side of the lengths at which 31 and 32 bits end.
const LENGTHS: [usize; 5] = [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 5 << 30];

/// In 32 bits 4 GiB are 0, which reads as the end; receives of 2 GiB are refused by the kernel.
/// Catches: a length cut to 32 bits; one that is asked for as it is; in an op for the ring, and in a plain call.
#[test]
fn a_transfer_of_gibibytes_is_short_and_neither_empty_nor_refused() {
    if !has_room() {
        println!("skipped: a machine of less than 6 GiB refuses such buffers, touched or not");
        return;
    }
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "gibibytes") {
            let runtime = builder(driver).build().unwrap();
            for len in LENGTHS {
                runtime.block_on(transfer(len));
            }
        }
    }
}

fn has_room() -> bool {
    let told = fs::read_to_string("/proc/meminfo").expect("procfs is mounted");
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    total.and_then(|kib| kib.trim().parse::<u64>().ok()).is_some_and(|kib| kib >= 6 << 20)
}

/// The buffer is all zeros, of which the system lends one page as often as it is looked at.
async fn transfer(len: usize) {
    let path = three_bytes();
    let three = SharedFd::new(OwnedFd::from(fs::File::open(&path).unwrap()));
    fs::remove_file(&path).unwrap();
    let null = SharedFd::new(OwnedFd::from(fs::OpenOptions::new().write(true).open("/dev/null").unwrap()));
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (SharedFd::new(OwnedFd::from(near)), SharedFd::new(OwnedFd::from(far)));

    let mut buf = vec![0; len];
    for position in [Position::At(0), Position::Cursor] {
        let read;
        (read, buf) = submit(Read { fd: three.clone(), buf, position }).await.unwrap();
        assert_eq!((read, &buf[..4]), (3, &b"abc\0"[..]), "a read of {len}");
    }
    for position in [Position::At(0), Position::Cursor] {
        let written;
        (written, buf) = submit(Write { fd: null.clone(), buf, position }).await.unwrap();
        assert_eq!(written, len.min(LEN_MAX), "a write of {len}");
    }
    let sent;
    (sent, buf) = submit(Send { fd: near.clone(), buf, flags: SendFlags::empty(), whole: false }).await.unwrap();
    assert!(0 < sent && sent < len, "a send of {len}: {sent}");
    let mut left = sent;
    while left > 0 {
        let received;
        (received, buf) =
            submit(Recv { fd: far.clone(), buf, flags: RecvFlags::empty(), poll_first: false }).await.unwrap();
        assert!(0 < received && received <= left, "a receive of {len}: {received}");
        left -= received;
    }
    let sent = call::try_send(&near, &buf, SendFlags::empty()).unwrap();
    assert!(0 < sent && sent < len, "a send of {len}, tried: {sent}");
    assert!(call::try_recv(&far, &mut buf, RecvFlags::empty()).unwrap() > 0, "a receive of {len}, tried");
    assert_eq!(call::try_read(&three, &mut buf, Position::At(0)).unwrap(), 3, "a read of {len}, tried");
}

fn three_bytes() -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("gimmal-lengths-{}", std::process::id()));
    fs::write(&path, "abc").unwrap();
    path
}
