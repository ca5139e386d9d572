//! On one thread: each test is one promise, over every order in which it can be put to the test.

use super::support::*;
use super::{end, new_core, run};
use crate::task::{JoinError, JoinHandle, Notify, Tasks, spawn, yield_now};
use std::{
    cell::{Cell, RefCell},
    future::{self, poll_fn},
    hint, io,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

#[test]
fn a_task_starts_when_its_turn_comes_and_gives_its_output_to_the_handle() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let started = Rc::new(Cell::new(false));
    let handle = spawn({
        let started = Rc::clone(&started);
        async move {
            started.set(true);
            String::from("output")
        }
    });
    assert!(!started.get() && !handle.is_finished());
    assert_eq!((core.alive(), core.ready()), (1, 1));

    assert_eq!(run(&core), 1);
    assert!(started.get() && handle.is_finished());
    assert_eq!((core.alive(), core.ready(), core.counters().polls), (0, 0, 1));
    assert_eq!(output(handle).unwrap(), "output");
    end(&core);
}

#[test]
fn a_task_that_joins_another_is_woken_when_it_ends() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let gate = Rc::new(Cell::new(None::<Waker>));
    let inner = spawn({
        let gate = Rc::clone(&gate);
        let mut asked = false;
        poll_fn(move |context| {
            if asked {
                return Poll::Ready(7);
            }
            asked = true;
            gate.set(Some(context.waker().clone()));
            Poll::Pending
        })
    });
    let outer = spawn(async move { inner.await.unwrap() + 1 });
    run(&core);
    assert!(!outer.is_finished());

    gate.take().unwrap().wake();
    run(&core);
    assert_eq!(output(outer).unwrap(), 8);
    end(&core);
}

#[test]
fn tasks_run_in_the_order_of_their_wakes_and_a_yield_goes_to_the_back() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let order = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b", "c"] {
        let order = Rc::clone(&order);
        drop(spawn(async move {
            order.borrow_mut().push(name);
            yield_now().await;
            order.borrow_mut().push(name);
        }));
    }
    run(&core);
    assert_eq!(*order.borrow(), ["a", "b", "c", "a", "b", "c"]);
    end(&core);
}

/// Combinators poll a leaf with a waker of their own, and only poll it again when that one is woken.
#[test]
fn yield_now_wakes_the_waker_of_its_last_poll() {
    let (counter, waker) = counting();
    let mut pause = yield_now();
    assert!(poll_with(&mut pause, &waker).is_pending());
    assert_eq!(counter.wakes(), 1);
    assert!(poll_with(&mut pause, &waker).is_ready());
    assert_eq!(counter.wakes(), 1);
}

#[test]
fn a_task_that_is_woken_many_times_before_its_turn_is_polled_once() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let (place, polls) = (Rc::default(), Rc::default());
    let handle = spawn(leave_waker(&place, &polls));
    run(&core);
    let waker = place.borrow().clone().unwrap();
    for _ in 0..10 {
        waker.wake_by_ref();
    }
    assert_eq!((core.ready(), run(&core), polls.get()), (1, 1, 2));
    drop(handle);
    end(&core);
}

/// Every order of four actions on a waker, while the task runs, after it ended, and after its core did. No count goes
/// wrong: future and output are dropped once, and memory checkers see no leak.
/// Catches: a `wake_by_ref` that gives its reference away.
#[test]
fn wakers_may_be_used_in_any_order_before_and_after_the_end() {
    for order in 0..256_usize {
        for when in 0..3 {
            let core = new_core();
            let entered = Tasks::enter(&core);
            let (place, polls, drops) = (Rc::default(), Rc::default(), Rc::default());
            let handle = spawn({
                let (future, guard) = (leave_waker(&place, &polls), count_drops(&drops));
                async move {
                    let _guard = guard;
                    future.await;
                }
            });
            run(&core);
            let waker = place.borrow_mut().take().unwrap();
            if when > 0 {
                handle.abort();
                run(&core);
                assert_eq!(drops.get(), 1);
            }
            if when > 1 {
                end(&core);
                drop(entered);
            }
            let mut wakers = vec![waker];
            for action in (0..4).map(|step| order >> (2 * step) & 3) {
                match (action, wakers.pop()) {
                    (0, Some(waker)) => wakers.extend([waker.clone(), waker]),
                    (1, Some(waker)) => waker.wake(),
                    (2, Some(waker)) => {
                        waker.wake_by_ref();
                        wakers.push(waker);
                    }
                    (_, waker) => drop(waker),
                }
            }
            run(&core);
            drop(place.borrow_mut().take());
            end(&core);
            assert_eq!(drops.get(), 1, "order {order:#x}, {when}");
        }
    }
}

