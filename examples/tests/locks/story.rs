//! Clients, played from outside the program: they take and give locks, and leave in every way there is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use gimmal_examples::locks::SILENCE_MAX;
use runtime::simulated::{Faults, Peer, World, world};
use runtime::time::{Duration, sleep};

pub const ADDRESS: &str = "127.0.0.1:7000";

const LOCKS: [&str; 3] = ["a", "b", "c"];

/// A client that is no part of the program.
pub struct Client {
    pub peer: Peer,
    /// What came behind the last reply.
    unread: RefCell<Vec<u8>>,
}

impl Client {
    /// `None`: nobody listens any more, or all of the backlog is taken.
    pub fn connect(world: &World) -> Option<Client> {
        let peer = world.connect(ADDRESS.parse().expect("an address")).ok()?;
        Some(Client { peer, unread: RefCell::default() })
    }

    /// Asks, and waits for the reply. `None`: the connection broke meanwhile.
    pub async fn ask(&self, request: &str) -> Option<String> {
        self.peer.send(format!("{request}\n").as_bytes()).ok()?;
        // A second of the world's time takes none of ours.
        for _ in 0..10_000 {
            self.unread.borrow_mut().extend(self.peer.received());
            if let Some(line) = self.take_line() {
                return Some(line);
            }
            if self.peer.has_ended() {
                return None;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("asked «{request}», and was told nothing for 10 s");
    }

    fn take_line(&self) -> Option<String> {
        let mut unread = self.unread.borrow_mut();
        let end = unread.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = unread.drain(..=end).take(end).collect();
        Some(String::from_utf8(line).expect("replies are text"))
    }
}

/// A few clients do what the world draws. No lock may ever have two holders, and when all are gone each lock must be
/// free.
pub async fn clients_come_and_go(faults: Faults) {
    let world = world();
    world.set_faults(faults);
    let mut clients: BTreeMap<u64, Client> = BTreeMap::new();
    let mut holders: BTreeMap<&str, u64> = BTreeMap::new();
    for _ in 0..40 {
        let number = draw(&world, 4);
        match clients.get(&number) {
            None => {
                let client = Client::connect(&world).expect("nobody listens any more");
                clients.insert(number, client);
            }
            Some(_) if draw(&world, 6) == 0 => {
                leave(&world, clients.remove(&number).expect("it was there"));
                holders.retain(|_, holder| *holder != number);
            }
            Some(client) => {
                let name = LOCKS[usize::try_from(draw(&world, 3)).expect("small")];
                if !ask_for(client, name, number, &clients, &mut holders).await {
                    clients.remove(&number);
                    holders.retain(|_, holder| *holder != number);
                }
            }
        }
        sleep(Duration::from_micros(draw(&world, 2_000))).await;
    }
    for client in std::mem::take(&mut clients).into_values() {
        leave(&world, client);
    }
    world.set_faults(Faults::none());
    sleep(2 * SILENCE_MAX).await;
    let last = Client::connect(&world).expect("nobody listens any more");
    for name in LOCKS {
        let told = last.ask(&format!("take {name}")).await;
        assert_eq!(told.as_deref(), Some("yes"), "lock {name} is still held, and nobody is there");
    }
}

/// `false`: the connection broke.
async fn ask_for<'a>(
    client: &Client,
    name: &'a str,
    number: u64,
    clients: &BTreeMap<u64, Client>,
    holders: &mut BTreeMap<&'a str, u64>,
) -> bool {
    let gives = holders.get(name) == Some(&number);
    let request = if gives { format!("give {name}") } else { format!("take {name}") };
    let Some(told) = client.ask(&request).await else { return false };
    match told.as_str() {
        "given" if gives => {
            holders.remove(name);
        }
        "yes" if !gives => {
            // Who had it may have lost their connection, and not know it yet.
            if let Some(before) = holders.insert(name, number) {
                let is_there = clients.get(&before).is_some_and(|client| !client.peer.has_ended());
                assert!(!is_there, "lock {name} has two holders, {before} and {number}");
            }
        }
        "no" if !gives => {}
        _ => panic!("asked «{request}», was told «{told}»"),
    }
    true
}

/// As clients do: politely, at once, by pulling the plug, or without a word.
fn leave(world: &World, client: Client) {
    match draw(world, 4) {
        0 => client.peer.shutdown_write(),
        1 => client.peer.close(),
        2 => client.peer.reset(),
        // The connection stays, and nobody is at its other end.
        _ => drop(client),
    }
}

fn draw(world: &World, below: u64) -> u64 {
    world.random_u64() % below
}
