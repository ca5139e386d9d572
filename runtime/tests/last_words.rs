//! Ops that are started in the last poll of `block_on` still reach the kernel, although nobody runs the core any more.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::{Duration, Instant};

use runtime::fd::SharedFd;
use runtime::op::socket::{Recv, RecvFlags, Send, SendFlags};
use runtime::testing::{Driver, builder, is_here};
use runtime::{metrics, submit, yield_now};

/// Long enough for a kernel that is busy with other things.
const SOON: Duration = Duration::from_secs(20);

async fn begin(future: &mut (impl Future + Unpin)) {
    let begun = poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())).await;
    assert!(begun, "an op is never ready at once");
}

/// A write is begun by the very poll that ends `block_on`, and a read that is in flight is given up by it.
/// Catches: a `block_on` that returns without a last look at what is queued.
#[test]
fn what_the_last_poll_asks_for_is_done_when_block_on_has_returned() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "the last poll") {
            continue;
        }
        let runtime = builder(driver).build().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let (silent, mut closed) = UnixStream::pair().unwrap();
        far.set_read_timeout(Some(SOON)).unwrap();
        closed.set_nonblocking(true).unwrap();
        runtime.block_on(async {
            let fd = SharedFd::new(OwnedFd::from(silent));
            let mut receive = submit(Recv { fd, buf: [0; 8], flags: RecvFlags::empty(), poll_first: false });
            begin(&mut receive).await;
            let turn = metrics().ticks;
            while metrics().ticks < turn + 2 {
                yield_now().await;
            }

            let fd = SharedFd::new(OwnedFd::from(near));
            let mut send = submit(Send { fd, buf: *b"farewell", flags: SendFlags::empty(), whole: true });
            begin(&mut send).await;
            drop(send);
            drop(receive);
        });
        let mut heard = [0; 8];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"farewell");

        let began = Instant::now();
        while closed.write(b"?").map_err(|error| error.kind()) != Err(ErrorKind::BrokenPipe) {
            assert!(began.elapsed() < SOON, "{driver:?}: what was dropped last has its descriptor still");
            std::thread::yield_now();
        }
        drop(runtime);
    }
}
