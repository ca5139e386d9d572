//! How a record lies in the file: a head of 16 bytes, then its own.
//!
//! ```text
//!  0        4        8                16
//!  │ length │ sum    │ number         │ bytes …
//! ```
//!
//! All numbers are little-endian. The sum is CRC-32 over length, number and bytes: whatever of a record is torn, it
//! does not add up any more. A sector that never reached the disk reads as zeros, which are no record either.

/// Bytes before a record's own.
pub const HEAD_BYTES: usize = 16;

/// What stands before a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many bytes follow.
    pub len: usize,
    sum: u32,
    number: u64,
}

/// Puts a record behind `out`.
///
/// # Panics
///
/// If it is longer than 4 GiB.
pub fn encode(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(bytes.len()).expect("records are far shorter");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&sum(len, number, bytes).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(bytes);
}

impl Head {
    /// Reads a head. It may be anything: see [`fits`](Head::fits).
    pub fn decode(head: [u8; HEAD_BYTES]) -> Head {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let number = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
        Head { len: usize::try_from(word(0)).expect("32 bits fit"), sum: word(4), number }
    }

    /// Whether this is the head of the record `number`, and `bytes` are its own.
    pub fn fits(&self, number: u64, bytes: &[u8]) -> bool {
        let Ok(len) = u32::try_from(bytes.len()) else { return false };
        self.number == number && self.len == bytes.len() && self.sum == sum(len, number, bytes)
    }
}

fn sum(len: u32, number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(number: u64, bytes: &[u8]) -> (Head, Vec<u8>) {
        let mut out = Vec::new();
        encode(number, bytes, &mut out);
        let (head, bytes) = out.split_at(HEAD_BYTES);
        (Head::decode(head.try_into().unwrap()), bytes.to_vec())
    }

    /// Catches: a part of the record that the sum leaves out.
    #[test]
    fn a_record_fits_as_it_was_and_with_no_bit_changed() {
        let (head, bytes) = encoded(7, b"what happened");
        assert!(head.fits(7, &bytes));
        assert!(!head.fits(8, &bytes));
        let mut whole = Vec::new();
        encode(7, &bytes, &mut whole);
        for bit in 0..whole.len() * 8 {
            let mut torn = whole.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            let (head, bytes) = torn.split_at(HEAD_BYTES);
            assert!(!Head::decode(head.try_into().unwrap()).fits(7, bytes), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert!(!Head::decode([0; HEAD_BYTES]).fits(0, b""));
    }
}
