//! Random programs: sockets that come and go, reads that wait, are answered or cancelled, files on the pool in between.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

use super::pool::read_at;
use super::{Desk, is_cancelled, pair, recv};
use crate::driver::Park;
use crate::fd::SharedFd;
use crate::inflight::slots::Key;
use crate::op::file::Read;
use crate::op::socket::Recv;

/// A connection, what was written into it and not read yet, and the reads in flight.
struct Line {
    ours: SharedFd,
    theirs: UnixStream,
    unread: VecDeque<u8>,
    reads: VecDeque<Key>,
}

impl Line {
    fn new() -> Line {
        let (ours, theirs) = pair();
        Line { ours, theirs, unread: VecDeque::new(), reads: VecDeque::new() }
    }

    /// Takes what was answered. Reads of one stream are answered in the order in which they were asked.
    fn take(&mut self, desk: &mut Desk) {
        let reads = std::mem::take(&mut self.reads);
        for key in reads {
            match desk.answer::<Recv<Vec<u8>>>(key) {
                None => self.reads.push_back(key),
                Some(Ok((len, buf))) => {
                    assert!(len > 0, "an end that nobody made");
                    let sent: Vec<u8> = self.unread.drain(..len).collect();
                    assert_eq!(buf[..len], sent);
                }
                Some(Err(error)) => assert!(is_cancelled(error.error()), "{error}"),
            }
        }
    }
}

/// No byte is lost or comes twice, whatever is cancelled; each key has one last reply; numbers are used again all the
/// time.
///
/// Catches: an edge that is lost (a read waits though bytes are there), a cancelled read that takes bytes.
#[test]
fn random_programs_lose_no_byte_and_no_reply() {
    let seeds = match std::env::var("GIMMAL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..40_u64,
    };
    for seed in seeds {
        println!("GIMMAL_SEED={seed}");
        random_program(seed);
    }
}

fn random_program(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut desk = Desk::new();
    let file = SharedFd::new(std::os::fd::OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap()));
    let mut files = Vec::new();
    let mut lines: Vec<Line> = (0..8).map(|_| Line::new()).collect();
    for step in 0..400_usize {
        let line = &mut lines[random.below(8)];
        match random.below(10) {
            0..=2 => {
                let bytes: Vec<u8> = (0..=random.below(40)).map(|at| (step ^ at).to_le_bytes()[0]).collect();
                line.theirs.write_all(&bytes).unwrap();
                line.unread.extend(bytes);
            }
            3..=5 if line.reads.len() < 4 => {
                let mut op = recv(&line.ours, 1 + random.below(24));
                op.poll_first = random.below(2) == 0;
                line.reads.push_back(desk.start(op));
            }
            6 if !line.reads.is_empty() => desk.fallback.cancel(line.reads[random.below(line.reads.len())]),
            7 if line.reads.is_empty() => *line = Line::new(),
            8 => files.push(desk.start(read_at(&file, 1))),
            _ => desk.wait(Park::No),
        }
        for line in &mut lines {
            line.take(&mut desk);
        }
    }
    for key in files {
        assert_eq!(&desk.finish::<Read<Vec<u8>>>(key).unwrap().1[..3], b"ELF");
    }
    desk.settle();
    for line in &mut lines {
        line.take(&mut desk);
        assert!(
            line.reads.is_empty() || line.unread.is_empty(),
            "a read waits although {} bytes are there",
            line.unread.len()
        );
        for &key in &line.reads {
            desk.fallback.cancel(key);
        }
    }
    desk.settle();
    for line in &mut lines {
        line.take(&mut desk);
        assert!(line.reads.is_empty());
    }
    assert_eq!((desk.fallback.waiting, desk.slots.len()), (0, 0));
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 33) % u64::try_from(bound).unwrap()).unwrap()
    }
}
