//! A core has few buffers, and each task that waits for one gets one.

#[path = "common/polled.rs"]
mod polled;

use std::any::Any;

use polled::poll_once;
use runtime::buf::pool::{PIECE_LEN, Piece, piece};
use runtime::buf::{IoBuf, IoBufMut};
use runtime::time::{Duration, timeout};
use runtime::{Builder, metrics, spawn};

fn with_one_buffer(test: impl AsyncFnOnce()) {
    Builder::new().ignore_environment().buffers(1).build().unwrap().block_on(test());
}

/// Catches: a place in line that keeps its first waker; a place that is lost with the task that took it.
#[test]
fn who_waits_for_a_buffer_and_goes_on_in_another_task_gets_it() {
    with_one_buffer(async || {
        let first = piece(100).await;
        let [mut second, mut third] = [Box::pin(piece(200)), Box::pin(piece(300))];
        assert!(poll_once(&mut second).await.is_pending() && poll_once(&mut third).await.is_pending());
        let second = spawn(second);
        let third = spawn(third);
        runtime::yield_now().await;

        drop(first);
        let second: Piece = timeout(Duration::from_secs(20), second).await.expect("it is woken").unwrap();
        assert_eq!((second.bytes().len(), metrics().buffers), (200, 1));
        drop(second);
        let third = timeout(Duration::from_secs(20), third).await.expect("it is woken").unwrap();
        assert_eq!((third.bytes().len(), metrics().buffers), (300, 1));
    });
}

/// In whichever order the runtime, the buffer and who waits for it go.
/// Catches: a buffer that goes back to a core that is gone.
#[test]
fn a_buffer_may_outlive_its_runtime_and_so_may_who_waits_for_it() {
    for order in 0..6 {
        let runtime = Builder::new().ignore_environment().buffers(1).build().unwrap();
        let (mut taken, waits) = runtime.block_on(async {
            let taken = piece(usize::MAX).await;
            let mut waits = Box::pin(piece(1));
            assert!(poll_once(&mut waits).await.is_pending());
            (taken, waits)
        });
        taken.bytes_mut().fill(7);
        let mut all: Vec<Box<dyn Any>> = vec![Box::new(runtime), Box::new(taken), Box::new(waits)];
        all.swap(0, order % 3);
        all.swap(1, 1 + order / 3);
        for one in all {
            if let Some(taken) = one.downcast_ref::<Piece>() {
                assert!(taken.bytes().len() == PIECE_LEN && taken.bytes().iter().all(|&byte| byte == 7));
            }
            drop(one);
        }
    }
}
