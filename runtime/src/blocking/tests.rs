//! What the pool and its calls promise. Jobs wait at gates, not for time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::call::{Call, Closed};
use super::pool::{Left, Pool, Source};

/// Longer than anything here takes, so that what hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Jobs wait here until it opens.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// Counts its wakes, and wakes a thread that waits for one.
struct Bell {
    thread: thread::Thread,
    rung: AtomicUsize,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Bell { thread: thread::current(), rung: AtomicUsize::new(0) })
    }

    fn rung(&self) -> usize {
        self.rung.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// Polls only when woken, so a lost wake fails.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let give_up = Instant::now() + PATIENCE;
    loop {
        let rung = bell.rung();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while bell.rung() == rung {
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody woke the task");
            thread::park_timeout(left);
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        thread::yield_now();
    }
}

fn close(pool: &Pool) -> Left {
    pool.close(Instant::now() + PATIENCE)
}

/// A pool whose only thread waits at the gate, and whose queue is full.
fn full_pool(queue_max: usize) -> (Arc<Pool>, Arc<Source>, Arc<Gate>) {
    let (pool, source) = pool(1, queue_max);
    let gate = Arc::new(Gate::default());
    let at_gate = Arc::clone(&gate);
    assert!(source.submit(Box::new(move || at_gate.pass())).is_ok());
    until("the thread has its job", || pool.counters().queued == 0);
    for _ in 0..queue_max {
        assert_eq!(source.submit(Box::new(|| ())).unwrap(), None);
    }
    (pool, source, gate)
}

fn pool(threads_max: usize, queue_max: usize) -> (Arc<Pool>, Arc<Source>) {
    let pool = Pool::new(threads_max, queue_max);
    let source = Arc::new(pool.source());
    (pool, source)
}

#[test]
fn a_call_gives_back_what_its_function_returned_from_a_thread_of_the_pool() {
    let (pool, source) = pool(4, 4);
    let name = wait(Call::begin(Arc::clone(&source), || thread::current().name().map(str::to_owned)));
    assert_eq!(name.unwrap().unwrap(), "gimmal-blocking-0");
    assert_eq!(close(&pool), Left { threads: 0 });
}

#[test]
fn a_panic_goes_on_where_the_call_is_awaited_and_its_thread_lives() {
    let (pool, source) = pool(1, 4);
    let call = Call::begin(Arc::clone(&source), || -> u8 { panic!("in the job") });
    let payload = catch_unwind(AssertUnwindSafe(|| wait(call))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"in the job"));
    let name = wait(Call::begin(Arc::clone(&source), || thread::current().name().map(str::to_owned)));
    assert_eq!(name.unwrap().unwrap(), "gimmal-blocking-0");
    until("both have been counted", || pool.counters().run == 2);
    assert_eq!(pool.counters().threads, 1);
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// Jobs that need one another, one more of them than threads are idle.
/// Catches: «somebody is idle» in place of «as many are idle as jobs are queued».
#[test]
fn no_idle_thread_is_promised_to_two_jobs() {
    let (pool, source) = pool(8, 8);
    for threads in 0..8 {
        until("all idle", || pool.counters().idle == threads);
        let together = Arc::new(Barrier::new(threads + 1));
        let (report, done) = mpsc::channel();
        for _ in 0..=threads {
            let (together, report) = (Arc::clone(&together), report.clone());
            let job = Box::new(move || {
                together.wait();
                report.send(()).unwrap();
            });
            assert!(source.submit(job).is_ok());
        }
        for _ in 0..=threads {
            done.recv_timeout(PATIENCE).expect("every job has a thread");
        }
        assert_eq!(pool.counters().threads, threads + 1);
    }
    assert_eq!(close(&pool), Left { threads: 0 });
}

#[test]
fn threads_without_work_end() {
    let pool = Pool::with_idle_time(4, 100, Duration::from_millis(1));
    let source = Arc::new(pool.source());
    for _ in 0..20 {
        assert!(source.submit(Box::new(|| ())).is_ok());
    }
    until("all threads ended", || pool.counters().threads == 0);
    assert_eq!(pool.counters().run, 20);
    assert_eq!(pool.counters().idle, 0);
    assert_eq!(wait(Call::begin(Arc::clone(&source), || 7)), Ok(7));
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// The core goes on: a thousand calls on a pool that is stuck all return from their first poll.
/// Catches: a place in the queue that comes free and stays so; a newcomer who overtakes the line.
#[test]
fn calls_beyond_the_bound_wait_in_line_and_run_in_order() {
    let (pool, source, gate) = full_pool(4);
    let order = Arc::new(Mutex::new(Vec::new()));
    let bell = Bell::new();
    let mut calls: Vec<_> = (0..1000)
        .map(|number| {
            let order = Arc::clone(&order);
            Call::begin(Arc::clone(&source), move || order.lock().unwrap().push(number))
        })
        .collect();
    for call in &mut calls {
        assert!(poll(call, &bell).is_pending());
    }
    assert_eq!((pool.counters().queued, pool.counters().in_line), (4, 1000));
    gate.open();
    for call in calls {
        assert_eq!(wait(call), Ok(()));
    }
    assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..1000));
    assert_eq!(pool.counters().in_line, 0);
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// As on a core that runs nothing for a while, between two `block_on`s: what others wait for must not hang on it.
/// Catches: room that is kept for somebody until he comes by.
#[test]
fn a_call_in_line_is_run_also_if_nobody_polls_it() {
    let (pool, source, gate) = full_pool(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let unpolled: Vec<_> = (0..10)
        .map(|_| {
            let ran = Arc::clone(&ran);
            Call::begin(Arc::clone(&source), move || ran.fetch_add(1, Ordering::SeqCst))
        })
        .collect();
    assert_eq!(pool.counters().in_line, 10);
    gate.open();
    until("all have run", || ran.load(Ordering::SeqCst) == 10);
    drop(unpolled);
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// Jobs in line that need one another: without more threads they would wait for ever.
/// Catches: threads that are started for what is queued, but not for what stands in line.
#[test]
fn what_stands_in_line_gets_its_threads_too() {
    let (pool, source) = pool(8, 1);
    let together = Arc::new(Barrier::new(8));
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let together = Arc::clone(&together);
            Call::begin(Arc::clone(&source), move || together.wait().is_leader())
        })
        .collect();
    assert_eq!(calls.into_iter().map(wait).filter(|leads| *leads == Ok(true)).count(), 1);
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// Catches: one line for all, in which another core's flood comes first.
#[test]
fn a_flood_from_one_source_delays_another_by_the_queue_and_its_turn() {
    const QUEUE: usize = 4;
    let (pool, source, gate) = full_pool(QUEUE);
    let others = [(); 3].map(|()| Arc::new(pool.source()));
    let order = Arc::new(Mutex::new(Vec::new()));
    let calls_of = |source: &Arc<Source>, name: usize, count: usize| -> Vec<_> {
        let begin = |_| {
            let order = Arc::clone(&order);
            Call::begin(Arc::clone(source), move || order.lock().unwrap().push(name))
        };
        (0..count).map(begin).collect()
    };
    let flood = calls_of(&source, 0, 1000);
    let few: Vec<_> = (1..).zip(&others).flat_map(|(name, source)| calls_of(source, name, 2)).collect();
    gate.open();
    for call in few.into_iter().chain(flood) {
        assert_eq!(wait(call), Ok(()));
    }
    assert_eq!(order.lock().unwrap()[..8], [1, 2, 3, 0, 1, 2, 3, 0]);
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// Catches: a place in line that is kept by somebody who has left.
#[test]
fn a_call_that_is_dropped_in_line_leaves_it_at_once() {
    let (pool, source, gate) = full_pool(1);
    let witness = Arc::new(());
    let mut calls: Vec<_> = (0..4)
        .map(|number| {
            let inside = Arc::clone(&witness);
            Call::begin(Arc::clone(&source), move || (number, drop(inside)).0)
        })
        .collect();
    drop(calls.remove(1));
    assert_eq!((pool.counters().in_line, Arc::strong_count(&witness)), (3, 4), "it left from the middle");
    gate.open();
    for (number, call) in [0, 2, 3].into_iter().zip(calls) {
        assert_eq!(wait(call), Ok(number));
    }
    assert_eq!(source.submit(Box::new(|| ())).unwrap(), None, "all room is free again");
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// Catches: a job that is run although nobody waits for it any more.
#[test]
fn a_call_dropped_before_it_begins_is_not_run() {
    let (pool, source, gate) = full_pool(1);
    gate.open();
    until("the queue is empty", || pool.counters().run == 2);
    let gate = Arc::new(Gate::default());
    let at_gate = Arc::clone(&gate);
    let blocker = Call::begin(Arc::clone(&source), move || at_gate.pass());
    until("the thread has it", || pool.counters().queued == 0);
    let witness = Arc::new(());
    let inside = Arc::clone(&witness);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    drop(Call::begin(Arc::clone(&source), move || {
        let _inside = inside;
        count.fetch_add(1, Ordering::SeqCst);
    }));
    gate.open();
    assert_eq!(wait(blocker), Ok(()));
    until("its turn is over", || pool.counters().run == 4);
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    assert_eq!(Arc::strong_count(&witness), 1, "what it captured is dropped");
    assert_eq!(close(&pool), Left { threads: 0 });
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (pool, source, gate) = full_pool(1);
    let [first, last] = [(); 2].map(|()| Bell::new());
    let mut call = Call::begin(Arc::clone(&source), || ());
    assert!(poll(&mut call, &first).is_pending());
    assert!(poll(&mut call, &last).is_pending());
    gate.open();
    until("it is done", || last.rung() == 1);
    assert_eq!(poll(&mut call, &last), Poll::Ready(Ok(())));
    assert_eq!(first.rung(), 0);
    assert_eq!(close(&pool), Left { threads: 0 });
}

/// Catches: queued jobs that are run at the end; jobs in line that are forgotten without a word.
#[test]
fn closing_drops_what_has_not_begun_and_tells_all_who_wait() {
    let (pool, source, gate) = full_pool(1);
    gate.open();
    until("the queue is empty", || pool.counters().run == 2);
    let gate = Arc::new(Gate::default());
    let at_gate = Arc::clone(&gate);
    let runs = Call::begin(Arc::clone(&source), move || at_gate.pass());
    until("the thread has it", || pool.counters().queued == 0);
    let mut queued = Call::begin(Arc::clone(&source), || ());
    let mut in_line = Call::begin(Arc::clone(&source), || ());
    let bells = [Bell::new(), Bell::new()];
    assert!(poll(&mut queued, &bells[0]).is_pending());
    assert!(poll(&mut in_line, &bells[1]).is_pending());

    assert_eq!(pool.close(Instant::now()), Left { threads: 1 }, "one still runs, and is named");
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 1]);
    assert_eq!(poll(&mut queued, &bells[0]), Poll::Ready(Err(Closed)));
    assert_eq!(poll(&mut in_line, &bells[1]), Poll::Ready(Err(Closed)));
    assert_eq!(wait(Call::begin(Arc::clone(&source), || ())), Err(Closed));
    gate.open();
    assert_eq!(wait(runs), Ok(()), "what ran to its end still answers");
    assert_eq!(close(&pool), Left { threads: 0 });
    assert_eq!(pool.counters().run, 3);
}

/// What a job captured may panic when it is dropped, and a waker when it is woken.
#[test]
fn closing_survives_what_panics_while_it_is_dropped_or_woken() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    struct Mine;
    impl Wake for Mine {
        fn wake(self: Arc<Self>) {
            panic!("woken");
        }
    }
    let (pool, source, gate) = full_pool(2);
    gate.open();
    until("the queue is empty", || pool.counters().run == 3);
    let gate = Arc::new(Gate::default());
    let at_gate = Arc::clone(&gate);
    assert!(source.submit(Box::new(move || at_gate.pass())).is_ok());
    until("the thread has it", || pool.counters().queued == 0);
    let bomb = Bomb;
    assert!(source.submit(Box::new(move || drop(bomb))).is_ok());
    let mut queued = Call::begin(Arc::clone(&source), || ());
    let mut in_line = Call::begin(Arc::clone(&source), || ());
    let mine = Waker::from(Arc::new(Mine));
    assert!(Pin::new(&mut in_line).poll(&mut Context::from_waker(&mine)).is_pending());
    let bell = Bell::new();
    assert!(poll(&mut queued, &bell).is_pending());
    assert_eq!(pool.close(Instant::now()), Left { threads: 1 });
    assert_eq!(poll(&mut queued, &bell), Poll::Ready(Err(Closed)));
    gate.open();
    assert_eq!(close(&pool), Left { threads: 0 });
}

struct Random(u64);

impl Random {
    /// Prints its seed, so that a failure can be run again with `POOL_SEED`.
    fn new() -> Self {
        let seed: u64 = match std::env::var("POOL_SEED") {
            Ok(seed) => seed.parse().expect("POOL_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos().into(),
        };
        println!("POOL_SEED={seed}");
        Random((seed << 1) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// 10^5 jobs for each size of pool, with gaps in which threads fall idle and end.
/// Catches: a thread that ends without another look at the queue; an idle count that forgets one; a lost wake.
#[test]
fn every_job_runs_once_however_the_threads_come_and_go() {
    const JOBS: usize = 100_000;
    let mut random = Random::new();
    for threads_max in [1, 2, 64] {
        let pool = Pool::with_idle_time(threads_max, 64, Duration::from_micros(20));
        let source = Arc::new(pool.source());
        let runs: Arc<Vec<AtomicU8>> = Arc::new((0..JOBS).map(|_| AtomicU8::new(0)).collect());
        let mut begun = 0;
        while begun < JOBS {
            let size_max = if random.below(50) == 0 { 2000 } else { 150 };
            let batch = (1 + random.below(size_max) as usize).min(JOBS - begun);
            let calls: Vec<_> = (begun..begun + batch)
                .map(|number| {
                    let runs = Arc::clone(&runs);
                    Call::begin(Arc::clone(&source), move || {
                        runs[number].fetch_add(1, Ordering::Relaxed);
                        number
                    })
                })
                .collect();
            assert!(pool.counters().threads <= threads_max);
            for (number, call) in (begun..).zip(calls) {
                assert_eq!(wait(call), Ok(number));
            }
            begun += batch;
            // About the idle time, so that some threads are just about to end.
            let gap_end = Instant::now() + Duration::from_micros(random.below(60));
            while Instant::now() < gap_end {
                std::hint::spin_loop();
            }
        }
        assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
        assert_eq!(close(&pool), Left { threads: 0 });
        let counters = pool.counters();
        assert_eq!((counters.run, counters.idle, counters.queued, counters.in_line), (JOBS as u64, 0, 0, 0));
    }
}

/// Catches: a job that slips in behind the closing; an idle count that goes below zero.
#[test]
fn closed_at_any_moment_every_job_has_either_run_or_said_that_it_will_not() {
    let mut random = Random::new();
    for round in 0..300 {
        let pool = Pool::with_idle_time([1, 2, 64][round % 3], 16, Duration::from_micros(random.below(50)));
        let source = Arc::new(pool.source());
        let ran = Arc::new(AtomicUsize::new(0));
        let close_after = random.below(200);
        let (started, begin_closing) = mpsc::channel();
        let closer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for _ in 0..close_after {
                    begin_closing.recv().unwrap();
                }
                close(&pool)
            })
        };
        let calls: Vec<_> = (0..200)
            .map(|_| {
                let ran = Arc::clone(&ran);
                let call = Call::begin(Arc::clone(&source), move || ran.fetch_add(1, Ordering::SeqCst));
                started.send(()).ok();
                call
            })
            .collect();
        let done = calls.into_iter().map(wait).filter(Result::is_ok).count();
        assert_eq!(closer.join().unwrap(), Left { threads: 0 });
        assert_eq!(done, ran.load(Ordering::SeqCst));
        let counters = pool.counters();
        assert_eq!((counters.threads, counters.idle, counters.queued, counters.in_line), (0, 0, 0, 0));
    }
}
