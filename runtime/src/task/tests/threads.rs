//! With several threads and a core that really parks. No test waits for a time to pass: each ends when what was
//! promised has come, and hangs (until the runner's limit) if it does not.

use super::{end, new_core};
use crate::{
    inbox::Inbox,
    task::{JoinHandle, Site, Tasks, spawn},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::read,
};
use std::{
    env,
    future::{self, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

/// Parks as a driver would: on the eventfd, which only this reads.
fn park(inbox: &Inbox) {
    if !inbox.prepare_to_park() {
        return;
    }
    let eventfd = inbox.eventfd();
    poll(&mut [PollFd::from_borrowed_fd(eventfd, PollFlags::IN)], None).expect("poll(2) on an eventfd");
    inbox.unparked();
    read(eventfd, &mut [0; 8]).expect("read(2) from an eventfd that is ready");
}

/// One core's loop, as short as it gets. Says how often it parked.
fn block_on<F: Future>(core: &Rc<Tasks>, inbox: &Inbox, future: F) -> (F::Output, u64) {
    let _entered = Tasks::enter(core);
    let root = core.root();
    root.wake_by_ref();
    let mut future = pin!(future);
    let mut parks = 0;
    loop {
        if core.take_root_wake()
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&root))
        {
            return (output, parks);
        }
        core.accept_mail();
        if !core.run_next() && !core.is_ready() {
            parks += 1;
            park(inbox);
        }
    }
}

/// A thread that waits for a future by itself, without any runtime.
fn block_on_thread<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn from_environment(name: &str, ordinary: u64) -> u64 {
    env::var(name).map_or(ordinary, |text| text.parse().expect("a number"))
}

/// A small generator of numbers, for what must differ and yet be the same again.
struct Seeded(u64);

impl Seeded {
    /// From `GIMMAL_SEED`; says which.
    fn new() -> Seeded {
        let seed = from_environment("GIMMAL_SEED", 0x9e37_79b9_7f4a_7c15);
        println!("GIMMAL_SEED={seed}");
        Seeded(seed | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Four threads wake one task; now and then each waits until the task has seen its last wake, so that the core parks
/// in between and a wake that is lost hangs the test. `GIMMAL_WAKES` says how many, for slow tools.
/// Catches: `prepare_to_park` without its second look; a relaxed `mail`.
#[test]
fn of_ten_million_wakes_from_other_threads_none_is_lost() {
    const SENDERS: usize = 4;
    let wakes_each = from_environment("GIMMAL_WAKES", 10_000_000) / 4;
    let mut seeds = Seeded::new();
    let inbox = Inbox::new().unwrap();
    let core = Tasks::new(Site::new(), crate::sync::Arc::clone(&inbox));
    let sent: Arc<[AtomicU64; SENDERS]> = Arc::default();
    let seen: Arc<[AtomicU64; SENDERS]> = Arc::default();
    let (give_waker, take_waker) = mpsc::channel::<Waker>();
    let (sent_by_senders, seen_by_senders) = (Arc::clone(&sent), Arc::clone(&seen));
    let senders = thread::spawn(move || {
        let waker = take_waker.recv().unwrap();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (waker, sent, seen) = (waker.clone(), &sent_by_senders[sender], &seen_by_senders[sender]);
                let mut seeded = Seeded(seeds.below(u64::MAX) | 1);
                scope.spawn(move || {
                    for number in 1..=wakes_each {
                        sent.store(number, Ordering::Relaxed);
                        waker.wake_by_ref();
                        if number == wakes_each || seeded.below(64) == 0 {
                            while seen.load(Ordering::Relaxed) < number {
                                thread::yield_now();
                            }
                        }
                    }
                });
            }
        });
    });
    let ((), parks) = block_on(&core, &inbox, async {
        let task = spawn(poll_fn(move |context| {
            if core_polls_first(&seen) {
                give_waker.send(context.waker().clone()).ok();
            }
            let mut all_seen = true;
            for (sent, seen) in sent.iter().zip(seen.iter()) {
                let number = sent.load(Ordering::Relaxed);
                seen.store(number, Ordering::Relaxed);
                all_seen &= number == wakes_each;
            }
            if all_seen { Poll::Ready(()) } else { Poll::Pending }
        }));
        task.await.unwrap();
    });
    senders.join().unwrap();
    println!("{} wakes: {:?}, {parks} parks", 4 * wakes_each, core.counters());
    assert!(parks > 0);
    end(&core);
}

/// Nobody has sent anything, so nobody has a waker yet. (Sent again it does no harm.)
fn core_polls_first(seen: &[AtomicU64; 4]) -> bool {
    seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 0)
}

