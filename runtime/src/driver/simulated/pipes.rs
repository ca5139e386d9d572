//! Pipes: bytes in their order, from those who write to those who read.
//!
//! A pipe holds 16 pages. A write goes on in the last page if what it has beyond whole pages fits in there, and takes
//! new pages for the rest, so small writes may fill a pipe with fewer bytes than its pages have. A page is free again
//! when all of it was read.
//!
//! A pipe's ends are one descriptor each, since nothing here duplicates descriptors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustix::event::PollFlags;
use rustix::io::Errno;

pub(super) type PipeId = u64;

/// How many pages a pipe holds.
const PAGES_MAX: usize = 16;

const PAGE_BYTES: usize = 4096;

/// So many bytes are written whole or not at all (`PIPE_BUF`).
pub(super) const WHOLE_BYTES_MAX: usize = PAGE_BYTES;

/// An end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeEnd {
    Reading,
    Writing,
}

/// All pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pipes: BTreeMap<PipeId, Pipe>,
    made: PipeId,
    /// Those that got something to read, or room, or lost an end, since somebody asked.
    touched: BTreeSet<PipeId>,
}

#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Where they lie.
    pages: VecDeque<Page>,
    has_reader: bool,
    has_writer: bool,
}

#[derive(Debug)]
struct Page {
    /// How many bytes of it were not read.
    unread: usize,
    /// Where it goes on.
    end: usize,
}

impl Pipe {
    /// Takes so many bytes in, or as many as there is room for.
    fn take_in(&mut self, len: usize) -> usize {
        let (mut taken, odd) = (0, len % PAGE_BYTES);
        if let Some(last) = self.pages.back_mut()
            && last.end + odd <= PAGE_BYTES
        {
            last.end += odd;
            last.unread += odd;
            taken = odd;
        }
        while taken < len && self.pages.len() < PAGES_MAX {
            let part = (len - taken).min(PAGE_BYTES);
            self.pages.push_back(Page { unread: part, end: part });
            taken += part;
        }
        taken
    }

    /// So many bytes were read.
    fn give_out(&mut self, mut len: usize) {
        while let Some(first) = self.pages.front_mut()
            && len > 0
        {
            let part = first.unread.min(len);
            first.unread -= part;
            len -= part;
            if first.unread == 0 {
                self.pages.pop_front();
            }
        }
    }
}

impl Pipes {
    pub fn make(&mut self) -> PipeId {
        self.made += 1;
        self.pipes.insert(
            self.made,
            Pipe { bytes: VecDeque::new(), pages: VecDeque::new(), has_reader: true, has_writer: true },
        );
        self.made
    }

    /// Takes what is there: EAGAIN if nothing is, 0 at the end.
    pub fn read(&mut self, id: PipeId, buf: &mut [u8]) -> Result<usize, Errno> {
        let pipe = self.pipes.get_mut(&id).ok_or(Errno::IO)?;
        if pipe.bytes.is_empty() && pipe.has_writer && !buf.is_empty() {
            return Err(Errno::AGAIN);
        }
        let count = buf.len().min(pipe.bytes.len());
        for (place, byte) in buf.iter_mut().zip(pipe.bytes.drain(..count)) {
            *place = byte;
        }
        pipe.give_out(count);
        self.touched.insert(id);
        Ok(count)
    }

    /// Puts in what there is room for: EAGAIN if there is none.
    pub fn write(&mut self, id: PipeId, buf: &[u8]) -> Result<usize, Errno> {
        let pipe = self.pipes.get_mut(&id).ok_or(Errno::IO)?;
        if buf.is_empty() {
            return Ok(0);
        }
        if !pipe.has_reader {
            return Err(Errno::PIPE);
        }
        let count = pipe.take_in(buf.len());
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        pipe.bytes.extend(&buf[..count]);
        self.touched.insert(id);
        Ok(count)
    }

    /// The program has closed one end.
    pub fn close(&mut self, id: PipeId, end: PipeEnd) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        match end {
            PipeEnd::Reading => pipe.has_reader = false,
            PipeEnd::Writing => pipe.has_writer = false,
        }
        self.touched.insert(id);
        if !pipe.has_reader && !pipe.has_writer {
            self.pipes.remove(&id);
        }
    }

    /// What `poll(2)` would say.
    pub fn readiness(&self, id: PipeId, end: PipeEnd) -> PollFlags {
        let mut events = PollFlags::empty();
        let Some(pipe) = self.pipes.get(&id) else { return events };
        match end {
            PipeEnd::Reading => {
                events.set(PollFlags::IN, !pipe.bytes.is_empty());
                events.set(PollFlags::HUP, !pipe.has_writer);
            }
            PipeEnd::Writing => {
                events.set(PollFlags::OUT, pipe.pages.len() < PAGES_MAX);
                events.set(PollFlags::ERR, !pipe.has_reader);
            }
        }
        events
    }

    /// How many bytes lie in it.
    pub fn len(&self, id: PipeId) -> usize {
        self.pipes.get(&id).map_or(0, |pipe| pipe.bytes.len())
    }

    pub fn take_touched(&mut self) -> BTreeSet<PipeId> {
        std::mem::take(&mut self.touched)
    }

    /// The power went, and with it all that lay in memory.
    pub fn power_cut(&mut self) {
        self.pipes.clear();
    }
}
