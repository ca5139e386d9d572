//! What a connection costs the allocator once it runs: nothing. Alone in its process, whose allocations it counts.

#[path = "../../runtime/tests/common/counting.rs"]
mod counting;

use std::cell::Cell;
use std::future::Future;

use counting::{Counting, asked};
use net::{TcpListener, TcpStream};
use runtime::testing::{Driver, builder, is_here};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds before the count begins: whatever grows has grown.
const WARM_UP: u32 = 200;
const ROUNDS: u32 = 1_000;

/// How often this thread allocates in `ROUNDS` rounds of `round`.
async fn allocations<F: Future<Output = ()>>(mut round: impl FnMut() -> F) -> u64 {
    for _round in 0..WARM_UP {
        round().await;
    }
    let before = asked();
    for _round in 0..ROUNDS {
        round().await;
    }
    asked() - before
}

fn on_each_driver(test: impl AsyncFn()) {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "counting allocations") {
            eprintln!("driver {driver:?}");
            builder(driver).build().unwrap().block_on(test());
        }
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Catches: a boxed future, a `Vec` a call, a task for what is waited for.
#[test]
fn lent_reads_and_writes_allocate_nothing() {
    on_each_driver(async || {
        let (client, server) = pair().await;
        let echo = async || {
            client.write_all(&[7; 64]).await.unwrap();
            // It waits: the other end answers only below.
            let mut buf = [0; 64];
            server.read_exact(&mut buf).await.unwrap();
            server.write_all(&buf).await.unwrap();
            client.read_exact(&mut buf).await.unwrap();
        };
        assert_eq!(allocations(echo).await, 0);
    });
}

/// Catches: as above, and an op that is boxed.
#[test]
fn owned_receives_and_sends_allocate_nothing() {
    on_each_driver(async || {
        let (client, server) = pair().await;
        let buf = Cell::new(Some(vec![7; 64]));
        let echo = async || {
            let ((), lent) = client.write_all_owned(buf.take().unwrap()).await.unwrap();
            let ((), lent) = server.read_exact_owned(lent).await.unwrap();
            let (_sent, lent) = server.write_owned(lent).await.unwrap();
            let (_received, lent) = client.read_owned(lent).await.unwrap();
            buf.set(Some(lent));
        };
        assert_eq!(allocations(echo).await, 0);
    });
}

/// Catches: state that is made before a stream is used; an accept whose op or future is boxed.
#[test]
fn an_accepted_connection_takes_one_allocation() {
    on_each_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Cell::new(0);
        let accept = async || {
            // std's, so that the client's allocations are not counted.
            let _client = std::net::TcpStream::connect(address).unwrap();
            let before = asked();
            drop(listener.accept().await.unwrap());
            taken.set(taken.get() + asked() - before);
        };
        allocations(accept).await;
        taken.set(0);
        allocations(accept).await;
        assert!(taken.get() <= u64::from(WARM_UP + ROUNDS), "{} allocations", taken.get());
    });
}
