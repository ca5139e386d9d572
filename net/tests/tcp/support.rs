//! What these tests share: connections, and bytes that show where in a stream they belong.

use net::{TcpListener, TcpStream};
use runtime::time::{Duration, timeout};
use rustix::net::sockopt;

pub use crate::polled::poll_once;

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

/// Lets the core hear of the world a few times, so that what was asked for is under way.
pub async fn a_few_turns() {
    let end = runtime::metrics().ticks + 4;
    while runtime::metrics().ticks < end {
        runtime::yield_now().await;
    }
}

/// A connection whose peer has reset it. A read was told, or will be, and was dropped.
pub async fn with_a_reset_that_a_dropped_read_was_told_of() -> TcpStream {
    let (client, server) = pair().await;
    server.write_all(b"unread").await.expect("a connection");
    {
        let mut read = std::pin::pin!(server.read_owned([0; 8]));
        assert!(poll_once(read.as_mut()).await.is_pending());
        a_few_turns().await;
        // With bytes unread this resets the connection. The reply may be here before the read goes, or after.
        client.peek(&mut [0; 8]).await.expect("a connection");
        drop(client);
        a_few_turns().await;
    }
    server
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
