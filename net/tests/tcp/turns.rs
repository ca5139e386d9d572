//! Several callers of one direction of one handle take turns, and none is forgotten.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use net::TcpStream;
use runtime::time::{Duration, timeout};

use crate::support::{a_few_turns, fill, listen, narrow_pair, pair, poll_once};

/// Catches: a line that is served last come, first served; a second reader that waits with the first one's waker gone.
#[runtime::test(driver = each)]
async fn readers_of_one_stream_are_served_in_the_order_in_which_they_began() {
    let (client, server) = pair().await;
    let server = Rc::new(server);
    let came = Rc::new(RefCell::new(Vec::new()));
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (server, came) = (server.clone(), came.clone());
            runtime::spawn(async move {
                let mut byte = [0];
                if reader % 2 == 0 {
                    server.read_exact(&mut byte).await.unwrap();
                } else {
                    ((), byte) = server.read_exact_owned(byte).await.unwrap();
                }
                came.borrow_mut().push((reader, byte[0]));
            })
        })
        .collect();
    a_few_turns().await;
    client.write_all(b"wxyz").await.unwrap();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(*came.borrow(), [(0, b'w'), (1, b'x'), (2, b'y'), (3, b'z')]);
}

/// Catches: a turn that is not passed on when its future is dropped; a place in line that stays when its future goes; a
/// turn that was granted to a future which is dropped before it was polled.
#[runtime::test(driver = each)]
async fn a_reader_that_goes_away_holds_nobody_up() {
    let (client, server) = pair().await;
    let server = Rc::new(server);
    let waiting = |len: usize| {
        let server = server.clone();
        async move { server.read_exact_owned(vec![0; len]).await.map(|((), bytes)| bytes) }
    };
    let mut first = Box::pin(waiting(1));
    let mut second = Box::pin(waiting(2));
    let mut third = Box::pin(waiting(3));
    let fourth = runtime::spawn(waiting(4));
    assert!(poll_once(first.as_mut()).await.is_pending());
    assert!(poll_once(second.as_mut()).await.is_pending());
    assert!(poll_once(third.as_mut()).await.is_pending());
    a_few_turns().await;
    // In the middle of the line; at its head; then with a turn that it has been granted and does not know of yet.
    drop(second);
    drop(first);
    a_few_turns().await;
    drop(third);
    client.write_all(b"four").await.unwrap();
    assert_eq!(fourth.await.unwrap().unwrap(), b"four");
}

/// Catches: as above, for the accept that belongs to the handle, with the waker of one who is gone.
#[runtime::test(driver = each)]
async fn two_accepts_are_served_in_turn_also_when_the_first_is_dropped() {
    let listener = Rc::new(listen().await);
    let address = listener.local_addr().unwrap();
    let mut first = Box::pin({
        let listener = listener.clone();
        async move { listener.accept().await.map(drop) }
    });
    assert!(poll_once(first.as_mut()).await.is_pending());
    let second = runtime::spawn({
        let listener = listener.clone();
        async move { listener.accept().await.map(|(_, peer)| peer) }
    });
    a_few_turns().await;
    drop(first);
    let client = TcpStream::connect(address).await.unwrap();
    assert_eq!(second.await.unwrap().unwrap(), client.local_addr().unwrap());
}

/// Catches: a `write_all` that gives its turn away between two sends.
#[runtime::test(driver = each)]
async fn writes_of_two_tasks_do_not_mix() {
    const LEN: usize = 1 << 20;
    let (client, server) = pair().await;
    let other = client.try_clone().unwrap();
    let lent = runtime::spawn(async move { client.write_all(&vec![b'l'; LEN]).await });
    let owned = runtime::spawn(async move { other.write_all_owned(vec![b'o'; LEN]).await.map(drop) });
    let ((), all) = server.read_exact_owned(vec![0; 2 * LEN]).await.unwrap();
    lent.await.unwrap().unwrap();
    owned.await.unwrap().unwrap();
    assert!(all[..LEN].iter().all(|&byte| byte == b'l'));
    assert!(all[LEN..].iter().all(|&byte| byte == b'o'));
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

/// Catches: an exact call that waits for its turn with nothing to do; a write of nothing that waits for room.
#[runtime::test(driver = each)]
async fn empty_reads_and_writes_wait_for_no_turn() {
    const SOON: Duration = Duration::from_secs(5);
    let (client, server) = narrow_pair().await;
    let mut byte = [0];
    let mut reading = pin!(server.read(&mut byte));
    assert!(poll_once(reading.as_mut()).await.is_pending());
    timeout(SOON, server.read_exact(&mut [])).await.expect("it is full").unwrap();
    timeout(SOON, server.read_exact_owned([0; 0])).await.expect("it is full").unwrap();

    fill(&client).await;
    assert_eq!(timeout(SOON, client.write(&[])).await.expect("there is room for that").unwrap(), 0);
    let (written, _) = timeout(SOON, client.write_owned([0; 0])).await.expect("there is room for that").unwrap();
    assert_eq!(written, 0);

    let mut writing = pin!(client.write(&[0]));
    assert!(poll_once(writing.as_mut()).await.is_pending());
    timeout(SOON, client.write_all(&[])).await.expect("it is out").unwrap();
    timeout(SOON, client.write_all_owned([0; 0])).await.expect("it is out").unwrap();
    assert!(poll_once(writing.as_mut()).await.is_pending());
}
