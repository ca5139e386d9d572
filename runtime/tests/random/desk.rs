//! Files: scribes write one each all over, loggers write one together at its end, readers read one at its cursor.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fs::{File, OpenOptions};
use rustix::io::Errno;

use crate::dice::bytes;
use crate::fates::live;
use crate::incoming::Incoming;
use crate::outgoing::{Begun, Ending, Kind, Outgoing};
use crate::script::{Fate, Log, Reading, Receive, SHEET_LEN, Scribble, Writing};
use crate::sheet::Sheet;
use crate::stage::Stage;
use crate::talk::{taken, told};

/// How long the book is.
const BOOK_LEN: u64 = 6_000;

/// How often something is tried again that faults strike.
const TRIES_MAX: u32 = 500;

/// Errors that a disk has, after which the next call may work.
fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::INTR, Errno::NOMEM, Errno::CANCELED, Errno::NOSPC, Errno::IO, Errno::MFILE];
    passing.into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn check(stage: &Stage, what: &str, error: &io::Error) {
    let is_whole = !["read_at", "write_at", "a log", "a book"].contains(&what);
    let is_interrupted = is_whole && error.kind() == io::ErrorKind::Interrupted;
    stage.verdict.blame_unless(!is_interrupted, || format!("{what} was interrupted, which std's never is"));
    stage.verdict.blame_unless(is_passing(error), || format!("{what}: {error:?}"));
}

async fn open(stage: &Stage, path: &Path) -> Option<File> {
    for _ in 0..TRIES_MAX {
        match OpenOptions::new().read(true).write(true).create(true).open(path).await {
            Ok(file) => return Some(file),
            Err(error) => check(stage, "open", &error),
        }
    }
    stage.verdict.blame(format!("{} cannot be opened in {TRIES_MAX} tries", path.display()));
    None
}

/// Puts a durable file into the world.
fn put(stage: &Stage, what: &str, contents: &[u8]) -> PathBuf {
    let path = PathBuf::from(format!("/tmp/{what}-{}", stage.name()));
    let put = stage.world.write_file(&path, contents);
    stage.verdict.blame_unless(put.is_ok(), || format!("{what}: {put:?}"));
    path
}

/// One who writes a file of his own.
struct Scribe {
    stage: Rc<Stage>,
    path: PathBuf,
    sheet: RefCell<Sheet>,
    power_cuts: u64,
}

/// Writes and reads a file of its own, anywhere in it.
pub async fn scribe(stage: Rc<Stage>, steps: Vec<Scribble>) {
    let contents = bytes(stage.name(), 0, SHEET_LEN);
    let path = put(&stage, "sheet", &contents);
    let power_cuts = stage.world.power_cuts();
    let mut scribe =
        Scribe { stage: stage.clone(), path, sheet: RefCell::new(Sheet::new(&contents, &contents)), power_cuts };
    let Some(mut file) = open(&stage, &scribe.path).await else { return };
    for step in steps {
        match step {
            Scribble::Write { how, at, len, fate } => scribe.write(&file, how, at, len, fate).await,
            Scribble::Read { how, at, len, fate } => scribe.read(&file, how, at, len, fate).await,
            Scribble::Sync { data_only, fate } => scribe.sync(&file, data_only, fate).await,
            Scribble::SetLen { fate } => {
                match live(fate, file.set_len(1_500)).await {
                    Some(set) => scribe.was_told("set_len", set),
                    // It goes on, and later writes wait for it.
                    None => scribe.sheet.borrow_mut().dropped(0, 0, 0, false),
                }
            }
            Scribble::Metadata => match file.metadata().await {
                Ok(told) => stage.verdict.blame_unless(told.len() == 1_500, || format!("a sheet of {}", told.len())),
                Err(error) => check(&stage, "metadata", &error),
            },
            Scribble::Reopen { closes } => match scribe.reopen(file, closes).await {
                Some(again) => file = again,
                None => return,
            },
        }
        if scribe.lost_power() {
            match scribe.reopen(file, false).await {
                Some(again) => file = again,
                None => return,
            }
        }
    }
    scribe.close(file).await;
    if !scribe.lost_power() {
        scribe.compare();
    }
}

