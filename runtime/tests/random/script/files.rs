//! What programs do with files.

use std::io::SeekFrom;

use super::{Fate, Reading, Receive, Writing, fate, receive};
use crate::dice::Dice;

/// A file that one task writes all over.
#[derive(Debug)]
pub struct Scribe {
    /// It is open for direct I/O at first.
    pub is_direct: bool,
    pub steps: Vec<Scribble>,
}

/// What is done to a file, anywhere in it.
#[derive(Debug, Clone, Copy)]
pub enum Scribble {
    Write {
        how: Writing,
        span: Span,
        fate: Fate,
    },
    Read {
        how: Reading,
        span: Span,
        fate: Fate,
    },
    Sync {
        data_only: bool,
        fate: Fate,
    },
    /// To the length that it has.
    SetLen {
        fate: Fate,
    },
    Reopen {
        closes: bool,
        is_direct: bool,
    },
    Metadata,
}

/// A piece of a file.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub at: u64,
    pub len: usize,
    /// The cursor is set there before.
    pub by_cursor: bool,
    /// For direct I/O it is made of whole sectors. Otherwise that is refused.
    pub is_whole: bool,
}

impl Span {
    /// As it is asked for where only whole sectors will do.
    pub fn in_sectors(self) -> Span {
        if !self.is_whole {
            return self;
        }
        let at = self.at - self.at % SECTOR;
        let end = usize::try_from(at).expect("small") + self.len.next_multiple_of(sector());
        Span { at, len: end.min(SHEET_LEN) - usize::try_from(at).expect("small"), ..self }
    }

    pub fn is_in_sectors(self) -> bool {
        self.at.is_multiple_of(SECTOR) && self.len.is_multiple_of(sector())
    }
}

/// How long a scribe's file is: a few sectors.
pub const SHEET_LEN: usize = 1_536;

/// What direct I/O is made of.
pub const SECTOR: u64 = 512;

fn sector() -> usize {
    usize::try_from(SECTOR).expect("small")
}

/// A log that several tasks write at its end.
#[derive(Debug)]
pub struct Journal {
    pub is_direct: bool,
    /// By O_APPEND, and not because the cursor is there.
    pub appends: bool,
    pub loggers: Vec<Vec<Log>>,
}

/// What is done to a log.
#[derive(Debug, Clone, Copy)]
pub enum Log {
    Write {
        is_owned: bool,
        len: usize,
        fate: Fate,
    },
    Sync {
        fate: Fate,
    },
    /// Where only the cursor says where one writes, it is asked for and stays.
    Seek {
        to: u64,
        fate: Fate,
    },
}

/// A file that several tasks read at its cursor.
#[derive(Debug)]
pub struct Book {
    pub is_direct: bool,
    pub readers: Vec<Vec<Leaf>>,
}

/// What is done to a book.
#[derive(Debug, Clone, Copy)]
pub enum Leaf {
    Read(Receive),
    Seek { to: SeekFrom, fate: Fate },
}

pub fn scribe(dice: &mut Dice) -> Scribe {
    Scribe { is_direct: dice.one_in(3), steps: dice.some(1, 14, scribble) }
}

fn scribble(dice: &mut Dice) -> Scribble {
    match dice.below(12) {
        0 => Scribble::Reopen { closes: dice.one_in(2), is_direct: dice.one_in(3) },
        1 if dice.one_in(2) => Scribble::SetLen { fate: fate(dice) },
        1 => Scribble::Metadata,
        2 | 3 => Scribble::Sync { data_only: dice.one_in(2), fate: fate(dice) },
        4..=6 => {
            let how = [Reading::Lent, Reading::Owned, Reading::ExactLent, Reading::ExactOwned];
            let how = how[usize::try_from(dice.below(4)).expect("small")];
            Scribble::Read { how, span: span(dice), fate: fate(dice) }
        }
        _ => {
            let how = [Writing::Lent, Writing::Owned, Writing::AllLent, Writing::AllOwned];
            let how = how[usize::try_from(dice.below(4)).expect("small")];
            Scribble::Write { how, span: span(dice), fate: fate(dice) }
        }
    }
}

fn span(dice: &mut Dice) -> Span {
    let at = dice.below(1_400);
    let len = usize::try_from(dice.between(1, 1_500 - at)).expect("small");
    Span { at, len, by_cursor: dice.one_in(3), is_whole: !dice.one_in(8) }
}

pub fn journal(dice: &mut Dice) -> Journal {
    let is_direct = dice.one_in(3);
    let loggers = dice.some(0, 2, |dice| dice.some(1, 8, |dice| log(dice, is_direct)));
    Journal { is_direct, appends: dice.one_in(3), loggers }
}

fn log(dice: &mut Dice, is_direct: bool) -> Log {
    match dice.below(12) {
        0 | 1 => Log::Sync { fate: fate(dice) },
        2 => Log::Seek { to: dice.below(3_000), fate: fate(dice) },
        owned => {
            let len = dice.len().min(3_000);
            let len = if is_direct { len.next_multiple_of(sector()) } else { len };
            Log::Write { is_owned: owned > 6, len, fate: fate(dice) }
        }
    }
}

pub fn book(dice: &mut Dice) -> Book {
    let is_direct = dice.one_in(3);
    Book { is_direct, readers: dice.some(0, 2, |dice| dice.some(1, 10, |dice| leaf(dice, is_direct))) }
}

fn leaf(dice: &mut Dice, is_direct: bool) -> Leaf {
    if dice.one_in(3) {
        return Leaf::Seek { to: seek(dice), fate: fate(dice) };
    }
    let read = receive(dice);
    let is_odd = !is_direct || dice.one_in(8);
    Leaf::Read(if is_odd { read } else { Receive { len: read.len.next_multiple_of(sector()), ..read } })
}

/// To a sector, most often, and now and then before the start or behind the end.
fn seek(dice: &mut Dice) -> SeekFrom {
    let grain = if dice.one_in(4) { 1 } else { SECTOR };
    let place = dice.below(8_000) / grain * grain;
    match dice.below(5) {
        0 => SeekFrom::Start(place),
        1 => SeekFrom::Current(0),
        2 => SeekFrom::End(512 - place.cast_signed()),
        _ => SeekFrom::Current(place.cast_signed() - 4_096),
    }
}