/// Catches: a finished cell given to the pool while a waker still points to it.
#[test]
fn a_stale_waker_does_not_wake_the_task_that_came_after() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let (place, polls) = (Rc::default(), Rc::default());
    let first = spawn(leave_waker(&place, &polls));
    run(&core);
    let stale = place.borrow_mut().take().unwrap();
    let id = Notify::of(&stale);
    assert!(matches!(id, Notify::Task(_)));
    first.abort();
    drop(first);
    run(&core);

    let second_polls = Rc::default();
    let second = spawn(leave_waker(&place, &second_polls));
    run(&core);
    stale.wake();
    core.notify(id);
    assert_eq!((run(&core), second_polls.get()), (0, 1));
    drop(second);
    end(&core);
}

#[test]
fn an_aborted_task_is_dropped_in_its_turn_whether_or_not_it_has_run() {
    for has_run in [false, true] {
        let core = new_core();
        let _entered = Tasks::enter(&core);
        let drops = Rc::default();
        let handle = spawn({
            let guard = count_drops(&drops);
            async move {
                let _guard = guard;
                future::pending::<()>().await;
            }
        });
        if has_run {
            run(&core);
        }
        handle.abort();
        handle.abort();
        assert_eq!(drops.get(), 0, "not within abort");
        run(&core);
        assert_eq!(drops.get(), 1);
        assert!(output(handle).unwrap_err().is_cancelled());
        end(&core);
    }
}

#[test]
fn a_task_may_abort_itself_and_is_dropped_unless_it_ends_in_that_very_poll() {
    for ends in [false, true] {
        let core = new_core();
        let _entered = Tasks::enter(&core);
        let own_handle = Rc::new(RefCell::new(None::<JoinHandle<()>>));
        *own_handle.borrow_mut() = Some(spawn({
            let own_handle = Rc::clone(&own_handle);
            async move {
                own_handle.borrow().as_ref().unwrap().abort();
                if !ends {
                    future::pending::<()>().await;
                }
            }
        }));
        run(&core);
        let handle = own_handle.take().unwrap();
        assert_eq!(output(handle).is_ok(), ends);
        end(&core);
    }
}

#[test]
fn abort_after_the_end_leaves_the_output() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let handle = spawn(async { 5 });
    run(&core);
    handle.abort();
    run(&core);
    assert_eq!(output(handle).unwrap(), 5);
    end(&core);
}

/// Dropped before its start, during its life, after its end; and by the task itself.
/// Catches: a handle's drop that closes a task which is still referenced.
#[test]
fn dropping_the_handle_detaches_the_task_and_drops_its_output_once() {
    for when in 0..4 {
        let core = new_core();
        let _entered = Tasks::enter(&core);
        let (drops, ran) = (Rc::default(), Rc::new(Cell::new(false)));
        let own_handle = Rc::new(RefCell::new(None));
        let handle = spawn({
            let (guard, ran, own_handle) = (count_drops(&drops), Rc::clone(&ran), Rc::clone(&own_handle));
            async move {
                yield_now().await;
                drop(own_handle.take());
                ran.set(true);
                guard
            }
        });
        match when {
            0 => drop(handle),
            1 => {
                core.run_next();
                drop(handle);
            }
            2 => {
                run(&core);
                assert_eq!(drops.get(), 0, "the handle still wants it");
                drop(handle);
            }
            _ => *own_handle.borrow_mut() = Some(handle),
        }
        run(&core);
        assert!(ran.get());
        assert_eq!((drops.get(), core.alive()), (1, 0));
        end(&core);
    }
}

