//! The server's drafts, each with a mistake that no test without faults would find, and what looks for it.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gimmal_examples::locks::{Locks, SILENCE_MAX, next_line, serve_by};
use net::TcpListener;
use runtime::Builder;
use runtime::simulated::Faults;
use runtime::time::timeout;

use crate::story::ADDRESS;

/// Planted: what one read brings is taken for one request.
pub async fn first_draft(listener: TcpListener, locks: Locks) -> io::Result<()> {
    serve_by(listener, locks, |stream, client, locks| async move {
        let mut request = [0; 256];
        loop {
            let n = timeout(SILENCE_MAX, stream.read(&mut request)).await??;
            if n == 0 {
                break;
            }
            let reply = locks.answer(client, &String::from_utf8_lossy(&request[..n]));
            stream.write_all(reply.as_bytes()).await?;
        }
        locks.give_back_all(client);
        Ok(())
    })
    .await
}

/// Planted: a client that vanishes leaves by a `?`, and never gives back what it had.
pub async fn second_draft(listener: TcpListener, locks: Locks) -> io::Result<()> {
    serve_by(listener, locks, |stream, client, locks| async move {
        let mut unread = Vec::new();
        while let Some(request) = timeout(SILENCE_MAX, next_line(&stream, &mut unread)).await?? {
            stream.write_all(locks.answer(client, &request).as_bytes()).await?;
        }
        locks.give_back_all(client);
        Ok(())
    })
    .await
}

/// Planted: a client that was gone before it was accepted ends the server.
pub async fn no_more_accepts(listener: TcpListener, locks: Locks) -> io::Result<()> {
    let mut client = 0;
    loop {
        let (stream, _) = listener.accept().await?;
        client += 1;
        let locks = locks.clone();
        drop(runtime::spawn(async move {
            let mut unread = Vec::new();
            while let Ok(Ok(Some(request))) = timeout(SILENCE_MAX, next_line(&stream, &mut unread)).await {
                if stream.write_all(locks.answer(client, &request).as_bytes()).await.is_err() {
                    break;
                }
            }
            locks.give_back_all(client);
        }));
    }
}

/// A seed that fails, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub seed: u64,
    pub words: String,
}

/// Tells `story` to a server of that draft with each seed, as `#[runtime::test]` does, and returns the first that
/// fails.
pub fn find<Served, Told>(
    draft: impl Fn(TcpListener, Locks) -> Served,
    seeds: Range<u64>,
    story: impl Fn() -> Told,
) -> Option<Found>
where
    Served: Future<Output = io::Result<()>> + 'static,
    Told: Future<Output = ()>,
{
    seeds.into_iter().find_map(|seed| {
        let run = || {
            let runtime = Builder::new().simulated(seed, Faults::none()).build().expect("a world needs nothing");
            runtime.block_on(async {
                let listener = TcpListener::bind(ADDRESS).await.expect("no fault strikes yet");
                drop(runtime::spawn(draft(listener, Locks::default())));
                story().await;
            });
        };
        let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
        let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|&s| s.into()));
        Some(Found { seed, words: words.unwrap_or_default() })
    })
}
