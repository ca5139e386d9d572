//! How connections and listeners end, whatever is in flight.

use std::io::Read;
use std::net::SocketAddr;
use std::pin::pin;

use net::{TcpListener, TcpStream};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now, timeout};
use rustix::net::sockopt;

use crate::support::{a_few_turns, check, fill, listen, narrow_pair, pair, pattern, poll_once};

on_ring_and_fallback! {
    a_connection_that_nobody_took_comes_with_the_std_listener,
    a_lingering_socket_does_not_hold_up_its_core,
    a_socket_that_lingers_as_its_listener_does_holds_up_no_core,
}

/// So soon the other end must know.
const SOON: Duration = Duration::from_millis(100);

/// An op in flight holds the descriptor, so the peer would wait for an end that never comes.
/// Catches: an op in flight that outlives its handle; a handle in a cycle with its own op.
#[runtime::test(driver = each)]
async fn the_peer_sees_the_end_soon_when_a_handle_goes_whose_read_is_pending() {
    for is_owned in [false, true] {
        let (client, server) = pair().await;
        let reading = runtime::spawn(async move {
            if is_owned {
                server.read_owned(vec![0; 64]).await.map(drop).map_err(std::io::Error::from)
            } else {
                server.read(&mut [0; 64]).await.map(drop)
            }
        });
        a_few_turns().await;
        reading.abort();
        assert!(reading.await.unwrap_err().is_cancelled());
        assert_eq!(timeout(SOON, client.read(&mut [0])).await.expect("it is soon").unwrap(), 0);
    }
}

/// Catches: a `close` that leaves the handle's poll in flight, and the descriptor with it.
#[runtime::test(driver = each)]
async fn a_connection_is_closed_when_close_returns() {
    let (client, server) = pair().await;
    assert!(poll_once(pin!(server.read(&mut [0; 8]))).await.is_pending());
    assert!(poll_once(pin!(server.read_owned([0; 8]))).await.is_pending());
    server.close().await.unwrap();
    assert_eq!(runtime::metrics().in_flight, 0, "nothing is in flight for it any more");
    assert_eq!(timeout(SOON, client.read(&mut [0])).await.expect("it is soon").unwrap(), 0);
}

/// Catches: a `close` that returns before the accept in flight has given the socket up.
#[runtime::test(driver = each)]
async fn the_address_is_free_when_close_returns_although_an_accept_was_pending() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    assert!(poll_once(pin!(listener.accept())).await.is_pending());
    a_few_turns().await;
    listener.close().await.unwrap();
    let again = TcpListener::bind(address).await.unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    assert_eq!(again.accept().await.unwrap().1, client.local_addr().unwrap());
}

/// Catches: an accept in flight that outlives its listener.
#[runtime::test(driver = each)]
async fn the_address_is_free_soon_when_a_listener_is_dropped_whose_accept_is_pending() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let accepting = runtime::spawn(async move { listener.accept().await.map(drop) });
    a_few_turns().await;
    accepting.abort();
    let end = now() + SOON;
    while let Err(error) = TcpListener::bind(address).await {
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        assert!(now() < end, "the address is still taken after {SOON:?}");
        runtime::yield_now().await;
    }
}

/// The end of a runtime cancels; it does not wait for a client that never comes.
/// Catches: an accept that is left to finish when it is dropped.
#[test]
fn a_runtime_ends_soon_although_an_accept_and_a_read_are_pending() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "ending with an accept and a read pending") {
            continue;
        }
        let runtime = builder(driver).build().unwrap();
        let forgotten = runtime.block_on(async {
            let listener = listen().await;
            let (client, server) = pair().await;
            assert!(poll_once(pin!(listener.accept())).await.is_pending());
            drop(runtime::spawn(async move { server.read(&mut [0]).await }));
            a_few_turns().await;
            // Handles may outlive their runtime. They are of no use any more, and do no harm.
            (listener, client)
        });
        let began = std::time::Instant::now();
        drop(runtime);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        drop(forgotten);
    }
}

