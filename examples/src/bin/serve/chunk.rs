//! The memory that files pass through on their way to a socket.

use std::cell::RefCell;
use std::rc::Rc;

use runtime::buf::{IoBuf, IoBufMut};

/// How much of a file travels at a time: enough that the system calls are a small part of the price, little enough that
/// a thousand clients that read slowly fit into memory.
pub const CHUNK_LEN: usize = 128 * 1024;

const PAGE: usize = 4096;

/// The kernel copies a page cache page to here, and from here to the socket. Where both places lie alike within their
/// pages, or a few bytes apart, as a large `Vec` of malloc's does, that copy takes four times as long.
const PAST_PAGE: usize = 64;

/// Chunks that are kept for the next response instead of being freed and zeroed anew. Bound on idle memory: 2 MiB.
const SPARE_MAX: usize = 16;

/// Where chunks come from, and go back to.
///
/// Each response holds two at most, so [`CONNECTIONS_MAX`](crate::server::CONNECTIONS_MAX) bounds them all.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    spare: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Chunks {
    /// A chunk, which holds whatever it held before.
    pub fn take(&self) -> Chunk {
        let memory = self.spare.borrow_mut().pop().unwrap_or_else(|| vec![0; CHUNK_LEN + PAGE]);
        let past_page = memory.as_ptr().addr() % PAGE;
        let start = (PAGE + PAST_PAGE - past_page) % PAGE;
        Chunk { memory, start, home: self.clone() }
    }
}

/// [`CHUNK_LEN`] bytes that can be given to the kernel.
#[derive(Debug)]
pub struct Chunk {
    memory: Vec<u8>,
    start: usize,
    home: Chunks,
}

impl IoBuf for Chunk {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..CHUNK_LEN]
    }
}

impl IoBufMut for Chunk {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..CHUNK_LEN]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut spare = self.home.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_starts_past_a_page_and_is_whole() {
        let chunks = Chunks::default();
        let held: Vec<_> = std::iter::repeat_with(|| chunks.take()).take(40).collect();
        for mut chunk in held {
            assert_eq!(chunk.bytes().as_ptr().addr() % PAGE, PAST_PAGE);
            assert_eq!(chunk.bytes().len(), CHUNK_LEN);
            assert_eq!(chunk.bytes_mut().len(), CHUNK_LEN);
        }
    }

    /// Catches: a list of spare chunks that grows with the largest crowd there has ever been.
    #[test]
    fn chunks_come_back_and_few_are_kept() {
        let chunks = Chunks::default();
        let first = chunks.take().bytes().as_ptr();
        assert_eq!(chunks.take().bytes().as_ptr(), first);
        drop(std::iter::repeat_with(|| chunks.take()).take(SPARE_MAX + 5).collect::<Vec<_>>());
        assert_eq!(chunks.spare.borrow().len(), SPARE_MAX);
    }
}
