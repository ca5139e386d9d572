//! Calls whose future is dropped: what they received, had to send, or failed with goes to the next call.

use std::pin::pin;

use net::{Shutdown, TcpStream};
use runtime::time::{Duration, timeout};

use crate::support::{
    a_few_turns, check, fill, narrow_pair, pair, pattern, poll_once, with_a_reset_that_a_dropped_read_was_told_of,
};

const PIECE: u64 = 256 << 10;

/// All that comes until the end.
async fn read_to_end(stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = vec![0; 65_536];
    loop {
        match stream.read(&mut buf).await.expect("a connection") {
            0 => return all,
            received => all.extend_from_slice(&buf[..received]),
        }
    }
}

/// Catches: a send that is cancelled when it is dropped; a turn that goes when the future goes, not when the op has
/// ended; a short send (the fallback's) whose rest is forgotten; a `shutdown` that does not wait.
#[runtime::test(driver = each)]
async fn a_dropped_owned_write_goes_out_whole_and_before_what_is_written_later() {
    for is_under_way in [false, true] {
        let (client, server) = narrow_pair().await;
        let filled = fill(&client).await;
        let piece: Vec<u8> = (filled..filled + 2 * PIECE).map(pattern).collect();
        {
            let mut write = pin!(client.write_all_owned(piece));
            assert!(poll_once(write.as_mut()).await.is_pending());
            if is_under_way {
                a_few_turns().await;
                assert!(poll_once(write.as_mut()).await.is_pending());
            }
        }
        let later = runtime::spawn(async move {
            client.write_all(b"later").await?;
            client.shutdown(Shutdown::Write).await
        });

        let all = read_to_end(&server).await;
        later.await.unwrap().unwrap();
        let (pieces, end) = all.split_at(all.len() - 5);
        assert_eq!(end, b"later");
        check(0, pieces);
        assert_eq!(pieces.len(), usize::try_from(filled + PIECE).unwrap(), "the piece in flight, and no more");
    }
}

/// Catches: a `shutdown` that overtakes the piece in flight.
#[runtime::test(driver = each)]
async fn shutting_down_waits_for_a_dropped_write() {
    let (client, server) = narrow_pair().await;
    let filled = fill(&client).await;
    let piece: Vec<u8> = (filled..filled + PIECE).map(pattern).collect();
    assert!(poll_once(pin!(client.write_owned(piece))).await.is_pending());
    let down = runtime::spawn(async move { client.shutdown(Shutdown::Write).await });

    let all = read_to_end(&server).await;
    check(0, &all);
    assert_eq!(all.len(), usize::try_from(filled + PIECE).unwrap());
    down.await.unwrap().unwrap();
}

/// Catches: an `abandon` of a send that forgets its error.
#[runtime::test(driver = each)]
async fn the_error_of_a_dropped_write_is_the_next_calls() {
    let (client, server) = narrow_pair().await;
    fill(&client).await;
    {
        let mut write = pin!(client.write_owned(vec![0; 256 << 10]));
        assert!(poll_once(write.as_mut()).await.is_pending());
        a_few_turns().await;
        assert!(poll_once(write.as_mut()).await.is_pending());
    }
    // With bytes unread this resets the connection.
    drop(server);
    let failed = client.flush().await.unwrap_err();
    assert!(
        matches!(failed.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "{failed:?}"
    );
    client.flush().await.expect("it was told already");
}

/// Catches: a `read_exact` that keeps what it had when it is dropped, or when it fails.
#[runtime::test(driver = each)]
async fn a_read_exact_that_does_not_come_to_its_end_has_read_nothing() {
    let (client, server) = pair().await;
    client.write_all(b"abc").await.unwrap();
    {
        let mut buf = [0; 5];
        let mut read = pin!(server.read_exact(&mut buf));
        a_few_turns().await;
        assert!(timeout(Duration::from_millis(20), read.as_mut()).await.is_err());
    }
    {
        let mut read = pin!(server.read_exact_owned([0; 5]));
        assert!(timeout(Duration::from_millis(20), read.as_mut()).await.is_err());
    }
    client.shutdown(Shutdown::Write).await.unwrap();
    let lent = server.read_exact(&mut [0; 5]).await.unwrap_err();
    assert_eq!(lent.kind(), std::io::ErrorKind::UnexpectedEof);
    let owned = server.read_exact_owned([0; 5]).await.unwrap_err();
    assert_eq!(owned.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(read_to_end(&server).await, b"abc");
}

/// Catches: an `abandon` of a receive that forgets its error: the kernel tells it once, and then says «end».
#[runtime::test(driver = each)]
async fn the_error_of_a_dropped_read_is_the_next_reads() {
    let server = with_a_reset_that_a_dropped_read_was_told_of().await;
    let failed = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(failed.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
}

/// Catches: a timeout of an owned call that takes what came without giving it to anybody.
#[runtime::test(driver = each)]
async fn a_timeout_of_the_stream_is_stds_and_loses_nothing() {
    let (client, server) = narrow_pair().await;
    server.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    assert_eq!(server.read_timeout().unwrap(), Some(Duration::from_millis(5)));
    let lent = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(lent.kind(), std::io::ErrorKind::WouldBlock);
    let owned = server.read_owned([7; 8]).await.unwrap_err();
    assert_eq!(owned.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(owned.into_buf(), [7; 8]);

    let mut sent = fill(&client).await;
    client.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let lent = client.write(&[0]).await.unwrap_err();
    assert_eq!(lent.kind(), std::io::ErrorKind::WouldBlock);
    let piece: Vec<u8> = (sent..sent + 1000).map(pattern).collect();
    match client.write_owned(piece).await {
        Ok((written, _piece)) => sent += u64::try_from(written).unwrap(),
        Err(owned) => assert_eq!(owned.kind(), std::io::ErrorKind::WouldBlock),
    }
    client.shutdown(Shutdown::Write).await.unwrap();
    server.set_read_timeout(None).unwrap();
    let all = read_to_end(&server).await;
    check(0, &all);
    assert_eq!(all.len(), usize::try_from(sent).unwrap());
}

/// A part of the piece went out at once; the rest waits, is stopped by the time limit, and then nobody waits for it.
/// Catches: an `abandon` that takes a cancelled rest for a piece of which nothing is out.
#[runtime::test(driver = each)]
async fn a_piece_that_is_out_in_part_goes_out_whole_also_after_its_time_is_over() {
    const PIECE: u64 = 256 << 10;
    let (client, server) = narrow_pair().await;
    client.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    {
        let piece: Vec<u8> = (0..PIECE).map(pattern).collect();
        let mut write = pin!(client.write_all_owned(piece));
        assert!(poll_once(write.as_mut()).await.is_pending());
        assert!(timeout(Duration::from_millis(20), std::future::pending::<()>()).await.is_err());
        // This poll sees that the time is over, and has the rest cancelled.
        assert!(poll_once(write.as_mut()).await.is_pending());
    }
    let down = runtime::spawn(async move { client.shutdown(Shutdown::Write).await });
    let all = read_to_end(&server).await;
    check(0, &all);
    // On a simulated kernel it may have been one op, of which nothing was out.
    assert!(all.len() == usize::try_from(PIECE).unwrap() || all.is_empty(), "{} bytes", all.len());
    down.await.unwrap().unwrap();
}
