//! Under loom: every interleaving, and every value that the memory model lets a load see, up to `LOOM_MAX_PREEMPTIONS`
//! (3 unless told). Loom also reports a deadlock (a wake that was lost), a race on a stage, and an inbox that is leaked
//! (a header that nobody freed).
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`

use super::{end, new_core, reachable_core};
use crate::{
    inbox::Inbox,
    sync::{Arc, AtomicUsize, Ordering},
    task::{JoinHandle, Tasks, spawn},
};
use loom::{
    model::Builder,
    sync::{Condvar, Mutex},
    thread,
};
use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc as StdArc,
    task::{Context, Poll, Wake, Waker},
};

fn model(story: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(story);
}

/// Turns the core, and parks it, until `future` is done.
fn block_on<F: Future>(core: &Rc<Tasks>, future: F) -> F::Output {
    let _entered = Tasks::enter(core);
    let root = core.root();
    root.wake_by_ref();
    let mut future = pin!(future);
    loop {
        if core.take_root_wake()
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&root))
        {
            return output;
        }
        core.accept_mail();
        if !core.run_next() && !core.is_ready() && core.inbox().prepare_to_park() {
            core.inbox().park();
            core.inbox().unparked();
        }
    }
}

/// A loom thread that waits for a future by itself.
fn block_on_thread<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Signal(Mutex<bool>, Condvar);
    impl Wake for Signal {
        fn wake(self: StdArc<Self>) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
    }
    let signal = StdArc::new(Signal(Mutex::new(false), Condvar::new()));
    let waker = Waker::from(StdArc::clone(&signal));
    loop {
        if let Poll::Ready(output) = pin!(&mut future).poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = signal.0.lock().unwrap();
        while !*woken {
            woken = signal.1.wait(woken).unwrap();
        }
        *woken = false;
    }
}

/// Ready when `count` is `wanted`; sends its waker through `give` at its first poll.
fn until_counted(
    count: Arc<AtomicUsize>,
    wanted: usize,
    give: impl FnOnce(Waker) + 'static,
) -> impl Future<Output = ()> {
    let mut give = Some(give);
    poll_fn(move |context| {
        if let Some(give) = give.take() {
            give(context.waker().clone());
        }
        // Relaxed: only the wake itself may make it visible.
        if count.load(Ordering::Relaxed) == wanted { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// Two threads each count and wake. What they did before is visible to the poll that their wake brings, also when the
/// other one's push brought it along, and the core never sleeps through one.
/// Catches: `prepare_to_park` without its second look, or either fence missing; `mail` relaxed; `next` read after the
/// mail was taken; a push before the mail is set.
#[test]
fn two_wakes_that_race_with_the_park_are_both_seen() {
    model(|| {
        let core = new_core();
        let count = Arc::new(AtomicUsize::new(0));
        let count_in_task = Arc::clone(&count);
        let senders = Rc::new(std::cell::RefCell::new(Vec::new()));
        let senders_in_task = Rc::clone(&senders);
        block_on(&core, async {
            let task = until_counted(count_in_task, 2, move |waker| {
                for _ in 0..2 {
                    let (waker, count) = (waker.clone(), Arc::clone(&count));
                    senders_in_task.borrow_mut().push(thread::spawn(move || {
                        count.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    }));
                }
            });
            spawn(task).await.unwrap();
        });
        end(&core);
        drop(core);
        for sender in senders.take() {
            sender.join().unwrap();
        }
    });
}

/// Two tasks in the stack at once, one of which comes back while the core goes through it.
/// Catches: `next` read after the mail was taken.
#[test]
fn a_task_that_comes_back_while_the_core_drains_takes_nobody_with_it() {
    model(|| {
        let core = new_core();
        let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
        let wakers = Rc::new(std::cell::RefCell::new(Vec::new()));
        let entered = Tasks::enter(&core);
        let handles: Vec<JoinHandle<()>> = (0..2)
            .map(|task| {
                let wakers = Rc::clone(&wakers);
                let wanted = 2 - task;
                spawn(until_counted(Arc::clone(&counts[task]), wanted, move |waker| wakers.borrow_mut().push(waker)))
            })
            .collect();
        super::run(&core);
        drop(entered);
        let (first, second) = (wakers.borrow()[0].clone(), wakers.borrow()[1].clone());
        let [first_count, second_count] = counts;
        let sender = thread::spawn(move || {
            second_count.fetch_add(1, Ordering::Relaxed);
            second.wake();
            for _ in 0..2 {
                first_count.fetch_add(1, Ordering::Relaxed);
                first.wake_by_ref();
            }
        });
        wakers.take();
        block_on(&core, async {
            for handle in handles {
                handle.await.unwrap();
            }
        });
        end(&core);
        drop(core);
        sender.join().unwrap();
    });
}

/// Catches: a push that goes on with an inbox its task has just let go; mail kept by a closed inbox.
#[test]
fn a_wake_that_races_with_the_end_of_the_core_leaks_and_touches_nothing() {
    model(|| {
        let core = new_core();
        let wakers = Rc::new(std::cell::RefCell::new(Vec::new()));
        let wakers_in_task = Rc::clone(&wakers);
        let entered = Tasks::enter(&core);
        drop(spawn(until_counted(Arc::new(AtomicUsize::new(0)), 1, move |waker| {
            wakers_in_task.borrow_mut().extend([waker.clone(), waker]);
        })));
        super::run(&core);
        drop(entered);
        let threads: Vec<_> = wakers.take().into_iter().map(|waker| thread::spawn(move || waker.wake())).collect();
        end(&core);
        drop(core);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Catches: an output that is read before it is written (`outcome` relaxed); a `JOIN` that comes between the core's
/// last look and its end.
#[test]
fn a_handle_on_another_thread_gets_the_output_or_learns_of_the_end() {
    for ends in [true, false] {
        model(move || {
            let core = new_core();
            let entered = Tasks::enter(&core);
            let handle = spawn(async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
                String::from("output")
            });
            drop(entered);
            let joiner = thread::spawn(move || block_on_thread(handle));
            {
                let _entered = Tasks::enter(&core);
                super::run(&core);
            }
            end(&core);
            drop(core);
            match joiner.join().unwrap() {
                Ok(text) => assert_eq!((text.as_str(), ends), ("output", true)),
                Err(error) => assert!(error.is_cancelled() && !ends),
            }
        });
    }
}

/// Catches: a goodbye by mail without a reference of its own; a core that ends without looking at the last mail.
#[test]
fn a_handle_that_is_dropped_elsewhere_frees_its_task_once() {
    for aborts in [false, true] {
        model(move || {
            let core = new_core();
            let output = Arc::new(());
            let watch = Arc::clone(&output);
            let entered = Tasks::enter(&core);
            let handle = spawn(async move { output });
            drop(entered);
            let dropper = thread::spawn(move || {
                if aborts {
                    handle.abort();
                }
                drop(handle);
            });
            {
                let _entered = Tasks::enter(&core);
                super::run(&core);
            }
            end(&core);
            drop(core);
            dropper.join().unwrap();
            assert_eq!(Arc::strong_count(&watch), 1, "the output was dropped");
        });
    }
}

/// Catches: `notify_only` without the flag, or without the fence.
#[test]
fn a_nudge_that_races_with_the_park_is_never_slept_through() {
    model(|| {
        let inbox: Arc<Inbox> = Inbox::new().unwrap();
        let left_elsewhere = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (inbox, left_elsewhere) = (Arc::clone(&inbox), Arc::clone(&left_elsewhere));
            thread::spawn(move || {
                left_elsewhere.store(1, Ordering::Relaxed);
                inbox.notify_only();
            })
        };
        while left_elsewhere.load(Ordering::Relaxed) == 0 {
            if inbox.prepare_to_park() {
                inbox.park();
                inbox.unparked();
            }
        }
        sender.join().unwrap();
    });
}

/// A task comes from another thread while the core parks. It is not slept through, what the sender wrote into it is
/// seen, and so is its output by the sender.
/// Catches: a parcel that is pushed without the bell; a push that does not release, or a drain that does not acquire.
#[test]
fn a_task_from_another_thread_is_found_by_a_core_that_is_about_to_park() {
    model(|| {
        let (core, address) = reachable_core();
        let done = Arc::new(AtomicUsize::new(0));
        let done_there = Arc::clone(&done);
        let root = core.root();
        let sender = thread::spawn(move || {
            let task = address.spawn(move || {
                let text = String::from("made here");
                async move {
                    // Relaxed: the wake makes it visible.
                    done_there.store(1, Ordering::Relaxed);
                    root.wake();
                    text
                }
            });
            assert_eq!(block_on_thread(task).unwrap(), "made here");
        });
        block_on(&core, poll_fn(|_| if done.load(Ordering::Relaxed) == 1 { Poll::Ready(()) } else { Poll::Pending }));
        end(&core);
        drop(core);
        sender.join().unwrap();
    });
}

/// A task is sent to a core that ends. It runs, or it is cancelled, here or there; what it captured is dropped once.
/// Catches: `close` without its second look at the tasks that came; a refused parcel that is not cancelled, or whose
/// mail does not say «gone».
#[test]
fn a_task_that_races_with_the_end_of_its_core_runs_or_is_cancelled() {
    for detaches in [false, true] {
        model(move || {
            let (core, address) = reachable_core();
            let inbox = address.inbox().clone();
            let captured = Arc::new(());
            let watch = Arc::clone(&captured);
            let sender = thread::spawn(move || {
                let task = address.spawn(move || async move { captured });
                if detaches {
                    drop(task);
                    return None;
                }
                Some(block_on_thread(task))
            });
            {
                let _entered = Tasks::enter(&core);
                super::run(&core);
            }
            end(&core);
            drop(core);
            match sender.join().unwrap() {
                Some(Ok(captured)) => drop(captured),
                Some(Err(error)) => assert!(error.is_cancelled()),
                None => assert!(detaches),
            }
            assert_eq!(Arc::strong_count(&watch), 1, "what was captured is dropped, once");
            assert_eq!(Arc::strong_count(&inbox), 1, "nobody's cell is left");
        });
    }
}

/// The handle is used while the task is on its way, here on the task's own core, before that has unpacked it.
/// Catches: `queued` left false in a parcel, so that an abort queues a task that is in no table.
#[test]
fn a_handle_that_overtakes_its_task_may_abort_it_on_its_own_core() {
    model(|| {
        let (core, address) = reachable_core();
        let handed = Arc::new(Mutex::new(None));
        let hands = Arc::clone(&handed);
        let sender = thread::spawn(move || {
            let task = address.spawn(|| async { 7 });
            *hands.lock().unwrap() = Some(task);
        });
        {
            let _entered = Tasks::enter(&core);
            let early: Option<JoinHandle<i32>> = handed.lock().unwrap().take();
            if let Some(task) = &early {
                task.abort();
                // Before the mail is looked at, as in the middle of a turn.
                assert!(!core.run_next(), "a core runs what it has not seen");
            }
            super::run(&core);
            drop(early);
            super::run(&core);
        }
        end(&core);
        drop(core);
        sender.join().unwrap();
        drop(handed.lock().unwrap().take());
    });
}
