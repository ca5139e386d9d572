//! Whether this process is still the one that built the runtime, or a forked child of it. [unsafe]
//!
//! A child that fork(2) makes has a copy of the memory and of one thread; the ring and the epoll are the parent's. What
//! the child asked for there would be asked in the parent's name, and its answers would come to the parent. So a
//! runtime stands still in a child: nothing is started or cancelled, waiting fails with [`IN_A_CHILD`], dropping leaks
//! all but the place on the thread. Tasks there are not run and not dropped: they are the parent's, and what they do
//! they do once.
//!
//! The kernel itself tells, for the price of a load: it empties a page in every child (`MADV_WIPEONFORK`, 4.14). A
//! child that shares the parent's memory (vfork(2), and so `std::process::Command`) is not one of these, and does
//! nothing but exec.

#![allow(unsafe_code)]

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// What whoever uses the runtime in a child is told.
pub(crate) const IN_A_CHILD: &str = "this process is a forked child of the one that built the runtime, which has its ring, its \
     threads and its tasks: exec, or drop the runtime, which leaves it to the parent, and build another";

/// The process in which this was made.
#[derive(Clone, Copy)]
pub(crate) struct Origin(&'static AtomicU8);

const HERE: u8 = 1;

/// The page of this process, or of an ancestor's.
static PAGE: AtomicPtr<AtomicU8> = AtomicPtr::new(ptr::null_mut());

/// For kernels that empty no page: nobody is a child then, and a ring's memory, which no child has, ends one that uses
/// it.
static EVERYWHERE: AtomicU8 = AtomicU8::new(HERE);

impl Origin {
    /// This process. The first call in each maps a page, which stays.
    pub fn here() -> Origin {
        let known = PAGE.load(Ordering::Acquire);
        // SAFETY: a reference wants an atomic that lives as long: `PAGE` is null or one that `map` has made, which
        // stays.
        if let Some(page) = unsafe { known.as_ref() }
            && page.load(Ordering::Relaxed) == HERE
        {
            return Origin(page);
        }
        let Some(page) = map() else { return Origin(&EVERYWHERE) };
        // Another thread may have been faster: then there are two pages, each as good.
        let _faster = PAGE.compare_exchange(known, ptr::from_ref(page).cast_mut(), Ordering::AcqRel, Ordering::Relaxed);
        Origin(page)
    }

    /// Whether this process is a forked child of it.
    #[inline(always)]
    pub fn is_left(self) -> bool {
        self.0.load(Ordering::Relaxed) != HERE
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_left() { "the parent" } else { "this process" })
    }
}

/// A page that says [`HERE`] in this process and 0 in its children.
fn map() -> Option<&'static AtomicU8> {
    let len = rustix::param::page_size();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: `mmap_anonymous` wants no memory of ours to be replaced: without `FIXED` the kernel takes what is free.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) }.ok()?;
    // SAFETY: `madvise` wants advice that takes nothing from whoever uses the memory: nobody does yet.
    if unsafe { madvise(start, len, Advice::LinuxWipeOnFork) }.is_err() {
        // SAFETY: `munmap` wants memory that nobody uses: it was mapped just now, and given to nobody.
        let _stays = unsafe { munmap(start, len) };
        return None;
    }
    // SAFETY: a reference wants memory that is aligned, initialised and stays: a page is all of it, empty at first, and
    // is never unmapped. Only the kernel writes besides, in a child, where nobody else runs.
    let page = unsafe { &*start.cast::<AtomicU8>() };
    page.store(HERE, Ordering::Relaxed);
    Some(page)
}
