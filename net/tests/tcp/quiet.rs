//! A descriptor that is readable, broken or hung up for good is reported once, and then its core is as idle as before.

use std::future::pending;
use std::io::{self, ErrorKind, Write as _};
use std::net::Shutdown;
use std::rc::Rc;

use net::TcpStream;
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, timeout};
use runtime::{metrics, spawn, spawn_blocking};
use rustix::net::sockopt::set_socket_linger;

use crate::support::{a_few_turns, listen, poll_once};

/// So long nothing happens.
const QUIET: Duration = Duration::from_millis(200);

/// This test itself, and what comes a moment late.
const ENTERS_MAX: u64 = 10;

/// What stays until the quiet is over.
type Kept = Vec<Box<dyn std::any::Any>>;

/// Ours, and the peer's, which is std's and can be broken.
async fn connection() -> (Rc<TcpStream>, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Rc::new(ours), listener.accept().unwrap().0)
}

fn reset(peer: std::net::TcpStream) {
    set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
}

/// Begins to wait for bytes, and gives up: from then on the handle is told of edges, and nobody wants to know.
async fn give_up_reading(ours: &TcpStream) {
    let mut buf = [0; 8];
    let mut read = Box::pin(ours.read(&mut buf));
    assert!(poll_once(read.as_mut()).await.is_pending());
    a_few_turns().await;
}

/// Resets in the middle of a lent read, of an owned one, and of none.
async fn resets(kept: &mut Kept) {
    for owned in [false, true] {
        let (ours, peer) = connection().await;
        let reading = spawn({
            let ours = ours.clone();
            async move {
                match owned {
                    true => ours.read_owned(vec![0; 8]).await.map(|(n, _buf)| n).map_err(io::Error::from),
                    false => ours.read(&mut [0; 8]).await,
                }
            }
        });
        a_few_turns().await;
        reset(peer);
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset, "owned: {owned}");
        kept.push(Box::new(ours));
    }
    let (ours, peer) = connection().await;
    give_up_reading(&ours).await;
    reset(peer);
    kept.push(Box::new(ours));
}

/// Ends that are read, and that nobody reads; bytes that nobody reads; and an end on our side with a read that goes on.
async fn ends(kept: &mut Kept) {
    let (ours, peer) = connection().await;
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    kept.push(Box::new((ours, peer)));

    let (ours, peer) = connection().await;
    give_up_reading(&ours).await;
    peer.shutdown(Shutdown::Both).unwrap();
    ours.shutdown(Shutdown::Write).await.unwrap();
    kept.push(Box::new((ours, peer)));

    let (ours, mut peer) = connection().await;
    give_up_reading(&ours).await;
    for _ in 0..100 {
        peer.write_all(b"unread").unwrap();
    }
    kept.push(Box::new((ours, peer)));

    let (ours, peer) = connection().await;
    ours.shutdown(Shutdown::Write).await.unwrap();
    let waits = ours.clone();
    drop(spawn(async move { drop(waits.read(&mut [0; 8]).await) }));
    kept.push(Box::new((ours, peer)));
}

/// A connection that is gone before it is accepted, one that is refused; a timer that was there; wakes from elsewhere.
async fn others(kept: &mut Kept) {
    let listener = Rc::new(listen().await);
    let address = listener.local_addr().unwrap();
    let waits = listener.clone();
    drop(spawn(async move {
        loop {
            drop(waits.accept().await);
        }
    }));
    reset(std::net::TcpStream::connect(address).unwrap());
    let nobodys = listen().await.local_addr().unwrap();
    assert_eq!(TcpStream::connect(nobodys).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    for _ in 0..100 {
        spawn_blocking(|| ()).await.unwrap();
    }
    assert!(timeout(Duration::from_millis(1), pending::<()>()).await.is_err());
    kept.push(Box::new(listener));
}

/// Catches: an event that is told for as long as it lasts, to whoever wants to know it or nobody.
#[test]
fn descriptors_that_are_reset_or_ended_wake_their_core_no_more() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "what is broken for good") {
            continue;
        }
        for (what, scene) in [("resets", 0), ("ends", 1), ("others", 2)] {
            builder(driver).build().unwrap().block_on(async {
                let mut kept = Vec::new();
                match scene {
                    0 => resets(&mut kept).await,
                    1 => ends(&mut kept).await,
                    _ => others(&mut kept).await,
                }
                a_few_turns().await;
                // What the peers' kernel does a moment later, and its threads.
                let _over = timeout(QUIET / 2, pending::<()>()).await;
                let (before, polls) = (metrics().enters, metrics().polls);
                let _over = timeout(QUIET, pending::<()>()).await;
                let (enters, polls) = (metrics().enters - before, metrics().polls - polls);
                assert!(
                    enters <= ENTERS_MAX,
                    "{driver:?}: after {what} {enters} enters and {polls} polls in {QUIET:?}"
                );
            });
        }
    }
}
