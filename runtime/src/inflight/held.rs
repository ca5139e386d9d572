//! Keeps an op where the kernel knows it, until the last reply. [unsafe]
//!
//! ```text
//!            place                    lend                      answer
//!  op ─────────────► Held + Request ───────► Lent ─► driver ─► Answer ─► settle: the op is the caller's again
//!                     │                                           └────► abandon: the op deals with what came
//!                     └ never moves, is never looked at, is never freed before there is an Answer
//! ```
//!
//! Three types carry the promise. [`Held`] owns the op's cell; it cannot be opened. [`Lent`] carries the request, which
//! points into the cell, and is given up to get an [`Answer`]. Only an [`Answer`] for the same cell, accepted as
//! [`Proof`], opens a [`Held`]. A
//! [`Held`] that is dropped unopened leaks its cell: what a device may still write must never be freed.
//!
//! Cells are recycled by size, so that an op in steady state allocates nothing.

#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::any::TypeId;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::io::Errno;

use super::slots::Key;
use crate::op::{Answered, OnDrop, Op, Replies, Reply, Request, Yields};

/// An op in its cell. Only a [`Proof`] opens it; dropped unopened, it leaks.
#[must_use = "a held op that is dropped leaks"]
pub(crate) struct Held {
    head: NonNull<Head>,
}

/// The cell: what is known without the op's type, then the op.
#[repr(C)]
struct OpCell<T> {
    head: Head,
    op: T,
}

struct Head {
    kind: &'static Kind,
    yields: Yields,
    /// A driver's answer, from its arrival until the op is taken, to which the [`Proof`] points.
    answered: Option<Answered>,
}

/// What differs between types of op.
struct Kind {
    op: TypeId,
    name: fn() -> &'static str,
    on_drop: OnDrop,
    abandon: unsafe fn(Held, Proof, &Cells),
}

trait HasKind {
    const KIND: Kind;
}

impl<T: Op> HasKind for T {
    const KIND: Kind =
        Kind { op: TypeId::of::<T>(), name: std::any::type_name::<T>, on_drop: T::ON_DROP, abandon: abandon::<T> };
}

impl Held {
    /// Puts `op` where it stays, and asks it what it wants.
    ///
    /// If [`Op::request`] panics, the op is dropped, its cell goes back, and the panic goes on.
    #[inline(always)]
    pub fn place<T: Op>(op: T, cells: &Cells) -> (Held, Loan) {
        let cell = cells.take(Layout::new::<OpCell<T>>()).cast::<OpCell<T>>();
        let head = Head { kind: const { &T::KIND }, yields: Yields::Count, answered: None };
        // SAFETY: `write` wants the place valid for writes and aligned. `take` gave a block of this layout that is ours
        // alone.
        unsafe { cell.write(OpCell { head, op }) };
        let unwinding = Unplace { cell, cells };
        // SAFETY: `&mut` wants the op initialised (above), aligned, and not reachable otherwise while the borrow lives.
        // The borrow is stretched to 'static here, and kept within its bounds by who has the request: `Lent` alone,
        // which lets nobody keep a part of it and ends at the answer, before which nobody looks at the op again.
        let request = unsafe { (&raw mut (*cell.as_ptr()).op).as_mut().expect("not null") }.request();
        std::mem::forget(unwinding);
        // SAFETY: the head lies beside the op, not in it, so the request's borrow does not cover it; the cell is ours.
        unsafe { (*cell.as_ptr()).head.yields = request.yields() };
        let held = Held { head: cell.cast() };
        let cell = held.identity();
        (held, Loan { cell, request })
    }

