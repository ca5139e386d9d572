//! What was found to be wrong with a program's run, and which errors are no wonder.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use runtime::simulated::World;
use rustix::io::Errno;

/// What is wrong. Clones are the same list.
#[derive(Clone, Default)]
pub struct Verdict(Rc<RefCell<Vec<String>>>);

/// More is not told of one program: the rest follows from it, most likely.
const COMPLAINTS_MAX: usize = 8;

impl Verdict {
    pub fn blame(&self, complaint: impl Into<String>) {
        let mut complaints = self.0.borrow_mut();
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(complaint.into());
        }
    }

    pub fn blame_unless(&self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.blame(complaint());
        }
    }

    pub fn complaints(&self) -> Vec<String> {
        self.0.take()
    }
}

/// What an error says about its socket or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing was done, and the next call may work.
    Passing,
    /// The connection is over.
    Broken,
    /// Nobody should see it.
    Wrong,
}

/// What an error of a handle's means.
pub fn meaning(error: &io::Error, world: &World) -> Meaning {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else {
        let passing = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock, io::ErrorKind::UnexpectedEof];
        return if passing.contains(&error.kind()) { Meaning::Passing } else { Meaning::Wrong };
    };
    let passing = [Errno::NOMEM, Errno::NOBUFS, Errno::MFILE, Errno::AGAIN];
    let broken = [Errno::CONNRESET, Errno::PIPE, Errno::NOTCONN, Errno::TIMEDOUT, Errno::CONNABORTED];
    match errno {
        errno if passing.contains(&errno) => Meaning::Passing,
        errno if broken.contains(&errno) => Meaning::Broken,
        Errno::IO if world.power_cuts() > 0 => Meaning::Broken,
        _ => Meaning::Wrong,
    }
}
