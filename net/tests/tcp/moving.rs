//! Connections and listeners that move from core to core, and lose nothing on the way.

use std::io::{ErrorKind, Read};
use std::pin::pin;
use std::time::Duration;

use net::{DetachedTcpListener, DetachedTcpStream, TcpStream};
use runtime::time::timeout;
use runtime::{core_id, spawn_on};

use crate::support::{
    a_few_turns, fill, listen, narrow_pair, pair, poll_once, with_a_reset_that_a_dropped_read_was_told_of,
};

on_ring_and_fallback! {
    timeouts_survive_into_std_and_from_std,
    into_std_hands_over_unread_bytes_and_untold_errors,
    into_std_hands_over_a_reset_that_only_a_dropped_read_was_told_of,
}

/// A read that was dropped while its op was in flight, bytes that it had received, bytes that come later: on the other
/// core all are there, once, in order.
///
/// Catches: a detach that takes what is parked before the ops in flight have ended; an attach that forgets it.
#[runtime::test(driver = each, cores = 2, seeds = 100)]
async fn what_dropped_reads_received_moves_with_a_detached_stream() {
    let (client, server) = pair().await;
    let mut expected = Vec::new();
    let mut server = Some(server);
    for round in 0..20_u8 {
        let stream = server.take().unwrap();
        {
            let mut dropped = pin!(stream.read_owned(vec![0; 8]));
            let begun = poll_once(dropped.as_mut()).await;
            assert!(begun.is_pending());
            client.write_all(&[round, 100, 101]).await.unwrap();
            if round % 2 == 0 {
                a_few_turns().await;
            }
        }
        let detached = stream.detach().await.unwrap();
        client.write_all(&[200 + round]).await.unwrap();
        expected.extend([round, 100, 101, 200 + round]);
        let there = spawn_on(1, move || async move {
            let stream = detached.attach().unwrap();
            let mut buf = [0; 4];
            stream.read_exact(&mut buf).await.unwrap();
            (buf, stream.detach().await.unwrap())
        });
        let (buf, back) = there.await.unwrap();
        assert_eq!(buf[..], expected[expected.len() - 4..], "round {round}");
        server = Some(back.attach().unwrap());
    }
}

/// Catches: a descriptor that stays in the first core's epoll set, and is not waited for in the second's.
#[runtime::test(driver = each, cores = 3)]
async fn a_connection_serves_on_each_core_in_turn() {
    let (client, server) = pair().await;
    let mut moving = server.detach().await.unwrap();
    for turn in 0..60_usize {
        let served = spawn_on(turn % 3, move || async move {
            let stream = moving.attach().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            stream.write_all(&[byte[0], u8::try_from(core_id()).unwrap()]).await.unwrap();
            stream.detach().await.unwrap()
        });
        let number = u8::try_from(turn).unwrap();
        client.write_all(&[number]).await.unwrap();
        let (_, answer) = client.read_exact_owned([0; 2]).await.unwrap();
        assert_eq!(answer, [number, u8::try_from(turn % 3).unwrap()]);
        moving = served.await.unwrap();
    }
}

/// An accept was dropped and its connection came all the same; another comes on the way.
///
/// Catches: a listener that is detached without what its last accept brought; an attach that closes it.
#[runtime::test(driver = each, cores = 2)]
async fn a_connection_that_nobody_took_moves_with_a_detached_listener() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    {
        let mut dropped = pin!(listener.accept());
        let begun = poll_once(dropped.as_mut()).await;
        assert!(begun.is_pending());
        clients.push(TcpStream::connect(address).await.unwrap());
        a_few_turns().await;
    }
    let detached = listener.detach().await.unwrap();
    clients.push(TcpStream::connect(address).await.unwrap());
    let accepted = spawn_on(1, move || async move {
        let listener = detached.attach();
        let mut peers = Vec::new();
        for _client in 0..2 {
            peers.push(listener.accept().await.unwrap().1);
        }
        peers
    });
    let expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    assert_eq!(accepted.await.unwrap(), expected);
}

