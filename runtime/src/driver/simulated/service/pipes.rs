//! Requests about pipes.

use rustix::io::{Errno, ReadWriteFlags};

use super::super::descriptors::{Object, Waitable};
use super::super::faults::places::Kind;
use super::super::pipes::{PipeEnd, PipeId, WHOLE_BYTES_MAX};
use super::super::world::Kernel;
use super::{Attempt, Given, Served};

impl Kernel {
    /// Two descriptors, or none.
    pub(super) fn make_pipe(&mut self) -> Served {
        let id = self.pipes.make();
        let ends = [PipeEnd::Reading, PipeEnd::Writing];
        let [reader, writer] = ends.map(|end| Object::Pipe(id, end));
        let added = self.descriptors.add_two(reader, writer);
        if added.is_err() {
            ends.into_iter().for_each(|end| self.pipes.close(id, end));
        }
        Served::Done(added.map(|(reader, writer)| Given::Pair(reader, writer)))
    }

    pub(super) fn read_pipe(
        &mut self,
        (id, end): (PipeId, PipeEnd),
        buf: &mut [u8],
        flags: ReadWriteFlags,
        attempt: &Attempt,
    ) -> Served {
        if end != PipeEnd::Reading {
            return Errno::BADF.into();
        }
        let len = self.shortened(Kind::Read, buf.len());
        let read = self.pipes.read(id, &mut buf[..len]);
        waiting_for(id, read, flags, attempt)
    }

    pub(super) fn write_pipe(
        &mut self,
        (id, end): (PipeId, PipeEnd),
        buf: &[u8],
        flags: ReadWriteFlags,
        attempt: &Attempt,
    ) -> Served {
        if end != PipeEnd::Writing {
            return Errno::BADF.into();
        }
        let len = if buf.len() <= WHOLE_BYTES_MAX { buf.len() } else { self.shortened(Kind::Write, buf.len()) };
        let written = self.pipes.write(id, &buf[..len]);
        waiting_for(id, written, flags, attempt)
    }
}

fn waiting_for(id: PipeId, done: Result<usize, Errno>, flags: ReadWriteFlags, attempt: &Attempt) -> Served {
    let may_wait = attempt.may_wait && !flags.contains(ReadWriteFlags::NOWAIT);
    match done {
        Err(Errno::AGAIN) if may_wait => Served::Waits(Waitable::Pipe(id)),
        done => Served::count(done),
    }
}