/// Catches: a Debug that asks the core which is gone, and panics.
#[test]
fn debug_of_handles_that_outlive_their_runtime_does_not_panic() {
    for driver in [Driver::Ring, Driver::Fallback, Driver::Simulated] {
        if !is_here(driver, "showing handles that outlive their runtime") {
            continue;
        }
        let runtime = builder(driver).build().unwrap();
        let handles = runtime.block_on(async { (listen().await, pair().await) });
        let shown = format!("{handles:?}");
        drop(runtime);
        // A simulated socket's address has gone with its kernel.
        if driver == Driver::Simulated {
            assert!(format!("{handles:?}").contains("TcpListener { fd: simulated"));
        } else {
            assert_eq!(format!("{handles:?}"), shown);
        }
    }
}

/// They are plain system calls. Between two `block_on`, and after the runtime's end.
/// Catches: an option that asks the core, and panics where none is.
#[test]
fn options_can_be_set_where_no_runtime_is() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "setting options where no runtime is") {
            continue;
        }
        let runtime = builder(driver).build().unwrap();
        let (listener, (client, _server)) = runtime.block_on(async { (listen().await, pair().await) });
        let set_all = |yes: bool| {
            client.set_nodelay(yes).unwrap();
            assert_eq!(client.nodelay().unwrap(), yes);
            client.set_ttl(60 + u32::from(yes)).unwrap();
            assert_eq!(client.ttl().unwrap(), 60 + u32::from(yes));
            listener.set_ttl(60 + u32::from(yes)).unwrap();
            assert_eq!(listener.ttl().unwrap(), 60 + u32::from(yes));
            let second = yes.then_some(Duration::from_secs(1));
            client.set_linger(second).unwrap();
            assert_eq!(client.linger().unwrap(), second);
            client.set_read_timeout(second).unwrap();
            assert_eq!(client.read_timeout().unwrap(), second);
            client.set_write_timeout(second).unwrap();
            assert_eq!(client.write_timeout().unwrap(), second);
            assert!(client.take_error().unwrap().is_none() && listener.take_error().unwrap().is_none());
        };
        set_all(true);
        drop(runtime);
        set_all(false);
    }
}

/// Catches: an `into_std` that forgets what a dropped read has received; one that waits for the descriptor to be its
/// own.
// On the fallback such a read has its bytes at once.
#[runtime::test(driver = ring)]
async fn what_a_dropped_read_received_comes_with_the_std_stream() {
    let (client, server) = pair().await;
    client.write_all(b"unread, and more").await.unwrap();
    // Whether the read gets the bytes or is cancelled before, they must all be found.
    assert!(poll_once(pin!(server.read_owned([0; 6]))).await.is_pending());
    let (server, remains) = server.into_std().await.unwrap();
    client.close().await.unwrap();
    let mut all = Vec::new();
    remains.chain(&server).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"unread, and more");
    assert_eq!(server.take_error().unwrap().map(|error| error.kind()), None);
}

/// Catches: an `into_std` of a listener that drops the connection in its slot.
async fn a_connection_that_nobody_took_comes_with_the_std_listener() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    assert!(poll_once(pin!(listener.accept())).await.is_pending());
    let client = TcpStream::connect(address).await.unwrap();
    a_few_turns().await;
    let (listener, unread) = listener.into_std().await.unwrap();
    let unread = unread.expect("the accept was in flight when the client came");
    assert_eq!(unread.peer_addr().unwrap(), client.local_addr().unwrap());
    assert_eq!(listener.local_addr().unwrap(), address);
}

/// Catches: a `close` that does not wait for the piece of a dropped write.
#[runtime::test(driver = each)]
async fn closing_waits_for_a_dropped_write() {
    let (client, server) = narrow_pair().await;
    let filled = fill(&client).await;
    let piece: Vec<u8> = (filled..filled + 100_000).map(pattern).collect();
    assert!(poll_once(pin!(client.write_owned(piece))).await.is_pending());
    let closing = runtime::spawn(client.close());
    let all = usize::try_from(filled + 100_000).unwrap();
    let ((), bytes) = server.read_exact_owned(vec![0; all]).await.unwrap();
    check(0, &bytes);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    closing.await.unwrap().unwrap();
}

