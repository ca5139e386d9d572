//! Foreign code that may panic, where nobody could catch it.

use std::{
    any::Any,
    mem,
    panic::{self, AssertUnwindSafe},
};

/// Runs foreign code (a waker, a Drop) that must not take the core down with it: a panic is logged and ends here.
pub(crate) fn contain(what: &str, foreign: impl FnOnce()) {
    let Err(payload) = panic::catch_unwind(AssertUnwindSafe(foreign)) else { return };
    tracing::error!("{what} panicked: {}", panic_message(&*payload));
    // A payload may panic in its own Drop, and so may the payload of that: the second one is leaked.
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}

/// What `panic!` was told, as far as it was text.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(its payload is no text)"
    }
}
