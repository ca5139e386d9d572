//! An owned write or read is one system call where it would be alone in its enter, and an op where ops share one.

use std::pin::pin;

use net::TcpStream;
use runtime::{metrics, spawn, submit};

use crate::support::{pair, poll_once};

/// How many ops the driver is asked for while `body` runs.
async fn ops(body: impl AsyncFnOnce()) -> u64 {
    let settled = async || submit(runtime::op::Nop).await.unwrap();
    settled().await;
    let before = metrics().submitted;
    body().await;
    settled().await;
    metrics().submitted - before - 1
}

async fn write(stream: &TcpStream) {
    let (written, _) = stream.write_owned(b"x".as_slice()).await.unwrap();
    assert_eq!(written, 1);
}

/// Catches: a rule that does not ask whether others are ready, or whether entries are queued; one that never says yes.
#[runtime::test(driver = ring)]
async fn a_write_alone_is_no_op_and_those_beside_each_other_are() {
    let ((one, _peer), (other, _other_peer)) = (pair().await, pair().await);
    assert_eq!(ops(async || write(&one).await).await, 0, "alone");

    let beside_a_ready_task = async || {
        let ready = spawn(async {});
        write(&one).await;
        ready.await.unwrap();
    };
    assert_eq!(ops(beside_a_ready_task).await, 1, "another task is ready");

    let beside_an_entry = async || {
        let last = spawn(async move { write(&one).await });
        // The first one sees the task that is ready, and that task the entry.
        write(&other).await;
        last.await.unwrap();
    };
    assert_eq!(ops(beside_an_entry).await, 2, "an entry is queued");
}

/// Catches: a detour by a slot where there is no ring to share.
#[runtime::test(driver = fallback)]
async fn without_a_ring_a_write_is_always_a_call() {
    let (stream, _peer) = pair().await;
    let two = async || {
        let ready = spawn(async {});
        write(&stream).await;
        ready.await.unwrap();
        write(&stream).await;
    };
    assert_eq!(ops(two).await, 0);
}

/// One byte there, received as an owned read does it.
async fn exchange(from: &TcpStream, to: &TcpStream) {
    from.write_all(b"x").await.unwrap();
    let (received, buf) = to.read_owned(vec![0; 8]).await.unwrap();
    assert_eq!((received, buf[0]), (1, b'x'));
}

/// Catches: a receive that is never without an op on a ring, one that stays so when others are ready, and one without
/// an op that loses its byte when it is dropped.
#[runtime::test(driver = ring)]
async fn a_connection_that_is_alone_for_a_while_receives_without_ops() {
    let (near, far) = pair().await;
    for _warm in 0..20 {
        exchange(&near, &far).await;
    }
    let ten = async || {
        for _exchange in 0..10 {
            exchange(&near, &far).await;
        }
    };
    assert_eq!(ops(ten).await, 0, "alone");

    assert!(poll_once(pin!(far.read_owned(vec![0; 8]))).await.is_pending());
    exchange(&near, &far).await;

    near.write_all(b"x").await.unwrap();
    let beside_a_ready_task = async || {
        let ready = spawn(async {});
        far.read_owned(vec![0; 8]).await.unwrap();
        ready.await.unwrap();
    };
    assert_eq!(ops(beside_a_ready_task).await, 1, "another task is ready");
}
