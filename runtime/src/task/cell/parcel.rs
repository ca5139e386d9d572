//! [unsafe] A task on its way to a core that has not seen it yet: made and sent by anyone, unpacked by the core.
//!
//! ```text
//!  new ─► send ─► in the inbox, with `SPAWN` for mail ─► unpack: a `Local`, from then on a task as any other
//!            └ the core is no more: cancelled here; its handle is alone with the cell
//! ```
//!
//! Until the push only the sender knows the cell, so all of it is the sender's, also what later only the core uses. The
//! push, and the core's drain, make visible what the sender wrote. The mail is not empty from the start: who leaves
//! more of it, the handle, relies on that push as on anybody else's.

use super::{
    Header, Local, Marks, OUTPUT, TaskCell,
    block::{self, Block},
    handle::Handle,
    set_stage,
    shared::{Mail, Shared},
    vtable,
};
use crate::{
    inbox::Inbox,
    sync::{Arc, Ordering},
    task::{TaskId, cell::Home, remote::Arriving},
};
use std::{alloc::Layout, mem::ManuallyDrop, ptr::NonNull};

/// A task that its core has not seen. To be [sent](Parcel::send): one that is dropped is leaked.
#[must_use = "its handle waits for it"]
pub(in crate::task) struct Parcel {
    header: NonNull<Header>,
}

impl Parcel {
    /// Packs a task for the core `core`, which reads `inbox`. It begins by calling `make`, which is all that it is
    /// until its first poll: so `make` is what must be `Send`, and not the future that it makes.
    pub(in crate::task) fn new<M, F>(core: u64, inbox: &Arc<Inbox>, make: M) -> (Parcel, Handle<F::Output>)
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send,
    {
        let layout = Layout::new::<TaskCell<Arriving<M, F>>>();
        let class = const { block::class_of(Layout::new::<TaskCell<Arriving<M, F>>>()) };
        let header = Block::new(class, layout, vtable::<Arriving<M, F>>(), core, inbox).into_raw();
        // SAFETY: a new block, that fits this cell.
        unsafe { set_stage(header, Arriving::new(make)) };
        let parcel = Parcel { header };
        let Header { own, mail, .. } = parcel.header();
        // Nobody finds it by this id, nor queues it: it is in no table yet.
        own.id.set(TaskId::NOBODY);
        own.marks.set(Marks::QUEUED);
        own.handle_alive.set(true);
        mail.store(Mail::SPAWN.bits(), Ordering::Relaxed);
        // SAFETY: `new` wants the only handle of a task whose output has this type, and `handle_alive` set for as long
        // as it lives: nobody else makes one, and only the handle's own goodbye clears it.
        let handle = unsafe { Handle::new(header) };
        (parcel, handle)
    }

    /// Hands it to its core. If that is no more, drops `make` here, and the handle finds a «cancelled».
    pub(in crate::task) fn send(self) {
        // SAFETY: `from_raw` wants a reference that somebody holds: the local side's, which is ours until it is
        // unpacked.
        let borrowed = ManuallyDrop::new(unsafe { Shared::from_raw(self.header) });
        if self.header().inbox.push(Shared::clone(&borrowed)).is_ok() {
            return;
        }
        // SAFETY: `cancel` wants a live cell of the vtable's own type, and the stage: they are still the sender's
        // alone.
        unsafe { (self.header().vtable.cancel)(self.header) };
        // Relaxed: the handle has not been given to anybody yet. From now on it stands for the local side.
        self.header().outcome.store(OUTPUT, Ordering::Relaxed);
        self.header().mail.store(Mail::GONE.bits(), Ordering::Relaxed);
    }

    fn header(&self) -> &Header {
        // SAFETY: `as_ref` wants a live, initialised header to which only shared references exist. The local side's
        // reference, which a parcel stands for, keeps it.
        unsafe { self.header.as_ref() }
    }
}

impl Local {
    /// Takes over a parcel, by the name of `id`.
    ///
    /// # Panics
    ///
    /// If it is for another core, and if it has been unpacked before.
    pub(in crate::task) fn unpack(parcel: &Shared, home: &Home, id: TaskId) -> Local {
        assert_eq!(parcel.header().core, home.id(), "a parcel came to a core that is not its own");
        // `home` is the proof that this is the thread of that core. The one `Local` that a new cell counts has been
        // nobody's so far; the name tells, since all that is unpacked has another.
        let unnamed = parcel.header().own.id.replace(id);
        assert_eq!(unnamed, TaskId::NOBODY, "a parcel was unpacked twice");
        // It is in no queue yet: from now on it may be.
        let marks = &parcel.header().own.marks;
        marks.set(marks.get().without(Marks::QUEUED));
        Local { header: parcel.as_ptr() }
    }
}
