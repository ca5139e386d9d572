//! What becomes of futures: they are awaited, dropped, raced against a timer, or left alone.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use runtime::time::{Duration, sleep, timeout};
use runtime::yield_now;

use crate::script::Fate;

/// Lets `future` have its fate, and returns its output if it came to that.
pub async fn live<F: Future>(fate: Fate, future: F) -> Option<F::Output> {
    match fate {
        Fate::Awaited => Some(future.await),
        Fate::Timeout { us } => timeout(Duration::from_micros(us), future).await.ok(),
        Fate::Dropped { polls } => {
            let mut future = pin!(future);
            for poll in 0..polls {
                if poll > 0 {
                    yield_now().await;
                }
                if let Poll::Ready(output) = poll_once(future.as_mut()).await {
                    return Some(output);
                }
            }
            None
        }
        Fate::Kept { us } => {
            let mut future = pin!(future);
            match poll_once(future.as_mut()).await {
                Poll::Ready(output) => Some(output),
                Poll::Pending => {
                    pause(us).await;
                    None
                }
            }
        }
    }
}

pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// So much simulated time.
pub async fn pause(us: u64) {
    sleep(Duration::from_micros(us)).await;
}
