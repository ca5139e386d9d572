//! A ring of an older kernel, which lacks features that newer ones have, does the same: each such feature is hidden in
//! turn, and all at once. An op that is missing is done by the blocking pool, and its caller cannot tell.

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/child.rs"]
mod child;

use std::fs::File;
use std::future::{Future, pending, poll_fn};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Command;
use std::sync::mpsc;
use std::task::Poll;
use std::{io, mem, thread};

use child::in_a_child;

use runtime::fd::SharedFd;
use runtime::op::file::{Fsync, Position, Read, Truncate, Write};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::op::socket::{Accept, Recv, Send};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, Instant, now, timeout};
use runtime::{Builder, Feature, Submit, call, metrics, spawn, spawn_blocking, submit, yield_now};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{RecvFlags, SendFlags};

const LIMIT: Duration = Duration::from_secs(60);

/// Catches: `without` that hides nothing; a feature that is used without looking; a ring that needs one of them to
/// start.
#[test]
fn whichever_feature_is_hidden_a_ring_does_the_same() {
    if !is_here(Driver::Ring, "a ring with features hidden") {
        return;
    }
    let mut hidden: Vec<Vec<Feature>> = Feature::ALL.into_iter().map(|feature| vec![feature]).collect();
    hidden.push(Feature::ALL.to_vec());
    let expected = story(&[]);
    for features in hidden {
        assert_eq!(story(&features), expected, "without {features:?}");
    }
}

/// Catches: a variable that is not read, or only to its first comma; a name that is mistyped and so hides nothing,
/// unheard.
#[test]
fn the_environment_hides_features_by_their_names() {
    const TEST: &str = "the_environment_hides_features_by_their_names";
    let hides = |names: &str| {
        let names = names.to_owned();
        move |command: &mut Command| {
            command.env("GIMMAL_WITHOUT", names);
        }
    };
    let offered = || -> Vec<Feature> {
        let runtime = Builder::new().build().unwrap();
        let offers = |feature: &Feature| call::offers(*feature);
        runtime.block_on(async { Feature::ALL.into_iter().filter(offers).collect() })
    };
    in_a_child(TEST, "a name that is none", hides("no_sqarray,no_such_thing"), || {
        let error = Builder::new().build().unwrap_err().to_string();
        assert!(error.contains("no_such_thing") && error.contains("registered_ring"), "{error}");
    });
    if !is_here(Driver::Ring, TEST) {
        return;
    }
    let all = Feature::ALL.map(Feature::name).join(",");
    in_a_child(TEST, "all", hides(&all), || assert_eq!(offered(), []));
    for hidden in Feature::ALL {
        in_a_child(TEST, hidden.name(), hides(hidden.name()), || assert!(!offered().contains(&hidden)));
    }
}

/// What a runtime makes of files, sockets, time, threads and tasks without some features, as far as everybody must see
/// the same.
fn story(hidden: &[Feature]) -> Vec<String> {
    let hidden = hidden.to_vec();
    bounded::within(LIMIT, "a ring with features hidden", move || {
        let built = hidden.iter().fold(builder(Driver::Ring), |builder: Builder, feature| builder.without(*feature));
        built.build().unwrap().block_on(async {
            assert!(hidden.iter().all(|feature| !call::offers(*feature)));
            let mut told = vec![runtime::metrics().driver.to_owned()];
            told.push(format!("file: {:?}", file().await));
            told.push(format!("echo: {:?}", echo().await));
            told.push(format!("pool: {:?}", spawn_blocking(|| 6 * 7).await.unwrap()));
            told.push(format!("tasks: {:?}", spawn(async { spawn(async { "nested" }).await.unwrap() }).await.unwrap()));
            let began = Instant::now();
            let expired = timeout(Duration::from_millis(2), pending::<()>()).await;
            assert!(expired.is_err(), "nothing is waited for");
            told.push(format!("waited long enough: {}", began.elapsed() >= Duration::from_millis(2)));
            told.push(format!("left: {}", runtime::metrics().in_flight));
            told
        })
    })
}

async fn file() -> (usize, Vec<u8>) {
    let flags = OFlags::RDWR | OFlags::TMPFILE;
    let how = OpenHow::new(flags, Mode::RUSR | Mode::WUSR, ResolveFlags::empty());
    let path = c_path(&std::env::temp_dir()).unwrap();
    let fd = SharedFd::new(submit(Open { base: Base::Current, path, how }).await.unwrap());
    let write = Write { fd: fd.clone(), buf: b"what is written is read".to_vec(), position: Position::At(100) };
    submit(write).await.unwrap();
    submit(Fsync { fd: fd.clone(), data_only: true }).await.unwrap();
    submit(Truncate { fd: fd.clone(), len: 120 }).await.unwrap();
    submit(Read { fd, buf: vec![0; 200], position: Position::At(98) }).await.unwrap()
}

async fn echo() -> (usize, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    let (connection, _peer) = submit(Accept::new(SharedFd::new(OwnedFd::from(listener)))).await.unwrap();
    let fd = SharedFd::new(connection);
    let receive = Recv { fd: fd.clone(), buf: vec![0; 64], flags: RecvFlags::empty(), poll_first: false };
    let (came, buf) = submit(receive).await.unwrap();
    let answer = Send { fd, buf: buf[..came].to_vec(), flags: SendFlags::empty(), whole: true };
    let (sent, _answer) = submit(answer).await.unwrap();
    // The core is parked while another thread ends.
    let answer = spawn_blocking(move || client.join().unwrap()).await.unwrap();
    (sent, answer.to_vec())
}