/// Eight threads clone, wake and drop one waker while its task ends, its core ends, and after.
/// Catches: a reference that is dropped before the bell rings; a relaxed drop of the last reference.
#[test]
fn a_waker_may_be_used_from_eight_threads_while_its_task_and_its_core_end() {
    for round in 0..from_environment("GIMMAL_ROUNDS", 50) {
        let inbox = Inbox::new().unwrap();
        let core = Tasks::new(Site::new(), crate::sync::Arc::clone(&inbox));
        let drops = Arc::new(AtomicUsize::new(0));
        let (give_waker, take_waker) = mpsc::channel::<Waker>();
        let threads = thread::spawn(move || {
            let waker = take_waker.recv().unwrap();
            thread::scope(|scope| {
                for thread in 0..8 {
                    let waker = waker.clone();
                    scope.spawn(move || {
                        for step in 0..500 {
                            match (thread + step) % 3 {
                                0 => waker.wake_by_ref(),
                                1 => {
                                    let another = waker.clone();
                                    another.wake();
                                }
                                _ => drop(waker.clone()),
                            }
                        }
                    });
                }
            });
        });
        struct CountsDrop(Arc<AtomicUsize>);
        impl Drop for CountsDrop {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let guard = CountsDrop(Arc::clone(&drops));
        let mut polls = 0;
        block_on(&core, &inbox, async {
            let task = spawn(poll_fn(move |context| {
                let _guard = &guard;
                give_waker.send(context.waker().clone()).ok();
                polls += 1;
                // The second poll is certain: the waker came out with the first, and is woken after that.
                if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
            }));
            // Odd rounds end the core under the task.
            if round % 2 == 0 {
                task.await.unwrap();
            } else {
                drop(task);
                crate::task::yield_now().await;
                crate::task::yield_now().await;
            }
        });
        end(&core);
        drop(core);
        assert_eq!(drops.load(Ordering::Relaxed), 1, "dropped by its own core, once");
        threads.join().unwrap();
    }
}

/// On a bare thread and on another core; awaited, aborted or dropped; before, while and after the task's core ends.
/// Catches: a `JOIN` that is not looked at when the core ends; a goodbye after `GONE` that frees nothing.
#[test]
fn a_handle_works_on_another_thread_whatever_becomes_of_its_core() {
    let mut seeded = Seeded::new();
    for _ in 0..from_environment("GIMMAL_ROUNDS", 50) * 10 {
        let inbox = Inbox::new().unwrap();
        let core = Tasks::new(Site::new(), crate::sync::Arc::clone(&inbox));
        let (give_handle, take_handle) = mpsc::channel::<JoinHandle<String>>();
        let on_a_core = seeded.below(2) == 0;
        let mut elsewhere_seeded = Seeded(seeded.below(u64::MAX) | 1);
        let elsewhere = thread::spawn(move || {
            let own_inbox = Inbox::new().unwrap();
            let own_core = Tasks::new(Site::new(), crate::sync::Arc::clone(&own_inbox));
            let mut ended = 0;
            for handle in take_handle {
                match elsewhere_seeded.below(3) {
                    0 => drop(handle),
                    action => {
                        if action == 1 {
                            handle.abort();
                        }
                        let output =
                            if on_a_core { block_on(&own_core, &own_inbox, handle).0 } else { block_on_thread(handle) };
                        match output {
                            Ok(text) => assert_eq!(text, "output"),
                            Err(error) => assert!(error.is_cancelled()),
                        }
                        ended += 1;
                    }
                }
            }
            end(&own_core);
            ended
        });
        block_on(&core, &inbox, async {
            for _ in 0..10 {
                let pauses = seeded.below(4);
                give_handle
                    .send(spawn(async move {
                        for _ in 0..pauses {
                            crate::task::yield_now().await;
                        }
                        if pauses == 3 {
                            future::pending::<()>().await;
                        }
                        String::from("output")
                    }))
                    .unwrap();
                crate::task::yield_now().await;
            }
        });
        drop(give_handle);
        end(&core);
        drop(core);
        assert!(elsewhere.join().unwrap() <= 10);
    }
}

/// The blocking pool and the watchdog leave things elsewhere than in a task's mail.
#[test]
fn a_nudge_makes_the_core_go_around_also_if_it_comes_before_the_park() {
    let core = new_core();
    let inbox = core.inbox();
    inbox.notify_only();
    assert!(!inbox.prepare_to_park(), "nudged before");
    assert!(inbox.prepare_to_park(), "once");
    thread::scope(|scope| {
        scope.spawn(|| inbox.notify_only());
        // Returns, or hangs.
        poll(&mut [PollFd::from_borrowed_fd(inbox.eventfd(), PollFlags::IN)], None).unwrap();
    });
    inbox.unparked();
    assert!(inbox.prepare_to_park(), "the nudge was for the last park");
    inbox.unparked();
    end(&core);
}
