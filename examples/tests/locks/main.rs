//! The guide's worked example: a server of locks, the mistakes in its first drafts, and how a simulated world finds
//! them.

mod drafts;
mod story;

use gimmal_examples::locks::{self, Locks};
use runtime::simulated::{Fault, Faults, world};
use runtime::time::{Duration, sleep};

use drafts::{Found, find, first_draft, no_more_accepts, second_draft};
use story::{ADDRESS, Client, clients_come_and_go};

/// The test of the server as it is: what the guide advises to write.
#[runtime::test(driver = simulated, seeds = 1000)]
async fn whatever_clients_do_no_lock_has_two_holders_or_stays_behind() {
    let listener = net::TcpListener::bind(ADDRESS).await.unwrap();
    drop(runtime::spawn(locks::serve(listener, Locks::default())));
    clients_come_and_go(Faults::ordinary().with(Fault::Reset, 0.02)).await;
}

/// The same server on real kernels.
#[runtime::test(driver = each)]
async fn a_lock_is_taken_refused_and_given_back() {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(runtime::spawn(locks::serve(listener, Locks::default())));
    let (one, other) =
        (net::TcpStream::connect(address).await.unwrap(), net::TcpStream::connect(address).await.unwrap());
    let asks = [
        (&one, "take a", "yes"),
        (&other, "take a", "no"),
        (&other, "give a", "not yours"),
        (&one, "give a", "given"),
        (&other, "take a", "yes"),
        (&one, "dance", "what?"),
    ];
    let mut unread = Vec::new();
    for (stream, request, reply) in asks {
        stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        assert_eq!(locks::next_line(stream, &mut unread).await.unwrap().as_deref(), Some(reply), "{request}");
    }
}

/// On a real kernel the test that everybody writes finds nothing: a loopback splits no small request.
#[runtime::test(driver = fallback)]
async fn the_first_draft_passes_the_test_that_everybody_writes() {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(runtime::spawn(first_draft(listener, Locks::default())));
    let stream = net::TcpStream::connect(address).await.unwrap();
    let mut unread = Vec::new();
    for (request, reply) in [("take a", "yes"), ("give a", "given")] {
        stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        assert_eq!(locks::next_line(&stream, &mut unread).await.unwrap().as_deref(), Some(reply));
    }
}

/// A simulated one needs no fault for that: it splits a stream wherever a network may.
/// Catches: a world that splits nothing; a story that misses what is plain to see.
#[test]
fn a_stream_that_is_split_finds_that_a_read_is_no_request() {
    let story = || clients_come_and_go(Faults::none());
    let found = find(first_draft, 0..20, story).expect("the mistake is found within 20 seeds");
    assert!(found.words.contains("was told «what?»"), "{found:?}");
    is_found_again(&found, |seeds| find(first_draft, seeds, story));
    println!("a read is no request: found by seed {}", found.seed);
}

/// Catches: clients that vanish, and a server that hears of it as of a farewell.
#[test]
fn connections_that_break_find_the_lock_that_is_never_given_back() {
    let polite = || clients_say_goodbye(Faults::ordinary());
    assert_eq!(find(second_draft, 0..100, polite), None, "as long as nobody vanishes it is right");
    let story = || clients_come_and_go(Faults::ordinary().with(Fault::Reset, 0.02));
    let found = find(second_draft, 0..20, story).expect("the mistake is found within 20 seeds");
    assert!(found.words.contains("is still held, and nobody is there"), "{found:?}");
    is_found_again(&found, |seeds| find(second_draft, seeds, story));
    println!("a lock that is kept: found by seed {}", found.seed);
}

/// Catches: faults that spare what is accepted.
#[test]
fn connections_that_break_find_the_server_that_stops_at_the_first() {
    let story = || clients_come_and_go(Faults::ordinary().with(Fault::Reset, 0.02));
    let found = find(no_more_accepts, 0..100, story).expect("the mistake is found within 100 seeds");
    assert!(found.words.contains("nobody listens"), "{found:?}");
    is_found_again(&found, |seeds| find(no_more_accepts, seeds, story));
    println!("a server that stops: found by seed {}", found.seed);
}

/// Catches: chance that does not come from the seed.
#[track_caller]
fn is_found_again(found: &Found, find: impl Fn(std::ops::Range<u64>) -> Option<Found>) {
    let again = find(found.seed..found.seed + 1);
    assert_eq!(again.as_ref(), Some(found), "the seed finds something else the second time");
}

async fn clients_say_goodbye(faults: Faults) {
    let world = world();
    world.set_faults(faults);
    for _ in 0..5 {
        let client = Client::connect(&world).expect("it listens");
        assert_eq!(client.ask("take a").await.as_deref(), Some("yes"));
        client.peer.shutdown_write();
        sleep(Duration::from_secs(1)).await;
    }
}