    /// The name of the op's type, for dumps.
    pub fn name(&self) -> &'static str {
        (self.kind().name)()
    }

    /// What happens when nobody waits any more.
    #[inline]
    pub fn on_drop(&self) -> OnDrop {
        self.kind().on_drop
    }

    /// The last reply came: the op may be taken from now on.
    ///
    /// # Panics
    ///
    /// If the answer is another op's.
    #[inline]
    pub fn accept(&mut self, answer: Answer) -> Proof {
        match answer.0 {
            Source::Kernel(result) => Proof(Place::Here(result)),
            Source::Driver(cell, answered) => {
                assert!(cell == self.identity(), "the answer to another op");
                // SAFETY: the head lies beside the op, whose borrow does not cover it; `&mut self` has the cell.
                unsafe { (*self.head.as_ptr()).answered = Some(answered) };
                Proof(Place::InItsCell)
            }
        }
    }

    /// Takes the op out, and gives it with what came to `settle`, which is foreign: nothing of the core may be
    /// borrowed.
    ///
    /// # Panics
    ///
    /// If `T` is not the op's type: then the op leaks.
    #[inline]
    pub fn settle<T: Op, R>(self, proof: Proof, cells: &Cells, settle: impl FnOnce(T, io::Result<Reply>) -> R) -> R {
        // One address nearly always; another crate may have a copy of the constant, so the type decides.
        let is_kind = std::ptr::eq(self.kind(), const { &T::KIND }) || self.kind().op == TypeId::of::<T>();
        assert!(is_kind, "an op is taken as one of another type");
        // The common case stands alone, so that the compiler can join it with what `settle` does with a count.
        match (proof.0, self.yields()) {
            (Place::Here(result @ 0..), Yields::Count) => {
                // SAFETY: the op is a `T` (checked above), and there was a proof.
                let op = unsafe { self.take_op(cells) };
                settle(op, Ok(Reply::Count(result.unsigned_abs() as usize)))
            }
            // SAFETY: as above.
            (place, _) => unsafe { self.settle_otherwise(place, cells, settle) },
        }
    }

    /// # Safety
    ///
    /// The op is a `T`, and there was a proof that its last reply came, which is at this place.
    #[inline(never)]
    unsafe fn settle_otherwise<T: Op, R>(
        self,
        place: Place,
        cells: &Cells,
        settle: impl FnOnce(T, io::Result<Reply>) -> R,
    ) -> R {
        let yields = self.yields();
        let came = match place {
            Place::Here(result) => Came::Kernel(result),
            Place::InItsCell => Came::Driver(self.take_answered()),
        };
        // SAFETY: as the caller's.
        let op = unsafe { self.take_op(cells) };
        settle(op, came.typed(yields))
    }

    /// # Safety
    ///
    /// The op is a `T`, and there was a proof that its last reply came.
    #[inline]
    unsafe fn take_op<T: Op>(self, cells: &Cells) -> T {
        let cell = self.head.cast::<OpCell<T>>();
        // SAFETY: `read` wants an initialised, aligned op that is not used again. It was placed as this type. The proof
        // said that the request is gone and the kernel is done; `self` is consumed, and its cell goes back to the free
        // list as plain bytes.
        let op = unsafe { (&raw const (*cell.as_ptr()).op).read() };
        // SAFETY: `give` wants an unused block that `take` gave: `place` took it with this layout, and the op has left
        // it.
        unsafe { cells.give(cell.cast(), Layout::new::<OpCell<T>>()) };
        op
    }

    /// Lets the op deal with an answer nobody waits for. Runs foreign code: nothing of the core may be borrowed.
    pub fn abandon(self, proof: Proof, cells: &Cells) {
        let abandon = self.kind().abandon;
        // SAFETY: `abandon` wants a cell whose op has the type it was made for: both come from one `Kind`.
        unsafe { abandon(self, proof, cells) };
    }

    #[inline]
    fn take_answered(&self) -> Answered {
        // SAFETY: as in `accept`; the borrow ends at once.
        unsafe { (*self.head.as_ptr()).answered.take() }.expect("the proof says that it is there")
    }

    #[inline]
    fn kind(&self) -> &'static Kind {
        // SAFETY: the head was written by `place`, and lives as long as the cell, which `self` owns.
        unsafe { (*self.head.as_ptr()).kind }
    }

    #[inline]
    fn yields(&self) -> Yields {
        // SAFETY: as in `kind`.
        unsafe { (*self.head.as_ptr()).yields }
    }

    #[inline]
    fn identity(&self) -> usize {
        self.head.as_ptr().addr()
    }
}

/// # Safety
///
/// The op in the cell is a `T`.
unsafe fn abandon<T: Op>(held: Held, proof: Proof, cells: &Cells) {
    held.settle(proof, cells, T::abandon);
}

/// Undoes `place` when the op's `request` panics.
struct Unplace<'a, T> {
    cell: NonNull<OpCell<T>>,
    cells: &'a Cells,
}

