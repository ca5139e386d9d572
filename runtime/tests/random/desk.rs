//! Files: scribes write one each all over, loggers write one together at its end. Who reads one together is in
//! [`book`](crate::book).

use std::cell::RefCell;
use std::io::{self, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fs::{File, OpenOptions};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::dice::{bytes, count};
use crate::fates::live;
use crate::outgoing::{Begun, Ending, Kind, Outgoing};
use crate::script::{self, Fate, Journal, Log, Reading, SHEET_LEN, Scribble, Span, Writing};
use crate::sheet::Sheet;
use crate::stage::Stage;
use crate::talk::{taken, told};
use crate::watched::Canaried;

/// How often something is tried again that faults strike.
pub const TRIES_MAX: u32 = 500;

/// Errors that a disk has, after which the next call may work.
fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::INTR, Errno::NOMEM, Errno::CANCELED, Errno::NOSPC, Errno::IO, Errno::MFILE];
    passing.into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

pub fn check(stage: &Stage, what: &str, error: &io::Error) {
    let is_whole = !["read_at", "write_at", "a log", "a book"].contains(&what);
    let is_interrupted = is_whole && error.kind() == io::ErrorKind::Interrupted;
    stage.verdict.blame_unless(!is_interrupted, || format!("{what} was interrupted, which std's never is"));
    stage.verdict.blame_unless(is_passing(error), || format!("{what}: {error:?}"));
}

/// How a file is opened to read and write.
pub fn options(is_direct: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    if is_direct {
        options.custom_flags(OFlags::DIRECT.bits().cast_signed());
    }
    options
}

pub async fn open(stage: &Stage, path: &Path, options: &OpenOptions) -> Option<File> {
    for _ in 0..TRIES_MAX {
        match options.open(path).await {
            Ok(file) => return Some(file),
            Err(error) => check(stage, "open", &error),
        }
    }
    stage.verdict.blame(format!("{} cannot be opened in {TRIES_MAX} tries", path.display()));
    None
}

/// Puts a durable file into the world.
pub fn put(stage: &Stage, what: &str, contents: &[u8]) -> PathBuf {
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
    /// The file is open for direct I/O now.
    is_direct: bool,
}