#[test]
fn the_last_poll_of_a_handle_says_whom_to_wake() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let mut handle = spawn(yield_now());
    let ((first, first_waker), (second, second_waker)) = (counting(), counting());
    assert!(poll_with(&mut handle, &first_waker).is_pending());
    assert!(poll_with(&mut handle, &second_waker).is_pending());
    run(&core);
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    assert!(poll_once(&mut handle).is_ready());
    end(&core);
}

/// A panic in poll, in the Drop of the future, in the Drop of the output, in a waker, and in a payload's own Drop.
/// Catches: each `contain` that is missing.
#[test]
fn a_panic_ends_in_the_join_error_and_other_tasks_go_on() {
    struct PanickingWake;
    impl Wake for PanickingWake {
        fn wake(self: Arc<Self>) {
            panic!("in a waker");
        }
    }
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let bystander = spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
        "alive"
    });
    let in_poll = spawn(async { panic!("in poll, {}", hint::black_box(1)) });
    let in_future_drop = spawn({
        let guard = OnDrop(|| panic!("in the future's drop"));
        poll_fn(move |_| {
            let _still_here = &guard;
            Poll::Ready("output")
        })
    });
    drop(spawn(async { OnDrop(|| panic!("in the output's drop")) }));
    drop(spawn(async { panic::panic_any(OnDrop(|| panic!("in the payload's drop"))) }));
    let mut waited_for = spawn(yield_now());
    assert!(poll_with(&mut waited_for, &Waker::from(Arc::new(PanickingWake))).is_pending());

    run(&core);
    assert_eq!(output(bystander).unwrap(), "alive");
    assert_eq!(output(in_future_drop).unwrap(), "output");
    output(waited_for).unwrap();
    let error: JoinError = output::<()>(in_poll).unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the task panicked: in poll, 1");
    assert_eq!(error.into_panic().downcast_ref::<String>().unwrap(), "in poll, 1");
    assert_eq!(core.alive(), 0);
    end(&core);
}

#[test]
fn a_join_error_becomes_an_io_error_that_says_the_same() {
    let error = io::Error::from(JoinError::cancelled());
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(error.to_string(), "the task was cancelled");
    assert!(error.get_ref().unwrap().downcast_ref::<JoinError>().unwrap().is_cancelled());
    assert!(JoinError::cancelled().try_into_panic().unwrap_err().is_cancelled());
}

#[test]
fn several_cores_take_turns_on_one_thread_and_each_runs_only_its_own() {
    let (a, b) = (new_core(), new_core());
    let in_a = Tasks::enter(&a);
    let (place, polls) = (Rc::default(), Rc::default());
    let handle = spawn(leave_waker(&place, &polls));
    run(&a);
    {
        let _in_b = Tasks::enter(&b);
        let waker = place.borrow().clone().unwrap();
        assert!(matches!(Notify::of(&waker), Notify::Waker(_)), "an id means nothing to another core");
        waker.wake();
        assert_eq!((a.ready(), b.ready()), (0, 0), "it goes by mail");
        drop(spawn(async {}));
        assert_eq!((b.alive(), run(&b)), (1, 1));
        drop(handle);
    }
    assert_eq!((a.alive(), run(&a), polls.get()), (1, 1, 2));
    assert_eq!(a.counters().remote_wakes, 1);
    drop(in_a);
    end(&a);
    end(&b);
}

#[test]
fn the_root_is_woken_by_its_waker_by_its_id_and_from_tasks() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let root = core.root();
    assert!(!core.take_root_wake());
    root.wake_by_ref();
    root.wake_by_ref();
    assert!(core.take_root_wake() && !core.take_root_wake());

    let mut handle = pin!(spawn(yield_now()));
    assert!(handle.as_mut().poll(&mut Context::from_waker(&root)).is_pending());
    run(&core);
    assert!(core.take_root_wake() && handle.is_finished());
    assert_eq!(core.ready(), 0, "it is no task");
    end(&core);
    root.wake();
}