/// Runs `test` for each op that a ring may lack, on a ring that lacks it: with a builder whose pool has one thread and
/// room for one job.
fn without_each(what: &'static str, test: fn(Builder, Lacking)) {
    if !is_here(Driver::Ring, what) {
        return;
    }
    for feature in Feature::ALL.into_iter().filter(|feature| feature.is_op()) {
        let lacking = match feature {
            Feature::Ftruncate => Lacking::ftruncate,
            other => panic!("{other:?} is an op that may be missing, and has no test"),
        };
        bounded::within(LIMIT, what, move || {
            test(builder(Driver::Ring).without(feature).blocking_threads(1).blocking_queue(1), lacking());
        });
    }
}

/// An op that the ring lacks, and how to see whether it was done.
struct Lacking {
    file: File,
    fd: SharedFd,
}

impl Lacking {
    fn ftruncate() -> Lacking {
        let file = File::from(rustix::fs::memfd_create("without", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        let fd = SharedFd::new(OwnedFd::from(file.try_clone().unwrap()));
        Lacking { file, fd }
    }

    fn ask(&self, number: u64) -> Submit<Truncate> {
        submit(Truncate { fd: self.fd.clone(), len: number })
    }

    /// The number of the one that was done last.
    fn done(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }
}

/// Occupies the only thread of the pool, until this is dropped.
async fn occupy() -> mpsc::Sender<()> {
    let (until_dropped, gate) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    drop(spawn_blocking(move || {
        begun.send(()).unwrap();
        let _dropped = gate.recv();
    }));
    while has_begun.try_recv().is_err() {
        yield_now().await;
    }
    until_dropped
}

async fn polled_once<F: Future + Unpin>(mut future: F) -> F {
    let is_pending = poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context).is_pending())).await;
    assert!(is_pending);
    future
}

/// Catches: an op that reaches a ring without it; a pool whose answer nobody collects, or wakes nobody for; a line
/// behind a full pool that is not looked at again.
#[test]
fn an_op_that_the_ring_lacks_is_done_by_the_blocking_pool() {
    without_each("an op that the ring lacks", |builder, op| {
        builder.build().unwrap().block_on(async {
            op.ask(7).await.unwrap();
            assert_eq!(op.done(), 7);
            assert_eq!(op.ask(u64::MAX).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);

            let all: Vec<_> = (0..200).map(|number| spawn(op.ask(number))).collect();
            for asked in all {
                asked.await.unwrap().unwrap();
            }
            assert_eq!((op.done(), metrics().in_flight), (199, 0));
            // A thread counts a job after it has told of it. What is refused goes nowhere.
            while metrics().pool_jobs < 201 || metrics().pool_queued > 0 {
                yield_now().await;
            }
            assert_eq!(metrics().pool_jobs, 201);
        });
    });
}

/// Catches: a request that goes with its future.
#[test]
fn an_op_that_the_ring_lacks_runs_to_its_end_when_it_is_dropped() {
    without_each("an op that the ring lacks, dropped", |builder, op| {
        builder.build().unwrap().block_on(async {
            let busy = occupy().await;
            drop(polled_once(op.ask(7)).await);
            drop(polled_once(op.ask(8)).await);
            assert_eq!((op.done(), metrics().in_flight), (0, 2));
            drop(busy);
            while metrics().in_flight > 0 {
                yield_now().await;
            }
            assert_eq!(op.done(), 8);
        });
    });
}

/// Catches: a cancel that is sent to the kernel, which knows no such op; an answer «cancelled» for what is done all the
/// same.
#[test]
fn an_op_that_the_ring_lacks_says_at_its_deadline_whether_it_was_done() {
    without_each("an op that the ring lacks, with a deadline", |builder, op| {
        builder.build().unwrap().block_on(async {
            let busy = occupy().await;
            for place in ["in the queue", "in line for it"] {
                let error = op.ask(7).deadline(now() + Duration::from_millis(1)).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{place}");
                // It stays in the queue as an empty errand, and the next stands behind it.
                assert_eq!((op.done(), metrics().in_flight), (0, 0), "{place}");
            }
            drop(busy);
            let mut done = 0;
            for number in 1..=500 {
                match op.ask(number).deadline(now()).await {
                    Ok(()) => done = number,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
                }
                assert_eq!(op.done(), done);
            }
        });
    });
}

/// Catches: a request that is left on the pool, with its descriptor; an end that waits for it without a bound.
#[test]
fn an_op_that_the_ring_lacks_is_recalled_from_the_pool_at_the_end() {
    without_each("an op that the ring lacks, at the end", |builder, op| {
        let runtime = builder.build().unwrap();
        let busy = runtime.block_on(async {
            let busy = occupy().await;
            drop(polled_once(op.ask(7)).await);
            mem::forget(polled_once(op.ask(8)).await);
            drop(spawn(op.ask(9)));
            yield_now().await;
            busy
        });
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
        drop(busy);
        assert_eq!(op.done(), 0, "none was begun");
        assert!(op.fd.try_into_fd().is_ok(), "an op that has ended lets go of its file");
    });
}

/// Room in the pool that comes free for an op which has been cancelled meanwhile is the next one's.
/// Catches: a place in line that is kept by somebody who has left.
#[test]
fn an_op_that_the_ring_lacks_gives_its_place_in_line_back_when_it_is_cancelled() {
    without_each("an op that the ring lacks, cancelled in line", |builder, op| {
        builder.build().unwrap().block_on(async {
            let busy = occupy().await;
            let queued = spawn_blocking(|| 1);
            let error = op.ask(7).deadline(now() + Duration::from_millis(1)).await.unwrap_err();
            assert_eq!((error.kind(), metrics().in_flight), (io::ErrorKind::TimedOut, 0));
            let behind = spawn_blocking(|| 2);
            drop(busy);
            assert_eq!(queued.await.unwrap() + behind.await.unwrap(), 3);
        });
    });
}