/// Writes and reads a file of its own, anywhere in it.
pub async fn scribe(stage: Rc<Stage>, script: script::Scribe) {
    let contents = bytes(stage.name(), 0, SHEET_LEN);
    let path = put(&stage, "sheet", &contents);
    let power_cuts = stage.world.power_cuts();
    let sheet = RefCell::new(Sheet::new(&contents, &contents));
    let mut scribe = Scribe { stage: stage.clone(), path, sheet, power_cuts, is_direct: script.is_direct };
    let Some(mut file) = open(&stage, &scribe.path, &options(scribe.is_direct)).await else { return };
    for step in script.steps {
        match step {
            Scribble::Write { how, span, fate } => scribe.write(&file, how, span, fate).await,
            Scribble::Read { how, span, fate } => scribe.read(&file, how, span, fate).await,
            Scribble::Sync { data_only, fate } => scribe.sync(&file, data_only, fate).await,
            Scribble::SetLen { fate } => {
                match live(fate, file.set_len(count(SHEET_LEN))).await {
                    Some(set) => scribe.was_told("set_len", set),
                    // It goes on, and later writes wait for it.
                    None => scribe.sheet.borrow_mut().dropped(0, 0, 0, false),
                }
            }
            Scribble::Metadata => match file.metadata().await {
                Ok(told) => {
                    let is_right = told.len() == count(SHEET_LEN);
                    stage.verdict.blame_unless(is_right, || format!("a sheet of {}", told.len()));
                }
                Err(error) => check(&stage, "metadata", &error),
            },
            Scribble::Reopen { closes, is_direct } => {
                scribe.is_direct = is_direct;
                match scribe.reopen(file, closes).await {
                    Some(again) => file = again,
                    None => return,
                }
            }
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
    async fn write(&self, file: &File, how: Writing, span: Span, fate: Fate) {
        let Some(span) = self.go(file, span).await else { return };
        let (name, Span { at, len, .. }) = (self.stage.name(), span);
        let buf = bytes(name, 0, len);
        let given = self.stage.watch.buffer(buf.clone());
        if self.refuses(span) {
            self.is_refused("write_at", write(file, how, span, &buf, given).await);
            return self.sheet.borrow_mut().went_wrong();
        }
        let before = self.sheet.borrow().before();
        let is_given = matches!(how, Writing::Owned | Writing::AllOwned);
        let is_sure = is_given && self.sheet.borrow().is_settled();
        let has_begun = std::cell::Cell::new(false);
        let written = live(fate, async {
            has_begun.set(true);
            self.sheet.borrow_mut().begin(name, at, len);
            write(file, how, span, &buf, given).await
        });
        match written.await {
            Some(Ok(count)) => {
                self.sheet.borrow_mut().wrote(&before, name, at, count);
                self.is_behind(file, span, count).await;
            }
            Some(Err(error)) => {
                check(&self.stage, "write_at", &error);
                let is_one_call = matches!(how, Writing::Lent | Writing::Owned | Writing::Flush);
                self.sheet.borrow_mut().failed(&before, is_one_call);
            }
            None if has_begun.get() => self.sheet.borrow_mut().dropped(name, at, len, is_sure),
            None => {}
        }
    }

    async fn read(&self, file: &File, how: Reading, span: Span, fate: Fate) {
        let Some(span) = self.go(file, span).await else { return };
        let given = self.stage.watch.buffer(vec![0; span.len]);
        if self.refuses(span) {
            return self.is_refused("read_at", read(file, how, span, given).await);
        }
        match live(fate, read(file, how, span, given)).await {
            Some(Ok(read)) => {
                let wrong = self.sheet.borrow().wrong(span.at, &read);
                let wrong = wrong.or_else(|| read.is_empty().then(|| "nothing was read".to_owned()));
                if let Some(wrong) = wrong {
                    self.stage.verdict.blame(format!("a sheet read by {how:?}: {wrong}"));
                }
                self.is_behind(file, span, read.len()).await;
            }
            Some(Err(error)) => check(&self.stage, "read_at", &error),
            None => {}
        }
    }

    /// Goes to where a piece is, which is perhaps another for direct I/O. Whatever was at the cursor is over then.
    async fn go(&self, file: &File, span: Span) -> Option<Span> {
        let span = if self.is_direct { span.in_sectors() } else { span };
        if !span.by_cursor {
            return Some(span);
        }
        let sought = file.seek(SeekFrom::Start(span.at)).await;
        let is_right = self.lost_power() || sought.as_ref().is_ok_and(|&place| place == span.at);
        self.stage.verdict.blame_unless(is_right, || format!("a sheet was sought to {}: {sought:?}", span.at));
        sought.is_ok().then_some(span)
    }

    /// So much of a piece was transferred, and if by the cursor, that is behind it.
    async fn is_behind(&self, file: &File, span: Span, transferred: usize) {
        if span.by_cursor {
            let place = file.stream_position().await;
            let is_right =
                self.lost_power() || place.as_ref().is_ok_and(|&place| place == span.at + count(transferred));
            self.stage.verdict.blame_unless(is_right, || format!("behind {transferred} of {span:?} is {place:?}"));
        }
    }

    fn refuses(&self, span: Span) -> bool {
        self.is_direct && !span.is_in_sectors()
    }

    fn is_refused<T>(&self, what: &str, done: io::Result<T>) {
        match done {
            Ok(_) => self.stage.verdict.blame(format!("{what}: direct I/O of less than a sector")),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => check(&self.stage, what, &error),
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
        open(&self.stage, &self.path, &options(self.is_direct)).await
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

async fn write(file: &File, how: Writing, span: Span, buf: &[u8], given: Canaried) -> io::Result<usize> {
    let whole = |((), buf): ((), Canaried)| (span.len, buf);
    match how {
        Writing::Lent | Writing::Flush if span.by_cursor => file.write(buf).await,
        Writing::Lent | Writing::Flush => file.write_at(buf, span.at).await,
        Writing::AllLent if span.by_cursor => file.write_all(buf).await.map(|()| span.len),
        Writing::AllLent => file.write_all_at(buf, span.at).await.map(|()| span.len),
        Writing::Owned if span.by_cursor => told(file.write_owned(given).await),
        Writing::Owned => told(file.write_at_owned(given, span.at).await),
        Writing::AllOwned if span.by_cursor => told(file.write_all_owned(given).await.map(whole)),
        Writing::AllOwned => told(file.write_all_at_owned(given, span.at).await.map(whole)),
    }
}

async fn read(file: &File, how: Reading, span: Span, given: Canaried) -> io::Result<Vec<u8>> {
    let mut lent = vec![0; span.len];
    let whole = |((), buf): ((), Canaried)| (span.len, buf);
    let count = match how {
        Reading::Lent | Reading::Peek if span.by_cursor => file.read(&mut lent).await?,
        Reading::Lent | Reading::Peek => file.read_at(&mut lent, span.at).await?,
        Reading::ExactLent if span.by_cursor => file.read_exact(&mut lent).await.map(|()| span.len)?,
        Reading::ExactLent => file.read_exact_at(&mut lent, span.at).await.map(|()| span.len)?,
        Reading::Owned if span.by_cursor => return taken(file.read_owned(given).await),
        Reading::Owned => return taken(file.read_at_owned(given, span.at).await),
        Reading::ExactOwned if span.by_cursor => return taken(file.read_exact_owned(given).await.map(whole)),
        Reading::ExactOwned => return taken(file.read_exact_at_owned(given, span.at).await.map(whole)),
    };
    lent.truncate(count);
    Ok(lent)
}

/// Several tasks write a log at its end.
pub async fn loggers(stage: Rc<Stage>, journal: Journal) {
    let Journal { is_direct, appends, loggers } = journal;
    let path = put(&stage, "log", &[]);
    let Some(file) = open(&stage, &path, options(is_direct).append(appends)).await else { return };
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
    for steps in loggers {
        let (stage, file, outgoing) = (stage.clone(), file.clone(), outgoing.clone());
        tasks.push(runtime::spawn(async move {
            for step in steps {
                log(&stage, &file, &outgoing, appends, step).await;
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

async fn log(stage: &Stage, file: &File, outgoing: &Rc<Outgoing>, appends: bool, step: Log) {
    match step {
        Log::Sync { fate } => {
            live(fate, async {
                let begun = outgoing.begin(0, 0, Kind::Flush);
                finish(stage, begun, file.sync_all().await.map(|()| 0));
            })
            .await;
        }
        Log::Seek { to, fate } => {
            let to = if appends { SeekFrom::Start(to) } else { SeekFrom::Current(0) };
            live(fate, async {
                let begun = outgoing.begin(0, 0, Kind::Seek);
                finish(stage, begun, file.seek(to).await.map(|_| 0));
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
