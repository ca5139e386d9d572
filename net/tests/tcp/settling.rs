//! A shutdown, a flush and the end of a handle wait for the piece of a dropped write, and for nobody else.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use net::{Shutdown, TcpStream};
use runtime::JoinHandle;
use runtime::time::{Duration, timeout};

use crate::support::{a_few_turns, fill, narrow_pair, poll_once};

const PIECE: usize = 100_000;

/// So long takes what does not wait for ever.
const SOON: Duration = Duration::from_secs(5);

/// Writes more than the peer will ever read.
fn stuck_write(stream: &TcpStream) -> JoinHandle<std::io::Result<()>> {
    let stream = stream.try_clone().unwrap();
    runtime::spawn(async move { stream.write_all(&vec![0; 64 << 20]).await })
}

/// All that ends a handle, or waits for what was given to it, and at last the shutdown that aborts the write.
async fn nothing_waits_for(stuck: JoinHandle<std::io::Result<()>>, client: TcpStream) {
    // What fails, as a simulated socket can't be duplicated, need not wait either.
    let is_simulated = runtime::metrics().driver == "simulated";
    let clone = || client.try_clone().unwrap();
    timeout(SOON, client.flush()).await.expect("flush does not wait").unwrap();
    timeout(SOON, clone().close()).await.expect("close does not wait").unwrap();
    let std = timeout(SOON, clone().into_std()).await.expect("into_std does not wait");
    assert_eq!(std.is_err(), is_simulated);
    let detached = timeout(SOON, clone().detach()).await.expect("detach does not wait");
    assert_eq!(detached.is_err(), is_simulated);
    assert!(!stuck.is_finished(), "the write that nobody waits for is still stuck");
    timeout(SOON, client.shutdown(Shutdown::Both)).await.expect("shutdown does not wait").unwrap();
    let aborted = timeout(SOON, stuck).await.expect("the write ends").unwrap();
    assert_eq!(aborted.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

/// Catches: a note of the dropped write that outlives its turn; with its reply there already (`is_answered`): a note
/// that is made although the turn has gone.
#[runtime::test(driver = each)]
async fn calls_wait_for_a_dropped_write_and_not_for_one_that_came_later() {
    for is_answered in [false, true] {
        let (client, server) = narrow_pair().await;
        let filled = fill(&client).await;
        let all = usize::try_from(filled).unwrap() + PIECE;
        {
            let mut write = pin!(client.write_owned(vec![0; PIECE]));
            assert!(poll_once(write.as_mut()).await.is_pending());
            if is_answered {
                server.read_exact_owned(vec![0; all]).await.unwrap();
                a_few_turns().await;
            }
        }
        if !is_answered {
            server.read_exact_owned(vec![0; all]).await.unwrap();
            a_few_turns().await;
        }
        let stuck = stuck_write(&client);
        a_few_turns().await;
        nothing_waits_for(stuck, client).await;
    }
}

/// Catches: of several who wait, only one that is woken.
#[runtime::test(driver = each)]
async fn who_waits_for_a_dropped_write_does_not_wait_for_the_one_behind_it() {
    let (client, server) = narrow_pair().await;
    let filled = fill(&client).await;
    assert!(poll_once(pin!(client.write_owned(vec![0; PIECE]))).await.is_pending());
    let stuck = stuck_write(&client);
    a_few_turns().await;
    let clone = client.try_clone().unwrap();
    let flushed = runtime::spawn(async move { clone.flush().await });
    {
        let mut flush = pin!(client.flush());
        assert!(poll_once(flush.as_mut()).await.is_pending());
    }
    let clone = client.try_clone().unwrap();
    let also_flushed = runtime::spawn(async move { clone.flush().await });
    a_few_turns().await;
    assert!(!flushed.is_finished() && !also_flushed.is_finished(), "the piece is not out");

    server.read_exact_owned(vec![0; usize::try_from(filled).unwrap() + PIECE]).await.unwrap();
    timeout(SOON, flushed).await.expect("the piece is out").unwrap().unwrap();
    timeout(SOON, also_flushed).await.expect("the piece is out").unwrap().unwrap();
    a_few_turns().await;
    nothing_waits_for(stuck, client).await;
}

/// Wakers are anybody's.
/// Catches: a waker that panics and takes the others' wakes with it, or the turn that nobody ever has again.
#[runtime::test(driver = each)]
async fn a_waker_that_panics_harms_nobody_else() {
    let (client, server) = narrow_pair().await;
    let filled = fill(&client).await;
    assert!(poll_once(pin!(client.write_owned(vec![0; PIECE]))).await.is_pending());
    let mut first = pin!(client.flush());
    let mut in_line = Box::pin(client.write(b"never"));
    let waker = Waker::from(Arc::new(Panics));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(in_line.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let clone = client.try_clone().unwrap();
    let flushed = runtime::spawn(async move { clone.flush().await });
    let clone = client.try_clone().unwrap();
    let written = runtime::spawn(async move { clone.write_all(b"last").await });
    a_few_turns().await;

    let all = usize::try_from(filled).unwrap() + PIECE;
    server.read_exact_owned(vec![0; all]).await.unwrap();
    timeout(SOON, flushed).await.expect("it is woken").unwrap().unwrap();
    // It was granted the turn, has not heard of it, and gives it up.
    drop(in_line);
    timeout(SOON, written).await.expect("it has the turn").unwrap().unwrap();
    let ((), last) = server.read_exact_owned([0; 4]).await.unwrap();
    assert_eq!(&last, b"last");
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics, as the test wants it");
    }
}
