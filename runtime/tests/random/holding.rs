//! The system's allocator, and how much of it each thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The test program's global allocator.
pub struct Holding;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// How many bytes this thread has asked for and not given back.
pub fn held() -> i64 {
    HELD.get()
}

fn add(bytes: usize, sign: i64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    // A thread that ends may give memory back when its counter is gone.
    let _ending = HELD.try_with(|held| held.set(held.get() + sign * bytes));
}

// SAFETY: `GlobalAlloc` wants an allocator that keeps its contract and does not unwind. All is `System`'s, which does;
// counting touches a thread's own plain cell without a destructor, which neither allocates nor panics.
unsafe impl GlobalAlloc for Holding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller keeps `alloc`'s contract, a size above 0, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        add(layout.size(), -1);
        add(len, 1);
        // SAFETY: the caller keeps `realloc`'s contract, and the block came from `System`, as all here do.
        unsafe { System.realloc(block, layout, len) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: the caller keeps `dealloc`'s contract, and the block came from `System`, as all here do.
        unsafe { System.dealloc(block, layout) }
    }
}
