//! The bytes of a file on their way to a client.
//!
//! ```text
//!  file ─► first chunk: the head of the response, then as much of the file as fits ─► one send; most files end here
//!       └► next chunk, read while the one before is sent ─► send ─► …
//! ```
//!
//! A response never holds more than two chunks, however large the file and however slow the client.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use net::TcpStream;
use runtime::JoinHandle;
use runtime::buf::{BufError, IoBuf, IoBufMut};

use crate::chunk::{CHUNK_LEN, Chunk, Chunks};

/// A response that begins, with the first bytes of its body.
#[derive(Debug)]
pub struct Body {
    file: Rc<fs::File>,
    chunks: Chunks,
    /// Head and bytes of the file.
    first: Chunk,
    first_len: usize,
    /// Of the first chunk, what belongs to the file.
    first_of_file: u64,
    /// What of the file is not in the first chunk.
    rest: Range<u64>,
}

impl Body {
    /// Puts `head` and the first bytes of `part` of the file into a chunk. Nothing is sent yet, so an error can still
    /// be answered.
    ///
    /// # Errors
    ///
    /// The file's. [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if it has become shorter than `part` says.
    ///
    /// # Panics
    ///
    /// If `head` is no shorter than a chunk.
    pub async fn begin(chunks: &Chunks, head: &[u8], file: fs::File, part: Range<u64>) -> io::Result<Self> {
        let mut first = chunks.take();
        let (for_head, for_file) = first.bytes_mut().split_at_mut(head.len());
        for_head.copy_from_slice(head);
        let first_of_file = cut(&part, for_file.len());
        let fitting = &mut for_file[..first_of_file.1];
        // Lent, not given: what is in memory, as most small files are, is read by one system call, at once.
        file.read_exact_at(fitting, part.start).await?;
        Ok(Self {
            first_len: head.len() + fitting.len(),
            first_of_file: first_of_file.0,
            rest: part.start + first_of_file.0..part.end,
            file: Rc::new(file),
            chunks: chunks.clone(),
            first,
        })
    }

    /// Sends it all. `sent` counts the bytes of the file that are with the system, also when this fails or is dropped.
    ///
    /// # Errors
    ///
    /// The client's or the file's. The client then has a part of what the head promised, so the connection must end.
    pub async fn send(self, stream: &TcpStream, sent: &Cell<u64>) -> io::Result<()> {
        let Self { file, chunks, first, first_len, first_of_file, mut rest } = self;
        let mut next = read_ahead(&file, &chunks, &mut rest);
        if next.is_none() {
            stream.write_all(&first.bytes()[..first_len]).await?;
            sent.set(sent.get() + first_of_file);
            return Ok(());
        }
        stream.write_all_owned(first.slice(..first_len)).await?;
        sent.set(sent.get() + first_of_file);
        while let Some(reading) = next {
            let (chunk, len, of_file) = reading.await??;
            next = read_ahead(&file, &chunks, &mut rest);
            stream.write_all_owned(chunk.slice(..len)).await?;
            sent.set(sent.get() + of_file);
        }
        Ok(())
    }
}

/// A chunk, how much of it is filled, and the same as a count of the file's bytes.
type Filled = (Chunk, usize, u64);

/// Begins to read the next chunk of `rest`, and takes it off there. A task reads it: it goes on while its chunk's
/// predecessor is sent, and ends by itself if nobody wants it any more.
fn read_ahead(file: &Rc<fs::File>, chunks: &Chunks, rest: &mut Range<u64>) -> Option<JoinHandle<io::Result<Filled>>> {
    let (of_file, len) = cut(rest, CHUNK_LEN);
    if len == 0 {
        return None;
    }
    let (file, chunk, offset) = (file.clone(), chunks.take(), rest.start);
    rest.start += of_file;
    Some(runtime::spawn(async move {
        let read = file.read_exact_at_owned(chunk.slice(..len), offset).await;
        let ((), chunk) = read.map_err(|error: BufError<_>| io::Error::from(error))?;
        Ok((chunk.into_inner(), len, of_file))
    }))
}

/// How much of `part` fits into `room` bytes: as a count of the file's bytes, and as a length in memory.
fn cut(part: &Range<u64>, room: usize) -> (u64, usize) {
    let whole = part.end - part.start;
    match usize::try_from(whole) {
        Ok(len) if len <= room => (whole, len),
        _ => (u64::try_from(room).expect("a length in memory fits 64 bits"), room),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_to_the_room_there_is() {
        assert_eq!(cut(&(10..10), 5), (0, 0));
        assert_eq!(cut(&(10..14), 5), (4, 4));
        assert_eq!(cut(&(10..15), 5), (5, 5));
        assert_eq!(cut(&(10..16), 5), (5, 5));
        assert_eq!(cut(&(0..u64::MAX), 5), (5, 5));
        assert_eq!(cut(&(10..16), 0), (0, 0));
    }
}