#[test]
fn a_wait_knows_whether_it_would_wake_the_given_waker() {
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let (place, polls) = (Rc::default(), Rc::default());
    let handles = [spawn(leave_waker(&place, &polls)), spawn(leave_waker(&place, &polls))];
    core.run_next();
    let first = place.borrow_mut().take().unwrap();
    core.run_next();
    let second = place.borrow_mut().take().unwrap();
    let (_, other) = counting();
    for (waker, others) in [(&first, [&second, &other]), (&second, [&first, &other]), (&other, [&first, &second])] {
        let waiting = Notify::of(waker);
        assert!(waiting.will_wake(waker) && waiting.will_wake(&waker.clone()));
        assert!(others.iter().all(|other| !waiting.will_wake(other)));
    }
    drop(handles);
    end(&core);
}

/// Catches: a push that takes no look at the mark.
#[test]
fn tasks_run_in_the_order_of_their_wakes_and_once_however_often_they_are_woken() {
    const TASKS: usize = 1000;
    let core = new_core();
    let _entered = Tasks::enter(&core);
    let (wakers, ran) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
    for task in 0..TASKS {
        let (wakers, ran) = (Rc::clone(&wakers), Rc::clone(&ran));
        drop(spawn(poll_fn(move |context| {
            wakers.borrow_mut().push(context.waker().clone());
            ran.borrow_mut().push(task);
            Poll::<()>::Pending
        })));
    }
    run(&core);
    assert_eq!(ran.take(), (0..TASKS).collect::<Vec<_>>());
    // 387 has no divisor in common with 1000: each is met once.
    let order: Vec<_> = (0..TASKS).map(|turn| turn * 387 % TASKS).collect();
    for (turn, &task) in order.iter().enumerate() {
        let wakers = wakers.borrow();
        wakers[task].wake_by_ref();
        wakers[order[turn / 2]].wake_by_ref();
    }
    assert_eq!(core.ready(), TASKS);
    run(&core);
    assert_eq!((ran.take(), core.ready()), (order, 0));
    drop(wakers.take());
    end(&core);
}

#[test]
fn futures_of_any_size_and_alignment_run_and_their_memory_is_used_again() {
    #[repr(align(256))]
    struct Strict(u8);
    let core = new_core();
    let _entered = Tasks::enter(&core);
    for round in 0..3_u8 {
        let small = spawn(async move { round });
        let large = spawn({
            let data = [round; 10_000];
            async move {
                yield_now().await;
                data.iter().map(|&byte| u64::from(byte)).sum::<u64>()
            }
        });
        let strict = spawn({
            let data = Strict(round);
            async move {
                yield_now().await;
                let address = (&raw const data).addr();
                (address % 256, data.0)
            }
        });
        run(&core);
        assert_eq!(output(small).unwrap(), round);
        assert_eq!(output(large).unwrap(), 10_000 * u64::from(round));
        assert_eq!(output(strict).unwrap(), (0, round));
    }
    end(&core);
}

#[test]
fn spawning_outside_of_a_runtime_panics_with_words() {
    let payload = panic::catch_unwind(AssertUnwindSafe(|| drop(spawn(async {})))).unwrap_err();
    assert!(payload.downcast_ref::<&str>().unwrap().contains("outside of a runtime"));
}

#[test]
fn a_handle_may_be_sent_exactly_if_its_output_may() {
    trait IfSend {
        const IS_SEND: bool = false;
    }
    impl<T> IfSend for T {}
    struct Of<T>(std::marker::PhantomData<T>);
    impl<T: Send + Sync> Of<T> {
        const IS_SEND: bool = true;
    }
    const { assert!(Of::<JoinHandle<Cell<u8>>>::IS_SEND) }
    const { assert!(!<Of<JoinHandle<Rc<u8>>>>::IS_SEND) }
}
