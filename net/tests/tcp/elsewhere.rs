//! A waiting future may move to another task, as combinators and channels of futures do: that task is woken from then
//! on.

use std::future::Future;
use std::net::Shutdown;
use std::rc::Rc;

use net::TcpStream;
use runtime::time::{Duration, timeout};

use crate::support::{a_few_turns, fill, listen, narrow_pair, pair, poll_once};

/// Begins here, and goes on in a task of its own.
async fn moved<T: 'static>(future: impl Future<Output = T> + 'static) -> runtime::JoinHandle<T> {
    let mut future = Box::pin(future);
    assert!(poll_once(future.as_mut()).await.is_pending());
    let task = runtime::spawn(future);
    a_few_turns().await;
    task
}

/// The second one stands in line when it is moved, and the first one has the turn and waits for bytes.
/// Catches: a place in line that keeps its first waker; a wait for the socket that does.
#[runtime::test(driver = each)]
async fn readers_that_go_on_in_another_task_are_served() {
    let (client, server) = pair().await;
    let server = Rc::new(server);
    let lent = async |server: Rc<TcpStream>| {
        let mut byte = [0];
        server.read_exact(&mut byte).await.map(|()| byte)
    };
    let given = async |server: Rc<TcpStream>| Ok(server.read_exact_owned([0]).await?.1);
    let first = moved(lent(server.clone())).await;
    let second = moved(given(server.clone())).await;
    let third = moved(lent(server.clone())).await;
    for (reader, byte) in [(first, b'1'), (second, b'2'), (third, b'3')] {
        client.write_all(&[byte]).await.unwrap();
        let read: std::io::Result<[u8; 1]> =
            timeout(Duration::from_secs(20), reader).await.expect("it is woken").unwrap();
        assert_eq!(read.unwrap(), [byte]);
    }
}

/// Catches: as above, for a listener, and for the accept that belongs to it.
#[runtime::test(driver = each)]
async fn who_accepts_and_goes_on_in_another_task_is_served() {
    let listener = Rc::new(listen().await);
    let address = listener.local_addr().unwrap();
    let accept = async |listener: Rc<net::TcpListener>| listener.accept().await.map(|(_, peer)| peer);
    let tasks = [moved(accept(listener.clone())).await, moved(accept(listener.clone())).await];
    for task in tasks {
        let client = TcpStream::connect(address).await.unwrap();
        let accepted = timeout(Duration::from_secs(20), task).await.expect("it is woken").unwrap();
        assert_eq!(accepted.unwrap(), client.local_addr().unwrap());
    }
}

/// Catches: as above, for who waits beside the line until a dropped write has gone out.
#[runtime::test(driver = each)]
async fn who_waits_for_a_dropped_write_and_goes_on_in_another_task_hears_of_its_end() {
    let (client, server) = narrow_pair().await;
    let mut expected = fill(&client).await;
    let mut write = Box::pin(client.write_owned(vec![7; 100_000]));
    assert!(poll_once(write.as_mut()).await.is_pending());
    a_few_turns().await;
    drop(write);
    let down = moved(async move { client.shutdown(Shutdown::Write).await }).await;

    let mut buf = vec![0; 65_536];
    loop {
        match server.read(&mut buf).await.unwrap() {
            0 => break,
            received => expected = expected.saturating_sub(u64::try_from(received).expect("64 bits")),
        }
    }
    assert_eq!(expected, 0, "so much was sent before");
    timeout(Duration::from_secs(20), down).await.expect("it is woken").unwrap().unwrap();
}
