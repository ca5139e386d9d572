//! A future that is polled once, and then left.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Polls `future` once, with the waker of the task that awaits this.
pub async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await
}
