//! What the tests of this crate share: a connection, a future polled once, seeded randomness.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use net::{TcpListener, TcpStream};
use runtime::time::{Duration, timeout};
use rustix::net::sockopt;

/// A listener on a port of its own.
pub async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// Both ends of a connection.
pub async fn pair() -> (TcpStream, TcpStream) {
    let listener = listen().await;
    let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let (server, _peer) = listener.accept().await.expect("a connection");
    (client, server)
}

/// Both ends of a connection that holds little, and always as much: for tests that fill it.
pub async fn narrow_pair() -> (TcpStream, TcpStream) {
    if runtime::metrics().driver == "simulated" {
        return pair().await;
    }
    // Left alone, the kernel makes buffers larger as it sees fit, and some congestion controls send what they have a
    // moment later, which makes room again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    sockopt::set_socket_recv_buffer_size(&listener, 32_768).expect("a size");
    let client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    sockopt::set_socket_send_buffer_size(&client, 32_768).expect("a size");
    sockopt::set_tcp_congestion(&client, "reno").expect("every kernel has it");
    let (server, _peer) = listener.accept().expect("a connection");
    (TcpStream::from_std(client).expect("a connection"), TcpStream::from_std(server).expect("a connection"))
}

/// Polls a future once, as whoever awaits this.
pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Lets the core hear of the world a few times, so that what was asked for is under way.
pub async fn a_few_turns() {
    let end = runtime::metrics().ticks + 4;
    while runtime::metrics().ticks < end {
        runtime::yield_now().await;
    }
}

/// Writes until there is no room, in pieces that go on with `pattern`. Returns how much that was.
pub async fn fill(stream: &TcpStream) -> u64 {
    let mut sent = 0;
    let mut refusals = 0;
    // Once is not enough: the peer's kernel takes what it was sent a moment later.
    while refusals < 2 {
        let piece: Vec<u8> = (sent..sent + 65_536).map(pattern).collect();
        let write = std::pin::pin!(stream.write(&piece));
        match timeout(Duration::from_millis(50), write).await {
            Ok(written) => sent += u64::try_from(written.expect("a connection")).expect("64 bits"),
            Err(_full) => refusals += 1,
        }
    }
    sent
}

/// The byte at `position` of a stream. Its period is prime, so that no gap of a round size goes unnoticed.
pub fn pattern(position: u64) -> u8 {
    u8::try_from(position % 251).expect("less than 256")
}

/// Checks bytes that were received behind `received` others.
#[track_caller]
pub fn check(received: u64, bytes: &[u8]) {
    for (position, &byte) in (received..).zip(bytes) {
        assert_eq!(byte, pattern(position), "the byte at {position} of the stream");
    }
}

/// xorshift64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// Seeded by the environment variable `GIMMAL_TEST_SEED`, or with 1. Prints the seed, which the test harness shows
    /// when the test fails.
    pub fn from_environment() -> Random {
        let seed = std::env::var("GIMMAL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        eprintln!("GIMMAL_TEST_SEED={seed}");
        Random(seed | 1 << 63)
    }

    /// One for somebody else, who draws other numbers.
    pub fn other(&mut self) -> Random {
        Random(self.below(u64::MAX) | 1 << 63)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Below `bound`, as a length.
    pub fn len_below(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).expect("64 bits")
    }

    /// At most so many microseconds.
    pub fn micros(&mut self, max: u64) -> Duration {
        Duration::from_micros(self.below(max + 1))
    }
}
