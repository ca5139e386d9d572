//! A book that several tasks read at its cursor, and set it elsewhere: where it is follows from what each was told.
//!
//! They take turns, and who is dropped leaves the cursor where it was, so each finds it where the last that was told of
//! anything has left it.

use std::cell::Cell;
use std::io::{self, SeekFrom};
use std::rc::Rc;

use fs::File;

use crate::desk::{TRIES_MAX, check, open, options, put};
use crate::dice::{byte, bytes, count};
use crate::fates::live;
use crate::script::{self, Fate, Leaf, Reading, Receive, SECTOR};
use crate::stage::Stage;
use crate::talk::taken;

/// How long the book is. Its last sector is not full.
const BOOK_LEN: usize = 6_000;

/// What is known of it.
struct Book {
    stage: Rc<Stage>,
    file: File,
    name: u64,
    is_direct: bool,
    /// Where the cursor is.
    at: Cell<u64>,
    power_cuts: u64,
}

/// Reads one until all is read.
pub async fn read_together(stage: Rc<Stage>, script: script::Book) {
    let (name, power_cuts) = (stage.name(), stage.world.power_cuts());
    let path = put(&stage, "book", &bytes(name, 0, BOOK_LEN));
    let is_direct = script.is_direct;
    let Some(file) = open(&stage, &path, &options(is_direct)).await else { return };
    let book = Rc::new(Book { stage: stage.clone(), file, name, is_direct, at: Cell::new(0), power_cuts });
    let mut tasks = Vec::new();
    for leaves in script.readers {
        let book = book.clone();
        tasks.push(runtime::spawn(async move {
            for leaf in leaves {
                match leaf {
                    Leaf::Read(step) => drop(live(step.fate, book.read(step)).await),
                    Leaf::Seek { to, fate } => drop(live(fate, book.seek(to)).await),
                }
            }
        }));
    }
    for task in tasks {
        stage.judge("a reader", task).await;
    }
    book.read_all().await;
}

impl Book {
    async fn read(&self, Receive { how, len, .. }: Receive) {
        let mut buf = vec![0; len];
        let read = match how {
            Reading::Lent | Reading::ExactLent | Reading::Peek => {
                self.file.read(&mut buf).await.map(|count| buf[..count].to_vec())
            }
            Reading::Owned | Reading::ExactOwned => taken(self.file.read_owned(self.stage.watch.buffer(buf)).await),
        };
        match read {
            Ok(bytes) => self.was_read(&bytes, len),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && self.refuses(len) => {}
            Err(error) => check(&self.stage, "a book", &error),
        }
    }

    /// Of so many bytes that were asked for, these came.
    fn was_read(&self, bytes: &[u8], asked: usize) {
        let at = self.at.get();
        let is_there = (at..).zip(bytes).all(|(offset, &found)| byte(self.name, offset) == found);
        let end = at + count(bytes.len());
        let is_over = at >= count(BOOK_LEN);
        let is_right = is_there && if is_over { bytes.is_empty() } else { !bytes.is_empty() && end <= count(BOOK_LEN) };
        let verdict = &self.stage.verdict;
        verdict.blame_unless(is_right, || {
            format!("of a book {} bytes were read from {at} on, not those that are there", bytes.len())
        });
        verdict.blame_unless(!self.refuses(asked), || format!("direct I/O of {asked} bytes at {at}"));
        self.at.set(end);
    }

    /// Direct I/O is made of whole sectors, but for the end of a file.
    fn refuses(&self, asked: usize) -> bool {
        let at = self.at.get();
        let is_whole = at.is_multiple_of(SECTOR) && count(asked).is_multiple_of(SECTOR);
        self.is_direct && at < count(BOOK_LEN) && !is_whole
    }

    async fn seek(&self, to: SeekFrom) {
        let sought = match to {
            SeekFrom::Start(0) => self.file.rewind().await.map(|()| 0),
            SeekFrom::Current(0) => self.file.stream_position().await,
            _ => self.file.seek(to).await,
        };
        let wanted = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.at.get().checked_add_signed(by),
            SeekFrom::End(by) => count(BOOK_LEN).checked_add_signed(by),
        };
        let is_right = match (&sought, wanted) {
            (Ok(place), Some(wanted)) => *place == wanted,
            (Ok(_), None) => false,
            (Err(error), None) if error.kind() == io::ErrorKind::InvalidInput => true,
            (Err(_), _) => self.lost_power(),
        };
        let verdict = &self.stage.verdict;
        verdict.blame_unless(is_right, || format!("a book at {}, sought to {to:?}: {sought:?}", self.at.get()));
        if let Ok(place) = sought {
            self.at.set(place);
        }
    }

    /// From its start to its end, if the disk lets us.
    async fn read_all(&self) {
        self.seek(SeekFrom::Start(0)).await;
        for _ in 0..TRIES_MAX {
            if self.lost_power() {
                return;
            }
            if self.at.get() == count(BOOK_LEN) {
                return self.seek(SeekFrom::End(0)).await;
            }
            self.read(Receive { how: Reading::Owned, len: 1_024, fate: Fate::Awaited }).await;
        }
        self.stage.verdict.blame(format!("the book of {BOOK_LEN} is not read, but to {}", self.at.get()));
    }

    fn lost_power(&self) -> bool {
        self.stage.world.power_cuts() > self.power_cuts
    }
}
