//! The end of a core: what becomes of its tasks, and of the handles and wakers that outlive it.

use super::support::*;
use super::{end, new_core, run};
use crate::{
    inbox::Inbox,
    task::{JoinHandle, Site, Tasks, spawn},
};
use std::{
    cell::{Cell, RefCell},
    future::{self, poll_fn},
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
};

/// A Drop may spawn, wake, abort and drop other handles.
#[test]
fn the_end_drops_every_future_once_on_its_own_core_also_those_that_a_drop_spawns() {
    let core = new_core();
    let drops: Rc<Cell<usize>> = Rc::default();
    let entered = Tasks::enter(&core);
    let (place, polls) = (Rc::default(), Rc::default());
    let other = spawn(leave_waker(&place, &polls));
    let handle = spawn({
        let (in_task, in_spawned) = (count_drops(&drops), Cell::new(Some(count_drops(&drops))));
        let other = Cell::new(Some(other));
        let bomb = OnDrop(move || {
            place.borrow().as_ref().unwrap().wake_by_ref();
            let other = other.take().unwrap();
            other.abort();
            drop(other);
            let guard = in_spawned.take().unwrap();
            drop(spawn(async move { drop(guard) }));
        });
        async move {
            let _guards = (in_task, bomb);
            future::pending::<()>().await;
        }
    });
    run(&core);
    drop(entered);
    end(&core);
    assert_eq!(drops.get(), 2);
    assert!(handle.is_finished());
    assert!(output(handle).unwrap_err().is_cancelled());
}

/// Catches: a bound that is missing, and a leaked future whose handle waits for ever.
#[test]
fn a_drop_that_spawns_without_end_is_cut_short_and_what_is_left_is_leaked() {
    struct Respawns(Rc<Cell<usize>>, Rc<RefCell<Vec<JoinHandle<()>>>>);
    impl Drop for Respawns {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            respawn(&self.0, &self.1);
        }
    }
    fn respawn(drops: &Rc<Cell<usize>>, handles: &Rc<RefCell<Vec<JoinHandle<()>>>>) {
        let again = Respawns(Rc::clone(drops), Rc::clone(handles));
        let handle = spawn(async move {
            let _again = again;
            future::pending().await
        });
        handles.borrow_mut().push(handle);
    }
    let core = new_core();
    let (drops, handles) = (Rc::default(), Rc::default());
    let entered = Tasks::enter(&core);
    respawn(&drops, &handles);
    drop(entered);
    end(&core);
    assert_eq!(drops.get(), 100);
    let handles = handles.take();
    assert_eq!(handles.len(), 101);
    for handle in handles {
        assert!(output(handle).unwrap_err().is_cancelled());
    }
}

/// Catches: a local side that is given up although a handle relies on it.
#[test]
fn a_handle_works_after_its_core_is_gone() {
    for finished in [false, true] {
        let core = new_core();
        let drops = Rc::default();
        let entered = Tasks::enter(&core);
        let make = || {
            let guard = count_drops(&drops);
            spawn(async move {
                if !finished {
                    future::pending::<()>().await;
                }
                guard
            })
        };
        let (awaited, dropped) = (make(), make());
        run(&core);
        drop(entered);
        end(&core);
        drop(core);
        awaited.abort();
        drop(dropped);
        assert_eq!(drops.get(), if finished { 1 } else { 2 });
        assert_eq!(output(awaited).is_ok(), finished);
        assert_eq!(drops.get(), 2);
    }
}

/// A core that is dropped without its orderly end still drops its futures, and its handles stay sound.
#[test]
fn dropping_the_tasks_alone_cancels_them_as_well() {
    let core = new_core();
    let drops = Rc::default();
    let guard = count_drops(&drops);
    let handle = core.spawn(async move {
        let _guard = guard;
        future::pending::<()>().await;
    });
    drop(core);
    assert_eq!(drops.get(), 1);
    assert!(output(handle).unwrap_err().is_cancelled());
}

#[test]
fn a_task_that_holds_its_own_waker_and_handle_does_not_outlive_its_core() {
    let inbox = Inbox::new().unwrap();
    let watch = Arc::downgrade(&inbox);
    let drops = Rc::default();
    for ends in [false, true] {
        let core = Tasks::new(Site::new(), Arc::clone(&inbox));
        let entered = Tasks::enter(&core);
        let own = Rc::new(RefCell::new((None::<Waker>, None::<JoinHandle<()>>)));
        let handle = spawn({
            let (own, guard) = (Rc::clone(&own), count_drops(&drops));
            poll_fn(move |context| {
                let _guard = &guard;
                own.borrow_mut().0 = Some(context.waker().clone());
                if ends { Poll::Ready(()) } else { Poll::Pending }
            })
        });
        own.borrow_mut().1 = Some(handle);
        drop(own);
        run(&core);
        drop(entered);
        end(&core);
    }
    assert_eq!(drops.get(), 2);
    drop(inbox);
    assert_eq!(watch.strong_count(), 0, "no header is left");
}

/// Thread-locals are dropped in any order, also after ours.
#[test]
fn a_core_a_handle_and_a_waker_may_die_with_their_thread() {
    type Kept = (Rc<Tasks>, JoinHandle<()>, Waker);
    thread_local! {
        static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    }
    std::thread::spawn(|| {
        let core = new_core();
        let (place, polls) = (Rc::default(), Rc::default());
        let entered = Tasks::enter(&core);
        let handle = spawn(leave_waker(&place, &polls));
        run(&core);
        drop(entered);
        let waker = place.borrow_mut().take().unwrap();
        KEPT.set(Some((core, handle, waker)));
    })
    .join()
    .unwrap();
}
