//! What else tasks do: sleep, spawn, abort, wait for each other, send each other letters.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::{Poll, Waker};

use runtime::time::{Duration, interval, now, timeout};
use runtime::yield_now;

use crate::fates::pause;
use crate::script::{ChildEnd, Errand};
use crate::stage::Stage;

/// Runs the errands of one task.
pub async fn run(stage: Rc<Stage>, errands: Vec<Errand>) {
    for errand in errands {
        let began = now();
        let least_us = match errand {
            Errand::Sleep { us } => {
                pause(us).await;
                us
            }
            Errand::Timeout { us, of_us } => match timeout(Duration::from_micros(us), pause(of_us)).await {
                Ok(()) => of_us,
                Err(_) => us,
            },
            Errand::Ticks { us, count } => {
                let mut ticks = interval(Duration::from_micros(us));
                for _ in 0..count {
                    ticks.tick().await;
                }
                us * (count - 1)
            }
            Errand::Yield => {
                yield_now().await;
                0
            }
            Errand::Child { us, end } => {
                child(&stage, us, end).await;
                0
            }
        };
        let took = now() - began;
        stage.verdict.blame_unless(took >= Duration::from_micros(least_us), || {
            format!("{errand:?} was over after {took:?}, which is early")
        });
    }
}

async fn child(stage: &Rc<Stage>, us: u64, end: ChildEnd) {
    let is_done = Rc::new(Cell::new(false));
    let done = is_done.clone();
    let task = runtime::spawn(async move {
        pause(us).await;
        done.set(true);
        if end == ChildEnd::Panics {
            // Without the hook's message: it is meant.
            resume_unwind(Box::new("meant"));
        }
        us
    });
    match end {
        ChildEnd::Detached => drop(task),
        ChildEnd::Joined => match task.await {
            Ok(answer) => stage.verdict.blame_unless(answer == us && is_done.get(), || "another's output".to_owned()),
            Err(error) => stage.verdict.blame(format!("a child: {error}")),
        },
        ChildEnd::Panics => {
            let joined = task.await;
            let is_panic = matches!(&joined, Err(error) if error.is_panic());
            stage.verdict.blame_unless(is_panic, || format!("a child that panics: {joined:?}"));
        }
        ChildEnd::Aborted => {
            task.abort();
            let joined = task.await;
            let is_cancelled = matches!(&joined, Err(error) if error.is_cancelled());
            stage.verdict.blame_unless(is_cancelled && !is_done.get(), || format!("an aborted child: {joined:?}"));
        }
    }
}

/// Letters in their order, and who waits for them.
#[derive(Default)]
struct Mailbox {
    letters: RefCell<VecDeque<(usize, u64)>>,
    reader: RefCell<Option<Waker>>,
    writers: Cell<usize>,
}

impl Mailbox {
    fn wake(&self) {
        let reader = self.reader.take();
        reader.into_iter().for_each(Waker::wake);
    }
}

/// One who writes letters. When it goes, no more come from it.
struct Writer(Rc<Mailbox>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.writers.set(self.0.writers.get() - 1);
        self.0.wake();
    }
}

/// Each correspondent writes so many letters, and one task reads them all.
pub fn correspond(stage: &Rc<Stage>, counts: &[u64]) {
    let mailbox = Rc::new(Mailbox::default());
    mailbox.writers.set(counts.len());
    for (from, &count) in counts.iter().enumerate() {
        let writer = Writer(mailbox.clone());
        stage.spawn("a correspondent", async move {
            for letter in 0..count {
                writer.0.letters.borrow_mut().push_back((from, letter));
                writer.0.wake();
                pause(letter * 13 % 40).await;
            }
        });
    }
    let (verdict, expected) = (stage.verdict.clone(), counts.to_vec());
    stage.spawn("who reads letters", async move {
        let mut next = vec![0; expected.len()];
        while let Some((from, letter)) = receive(&mailbox).await {
            verdict.blame_unless(next[from] == letter, || format!("letter {letter} instead of {}", next[from]));
            next[from] = letter + 1;
        }
        verdict.blame_unless(next == expected, || format!("of {expected:?} letters {next:?} came"));
    });
}

async fn receive(mailbox: &Mailbox) -> Option<(usize, u64)> {
    poll_fn(|context| {
        let letter = mailbox.letters.borrow_mut().pop_front();
        if letter.is_some() || mailbox.writers.get() == 0 {
            return Poll::Ready(letter);
        }
        let before = mailbox.reader.replace(Some(context.waker().clone()));
        drop(before);
        Poll::Pending
    })
    .await
}
