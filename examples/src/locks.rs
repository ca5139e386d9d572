//! A small server of locks: who takes one has it until they give it back, or their connection goes.
//!
//! ```text
//!  take NAME ─► yes, or no         give NAME ─► given, or not yours         anything else ─► what?
//! ```
//!
//! It is the worked example of the guide in `runtime::simulated`: its tests (`examples/tests/locks`) find the mistakes
//! of its first drafts in a simulated world.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use net::{TcpListener, TcpStream};
use runtime::time::timeout;

/// So long a client may be silent. Then it is taken for gone, since a network that was cut tells nobody.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The longest request. Who sends a longer one is shown the door.
const REQUEST_BYTES_MAX: usize = 256;

/// Who has which lock. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    /// By name, the number of a connection. Bound: each connection is asked one thing at a time, and gives back all it
    /// has.
    holders: Rc<RefCell<BTreeMap<String, u64>>>,
}

impl Locks {
    /// Does what `client` asks, and says the reply, with the end of its line.
    pub fn answer(&self, client: u64, request: &str) -> &'static str {
        let mut holders = self.holders.borrow_mut();
        match request.trim_end_matches('\n').split_once(' ') {
            Some(("take", name)) => match holders.get(name) {
                Some(_) => "no\n",
                None => {
                    holders.insert(name.to_owned(), client);
                    "yes\n"
                }
            },
            Some(("give", name)) if holders.get(name) == Some(&client) => {
                holders.remove(name);
                "given\n"
            }
            Some(("give", _)) => "not yours\n",
            _ => "what?\n",
        }
    }

    /// The client is gone.
    pub fn give_back_all(&self, client: u64) {
        self.holders.borrow_mut().retain(|_, holder| *holder != client);
    }
}

/// Serves clients, each as a task of its own.
///
/// # Errors
///
/// Why no more clients can be accepted.
pub async fn serve(listener: TcpListener, locks: Locks) -> io::Result<()> {
    serve_by(listener, locks, serve_client).await
}

/// As [`serve`], where `serve_client` is how one client is served. It gets the client's number.
///
/// # Errors
///
/// As there.
pub async fn serve_by<F, Served>(listener: TcpListener, locks: Locks, serve_client: F) -> io::Result<()>
where
    F: Fn(TcpStream, u64, Locks) -> Served,
    Served: Future<Output = io::Result<()>> + 'static,
{
    let mut client = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                client += 1;
                // How it ends is the client's affair.
                drop(runtime::spawn(serve_client(stream, client, locks.clone())));
            }
            // The client was faster gone than accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves one client until it is gone, and takes back what it had, however that came about.
async fn serve_client(stream: TcpStream, client: u64, locks: Locks) -> io::Result<()> {
    let ended = answer_requests(&stream, client, &locks).await;
    locks.give_back_all(client);
    ended
}

async fn answer_requests(stream: &TcpStream, client: u64, locks: &Locks) -> io::Result<()> {
    let mut unread = Vec::new();
    while let Some(request) = timeout(SILENCE_MAX, next_line(stream, &mut unread)).await?? {
        let reply = locks.answer(client, &request);
        // Who does not read is silent too.
        timeout(SILENCE_MAX, stream.write_all(reply.as_bytes())).await??;
    }
    Ok(())
}

/// The next line, without its end; `None` when the client sends no more. What came behind it stays in `unread`, and so
/// does what came of it when this is dropped.
///
/// # Errors
///
/// [`InvalidData`](ErrorKind::InvalidData) for a line that is too long, or no text. Else recv(2)'s.
pub async fn next_line(stream: &TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
            let line = unread.drain(..=end).take(end).collect();
            return String::from_utf8(line).map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
        }
        if unread.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the request has no end"));
        }
        let mut piece = [0; REQUEST_BYTES_MAX];
        match stream.read(&mut piece).await? {
            0 => return Ok(None),
            n => unread.extend_from_slice(&piece[..n]),
        }
    }
}