#[runtime::test(driver = each, cores = 2)]
async fn a_detached_stream_is_closed_on_whichever_core_drops_it() {
    let (client, server) = pair().await;
    let detached = server.detach().await.unwrap();
    spawn_on(1, move || async move { drop(detached) }).await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

/// Catches: timeouts that stay behind.
#[runtime::test(driver = each, cores = 2)]
async fn timeouts_move_with_a_detached_stream() {
    let (_client, server) = pair().await;
    let short = Some(Duration::from_millis(1));
    server.set_read_timeout(short).unwrap();
    server.set_write_timeout(Some(Duration::from_secs(7))).unwrap();
    let detached = server.detach().await.unwrap();
    let there = spawn_on(1, move || async move {
        let stream = detached.attach().unwrap();
        assert_eq!(stream.read_timeout().unwrap(), short);
        assert_eq!(stream.write_timeout().unwrap(), Some(Duration::from_secs(7)));
        stream.read(&mut [0; 8]).await.unwrap_err().kind()
    });
    assert_eq!(there.await.unwrap(), ErrorKind::WouldBlock);
}

/// Catches: an `into_std` whose stream waits for ever where the handle would not; one that leaves the socket the
/// timeouts with which it once came from std.
async fn timeouts_survive_into_std_and_from_std() {
    let (_client, server) = pair().await;
    let (short, long) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(7)));
    server.set_read_timeout(short).unwrap();
    server.set_write_timeout(long).unwrap();
    let (std, _) = server.into_std().await.unwrap();
    assert_eq!((std.read_timeout().unwrap(), std.write_timeout().unwrap()), (short, long));

    let server = TcpStream::from_std(std).unwrap();
    assert_eq!((server.read_timeout().unwrap(), server.write_timeout().unwrap()), (short, long));
    server.set_read_timeout(None).unwrap();
    server.set_write_timeout(None).unwrap();
    let (std, _) = server.detach().await.unwrap().attach().unwrap().into_std().await.unwrap();
    assert_eq!((std.read_timeout().unwrap(), std.write_timeout().unwrap()), (None, None));
}

/// A clone stays where it is, and so keeps the descriptor: the one that moves gets a duplicate, where there are such.
#[runtime::test(driver = each, cores = 2)]
async fn a_clone_of_a_detached_stream_stays_usable_on_its_core() {
    let (client, server) = pair().await;
    let stays = server.try_clone().unwrap();
    match server.detach().await {
        Ok(detached) => {
            let there = spawn_on(1, move || async move { detached.attach().unwrap().write_all(b"there").await });
            there.await.unwrap().unwrap();
            let (_, buf) = client.read_exact_owned([0; 5]).await.unwrap();
            assert_eq!(&buf, b"there");
        }
        Err(error) => {
            assert_eq!(runtime::metrics().driver, "simulated");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
    }
    stays.write_all(b"here").await.unwrap();
    let (_, buf) = client.read_exact_owned([0; 4]).await.unwrap();
    assert_eq!(&buf, b"here");
}

/// A connection with what only its handle knows: bytes of a read that was dropped, the error of another, and that of a
/// write. The peer is gone.
async fn with_all_that_is_lost_easily() -> TcpStream {
    let (ours, peer) = narrow_pair().await;
    fill(&ours).await;
    peer.write_all(b"ab").await.unwrap();
    // It has two bytes of three when it is dropped.
    assert!(timeout(Duration::from_millis(20), ours.read_exact(&mut [0; 3])).await.is_err());
    {
        let mut write = pin!(ours.write_owned(vec![0; 256 << 10]));
        // It is in flight, and stays there: nobody reads.
        for _turn in 0..3 {
            assert!(poll_once(write.as_mut()).await.is_pending());
            a_few_turns().await;
        }
    }
    // With bytes unread this resets the connection.
    drop(peer);
    ours
}

/// Catches: a `detach` that fails with the error of a dropped write, and closes the connection, so that nobody reads
/// what was received before; one that forgets the error.
#[runtime::test(driver = each, cores = 2)]
async fn unread_bytes_and_untold_errors_move_with_a_detached_stream() {
    let server = with_all_that_is_lost_easily().await;
    let moving = server.detach().await.unwrap();
    let there = spawn_on(1, move || async move {
        let stream = moving.attach().unwrap();
        let mut buf = [0; 8];
        let received = stream.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..received], b"ab");
        let told = stream.flush().await.unwrap_err().kind();
        stream.flush().await.expect("it was told already");
        told
    });
    assert!(matches!(there.await.unwrap(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
}

/// Catches: as above, of `into_std`.
async fn into_std_hands_over_unread_bytes_and_untold_errors() {
    let server = with_all_that_is_lost_easily().await;
    let (std, mut remains) = server.into_std().await.unwrap();
    let told = remains.write_error.as_ref().expect("the write was dropped").kind();
    assert!(matches!(told, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{told:?}");
    assert_eq!(remains.unread, b"ab");
    let mut buf = [0; 8];
    assert_eq!(remains.read(&mut buf[..1]).unwrap(), 1);
    assert_eq!(remains.read(&mut buf[1..]).unwrap(), 1);
    assert_eq!(&buf[..2], b"ab");
    assert_eq!(remains.read(&mut buf).unwrap(), 0);
    drop(std);
}

/// The kernel tells of a reset once, and std would see a peer that has ended well.
/// Catches: an `into_std` that drops the error of a dropped read.
async fn into_std_hands_over_a_reset_that_only_a_dropped_read_was_told_of() {
    let server = with_a_reset_that_a_dropped_read_was_told_of().await;
    let (std, remains) = server.into_std().await.unwrap();
    let mut reader = remains.chain(&std);
    assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

/// Compiles: what is detached may be sent.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<DetachedTcpStream>();
    is_send::<DetachedTcpListener>();
};
