//! Loops on the bare `io-uring` crate. `[unsafe]`
//!
//! Best effort, on the same kind of ops and descriptors as ours: `SINGLE_ISSUER | DEFER_TASKRUN`, the ring entered by
//! its registered number, all that is ready submitted and the next completion awaited in one enter a turn. State is
//! indexed by `user_data`; nothing is allocated, counted or looked up.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use rustix::net::{RecvFlags, SendFlags};

use crate::machine::thread_cpu;

const ENTRIES: u32 = 256;
const POLL_FIRST: u16 = 1;

/// `ops` NOPs, `in_flight` at a time.
///
/// # Errors
///
/// The ring's.
pub fn nops(ops: u64, in_flight: u64) -> io::Result<Duration> {
    let mut started = 0;
    let mut next = |_, _| {
        started += 1;
        (started <= ops).then(|| opcode::Nop::new().build())
    };
    // SAFETY: `run` wants what entries point to valid until they complete: a NOP points to nothing.
    unsafe { run(in_flight, ops, &mut next) }
}

/// `ops` reads of a page each, round and round the file, `in_flight` at a time.
///
/// # Errors
///
/// The ring's, and a read's.
pub fn reads(file: &File, pages: u64, ops: u64, in_flight: u64) -> io::Result<Duration> {
    let mut buffers: Vec<Vec<u8>> = (0..in_flight).map(|_| vec![0; crate::rows::read::PAGE]).collect();
    let mut started = 0;
    let mut next = |index: u64, _| {
        if started == ops {
            return None;
        }
        started += 1;
        let buf = &mut buffers[index as usize];
        let read = opcode::Read::new(types::Fd(file.as_raw_fd()), buf.as_mut_ptr(), buf.len() as u32);
        Some(read.offset(started % pages * buf.len() as u64).build())
    };
    // SAFETY: `run` wants what entries point to valid until they complete, and it returns when all have. The buffers
    // live longer, none is moved, and each is part of one read at a time: that of its index.
    unsafe { run(in_flight, ops, &mut next) }
}

/// Keeps `in_flight` entries on their way until `ops` have completed. `next` gets an index, and what the entry before
/// under that index came to; it gives the next entry, or none if there are no more.
///
/// # Safety
///
/// What an entry points to stays valid until it has completed. All have when this returns, unless it fails; then the
/// ring has failed, and the program ends.
unsafe fn run(in_flight: u64, ops: u64, next: &mut dyn FnMut(u64, i32) -> Option<Entry>) -> io::Result<Duration> {
    let mut ring = set_up()?;
    let (mut submitter, mut queue, mut completions) = ring.split();
    submitter.register_ring_fd()?;
    let start = thread_cpu();
    for index in 0..in_flight.min(ops) {
        if let Some(entry) = next(index, 0) {
            // SAFETY: as promised by the caller.
            unsafe { queue.push(&entry.user_data(index)) }.map_err(io::Error::other)?;
        }
    }
    let mut done = 0;
    while done < ops {
        queue.sync();
        submitter.submit_and_wait(1)?;
        completions.sync();
        for completion in &mut completions {
            check(completion.result())?;
            done += 1;
            let index = completion.user_data();
            if let Some(entry) = next(index, completion.result()) {
                // SAFETY: as promised by the caller.
                unsafe { queue.push(&entry.user_data(index)) }.map_err(io::Error::other)?;
            }
        }
    }
    let took = thread_cpu() - start;
    submitter.unregister_ring_fd()?;
    Ok(took)
}

/// One connection of an echo server: it receives, sends that back, and receives again.
struct Echo {
    /// Keeps the descriptor open.
    _stream: TcpStream,
    fd: RawFd,
    buf: Vec<u8>,
    is_receiving: bool,
}

impl Echo {
    fn new(stream: TcpStream) -> Echo {
        let fd = stream.as_raw_fd();
        Echo { _stream: stream, fd, buf: vec![0; crate::rows::echo::BUFFER], is_receiving: true }
    }

    /// What comes after `result`; nothing at the end of the connection.
    fn next(&mut self, result: i32) -> Option<Entry> {
        if !self.is_receiving {
            return Some(self.receive());
        }
        (result > 0).then(|| self.send(result as u32))
    }

    fn receive(&mut self) -> Entry {
        self.is_receiving = true;
        // The peer answers an answer, so nothing can be there yet: to try first would be in vain.
        opcode::Recv::new(types::Fd(self.fd), self.buf.as_mut_ptr(), self.buf.len() as u32).ioprio(POLL_FIRST).build()
    }

    fn send(&mut self, len: u32) -> Entry {
        self.is_receiving = false;
        let flags = SendFlags::NOSIGNAL.bits() | RecvFlags::WAITALL.bits();
        opcode::Send::new(types::Fd(self.fd), self.buf.as_ptr(), len).flags(flags.cast_signed()).build()
    }
}

/// Echoes until all peers have closed.
///
/// # Errors
///
/// The ring's, and a connection's.
pub fn echo(streams: Vec<TcpStream>) -> io::Result<Duration> {
    let mut connections: Vec<Echo> = streams.into_iter().map(Echo::new).collect();
    let mut open = connections.len();
    let mut ring = set_up()?;
    let (mut submitter, mut queue, mut completions) = ring.split();
    submitter.register_ring_fd()?;
    let start = thread_cpu();
    for (index, connection) in (0..).zip(&mut connections) {
        // SAFETY: `push` wants what the entry points to valid until it completes. The buffer lives until this function
        // returns, when all have completed; it does not move, and is part of one entry at a time, by turns.
        unsafe { queue.push(&connection.receive().user_data(index)) }.map_err(io::Error::other)?;
    }
    while open > 0 {
        queue.sync();
        submitter.submit_and_wait(1)?;
        completions.sync();
        for completion in &mut completions {
            check(completion.result())?;
            let index = completion.user_data();
            match connections[index as usize].next(completion.result()) {
                // SAFETY: as above.
                Some(entry) => unsafe { queue.push(&entry.user_data(index)) }.map_err(io::Error::other)?,
                None => open -= 1,
            }
        }
    }
    let took = thread_cpu() - start;
    submitter.unregister_ring_fd()?;
    Ok(took)
}

fn set_up() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_clamp()
        .setup_cqsize(ENTRIES * 16)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_no_sqarray()
        .build(ENTRIES)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}
