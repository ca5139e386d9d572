//! A peer that sends no more, and has not read all: writing to it still waits for room, and costs nothing meanwhile.

use std::pin::pin;

use net::Shutdown;
use runtime::time::{Duration, timeout};

use crate::support::{check, fill, narrow_pair, pattern};

/// A ring tells whoever waits for room of the peer's end too, each time it is asked.
///
/// Catches: a wait for room that takes the peer's end for room, and asks again at once without end.
#[runtime::test(driver = each)]
async fn waiting_for_room_at_a_peer_that_sends_no_more_does_not_spin() {
    let (client, server) = narrow_pair().await;
    server.shutdown(Shutdown::Write).await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    let filled = fill(&client).await;

    let piece: Vec<u8> = (filled..filled + 100_000).map(pattern).collect();
    {
        let mut write = pin!(client.write_all(&piece));
        let enters = runtime::metrics().enters;
        assert!(timeout(Duration::from_millis(100), write.as_mut()).await.is_err(), "there is no room");
        let enters = runtime::metrics().enters - enters;
        assert!(enters < 30, "{enters} enters in a tenth of a second without news");

        let reading = runtime::spawn(async move {
            let (mut received, mut buf) = (0, vec![0; 65_536]);
            while received < filled + 100_000 {
                let count = server.read(&mut buf).await.unwrap();
                check(received, &buf[..count]);
                received += u64::try_from(count).unwrap();
            }
        });
        write.await.unwrap();
        reading.await.unwrap();
    }
}