impl<T> Drop for Unplace<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `drop_in_place` wants an initialised op that nobody uses: `place` wrote it, and the borrow that
        // `request` had ended with its panic.
        unsafe { (&raw mut (*self.cell.as_ptr()).op).drop_in_place() };
        // SAFETY: `give` wants an unused block that `take` gave: `place` took it, and its op is gone.
        unsafe { self.cells.give(self.cell.cast(), Layout::new::<OpCell<T>>()) };
    }
}

/// A request that has no key yet.
#[must_use = "a request that is dropped is never answered"]
pub(crate) struct Loan {
    cell: usize,
    request: Request<'static>,
}

impl Loan {
    /// How many replies it wants.
    pub fn replies(&self) -> Replies {
        self.request.replies()
    }

    /// Ready to be lent to a driver, which answers under `key`.
    #[inline(always)]
    pub fn under(self, key: Key) -> Lent {
        Lent { key, cell: self.cell, request: self.request }
    }
}

/// A request on its way to a driver, and back: it is given up to get an [`Answer`].
#[must_use = "a request that is dropped is never answered"]
pub(crate) struct Lent {
    key: Key,
    cell: usize,
    request: Request<'static>,
}

impl Lent {
    /// Whose answer the driver owes.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Looks at the request, or services it. Nothing of it can be kept.
    #[inline(always)]
    pub fn with<R>(&mut self, look: impl for<'a> FnOnce(&mut Request<'a>) -> R) -> R {
        look(&mut self.request)
    }

    /// Gives the request up: it is serviced.
    pub fn answer(self, answered: Answered) -> Answer {
        Answer(Source::Driver(self.cell, answered))
    }

    /// Gives the request to the kernel, whose CQE is the answer.
    #[inline(always)]
    pub fn into_kernel(self) {
        // The borrow ends here, as far as the compiler knows; `Answer::from_kernel` says who keeps the promise from now
        // on.
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key, self.request)
    }
}

/// The proof that an op came back, and what came.
#[must_use = "an answer that is dropped leaks its op"]
#[derive(Debug)]
pub(crate) struct Answer(Source);

#[derive(Debug)]
enum Source {
    /// The kernel's number: negative for an error. Its key has named the slot already.
    Kernel(i32),
    /// A driver's, for the cell at this address.
    Driver(usize, Answered),
}

impl Answer {
    /// The kernel's last word about an op.
    ///
    /// # Safety
    ///
    /// It is the last CQE (without `IORING_CQE_F_MORE`) of the op whose slot gets this answer, and of this ring.
    #[inline]
    pub unsafe fn from_kernel(result: i32) -> Answer {
        Answer(Source::Kernel(result))
    }
}

/// That an op's last reply came: its [`Held`] opens to this. Made by [`Held::accept`] alone.
#[must_use = "without its proof an op leaks"]
#[derive(Debug)]
pub(crate) struct Proof(Place);

/// Where the reply is.
#[derive(Debug)]
enum Place {
    /// Here: the kernel's number.
    Here(i32),
    /// In the op's cell: a driver's answer.
    InItsCell,
}

/// A reply that is not the last.
#[derive(Debug)]
pub(crate) enum Came {
    /// The kernel's number: negative for an error.
    Kernel(i32),
    /// A driver's answer, in values that close themselves.
    Driver(Answered),
}

impl Came {
    /// As an item of the stream whose op is still in the kernel's hands.
    pub fn item(self, held: &Held) -> io::Result<Reply> {
        self.typed(held.yields())
    }

    fn typed(self, yields: Yields) -> io::Result<Reply> {
        match self {
            Came::Kernel(result) => kernel_reply(result, yields),
            Came::Driver(answered) => answered.map_err(io::Error::from),
        }
    }
}

/// Types the kernel's number. Called once for each CQE.
#[inline]
fn kernel_reply(result: i32, yields: Yields) -> io::Result<Reply> {
    match (yields, usize::try_from(result)) {
        (_, Err(_)) => Err(error(result)),
        (Yields::Count, Ok(count)) => Ok(Reply::Count(count)),
        (Yields::Fd, Ok(_)) => {
            // SAFETY: `from_raw_fd` wants an open descriptor that nobody else owns. The request asked for a new one,
            // and this is the kernel's answer to it, which is consumed here.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            Ok(Reply::Fd(fd.into()))
        }
    }
}