/// close(2) of a lingering socket waits for the peer: here, half a minute.
/// Catches: a drop that closes such a socket on the core; a `close` that does so.
async fn a_lingering_socket_does_not_hold_up_its_core() {
    for is_closed in [false, true] {
        let (client, server) = narrow_pair().await;
        fill(&client).await;
        client.set_linger(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(client.linger().unwrap(), Some(Duration::from_secs(30)));
        let began = now();
        let closing = is_closed.then_some(client).map(|client| runtime::spawn(client.close()));
        a_few_turns().await;
        assert!(now() - began < Duration::from_secs(1), "the core stood still for {:?}", now() - began);
        drop(server);
        if let Some(closing) = closing {
            closing.await.unwrap().unwrap();
        }
    }
}

/// The thread that would wait for the peer is busy, and so the job is dropped by whoever ends the runtime.
/// Catches: a `close` whose socket lingers already on its way to the pool.
#[test]
fn a_lingering_socket_whose_close_has_not_begun_does_not_hold_up_the_end() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "ending with a close that has not begun") {
            continue;
        }
        let runtime = builder(driver).blocking_threads(1).build().unwrap();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let peer = runtime.block_on(async {
            drop(runtime::spawn_blocking(move || gate.recv()));
            let (client, server) = narrow_pair().await;
            fill(&client).await;
            client.set_linger(Some(Duration::from_secs(20))).unwrap();
            drop(runtime::spawn(client.close()));
            a_few_turns().await;
            server
        });
        let began = std::time::Instant::now();
        drop(runtime);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop((release, peer));
    }
}

/// Connections inherit the linger time of their listener.
/// Catches: an accept that does not pass it on to the connection.
async fn a_socket_that_lingers_as_its_listener_does_holds_up_no_core() {
    for way in ["from_std", "attach", "clone", "into_std"] {
        let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = std.local_addr().unwrap();
        if way == "attach" {
            // It is set after `from_std` has asked.
            let shared = std.try_clone().unwrap();
            let listener = TcpListener::from_std(std).unwrap();
            sockopt::set_socket_linger(&shared, Some(Duration::from_secs(30))).unwrap();
            let listener = listener.detach().await.unwrap().attach();
            drop_one_that_is_full(listener.accept(), address).await;
            continue;
        }
        sockopt::set_socket_linger(&std, Some(Duration::from_secs(30))).unwrap();
        let listener = TcpListener::from_std(std).unwrap();
        match way {
            "clone" => drop_one_that_is_full(listener.try_clone().unwrap().accept(), address).await,
            "into_std" => {
                assert!(poll_once(pin!(listener.accept())).await.is_pending());
                let untaken = async {
                    a_few_turns().await;
                    let (_listener, untaken) = listener.into_std().await?;
                    Ok((untaken.expect("the accept was in flight"), address))
                };
                drop_one_that_is_full(untaken, address).await;
            }
            _ => drop_one_that_is_full(listener.accept(), address).await,
        }
    }
}

/// Connects, and drops the other end when it has more to send than the peer takes.
async fn drop_one_that_is_full<T>(
    accepting: impl Future<Output = std::io::Result<(TcpStream, T)>>,
    address: SocketAddr,
) {
    let _peer = std::net::TcpStream::connect(address).unwrap();
    let (server, _) = accepting.await.unwrap();
    assert_eq!(server.linger().unwrap(), Some(Duration::from_secs(30)), "it is inherited");
    fill(&server).await;
    let began = now();
    drop(server);
    a_few_turns().await;
    assert!(now() - began < Duration::from_secs(1), "the core stood still for {:?}", now() - began);
}

/// Catches: a close of one handle that takes what was received and is unread from the others.
#[runtime::test(driver = each)]
async fn the_close_of_one_handle_leaves_what_is_unread_to_its_clones() {
    let (client, server) = pair().await;
    client.write_all(b"ab").await.unwrap();
    // It has two bytes of three when it is dropped.
    assert!(timeout(SOON, server.read_exact(&mut [0; 3])).await.is_err());
    server.try_clone().unwrap().close().await.unwrap();
    let mut rest = [0; 2];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"ab");
}

/// Catches: a simulated socket whose option is set on a real one, or that panics where its kernel is gone.
#[test]
fn the_options_of_a_simulated_socket_go_with_its_kernel() {
    let runtime = builder(Driver::Simulated).build().unwrap();
    let (client, _server) = runtime.block_on(pair());
    client.set_nodelay(true).unwrap();
    drop(runtime);
    let error = client.set_nodelay(true).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
}
