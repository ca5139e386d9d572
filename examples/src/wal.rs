//! A small write-ahead log: what [`Log::append`] has acknowledged is there again, whatever happens to the program or
//! the power.
//!
//! ```text
//!  append ─► pending ─┐                                  ┌─► acknowledged: all of the group at once
//!  append ─► pending ─┼─► one write ─► one fdatasync ────┤
//!  append ─► pending ─┘    (the next group gathers)      └─► failed: the log takes no more, open it anew
//! ```
//!
//! Records have a length and a checksum (`record`). After a crash the last group may be there in parts: opening the log
//! finds where it ends for sure, and cuts the rest off (`recovery`).
//!
//! # What it stands on
//!
//! - A file's own name is durable only once its directory was synced.
//! - A write that was not synced may reach the disk in any order, in parts, or not at all.
//! - A sync that failed has lost what it was about: asking again answers «done», and nothing is on the disk. So one
//!   failure ends the log.
//! - What is cut off is gone only when that was synced: an old record that came back behind new ones would look right.
//!
//! The same code runs on the ring, on the fallback, and in a simulated world, where its test cuts the power.

mod record;
mod recovery;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The longest record: with its head it fills a group.
pub const RECORD_BYTES_MAX: usize = GROUP_BYTES_MAX - record::HEAD_BYTES;

/// So many bytes go into one write, and may wait for it; beyond, those who append wait for room. It is also the most
/// that a crash can tear, and so the most that opening cuts off.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

/// A log that is open. Clones append to the same one.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: fs::File,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// Encoded records that no write has taken yet.
    pending: Vec<u8>,
    /// Of a group that was written: its memory is used again.
    spare: Vec<u8>,
    /// Where the next group goes.
    end: u64,
    /// The number of the last record that was appended, and of the last that is durable.
    appended: u64,
    durable: u64,
    is_writing: bool,
    /// Why it takes no more records.
    failed: Option<(io::ErrorKind, String)>,
    /// Who waits for room, and who for a record to be durable, by its number. Bound: one for each append in progress.
    want_room: Vec<Waker>,
    want_durable: BTreeMap<u64, Waker>,
}

impl Log {
    /// Opens the log at `path`, and hands the records that it holds to `visit`, with their numbers, from 1. It is
    /// created if there is none. One program at a time may have it open.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a file that is no log, or is damaged where no crash damages it.
    /// All else is the file system's. What was visited counts only if this succeeds: until then it may be gone with the
    /// power.
    pub async fn open(path: impl AsRef<Path>, visit: impl FnMut(u64, &[u8])) -> io::Result<Log> {
        let recovered = recovery::recover(path.as_ref(), visit).await?;
        let state = State {
            pending: Vec::new(),
            spare: Vec::new(),
            end: recovered.end,
            appended: recovered.records,
            durable: recovered.records,
            is_writing: false,
            failed: None,
            want_room: Vec::new(),
            want_durable: BTreeMap::new(),
        };
        Ok(Log { shared: Rc::new(Shared { file: recovered.file, state: RefCell::new(state) }) })
    }

    /// Appends a record, and returns its number when it is durable. Those of many tasks share one write and one sync.
    ///
    /// Records are in the log in the order in which this was first polled.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for more than [`RECORD_BYTES_MAX`]. Else why the log failed: then
    /// the record may be there or not when the log is opened anew, as at a crash.
    ///
    /// # Cancel safety
    ///
    /// A record that was polled once is appended all the same.
    pub async fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        if bytes.len() > RECORD_BYTES_MAX {
            let words = format!("{} bytes are too long for a record: at most {RECORD_BYTES_MAX}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let number = poll_fn(|context| self.poll_enqueue(bytes, context)).await?;
        poll_fn(|context| self.poll_durable(number, context)).await?;
        Ok(number)
    }

    fn poll_enqueue(&self, bytes: &[u8], context: &Context<'_>) -> Poll<io::Result<u64>> {
        let mut state = self.shared.state.borrow_mut();
        state.check()?;
        if state.pending.len() + record::HEAD_BYTES + bytes.len() > GROUP_BYTES_MAX {
            if !state.want_room.iter().any(|waiting| waiting.will_wake(context.waker())) {
                state.want_room.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        state.appended += 1;
        let number = state.appended;
        record::encode(number, bytes, &mut state.pending);
        if !state.is_writing {
            state.is_writing = true;
            // It has its turn after the tasks that are ready now: what they append goes along.
            drop(runtime::spawn(write_groups(self.shared.clone())));
        }
        Poll::Ready(Ok(number))
    }

    fn poll_durable(&self, number: u64, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state.borrow_mut();
        if state.durable >= number {
            return Poll::Ready(Ok(()));
        }
        state.check()?;
        state.want_durable.insert(number, context.waker().clone());
        Poll::Pending
    }
}

impl State {
    /// Those who have something to hear, now that a group has ended.
    fn take_waiting(&mut self) -> Vec<Waker> {
        let mut waiting = std::mem::take(&mut self.want_room);
        let later =
            if self.failed.is_some() { BTreeMap::new() } else { self.want_durable.split_off(&(self.durable + 1)) };
        waiting.extend(std::mem::replace(&mut self.want_durable, later).into_values());
        waiting
    }

    fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, words)) => {
                Err(io::Error::new(*kind, format!("the log failed, and must be opened anew: {words}")))
            }
        }
    }
}

/// Writes group after group, until none is left or one fails.
async fn write_groups(shared: Rc<Shared>) {
    loop {
        let (group, offset, last) = {
            let mut state = shared.state.borrow_mut();
            if state.pending.is_empty() {
                state.is_writing = false;
                return;
            }
            let spare = std::mem::take(&mut state.spare);
            (std::mem::replace(&mut state.pending, spare), state.end, state.appended)
        };
        let written = write_group(&shared.file, group, offset).await;
        let waiting = {
            let mut state = shared.state.borrow_mut();
            match written {
                Ok(mut group) => {
                    state.end = offset + group.len() as u64;
                    state.durable = last;
                    group.clear();
                    state.spare = group;
                }
                Err(error) => state.failed = Some((error.kind(), error.to_string())),
            }
            state.take_waiting()
        };
        waiting.into_iter().for_each(Waker::wake);
        if shared.state.borrow().failed.is_some() {
            return;
        }
    }
}

/// The one place where a record becomes durable.
async fn write_group(file: &fs::File, group: Vec<u8>, offset: u64) -> io::Result<Vec<u8>> {
    let ((), group) = file.write_all_at_owned(group, offset).await?;
    file.sync_data().await?;
    Ok(group)
}
