//! `ctrl_c` gets each SIGINT once, on the ring and on the fallback. A program of its own, since signals are for whole
//! processes.

#[path = "common/polled.rs"]
mod polled;

use std::future::Future;
use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polled::poll_once;
use runtime::Builder;
use runtime::signal::{CtrlC, ctrl_c};
use runtime::simulated::{Faults, world};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::timeout;
use signal_hook::consts::SIGINT;
use signal_hook::low_level::raise;

/// A signal is for all who wait, so tests must not wait side by side.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_each_driver<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let _alone = alone();
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "signals") {
            builder(driver).build().expect("a runtime").block_on(async {
                let limit = Duration::from_secs(30);
                timeout(limit, test()).await.unwrap_or_else(|_| panic!("{driver:?}: no signal was received"));
            });
        }
    }
}

/// `raise` comes back when the handler has run.
fn interrupt() {
    raise(SIGINT).expect("SIGINT is a signal");
}

async fn is_pending(ctrl_c: &mut CtrlC) -> bool {
    poll_once(ctrl_c).await.is_pending()
}

#[test]
fn every_waiting_ctrl_c_gets_the_signal() {
    on_each_driver(async || {
        let (mut one, other) = (ctrl_c().unwrap(), ctrl_c().unwrap());
        assert!(is_pending(&mut one).await);
        interrupt();
        one.await.unwrap();
        other.await.unwrap();
    });
}

/// Catches: a wait that ends with its first signal, after which the next must be waited for anew and can be missed.
#[test]
fn signals_that_come_before_they_are_awaited_are_each_counted() {
    on_each_driver(async || {
        let mut interrupted = ctrl_c().unwrap();
        for _ in 0..3 {
            interrupt();
        }
        for _ in 0..3 {
            (&mut interrupted).await.unwrap();
        }
        assert!(is_pending(&mut interrupted).await, "there was a fourth");
    });
}

#[test]
fn a_ctrl_c_made_after_a_signal_does_not_get_it() {
    on_each_driver(async || {
        let before = ctrl_c().unwrap();
        interrupt();
        let mut after = ctrl_c().unwrap();
        before.await.unwrap();
        assert!(is_pending(&mut after).await);
        interrupt();
        after.await.unwrap();
    });
}

/// Catches: a wait that goes past a simulated kernel, or fails there with a descriptor that it does not know.
#[test]
fn a_simulated_world_has_no_signals_and_says_so() {
    let _alone = alone();
    Builder::new().simulated(7, Faults::none()).build().expect("a runtime").block_on(async {
        let refused = ctrl_c().unwrap().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert_eq!(world().unsupported(), ["ctrl_c"]);
    });
}
