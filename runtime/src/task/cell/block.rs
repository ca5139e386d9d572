//! [unsafe] The memory of task cells, recycled.
//!
//! A block keeps its header initialised while it is in the pool, so that a new task takes over its predecessor's
//! reference to the inbox instead of counting another one atomically. Blocks come from the global allocator one by one,
//! so whoever drops the last reference to a task can free it, on any thread.

use super::{Header, Home, Local, Marks, Own, PENDING, TaskId, VTable};
use crate::{
    inbox::Inbox,
    sync::{Arc, AtomicPtr, AtomicU8, AtomicUsize, Mutex, Ordering},
};
use std::{
    alloc::{self, Layout},
    cell::{Cell, RefCell},
    mem,
    ptr::{self, NonNull},
};

/// Block sizes that are recycled, in bytes. A larger cell, or one with a stricter alignment, is allocated and freed.
const CLASS_SIZES: [usize; 7] = [192, 256, 384, 512, 1024, 2048, 4096];

/// A cache line, so that the header's hot part lies in as few of them as possible.
const ALIGNMENT: usize = 64;

/// How many blocks of each class one core keeps for tasks to come: 512 KiB of each. What comes back beyond it is freed.
const KEPT_MAX: [usize; CLASS_SIZES.len()] = {
    let mut kept_max = [0; CLASS_SIZES.len()];
    let mut class = 0;
    while class < CLASS_SIZES.len() {
        kept_max[class] = 512 * 1024 / CLASS_SIZES[class];
        class += 1;
    }
    kept_max
};

/// The blocks that a core's finished tasks have left.
pub(in crate::task) struct Pool {
    /// The youngest last: its memory is the warmest.
    classes: [RefCell<Vec<Block>>; CLASS_SIZES.len()],
}

/// A block that no task uses, with an initialised header.
pub(super) struct Block {
    header: NonNull<Header>,
}

impl Pool {
    pub(in crate::task) fn new() -> Pool {
        Pool { classes: [const { RefCell::new(Vec::new()) }; CLASS_SIZES.len()] }
    }

    /// A block of `cell`'s class, or for `cell` alone if that has none. Its header ready for a task that nobody has
    /// seen yet.
    #[inline]
    pub(super) fn allocate(
        &self,
        class: Option<usize>,
        cell: Layout,
        vtable: &'static VTable,
        home: &Home,
        inbox: &Arc<Inbox>,
    ) -> NonNull<Header> {
        let recycled = class.and_then(|class| self.classes[class].borrow_mut().pop());
        let Some(block) = recycled else { return Block::new(class, cell, vtable, home.id(), inbox).into_raw() };
        let mut header = block.into_raw();
        // SAFETY: `as_mut` wants the only reference to a live, initialised header: blocks in the pool are nobody
        // else's, and keep their headers.
        unsafe { header.as_mut() }.renew(vtable, home);
        header
    }

    /// Takes a finished task's block, if there is no waker left that knows it. Otherwise that one frees it.
    #[inline]
    pub(in crate::task) fn recycle(&self, task: Local) {
        // Acquire: whatever another thread did through a reference comes before the next task.
        let alone = task.own().locals.get() == 1 && task.header().references.load(Ordering::Acquire) == 1;
        let (true, true, Some(class)) = (alone, task.is_over(), task.header().class) else { return };
        let mut kept = self.classes[class].borrow_mut();
        if kept.len() < KEPT_MAX[class] {
            let header = task.header;
            // Its reference is the block's again.
            mem::forget(task);
            // SAFETY: `from_raw` wants a block that nobody uses: one `Local`, which is gone now, and one reference, the
            // local side's. New references are only made from existing ones.
            kept.push(unsafe { Block::from_raw(header) });
        }
    }
}

impl Block {
    /// A block of its own for a task of `core`.
    #[cold]
    pub(super) fn new(
        class: Option<usize>,
        cell: Layout,
        vtable: &'static VTable,
        core: u64,
        inbox: &Arc<Inbox>,
    ) -> Block {
        let block = class.map_or(cell, class_layout);
        // SAFETY: `alloc` wants a size that is not 0: a header fits in.
        let memory = unsafe { alloc::alloc(block) };
        let Some(header) = NonNull::new(memory.cast::<Header>()) else { alloc::handle_alloc_error(block) };
        // SAFETY: `write` wants a valid place, aligned for a header: the layout is that of a `TaskCell`, which begins
        // with one, or of a class that such a cell fits in.
        unsafe {
            header.write(Header {
                own: Own::new(),
                references: AtomicUsize::new(1),
                mail: AtomicU8::new(0),
                outcome: AtomicU8::new(PENDING),
                core,
                vtable,
                inbox: Arc::clone(inbox),
                next: AtomicPtr::new(ptr::null_mut()),
                foreign_joiner: Mutex::new(None),
                block,
                class,
            });
        }
        Block { header }
    }

    /// # Safety
    ///
    /// Nobody uses the block any more, and its stage is empty.
    pub(super) unsafe fn from_raw(header: NonNull<Header>) -> Block {
        Block { header }
    }

    pub(super) fn into_raw(self) -> NonNull<Header> {
        let header = self.header;
        mem::forget(self);
        header
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `as_ref` and `drop_in_place` want a live header, and nobody who uses it afterwards; `dealloc` the
        // layout it was allocated with, which the header remembers. A block is its header's only owner.
        unsafe {
            let block = self.header.as_ref().block;
            self.header.drop_in_place();
            alloc::dealloc(self.header.as_ptr().cast(), block);
        }
    }
}

impl Header {
    /// Makes a used header a new one; `core`, `inbox` and `block` stay.
    fn renew(&mut self, vtable: &'static VTable, home: &Home) {
        debug_assert_eq!(self.core, home.id(), "a pool belongs to one core");
        debug_assert!(self.own.other_joiner.get_mut().is_none(), "a joiner outlived its task");
        self.own = Own::new();
        self.vtable = vtable;
        // The block is nobody else's, so all these are plain stores.
        self.references.store(1, Ordering::Relaxed);
        self.mail.store(0, Ordering::Relaxed);
        self.outcome.store(PENDING, Ordering::Relaxed);
    }
}

impl Own {
    /// One `Local`, idle, without a handle.
    fn new() -> Own {
        Own {
            id: Cell::new(TaskId::ROOT),
            locals: Cell::new(1),
            marks: Cell::new(Marks::NONE),
            handle_alive: Cell::new(false),
            joined_from_elsewhere: Cell::new(false),
            joiner: Cell::new(TaskId::NOBODY),
            other_joiner: Cell::new(None),
            next_queued: Cell::new(None),
        }
    }
}

/// The smallest class that holds `cell`.
pub(super) const fn class_of(cell: Layout) -> Option<usize> {
    if cell.align() > ALIGNMENT {
        return None;
    }
    let mut class = 0;
    while class < CLASS_SIZES.len() {
        if cell.size() <= CLASS_SIZES[class] {
            return Some(class);
        }
        class += 1;
    }
    None
}

fn class_layout(class: usize) -> Layout {
    Layout::from_size_align(CLASS_SIZES[class], ALIGNMENT).expect("sizes are small and the alignment is a power of two")
}
