//! A cell of the matrix: one op, in one state of its life, on one driver.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use runtime::testing::{self, Driver};
use runtime::time::{Duration, now, timeout};
use runtime::{Runtime, metrics};

use crate::polled::poll_once;
use crate::process::Holdings;
use crate::scenes::{self, Fate, Reason, Row, Scene};
use crate::watched::Tally;

/// Where in its life an op is when its future goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does not go: the result is the control of all other cells.
    Awaited,
    Unpolled,
    /// Started, and the kernel has not heard of it.
    Queued,
    /// The kernel has it, and has not answered if it is one that waits.
    Submitted,
    /// Dropped, and what it waited for comes before the kernel hears of the cancel.
    Raced,
    /// It is answered, and nobody has read the answer.
    Unread,
    /// `mem::forget`, and it is answered afterwards.
    Forgotten,
    /// The runtime ends, and drops the task that waits.
    RuntimeDropped,
    /// The runtime ends, and the future is dropped later.
    Outlived,
}

impl State {
    pub const ALL: [State; 9] = [
        State::Awaited,
        State::Unpolled,
        State::Queued,
        State::Submitted,
        State::Raced,
        State::Unread,
        State::Forgotten,
        State::RuntimeDropped,
        State::Outlived,
    ];
}

/// Work in flight that nobody waits for gets so long to end.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// Runs a cell, on a thread that has no runtime.
///
/// # Errors
///
/// The reason why there is no such cell.
pub fn run(row: Row, state: State, driver: Driver) -> Result<(), Reason> {
    let before = Holdings::now();
    let tally = Tally::default();
    let runtime = build(driver);
    let rest = match runtime.block_on(live(row, state, driver, &tally)) {
        Ok(rest) => rest,
        Err(scenes::INLINE) if state == State::Awaited => return Ok(()),
        Err(reason) => return Err(reason),
    };
    drop(runtime);
    drop(rest.outlives);
    let (made, dropped) = tally.made_and_dropped();
    assert_eq!(dropped, made, "each op is dropped once");
    if let Some(last) = rest.last {
        last();
    }
    assert!(tally.is_intact(), "somebody wrote to memory that was given back");
    before.assert_unchanged();
    Ok(())
}

fn build(driver: Driver) -> Runtime {
    testing::builder(driver).build().unwrap()
}

/// What is left for the time after the runtime.
#[derive(Default)]
struct Rest {
    outlives: Option<Pin<Box<dyn Future<Output = ()>>>>,
    last: Option<Box<dyn FnOnce()>>,
}

async fn live(row: Row, state: State, driver: Driver, tally: &Tally) -> Result<Rest, Reason> {
    let Scene { mut future, waits, finishes, feed, after } = scenes::set(row, driver, tally).await?;
    settle().await;
    if state == State::Raced && !waits {
        return Err("it waits for nothing that could come in between");
    }
    let fate = match state {
        State::Forgotten | State::RuntimeDropped | State::Outlived => {
            let set = Scene { future, waits, finishes, feed, after };
            return Ok(leave_to_the_end(state, driver, set).await);
        }
        State::Awaited => {
            if waits {
                assert!(poll_once(&mut future).await.is_pending());
                feed();
            }
            future.await;
            return over(Fate::Done, after).await;
        }
        State::Unpolled => {
            drop(future);
            Fate::NeverBegun
        }
        State::Queued => {
            assert!(poll_once(&mut future).await.is_pending());
            drop(future);
            if finishes { Fate::Done } else { Fate::Cancelled }
        }
        State::Submitted => {
            assert!(poll_once(&mut future).await.is_pending());
            runtime::yield_now().await;
            drop(future);
            if finishes { Fate::Done } else { Fate::Cancelled }
        }
        State::Raced => {
            assert!(poll_once(&mut future).await.is_pending());
            runtime::yield_now().await;
            drop(future);
            feed();
            return over(if finishes { Fate::Done } else { Fate::Either }, after).await;
        }
        State::Unread => {
            let bell = Bell::ringing(&waker().await);
            assert!(poll_with(&mut future, &bell).is_pending());
            feed();
            bell.wait().await;
            drop(future);
            return over(Fate::Done, after).await;
        }
    };
    // What finishes must be fed to end; of the rest nothing is in flight before anything comes.
    if finishes && waits {
        feed();
        return over(fate, after).await;
    }
    settle().await;
    feed();
    over(fate, after).await
}

/// What nobody waits for when the runtime ends.
async fn leave_to_the_end(state: State, driver: Driver, set: Scene) -> Rest {
    let Scene { mut future, waits, feed, after, .. } = set;
    if state == State::Forgotten {
        let bell = Bell::ringing(&waker().await);
        assert!(poll_with(&mut future, &bell).is_pending());
        std::mem::forget(future);
        feed();
        bell.wait().await;
        return Rest { outlives: None, last: last(driver, Fate::Done, || {}, after) };
    }
    assert!(poll_once(&mut future).await.is_pending());
    runtime::yield_now().await;
    let outlives = if state == State::Outlived {
        Some(future)
    } else {
        drop(runtime::spawn(future));
        None
    };
    let fate = if waits { Fate::Cancelled } else { Fate::Either };
    Rest { outlives, last: last(driver, fate, feed, after) }
}

/// All that can be known while the runtime lives.
async fn over(fate: Fate, after: Box<dyn FnOnce(Fate)>) -> Result<Rest, Reason> {
    settle().await;
    // On its way in the simulated world; a moment later it is there.
    let _elapsed = timeout(Duration::from_millis(1), pending::<()>()).await;
    after(fate);
    Ok(Rest::default())
}

/// What is looked at after the end of the runtime. A simulated world ends with it.
fn last(
    driver: Driver,
    fate: Fate,
    feed: impl FnOnce() + 'static,
    after: Box<dyn FnOnce(Fate)>,
) -> Option<Box<dyn FnOnce()>> {
    (driver != Driver::Simulated).then(|| -> Box<dyn FnOnce()> {
        Box::new(move || {
            feed();
            after(fate);
        })
    })
}

/// Until nothing is in flight, no timer is set, and no simulated descriptor is about to close.
async fn settle() {
    let began = now();
    while metrics().in_flight > 0 || metrics().timers > 0 {
        assert!(now() - began < SETTLE_MAX, "still in flight: {:?}", metrics());
        let _elapsed = timeout(Duration::from_millis(1), pending::<()>()).await;
    }
}

fn poll_with(future: &mut Pin<Box<dyn Future<Output = ()>>>, bell: &Arc<Bell>) -> Poll<()> {
    future.as_mut().poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

async fn waker() -> Waker {
    poll_fn(|context| Poll::Ready(context.waker().clone())).await
}

/// A waker that remembers that it was woken, and wakes another.
struct Bell {
    is_rung: AtomicBool,
    next: Waker,
}

impl Bell {
    fn ringing(next: &Waker) -> Arc<Bell> {
        Arc::new(Bell { is_rung: AtomicBool::new(false), next: next.clone() })
    }

    async fn wait(&self) {
        poll_fn(|_context| if self.is_rung.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.is_rung.store(true, Ordering::SeqCst);
        self.next.wake_by_ref();
    }
}
