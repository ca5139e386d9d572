//! Connections and listeners that move from core to core, and lose nothing on the way.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use net::{DetachedTcpListener, DetachedTcpStream, TcpStream};
use runtime::{core_id, spawn_on};

use crate::support::{a_few_turns, listen, pair, poll_once};

/// A read that was dropped while its op was in flight, bytes that it had received, bytes that come later: on the other
/// core all are there, once, in order.
///
/// Catches: a detach that takes what is parked before the ops in flight have ended; an attach that forgets it.
#[runtime::test(driver = each, cores = 2, seeds = 100)]
async fn what_was_received_and_not_read_goes_along() {
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
async fn a_listener_takes_the_connection_that_nobody_took_along() {
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
async fn what_is_detached_and_dropped_is_closed_wherever_that_is() {
    let (client, server) = pair().await;
    let detached = server.detach().await.unwrap();
    spawn_on(1, move || async move { drop(detached) }).await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

/// Catches: timeouts that stay behind.
#[runtime::test(driver = each, cores = 2)]
async fn timeouts_go_along() {
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

/// A clone stays where it is, and so keeps the descriptor: the one that moves gets a duplicate, where there are such.
#[runtime::test(driver = each, cores = 2)]
async fn a_clone_stays_behind() {
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

/// Compiles: what is detached may be sent.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<DetachedTcpStream>();
    is_send::<DetachedTcpListener>();
};
