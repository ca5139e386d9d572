//! Descriptors: numbers, and what they lead to.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::files::OpenFile;
use super::network::SocketId;
use super::pipes::{PipeEnd, PipeId};
use crate::fd::FdRef;

/// What a descriptor leads to.
#[derive(Debug, Clone)]
pub(super) enum Object {
    File(OpenFile),
    Socket(SocketId),
    Pipe(PipeId, PipeEnd),
    /// What it led to went with the power.
    Dead,
}

/// What a request can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waitable {
    Socket(SocketId),
    Pipe(PipeId),
}

/// How many a process may have.
const DESCRIPTORS_MAX: u32 = 65_536;

/// The standard streams have the numbers below.
const FIRST: u32 = 3;

/// The table of one process.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    objects: BTreeMap<u32, Object>,
}

impl Descriptors {
    pub fn new() -> Descriptors {
        Descriptors::default()
    }

    /// Gives out the lowest free number, as the kernel does, so that a number is used again as soon as it can be.
    pub fn add(&mut self, object: Object) -> Result<u32, Errno> {
        let mut free = FIRST;
        for &taken in self.objects.keys() {
            if taken > free {
                break;
            }
            free = taken + 1;
        }
        if free >= DESCRIPTORS_MAX {
            return Err(Errno::MFILE);
        }
        self.objects.insert(free, object);
        Ok(free)
    }

    /// Gives out two, or none.
    pub fn add_two(&mut self, one: Object, other: Object) -> Result<(u32, u32), Errno> {
        let one = self.add(one)?;
        match self.add(other) {
            Ok(other) => Ok((one, other)),
            Err(error) => {
                self.objects.remove(&one);
                Err(error)
            }
        }
    }

    pub fn replace(&mut self, number: u32, object: Object) {
        self.objects.insert(number, object);
    }

    pub fn remove(&mut self, number: u32) -> Option<Object> {
        self.objects.remove(&number)
    }

    /// What a request's descriptor leads to.
    pub fn get(&mut self, fd: FdRef<'_>) -> Result<&mut Object, Errno> {
        let FdRef::Simulated(number) = fd else { return Err(Errno::BADF) };
        match self.objects.get_mut(&number).ok_or(Errno::BADF)? {
            Object::Dead => Err(Errno::IO),
            object => Ok(object),
        }
    }

    /// What a request's descriptor leads to, if it is open for more than its path: EBADF with `O_PATH`.
    pub fn opened(&mut self, fd: FdRef<'_>) -> Result<&mut Object, Errno> {
        match self.get(fd)? {
            Object::File(file) if file.is_path() => Err(Errno::BADF),
            object => Ok(object),
        }
    }

    pub fn socket(&mut self, fd: FdRef<'_>) -> Result<SocketId, Errno> {
        match self.opened(fd)? {
            Object::Socket(socket) => Ok(*socket),
            Object::File(_) | Object::Pipe(..) | Object::Dead => Err(Errno::NOTSOCK),
        }
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Object)> {
        self.objects.iter().map(|(&number, object)| (number, object))
    }

    /// The power went: the numbers stay taken until they are closed, but lead nowhere.
    pub fn die(&mut self) {
        for object in self.objects.values_mut() {
            *object = Object::Dead;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_that_is_free_is_given_out() {
        let mut descriptors = Descriptors::new();
        let numbers: Vec<u32> = (1..=4).map(|id| descriptors.add(Object::Socket(id)).unwrap()).collect();
        assert_eq!(numbers, [3, 4, 5, 6]);
        descriptors.remove(5);
        descriptors.remove(4);
        assert_eq!(descriptors.add(Object::Dead), Ok(4));
        assert_eq!(descriptors.add(Object::Dead), Ok(5));
        assert_eq!(descriptors.add(Object::Dead), Ok(7));
    }
}
