//! What a disk would hold of a file, and what a power cut leaves of the rest.
//!
//! The model is ext4's ordered mode or stricter. Each change since the last sync may be lost or kept by itself, in any
//! order among them, and a write may be torn: of its 512-byte sectors any may be missing, whatever came before or
//! after. Where a lost sector lies within the file it reads as what the disk held before, or as zeros. Sectors
//! themselves are whole, as disks promise. A name that was not synced with its directory may be lost whether or not its
//! file was.

use super::{Content, FileSystem};
use crate::driver::simulated::random::Random;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// So many changes of a file are kept apart; beyond, the oldest becomes durable, as by the kernel's own writeback.
const CHANGES_MAX: usize = 1024;

/// Something done to a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver::simulated) enum Change {
    /// `bytes` at `offset`, behind zeros if the file was shorter.
    Write { offset: u64, bytes: Vec<u8> },
    /// Cut off or filled up with zeros.
    Resize { len: u64 },
}

impl Change {
    pub(super) fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => write(file, index(*offset), bytes),
            Change::Resize { len } => file.resize(index(*len), 0),
        }
    }

    /// Does some of it: of a write each sector by itself, of anything else all or nothing.
    fn apply_torn(&self, file: &mut Vec<u8>, random: &mut Random) {
        match self {
            Change::Write { offset, bytes } => {
                let (mut at, mut rest) = (index(*offset), &bytes[..]);
                while !rest.is_empty() {
                    let (sector, behind) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    if random.coin() {
                        write(file, at, sector);
                    }
                    (at, rest) = (at + sector.len(), behind);
                }
            }
            Change::Resize { .. } if random.coin() => self.apply(file),
            Change::Resize { .. } => {}
        }
    }
}

impl Change {
    /// Whether one of them must come after the other.
    fn meets(&self, other: &Change) -> bool {
        match (self, other) {
            (Change::Write { offset, bytes }, Change::Write { offset: at, bytes: others }) => {
                let (start, other_start) = (index(*offset), index(*at));
                start < other_start + others.len() && other_start < start + bytes.len()
            }
            (Change::Resize { .. }, _) | (_, Change::Resize { .. }) => true,
        }
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("files are far smaller than memory")
}

/// A file as the disk has it, and what was done to it since.
#[derive(Debug, Default)]
pub(super) struct Durable {
    bytes: Vec<u8>,
    changes: std::collections::VecDeque<Change>,
}

impl Durable {
    /// Only what the disk surely has.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn note(&mut self, change: Change) {
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_MAX
            && let Some(oldest) = self.changes.pop_front()
        {
            oldest.apply(&mut self.bytes);
        }
    }

    pub fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.bytes);
        }
    }

    /// The last change becomes durable, with those that it must come after. The others wait for a sync.
    pub fn sync_last(&mut self) {
        let mut synced: Vec<Change> = self.changes.pop_back().into_iter().collect();
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            if synced.iter().any(|later| change.meets(later)) {
                synced.push(change);
            } else {
                self.changes.push_front(change);
            }
        }
        for change in synced.into_iter().rev() {
            change.apply(&mut self.bytes);
        }
    }

    /// Some changes reach the disk, the others are forgotten.
    pub fn lose_some(&mut self, random: &mut Random) {
        let fate = Fate::draw(self.changes.len(), random);
        for (index, change) in self.changes.drain(..).enumerate() {
            match fate {
                Fate::First(kept) if index < kept => change.apply(&mut self.bytes),
                Fate::First(kept) if index == kept => change.apply_torn(&mut self.bytes, random),
                Fate::First(_) | Fate::Nothing => {}
                Fate::Any => change.apply_torn(&mut self.bytes, random),
            }
        }
    }
}

/// What the disk had got to. Each is a mistake that some program makes.
enum Fate {
    /// None of them, as when the power goes right after the write.
    Nothing,
    /// The first so many changes, and part of the next: what an orderly disk would do.
    First(usize),
    /// Any sector of any change.
    Any,
}

impl Fate {
    fn draw(changes: usize, random: &mut Random) -> Fate {
        match random.below(3) {
            0 => Fate::Nothing,
            1 => Fate::First(random.up_to(changes + 1) - 1),
            _ => Fate::Any,
        }
    }
}

impl FileSystem {
    /// The power goes: what was not synced may be lost, and what is left is all there is.
    pub(in crate::driver::simulated) fn power_cut(&mut self, random: &mut Random) {
        for (path, inode) in &self.names {
            if self.durable_names.get(path) != Some(inode) && random.coin() {
                self.durable_names.insert(path.clone(), *inode);
            }
        }
        // A name that is gone from memory may still be on the disk.
        let names = &self.names;
        self.durable_names.retain(|path, _| names.contains_key(path) || random.coin());
        self.drop_lost_names();
        let kept: std::collections::BTreeSet<_> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| kept.contains(number));
        for inode in self.inodes.values_mut() {
            if let Content::Regular { bytes, durable } = &mut inode.content {
                durable.lose_some(random);
                bytes.clone_from(&durable.bytes);
            }
        }
    }

    /// What lies in a directory that was lost is lost with it.
    fn drop_lost_names(&mut self) {
        let mut names = std::mem::take(&mut self.durable_names);
        // Parents sort before what they hold.
        for (path, inode) in std::mem::take(&mut names) {
            let parent = path.iter().rposition(|&byte| byte == b'/').map(|at| path[..at].to_vec());
            if parent.is_none_or(|parent| names.contains_key(&parent)) {
                names.insert(path, inode);
            }
        }
        self.durable_names = names.clone();
        self.names = names;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches: a sync that forgets changes instead of applying them.
    #[test]
    fn what_was_synced_survives_every_power_cut() {
        for seed in 0..200 {
            let mut durable = Durable::default();
            durable.note(Change::Write { offset: 0, bytes: vec![7; 2_000] });
            durable.sync();
            durable.note(Change::Write { offset: 2_000, bytes: vec![8; 2_000] });
            durable.lose_some(&mut Random::new(seed));
            assert_eq!(durable.bytes()[..2_000], [7; 2_000], "seed {seed}");
        }
    }

    /// Catches: tearing that always keeps or always drops, or that tears within a sector.
    #[test]
    fn an_unsynced_write_is_lost_torn_or_kept_sector_by_sector() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..300 {
            let mut durable = Durable::default();
            // From the middle of the first sector to the middle of the fifth.
            durable.note(Change::Write { offset: 100, bytes: vec![9; 2_048] });
            durable.lose_some(&mut Random::new(seed));
            let mut sectors = [0_u8; 5];
            for (at, &byte) in durable.bytes().iter().enumerate().skip(100) {
                let sector = &mut sectors[at / SECTOR];
                assert!(at == 100 || at % SECTOR == 0 || *sector == byte, "seed {seed}: torn within a sector");
                *sector = byte;
            }
            match sectors.iter().filter(|&&byte| byte == 9).count() {
                0 => lost += 1,
                5 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 10 && kept > 2 && torn > 30, "lost {lost}, kept {kept}, torn {torn}");
    }

    #[test]
    fn changes_beyond_the_bound_become_durable() {
        let mut durable = Durable::default();
        for offset in 0..u64::try_from(CHANGES_MAX).unwrap() + 3 {
            durable.note(Change::Write { offset, bytes: vec![1] });
        }
        assert_eq!(durable.bytes(), [1, 1, 1]);
    }
}
