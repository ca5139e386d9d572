//! The shared-memory tools of the files that loom checks: std's, or loom's under `--cfg loom`.
//!
//! Loom runs a model under every interleaving that the memory model allows, which it can only do for what it sees. So
//! `inbox` and `task` take their atomics, locks, cells and thread-locals from here and from nowhere else.

#[cfg(not(loom))]
pub(crate) use self::real::UnsafeCell;
#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, fence},
    },
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, fence},
};

/// std's also under loom: the cores share their inboxes by it, and whether std counts right is not ours to check.
pub(crate) use std::sync::{Arc, atomic::Ordering};

/// A thread-local with a constant at its start: without a Drop such a one costs an access no more than a static. Loom's
/// are made when they are first used.
macro_rules! thread_local_constant {
    (static $name:ident: $type:ty = $start:expr;) => {
        #[cfg(not(loom))]
        ::std::thread_local! { static $name: $type = const { $start }; }
        #[cfg(loom)]
        ::loom::thread_local! { static $name: $type = $start; }
    };
}
pub(crate) use thread_local_constant;

#[cfg(not(loom))]
mod real {
    use std::cell;

    /// std's cell with the one method that loom's has: an access is a closure, so that loom sees where it ends.
    pub(crate) struct UnsafeCell<T>(cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }
}