impl Scribe {
    async fn write(&self, file: &File, how: Writing, at: u64, len: usize, fate: Fate) {
        let name = self.stage.name();
        let before = self.sheet.borrow().before();
        let is_given = matches!(how, Writing::Owned | Writing::AllOwned);
        let is_sure = is_given && self.sheet.borrow().is_settled();
        let has_begun = std::cell::Cell::new(false);
        let buf = bytes(name, 0, len);
        let given = self.stage.watch.buffer(buf.clone());
        let written = live(fate, async {
            has_begun.set(true);
            self.sheet.borrow_mut().begin(name, at, len);
            match how {
                Writing::Lent | Writing::Flush => file.write_at(&buf, at).await,
                Writing::AllLent => file.write_all_at(&buf, at).await.map(|()| len),
                Writing::Owned => told(file.write_at_owned(given, at).await),
                Writing::AllOwned => told(file.write_all_at_owned(given, at).await.map(|((), buf)| (len, buf))),
            }
        });
        let written = written.await;
        let mut sheet = self.sheet.borrow_mut();
        match written {
            Some(Ok(count)) => sheet.wrote(&before, name, at, count),
            Some(Err(error)) => {
                check(&self.stage, "write_at", &error);
                sheet.failed(&before, matches!(how, Writing::Lent | Writing::Owned | Writing::Flush));
            }
            None if has_begun.get() => sheet.dropped(name, at, len, is_sure),
            None => {}
        }
    }

    async fn read(&self, file: &File, how: Reading, at: u64, len: usize, fate: Fate) {
        let mut buf = vec![0; len];
        let given = self.stage.watch.buffer(vec![0; len]);
        let read = live(fate, async {
            match how {
                Reading::Lent | Reading::Peek => file.read_at(&mut buf, at).await.map(|count| buf[..count].to_vec()),
                Reading::ExactLent => file.read_exact_at(&mut buf, at).await.map(|()| buf.clone()),
                Reading::Owned => taken(file.read_at_owned(given, at).await),
                Reading::ExactOwned => taken(file.read_exact_at_owned(given, at).await.map(|((), buf)| (len, buf))),
            }
        });
        match read.await {
            Some(Ok(read)) => {
                let wrong = self.sheet.borrow().wrong(at, &read);
                let wrong = wrong.or_else(|| read.is_empty().then(|| "nothing was read".to_owned()));
                if let Some(wrong) = wrong {
                    self.stage.verdict.blame(format!("a sheet read by {how:?}: {wrong}"));
                }
            }
            Some(Err(error)) => check(&self.stage, "read_at", &error),
            None => {}
        }
    }

    async fn sync(&self, file: &File, data_only: bool, fate: Fate) {
        let synced = live(fate, async { if data_only { file.sync_data().await } else { file.sync_all().await } });
        match synced.await {
            Some(synced) => {
                if let Err(error) = &synced {
                    check(&self.stage, "sync", error);
                }
                self.sheet.borrow_mut().synced(synced.is_ok());
                self.compare_durable();
            }
            None => self.sheet.borrow_mut().sync_dropped(),
        }
    }

    /// Closes, which waits for what was dropped.
    async fn close(&self, file: File) {
        self.was_told("close", file.close().await);
    }

    /// Something that waits for what was dropped says how that went.
    fn was_told(&self, what: &str, went: io::Result<()>) {
        match went {
            Ok(()) => self.sheet.borrow_mut().went_well(),
            Err(error) => {
                check(&self.stage, what, &error);
                self.sheet.borrow_mut().went_wrong();
            }
        }
    }

    /// After a handle that was dropped another may find its writes on their way, and hears nothing of its errors. So it
    /// is closed if anything of it has to be known.
    async fn reopen(&mut self, file: File, closes: bool) -> Option<File> {
        let owes_news = !self.sheet.borrow().is_settled() || self.sheet.borrow().has_dropped_sync();
        if closes || owes_news {
            self.close(file).await
        } else {
            drop(file)
        }
        if self.lost_power() {
            self.power_cuts = self.stage.world.power_cuts();
            let (contents, synced) = self.look();
            if let Some(wrong) = self.sheet.borrow().wrong_durable(&contents) {
                self.stage.verdict.blame(format!("a sheet after a power cut: {wrong}"));
            }
            // It may have gone before the last write, which then is not on the disk.
            self.sheet = RefCell::new(Sheet::new(&contents, &synced));
        }
        open(&self.stage, &self.path).await
    }

    fn lost_power(&self) -> bool {
        self.stage.world.power_cuts() > self.power_cuts
    }

    /// What the file holds, and what of it the disk has.
    fn look(&self) -> (Vec<u8>, Vec<u8>) {
        let files = self.stage.world.files();
        let file = files.into_iter().find(|file| file.path == self.path);
        file.map(|file| (file.contents, file.synced)).unwrap_or_default()
    }

    fn compare(&self) {
        let (contents, _) = self.look();
        if let Some(wrong) = self.sheet.borrow().wrong(0, &contents) {
            self.stage.verdict.blame(format!("a sheet in the end: {wrong}"));
        }
        self.stage.verdict.blame_unless(contents.len() == SHEET_LEN, || "a sheet's length is wrong".to_owned());
    }

