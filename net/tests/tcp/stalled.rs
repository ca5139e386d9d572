//! A peer that reads nothing, as of a server whose time for slow clients is over: what it may keep, and for how long.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;

use net::TcpStream;
use runtime::time::{Duration, now, sleep, timeout};
use rustix::net::sockopt;

use crate::support::{a_few_turns, fill, narrow_pair, poll_once};

/// A connection that is full, whose owned write is dropped and then the handle; what is left in flight, and its peer.
async fn leave_a_piece(prepare: impl FnOnce(&TcpStream)) -> (TcpStream, Option<OwnedFd>) {
    let (client, server) = narrow_pair().await;
    fill(&client).await;
    prepare(&client);
    let same_socket = beside(&client);
    assert!(poll_once(pin!(client.write_owned(vec![7; 100_000]))).await.is_pending());
    drop(client);
    a_few_turns().await;
    (server, same_socket)
}

/// The socket beside its handle, where there is a kernel to ask.
fn beside(stream: &TcpStream) -> Option<OwnedFd> {
    (runtime::metrics().driver != "simulated").then(|| stream.as_fd().try_clone_to_owned().unwrap())
}

/// A real kernel is asked for the minute here, and the next test sees that it keeps such a bound.
/// Catches: a handle that goes and leaves its descriptor to a peer that reads nothing.
#[runtime::test(driver = each)]
async fn a_dropped_handle_gives_a_peer_that_reads_nothing_a_minute() {
    let began = now();
    let (server, same_socket) = leave_a_piece(|_| ()).await;
    assert_eq!(runtime::metrics().in_flight, 2, "the piece, and the wait for room that `fill` began");
    if let Some(socket) = same_socket {
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 60_000);
        return;
    }
    while runtime::metrics().in_flight > 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let took = now() - began;
    assert!((60..63).contains(&took.as_secs()), "{took:?}");
    assert_eq!(read_to_its_end(&server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Real kernels count likewise, by tcp(7); here the clock is simulated, so that the minutes pass at once.
/// Catches: a minute that is counted from the drop of the handle, and cuts off a peer that is slow.
#[runtime::test(driver = simulated, seeds = 20)]
async fn a_peer_that_reads_something_has_its_minute_again() {
    let (server, _none) = leave_a_piece(|_| ()).await;
    let dropped = now();
    sleep(Duration::from_secs(40)).await;
    assert!(server.read(&mut [0; 1000]).await.unwrap() > 0);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(runtime::metrics().in_flight, 2, "the piece, and the wait for room that `fill` began");
    while runtime::metrics().in_flight > 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let took = now() - dropped;
    assert!((100..103).contains(&took.as_secs()), "{took:?}");
}

/// Catches: a bound of ours in place of a shorter one; a bound that does not end the piece in flight.
#[runtime::test(driver = each)]
async fn a_dropped_handle_leaves_the_socket_the_bound_that_it_has() {
    if runtime::metrics().driver == "simulated" {
        println!("skipped: a simulated socket has no descriptor on which a program could set it");
        return;
    }
    let (_server, same_socket) = leave_a_piece(|client| sockopt::set_tcp_user_timeout(client, 500).unwrap()).await;
    assert_eq!(sockopt::tcp_user_timeout(same_socket.unwrap()).unwrap(), 500);
    timeout(Duration::from_secs(30), async {
        while runtime::metrics().in_flight > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("its time is over");
}

/// Catches: a piece that goes out first although nobody wants to wait for the peer.
#[runtime::test(driver = each)]
async fn a_dropped_handle_that_lingers_for_no_time_breaks_off_at_once() {
    if runtime::metrics().driver == "simulated" {
        println!("skipped: a simulated socket does not linger");
        return;
    }
    let (server, same_socket) = leave_a_piece(|client| client.set_linger(Some(Duration::ZERO)).unwrap()).await;
    assert_eq!(runtime::metrics().in_flight, 0);
    drop(same_socket);
    assert_eq!(read_to_its_end(&server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Catches: a bound that comes with the dropped write, and not with the handle; one that a clone does not keep away.
#[runtime::test(driver = each)]
async fn a_peer_may_read_nothing_for_as_long_as_a_handle_lives() {
    let (client, _server) = narrow_pair().await;
    fill(&client).await;
    let same_socket = beside(&client);
    let clone = client.try_clone().unwrap();
    assert!(poll_once(pin!(client.write_owned(vec![7; 100_000]))).await.is_pending());
    drop(client);
    a_few_turns().await;
    match same_socket {
        Some(socket) => assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 0),
        None => sleep(Duration::from_secs(600)).await,
    }
    assert_eq!(runtime::metrics().in_flight, 2, "the piece, and the wait for room that `fill` began");
    drop(clone);
}

async fn read_to_its_end(stream: &TcpStream) -> std::io::Result<()> {
    let mut buf = vec![0; 65_536];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}
