//! The system's allocator, and a count of how often each thread asked it for memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// To be a test program's global allocator.
pub struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has asked for memory so far.
pub fn asked() -> u64 {
    ASKED.get()
}

fn count() {
    // A thread that ends may allocate when its counter is gone.
    let _ending = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: `GlobalAlloc` wants an allocator that keeps its contract and does not unwind. All is `System`'s, which does;
// counting touches a thread's own plain cell without a destructor, which neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, a size above 0, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract, and the block came from `System`, as all here do.
        unsafe { System.realloc(block, layout, len) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and the block came from `System`, as all here do.
        unsafe { System.dealloc(block, layout) }
    }
}
