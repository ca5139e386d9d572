//! Where the lines of `--log` go: to standard output, in their order, and without ever holding up a response.
//!
//! A terminal may be stopped and a pipe may be full, so lines wait in memory while a task writes those before them.
//! Bound: a megabyte of them; what comes beyond is counted, and the count takes its place.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use runtime::JoinHandle;

/// How much may wait to be written.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Lines on their way to a file.
#[derive(Debug)]
pub struct Journal {
    out: fs::File,
    waiting: RefCell<String>,
    lost: Cell<u64>,
    /// The task that writes, while there is something to write.
    writer: RefCell<Option<JoinHandle<()>>>,
    /// Nobody reads any more.
    is_broken: Cell<bool>,
}

impl Journal {
    /// One that writes to standard output.
    ///
    /// # Errors
    ///
    /// EMFILE, and EBADF if there is no standard output.
    pub fn to_stdout() -> io::Result<Rc<Self>> {
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::new(fs::File::from(out)))
    }

    fn new(out: fs::File) -> Rc<Self> {
        Rc::new(Self {
            out,
            waiting: RefCell::default(),
            lost: Cell::default(),
            writer: RefCell::default(),
            is_broken: Cell::default(),
        })
    }

    /// Takes a line, which ends in its newline, and returns at once.
    pub fn push(self: &Rc<Self>, line: &str) {
        if self.is_broken.get() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() + line.len() > WAITING_BYTES_MAX {
            self.lost.set(self.lost.get() + 1);
            return;
        }
        waiting.push_str(line);
        let mut writer = self.writer.borrow_mut();
        if writer.as_ref().is_none_or(JoinHandle::is_finished) {
            *writer = Some(runtime::spawn(self.clone().write_waiting()));
        }
    }

    /// Waits until the lines that were pushed are written. Dropping the future leaves them to the task that writes.
    pub async fn flush(&self) {
        let writer = self.writer.borrow_mut().take();
        if let Some(writer) = writer {
            // It fails when the runtime ends, and then there is nobody to tell.
            let _ended = writer.await;
        }
    }

    async fn write_waiting(self: Rc<Self>) {
        loop {
            let mut text = self.waiting.take();
            let lost = self.lost.take();
            if lost > 0 {
                writeln!(text, "serve: {lost} lines lost: the log is not read fast enough")
                    .expect("a String takes all");
            }
            if text.is_empty() {
                return;
            }
            if let Err(error) = self.out.write_all_owned(text).await {
                self.is_broken.set(true);
                eprintln!("serve: the log ends here: {}", error.error());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (io::PipeReader, Rc<Journal>) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Journal::new(fs::File::from(std::os::fd::OwnedFd::from(writer))))
    }

    #[runtime::test]
    async fn lines_come_out_in_their_order() {
        let (mut reader, journal) = pipe();
        for number in 0..100 {
            journal.push(&format!("line {number}\n"));
            if number % 7 == 0 {
                runtime::yield_now().await;
            }
        }
        journal.flush().await;
        drop(journal);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.lines().map(str::to_owned).eq((0..100).map(|number| format!("line {number}"))), "{text}");
    }

    /// Catches: a `push` that waits for the reader, which never returns here; a queue without a bound.
    #[runtime::test]
    async fn a_reader_that_stands_still_costs_lines_and_nothing_else() {
        let (mut reader, journal) = pipe();
        let line = format!("{}\n", "x".repeat(1023));
        // The pipe takes a part, what is being written is another, and the bound is on the third.
        for _ in 0..4 * WAITING_BYTES_MAX / line.len() {
            journal.push(&line);
            runtime::yield_now().await;
        }
        assert!(journal.waiting.borrow().len() <= WAITING_BYTES_MAX);
        let lost = journal.lost.get();
        assert!(lost > 0, "nothing was lost");

        let reading = runtime::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        journal.flush().await;
        drop(journal);
        let text = reading.await.unwrap().unwrap();
        let whole = text.lines().filter(|&one| one.len() == 1023).count();
        assert_eq!(whole + usize::try_from(lost).unwrap(), 4096);
        assert_eq!(text.matches(&format!("serve: {lost} lines lost")).count(), 1);
    }

    #[runtime::test]
    async fn a_reader_that_has_gone_ends_the_log_and_not_the_server() {
        let (reader, journal) = pipe();
        drop(reader);
        journal.push("nobody reads this\n");
        journal.flush().await;
        assert!(journal.is_broken.get());
        journal.push("nor this\n");
        assert!(journal.waiting.borrow().is_empty());
    }
}