    fn compare_durable(&self) {
        if self.lost_power() {
            return;
        }
        if let Some(wrong) = self.sheet.borrow().wrong_durable(&self.look().1) {
            self.stage.verdict.blame(format!("a sheet that was synced: {wrong}"));
        }
    }
}

/// Several tasks write a log at its end.
pub async fn loggers(stage: Rc<Stage>, scripts: Vec<Vec<Log>>) {
    let path = put(&stage, "log", &[]);
    let Some(file) = open(&stage, &path).await else { return };
    let file = Rc::new(file);
    let outgoing = Rc::new(Outgoing::default());
    let written = outgoing.clone();
    stage.last.borrow_mut().push(Box::new(move |stage, is_cut_short| {
        if stage.world.power_cuts() > 0 {
            return;
        }
        let files = stage.world.files();
        let log = files.into_iter().find(|file| file.path == path).map(|file| file.contents).unwrap_or_default();
        let ending = if is_cut_short { Ending::Broken } else { Ending::Well };
        if let Err(why) = written.explain(&log, ending) {
            stage.verdict.blame(format!("the log: {why}"));
        }
    }));
    let mut tasks = Vec::new();
    for steps in scripts {
        let (stage, file, outgoing) = (stage.clone(), file.clone(), outgoing.clone());
        tasks.push(runtime::spawn(async move {
            for step in steps {
                log(&stage, &file, &outgoing, step).await;
            }
        }));
    }
    for task in tasks {
        stage.judge("a logger", task).await;
    }
    let file = Rc::into_inner(file).expect("the tasks are gone");
    let begun = outgoing.begin(0, 0, Kind::Flush);
    finish(&stage, begun, file.close().await.map(|()| 0));
}

async fn log(stage: &Stage, file: &File, outgoing: &Rc<Outgoing>, step: Log) {
    match step {
        Log::Sync { fate } => {
            live(fate, async {
                let begun = outgoing.begin(0, 0, Kind::Flush);
                finish(stage, begun, file.sync_all().await.map(|()| 0));
            })
            .await;
        }
        Log::Write { is_owned, len, fate } => {
            let name = stage.name();
            let buf = bytes(name, 0, len);
            live(fate, async {
                let begun = outgoing.begin(name, len, if is_owned { Kind::Given } else { Kind::Copied });
                let written = if is_owned {
                    told(file.write_owned(stage.watch.buffer(buf)).await)
                } else {
                    file.write(&buf).await
                };
                finish(stage, begun, written);
            })
            .await;
        }
    }
}

fn finish(stage: &Stage, begun: Begun, written: io::Result<usize>) {
    match written {
        Ok(count) => begun.done(count),
        Err(error) => {
            check(stage, "a log", &error);
            begun.failed();
        }
    }
}

/// Several tasks read a book at its cursor.
pub async fn readers(stage: Rc<Stage>, scripts: Vec<Vec<Receive>>) {
    let name = stage.name();
    let path = put(&stage, "book", &bytes(name, 0, usize::try_from(BOOK_LEN).expect("small")));
    let Some(file) = open(&stage, &path).await else { return };
    let (file, incoming) = (Rc::new(file), Rc::new(Incoming::new(name)));
    let mut tasks = Vec::new();
    for steps in scripts {
        let (stage, file, incoming) = (stage.clone(), file.clone(), incoming.clone());
        tasks.push(runtime::spawn(async move {
            for step in steps {
                live(step.fate, read(&stage, &file, &incoming, step)).await;
            }
        }));
    }
    for task in tasks {
        stage.judge("a reader", task).await;
    }
    let rest = Receive { how: Reading::Owned, len: 700, fate: Fate::Awaited };
    while incoming.is_open() && stage.world.power_cuts() == 0 {
        read(&stage, &file, &incoming, rest).await;
    }
    let is_read = stage.world.power_cuts() > 0 || incoming.is_complete(BOOK_LEN);
    stage.verdict.blame_unless(is_read, || format!("the book of {BOOK_LEN}: {}", incoming.describe()));
}

async fn read(stage: &Stage, file: &File, incoming: &Incoming, step: Receive) {
    let mut buf = vec![0; step.len];
    let read = match step.how {
        Reading::Lent | Reading::ExactLent | Reading::Peek => {
            file.read(&mut buf).await.map(|count| buf[..count].to_vec())
        }
        Reading::Owned | Reading::ExactOwned => taken(file.read_owned(stage.watch.buffer(buf)).await),
    };
    match read {
        Ok(bytes) => incoming.take(&bytes, BOOK_LEN, &stage.verdict),
        Err(error) => check(stage, "a book", &error),
    }
}