/// A kernel worker that is interrupted may answer with codes that no program should see (512 to 516): restart me.
#[cold]
fn error(result: i32) -> io::Error {
    let code = if (-516..=-512).contains(&result) { Errno::INTR.raw_os_error() } else { result.saturating_neg() };
    io::Error::from_raw_os_error(code)
}

/// Cells to be used again, by size: a list through the free cells themselves.
///
/// Bound: [`KEPT_MAX`] cells a size, the rest goes back to the allocator. Cells beyond [`SIZE_MAX`] bytes are not kept.
pub(crate) struct Cells {
    free: [FreeList; CLASSES],
}

/// One size a cache line.
const STEP: usize = 64;
const CLASSES: usize = 16;
const SIZE_MAX: usize = STEP * CLASSES;
/// How many free cells of a size are kept.
const KEPT_MAX: u32 = 1024;

#[derive(Default)]
struct FreeList {
    first: Cell<Option<NonNull<Free>>>,
    len: Cell<u32>,
}

/// What a free cell holds.
struct Free {
    next: Option<NonNull<Free>>,
}

impl Cells {
    pub fn new() -> Cells {
        Cells { free: Default::default() }
    }

    #[inline]
    fn take(&self, layout: Layout) -> NonNull<u8> {
        if let Some(class) = class_of(layout)
            && let Some(block) = self.free[class].pop()
        {
            return block;
        }
        allocate(layout)
    }

    /// # Safety
    ///
    /// The block came from `take` with this layout, and nobody uses it.
    #[inline]
    unsafe fn give(&self, block: NonNull<u8>, layout: Layout) {
        match class_of(layout) {
            // SAFETY: `push` wants a free block of its class: the caller promises that, and the class follows from the
            // layout.
            Some(class) if self.free[class].len.get() < KEPT_MAX => unsafe { self.free[class].push(block) },
            // SAFETY: `free` wants what the caller promises.
            _ => unsafe { free(block, layout) },
        }
    }
}

impl FreeList {
    #[inline]
    fn pop(&self) -> Option<NonNull<u8>> {
        let first = self.first.get()?;
        // SAFETY: a block in the list holds a `Free`, which `push` wrote, and is nobody else's.
        self.first.set(unsafe { first.as_ref() }.next);
        self.len.set(self.len.get() - 1);
        Some(first.cast())
    }

    /// # Safety
    ///
    /// The block has this list's size, at least that of a `Free`, and nobody uses it.
    #[inline]
    unsafe fn push(&self, block: NonNull<u8>) {
        let block = block.cast::<Free>();
        // SAFETY: `write` wants the place valid and aligned: a block starts at a cache line, and is free.
        unsafe { block.write(Free { next: self.first.get() }) };
        self.first.set(Some(block));
        self.len.set(self.len.get() + 1);
    }
}

impl Cells {
    /// Gives the memory of the cells that are free back to the allocator.
    pub fn release(&self) {
        for (class, list) in self.free.iter().enumerate() {
            while let Some(block) = list.pop() {
                // SAFETY: `free` wants an unused block and its layout: it was in the list of this class.
                unsafe { free(block, block_layout(class)) };
            }
        }
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.release();
    }
}

#[inline]
const fn class_of(layout: Layout) -> Option<usize> {
    if layout.size() <= SIZE_MAX && layout.align() <= STEP {
        Some(layout.size().saturating_sub(1) / STEP)
    } else {
        None
    }
}

fn block_layout(class: usize) -> Layout {
    Layout::from_size_align((class + 1) * STEP, STEP).expect("a small power of two")
}

#[cold]
fn allocate(layout: Layout) -> NonNull<u8> {
    let layout = class_of(layout).map_or(layout, block_layout);
    // SAFETY: `alloc` wants a size above 0: a cell has a head.
    let block = unsafe { alloc::alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

/// # Safety
///
/// The block came from `allocate` with this layout, or one of the same class, and nobody uses it.
#[cold]
unsafe fn free(block: NonNull<u8>, layout: Layout) {
    let layout = class_of(layout).map_or(layout, block_layout);
    // SAFETY: `dealloc` wants the layout that the block was allocated with: both come from `class_of` for the same
    // class.
    unsafe { alloc::dealloc(block.as_ptr(), layout) };
}
