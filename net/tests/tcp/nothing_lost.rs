//! Under random timeouts and drops every byte and every connection arrives exactly once, in order.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use net::{Shutdown, TcpStream};
use runtime::time::{Duration, now, sleep_until, timeout};

use crate::random::Random;
use crate::support::{check, listen, pair, pattern, poll_once};

/// Fewer where each schedule is tried with many seeds.
fn rounds(many: u64) -> u64 {
    if runtime::metrics().driver == "simulated" { many / 100 } else { many }
}

/// Seeded by `GIMMAL_TEST_SEED`: `GIMMAL_SEED` replays a schedule of the simulated world.
fn random() -> Random {
    let seed = std::env::var("GIMMAL_TEST_SEED").ok().map_or(1, |seed| seed.parse().expect("a seed is a number"));
    println!("GIMMAL_TEST_SEED={seed}");
    Random(seed)
}

/// At most so many microseconds.
fn micros(random: &mut Random, max: u64) -> Duration {
    Duration::from_micros(random.below(max + 1))
}

/// Sends the pattern in small pieces at random moments until it is told to stop. Returns how much that was.
async fn send_in_pieces(stream: TcpStream, mut random: Random, stop: Rc<Cell<bool>>) -> io::Result<u64> {
    let (mut sent, mut dropped) = (0, 0);
    while !stop.get() {
        let mut len = 1 + random.below(400);
        let piece: Vec<u8> = (sent..sent + len).map(pattern).collect();
        match random.below(3) {
            0 => stream.write_all(&piece).await?,
            1 => drop(stream.write_all_owned(piece).await?),
            // Dropped in flight: it goes out all the same. In line it would not, so there is no line.
            _ => {
                stream.flush().await?;
                // Beside another op it is one, too.
                let mut beside = runtime::submit(runtime::op::Nop);
                if random.below(2) == 0 {
                    assert!(poll_once(pin!(&mut beside)).await.is_pending());
                }
                match poll_once(pin!(stream.write_owned(piece))).await {
                    Poll::Pending => dropped += 1,
                    Poll::Ready(written) => len = u64::try_from(written?.0).unwrap(),
                }
            }
        }
        sent += len;
        if random.below(2) == 0 {
            // The pace of the sender; nothing below counts on it.
            sleep_until(now() + micros(&mut random, 150)).await;
        }
    }
    stream.shutdown(Shutdown::Write).await?;
    assert!(dropped > 0 || runtime::metrics().driver != "ring", "no write was dropped in flight");
    Ok(sent)
}

/// One call of some kind. Returns the bytes that it took from the stream; `received` others came before.
async fn receive_somehow(stream: &TcpStream, kind: u64, len: usize, received: u64) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let taken = match kind {
        0 => stream.read(&mut buf).await?,
        1 => {
            let taken;
            (taken, buf) = stream.read_owned(buf).await?;
            taken
        }
        2 => {
            stream.read_exact(&mut buf).await?;
            len
        }
        3 => {
            ((), buf) = stream.read_exact_owned(buf).await?;
            len
        }
        _ => {
            let shown = stream.peek(&mut buf).await?;
            check(received, &buf[..shown]);
            0
        }
    };
    buf.truncate(taken);
    Ok(buf)
}

/// Catches: an `abandon` of a receive that does not park its bytes; one that lets the turn go before it has parked
/// them; a `read_exact` that keeps what it had when it is dropped; a send that is cancelled when it is dropped.
#[runtime::test(driver = each, watchdog = 120)]
async fn every_byte_arrives_once_and_in_order_whatever_is_dropped() {
    let mut random = random();
    let (client, server) = pair().await;
    let stop = Rc::new(Cell::new(false));
    let sending = runtime::spawn(send_in_pieces(client, Random(random.below(u64::MAX)), stop.clone()));

    let (mut received, mut dropped) = (0, 0);
    for _call in 0..rounds(100_000) {
        let (kind, len) = (random.below(5), 1 + random.len_below(500));
        let call = pin!(receive_somehow(&server, kind, len, received));
        let bytes = match random.below(8) {
            0 => match poll_once(call).await {
                Poll::Ready(bytes) => Some(bytes.unwrap()),
                Poll::Pending => None,
            },
            _ => timeout(micros(&mut random, 200), call).await.ok().map(Result::unwrap),
        };
        match bytes {
            Some(bytes) => {
                check(received, &bytes);
                received += u64::try_from(bytes.len()).unwrap();
            }
            None => dropped += 1,
        }
    }
    stop.set(true);
    loop {
        let bytes = receive_somehow(&server, 0, 4096, received).await.unwrap();
        if bytes.is_empty() {
            break;
        }
        check(received, &bytes);
        received += u64::try_from(bytes.len()).unwrap();
    }
    assert_eq!(received, sending.await.unwrap().unwrap());
    assert!(dropped > rounds(100_000) / 100, "only {dropped} calls were dropped, so this has shown little");
}

/// The server closes first, so that no port of the client's fades.
async fn closed_by_server(stream: Option<TcpStream>) -> io::Result<()> {
    let stream = stream.expect("as many as were made");
    assert_eq!(stream.read(&mut [0]).await?, 0);
    Ok(())
}

/// So many connections wait to be accepted, and more are made as soon as some have been.
const AHEAD: usize = 16;

/// Catches: an accept that belongs to its future; an `accept` whose op is dropped with the one who polled it.
#[runtime::test(driver = each, watchdog = 120)]
async fn every_connection_is_accepted_once_and_in_order_whatever_is_dropped() {
    let mut random = random();
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let count = u32::try_from(rounds(10_000)).unwrap();
    let connecting = runtime::spawn(async move {
        let mut ahead = VecDeque::new();
        for number in 0..count {
            if ahead.len() == AHEAD {
                closed_by_server(ahead.pop_front()).await?;
            }
            let stream = TcpStream::connect(address).await?;
            stream.write_all(&number.to_be_bytes()).await?;
            ahead.push_back(stream);
        }
        while !ahead.is_empty() {
            closed_by_server(ahead.pop_front()).await?;
        }
        io::Result::Ok(())
    });

    let (mut accepted, mut dropped) = (0, 0_u32);
    while accepted < count {
        let call = pin!(listener.accept());
        let connection = match random.below(2) {
            0 => match poll_once(call).await {
                Poll::Ready(connection) => Some(connection.unwrap()),
                Poll::Pending => {
                    runtime::yield_now().await;
                    None
                }
            },
            _ => timeout(micros(&mut random, 200), call).await.ok().map(Result::unwrap),
        };
        let Some((stream, peer)) = connection else {
            dropped += 1;
            continue;
        };
        assert_eq!(stream.peer_addr().unwrap(), peer);
        let ((), number) = stream.read_exact_owned([0; 4]).await.unwrap();
        assert_eq!(u32::from_be_bytes(number), accepted);
        accepted += 1;
    }
    connecting.await.unwrap().unwrap();
    assert!(dropped > count / 100, "only {dropped} calls were dropped, so this has shown little");
}
