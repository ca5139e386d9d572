//! A cancellation needs room in the submission queue, as every request does: when two thousand ops are cancelled at
//! once, and there is room for four, none is lost.

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/counted.rs"]
mod counted;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use counted::Counted;
use runtime::buf::BufResult;
use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now};
use runtime::{Builder, metrics, submit, yield_now};
use rustix::pipe::{PipeFlags, pipe_with};

const LIMIT: Duration = Duration::from_secs(60);

/// The end of a runtime takes a second at most; the machine may be busy besides.
const END_MAX: Duration = Duration::from_secs(2);

/// Of one pipe, to which nobody writes.
const READS: usize = 2_000;

/// Runs `test` where there is room for four requests and eight replies, and without a ring.
fn on_each(what: &str, test: fn(Builder)) {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, what) {
            let tiny = builder(driver).entries(4).cq_entries(8);
            bounded::within(LIMIT, what, move || test(tiny));
        }
    }
}

/// Reads of a pipe that nobody writes to.
struct Silence {
    fd: SharedFd,
    _writer: OwnedFd,
    gone: Arc<AtomicUsize>,
}

impl Silence {
    fn new(gone: &Arc<AtomicUsize>) -> Silence {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        Silence { fd: SharedFd::new(reader), _writer: writer, gone: gone.clone() }
    }

    fn read(&self) -> Read<Counted> {
        Read { fd: self.fd.clone(), buf: Counted([0; 8], self.gone.clone()), position: Position::Cursor }
    }
}

/// Polls all of them, and keeps those that are not over.
fn poll_all<F: Future<Output = BufResult<usize, Counted>> + Unpin>(
    futures: &mut Vec<F>,
    context: &mut Context<'_>,
) -> Poll<()> {
    futures.retain_mut(|future| match Pin::new(future).poll(context) {
        Poll::Pending => true,
        Poll::Ready(read) => {
            let (error, _buf) = read.map(|_| "bytes out of nowhere").unwrap_err().into_parts();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            false
        }
    });
    if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
}

/// They are one task's, which cancels all of them in one poll.
/// Catches: a cancellation for which there is no room, and which is forgotten.
#[test]
fn two_thousand_reads_whose_time_is_over_at_once_all_end() {
    on_each("two thousand deadlines", |builder| {
        let gone = Arc::new(AtomicUsize::new(0));
        builder.build().unwrap().block_on(async {
            let silence = Silence::new(&gone);
            let deadline = now() + Duration::from_millis(50);
            let mut reads: Vec<_> = (0..READS).map(|_| submit(silence.read()).deadline(deadline)).collect();
            poll_fn(|context| poll_all(&mut reads, context)).await;
            assert_eq!(metrics().in_flight, 0);
        });
        assert_eq!(gone.load(Ordering::Relaxed), READS);
    });
}

/// Half of them are cancelled by a drop just before the runtime ends, and wait for room when the others are.
/// Catches: a cancellation for which there is no room, and which is forgotten; an end that cancels so many only.
#[test]
fn a_runtime_with_two_thousand_reads_ends_in_time_and_leaks_none() {
    on_each("the end of two thousand reads", |builder| {
        let gone = Arc::new(AtomicUsize::new(0));
        let silence = Silence::new(&gone);
        let runtime = builder.build().unwrap();
        let kept = runtime.block_on(async {
            let mut reads: Vec<_> = (0..READS).map(|_| submit(silence.read())).collect();
            assert!(poll_fn(|context| Poll::Ready(poll_all(&mut reads, context))).await.is_pending());
            while metrics().submitted < READS as u64 {
                yield_now().await;
            }
            reads.split_off(READS / 2)
        });
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
        assert_eq!(gone.load(Ordering::Relaxed), READS);
        drop(kept);
    });
}
