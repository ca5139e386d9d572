//! Memory of our own for transfers of lent memory that must wait.

use runtime::buf::pool::{PIECE_LEN, Piece, piece};
use runtime::buf::{IoBuf, IoBufMut};

/// What no device wants more of: direct I/O asks for 512 bytes or 4 KiB.
pub(super) const ALIGNMENT: usize = 4096;

/// Holds at most 256 KiB.
#[derive(Debug)]
pub(super) enum Bounce {
    /// From the core's pool, which lies where copies are fast.
    Piece(Piece),
    /// Made for one transfer: where direct I/O can use it, or somebody at another end may keep it for long.
    Aligned { memory: Vec<u8>, start: usize, len: usize },
}

impl Bounce {
    /// Takes `len` bytes, or the first 256 KiB of them; from the pool, where it waits for its turn, if it is not `made`
    /// for this.
    pub async fn take(len: usize, made: bool) -> Bounce {
        if !made {
            return Bounce::Piece(piece(len).await);
        }
        let len = len.min(PIECE_LEN);
        let memory = vec![0; len + ALIGNMENT];
        let past = memory.as_ptr().addr() % ALIGNMENT;
        Bounce::Aligned { memory, start: (ALIGNMENT - past) % ALIGNMENT, len }
    }

    /// Takes as many of `bytes` as it holds.
    pub async fn copy_of(bytes: &[u8], made: bool) -> Bounce {
        let mut bounce = Bounce::take(bytes.len(), made).await;
        let room = bounce.bytes_mut();
        room.copy_from_slice(&bytes[..room.len()]);
        bounce
    }
}

impl IoBuf for Bounce {
    fn bytes(&self) -> &[u8] {
        match self {
            Bounce::Piece(piece) => piece.bytes(),
            Bounce::Aligned { memory, start, len } => &memory[*start..*start + *len],
        }
    }
}

impl IoBufMut for Bounce {
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Bounce::Piece(piece) => piece.bytes_mut(),
            Bounce::Aligned { memory, start, len } => &mut memory[*start..*start + *len],
        }
    }
}
