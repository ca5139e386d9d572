//! A connection asks the kernel once and then gets edges only: what was there before must be found all the same, and
//! edges that nobody waits for must cost nothing.

use std::io::Write as _;
use std::net::Shutdown;
use std::pin::pin;

use net::TcpStream;
use runtime::simulated::{Fault, Faults};
use runtime::{Builder, metrics};
use rustix::net::SendFlags;

use crate::support::{a_few_turns, check, pair, pattern, poll_once};

on_ring_and_fallback! {
    what_is_behind_a_mark_of_urgent_data_is_read,
    the_end_that_came_with_the_last_bytes_is_found,
    a_connection_that_has_waited_once_asks_for_no_more,
    what_nobody_reads_wakes_the_core_no_more_after_a_while,
}

/// A connection of ours whose peer is std's, and whose poll is with the kernel: it is told of nothing but edges.
async fn armed() -> (std::net::TcpStream, TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_nodelay(true).unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    assert!(poll_once(pin!(ours.read(&mut [0]))).await.is_pending());
    a_few_turns().await;
    (peer, ours)
}

/// Has `future` wait, then lets `happen` happen, all of it before the core hears of any: so it is one edge. Then goes
/// on.
async fn wait_while<F: Future>(future: F, happen: impl FnOnce()) -> F::Output {
    let mut future = pin!(future);
    assert!(poll_once(future.as_mut()).await.is_pending());
    happen();
    future.await
}

/// A receive ends before urgent data, and is short although more is there; no edge tells of that.
///
/// Catches: a short receive that is taken for an emptied socket whatever the poll said; a poll that does not ask for
/// urgent data.
async fn what_is_behind_a_mark_of_urgent_data_is_read() {
    let (mut peer, ours) = armed().await;
    let mut buf = [0; 64];
    let first = wait_while(ours.read(&mut buf), || {
        peer.write_all(b"before").unwrap();
        rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
        peer.write_all(b"behind").unwrap();
    })
    .await;
    assert_eq!(&buf[..first.unwrap()], b"before");
    let second = ours.read(&mut buf).await.unwrap();
    assert_eq!(&buf[..second], b"behind");
}

/// Catches: the same for the peer's end, which is told once.
async fn the_end_that_came_with_the_last_bytes_is_found() {
    for is_owned in [false, true] {
        let (mut peer, ours) = armed().await;
        let read = async || {
            let mut buf = [0; 64];
            if is_owned { ours.read_owned(buf).await.unwrap().0 } else { ours.read(&mut buf).await.unwrap() }
        };
        let last = wait_while(read(), || {
            peer.write_all(b"last").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(last.await, 4);
        assert_eq!(read().await, 0);
    }
}

/// Its task has a share of calls a turn. When that is spent, bytes are still there, and no edge comes.
///
/// Catches: a wait for the poll when only the share was spent.
#[runtime::test(driver = each)]
async fn a_reader_that_has_had_its_share_goes_on_in_its_next_turn() {
    let (client, server) = pair().await;
    assert!(poll_once(pin!(server.read(&mut [0]))).await.is_pending());
    let sent: Vec<u8> = (0..300).map(pattern).collect();
    client.write_all(&sent).await.unwrap();
    for position in 0..300 {
        let mut byte = [0];
        assert_eq!(server.read(&mut byte).await.unwrap(), 1);
        check(position, &byte);
    }
}

/// Catches: a poll for each wait; on the fallback, an op for each receive.
async fn a_connection_that_has_waited_once_asks_for_no_more() {
    let is_fallback = metrics().driver == "fallback";
    let (client, server) = pair().await;
    let echo = async || {
        let mut buf = [0; 16];
        // The server first, so that both have to wait each time.
        let (answered, asked) = together(
            async {
                let received = if is_fallback {
                    let received;
                    (received, buf) = server.read_owned(buf).await?;
                    received
                } else {
                    server.read(&mut buf).await?
                };
                server.write_all(&buf[..received]).await
            },
            async {
                client.write_all(b"ping").await?;
                client.read(&mut [0; 16]).await
            },
        )
        .await;
        assert_eq!(asked.unwrap(), 4);
        answered.unwrap();
    };
    echo().await;
    let before = metrics();
    for _round in 0..100 {
        echo().await;
    }
    let after = metrics();
    if after.overflows == before.overflows {
        assert_eq!(after.submitted - before.submitted, 0, "{after:?}");
    }
}

/// Both at once, in one task.
async fn together<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        if first.is_none()
            && let std::task::Poll::Ready(output) = a.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let std::task::Poll::Ready(output) = b.as_mut().poll(context)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => std::task::Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

/// I10. A stream that is written to and not read: its edges end the poll after a while, and what they told of is found.
///
/// Catches: edges that nobody has taken and that are never too many; a poll that has ended and is not asked for again.
async fn what_nobody_reads_wakes_the_core_no_more_after_a_while() {
    let (mut peer, ours) = armed().await;
    let mut send_in_pieces = async |count: u64, from: u64| {
        for position in from..from + count {
            peer.write_all(&[pattern(position)]).unwrap();
            a_few_turns().await;
        }
    };
    send_in_pieces(40, 0).await;
    let before = metrics();
    send_in_pieces(40, 40).await;
    assert_eq!(metrics().completed, before.completed, "nothing is told any more");

    for position in 0..80 {
        let mut byte = [0];
        ours.read_exact(&mut byte).await.unwrap();
        check(position, &byte);
    }
    assert!(poll_once(pin!(ours.read(&mut [0]))).await.is_pending());
    send_in_pieces(1, 80).await;
    assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 1);
}

/// Z70. A poll may end at any time with good news, and calls may say «not now» or do less than they could.
///
/// Catches: a poll that ended and is waited for still.
#[test]
fn polls_that_end_early_and_calls_that_do_less_lose_nothing() {
    const PIECE: u64 = 100;
    const PIECES: u64 = 30;
    for seed in 0..60 {
        eprintln!("seed {seed}");
        let faults =
            Faults::ordinary().with(Fault::EndsEarly, 0.3).with(Fault::Short, 0.3).with(Fault::WouldBlock, 0.2);
        Builder::new().simulated(seed, faults).build().unwrap().block_on(async {
            let (client, server) = pair().await;
            let sending = runtime::spawn(async move {
                for number in 0..PIECES {
                    let piece: Vec<u8> = (number * PIECE..(number + 1) * PIECE).map(pattern).collect();
                    client.write_all(&piece).await.unwrap();
                    // Nothing more comes until all of it has.
                    client.read_exact(&mut [0]).await.unwrap();
                }
                client.shutdown(Shutdown::Write).await.unwrap();
            });
            let (mut received, mut buf) = (0, [0; PIECE as usize]);
            loop {
                let count = server.read(&mut buf).await.unwrap();
                if count == 0 {
                    break;
                }
                check(received, &buf[..count]);
                received += u64::try_from(count).unwrap();
                if received % PIECE == 0 {
                    server.write_all(b"!").await.unwrap();
                }
            }
            assert_eq!(received, PIECE * PIECES);
            server.close().await.unwrap();
            sending.await.unwrap();
        });
    }
}
