//! All clients: letting them in, and letting them go.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use net::{Shutdown, TcpListener, TcpStream};
use runtime::JoinHandle;
use runtime::time::{Duration, Instant, now, sleep, timeout_at};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::connection::{Connection, Site, linger, unix_seconds};
use crate::response::{self, Response};
use crate::status::Status;

/// How many clients may be connected. For one more the connection that has been idle longest is closed; if all are in
/// use, the newcomer is told that the service is unavailable.
pub const CONNECTIONS_MAX: usize = 1024;

/// A client that has said nothing for so long may be sent away for another. One that has just come, or has just been
/// answered, may have a request on its way.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// Descriptors that are no client's: the standard streams, the ring, the root, the listener, newcomers that are turned
/// away, a listing or two.
const DESCRIPTORS_OURS: usize = 32;

/// How many newcomers may be told so at once. Beyond that they are not even told.
const TURNED_AWAY_MAX: usize = 16;

/// How long responses in flight may take when the server stops.
pub const GRACE: Duration = Duration::from_secs(1);

/// After an error of accept(2) that we know nothing about. The listener itself pauses when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The listener and the clients.
#[derive(Debug)]
pub struct Server {
    site: Rc<Site>,
    listener: Rc<TcpListener>,
    accepting: JoinHandle<()>,
    clients: Rc<Clients>,
}

impl Server {
    /// Listens, and serves whoever comes.
    ///
    /// # Errors
    ///
    /// [`TcpListener::bind`]'s.
    pub async fn start(address: SocketAddr, site: Rc<Site>) -> io::Result<Self> {
        let listener = Rc::new(TcpListener::bind(address).await?);
        let clients = Rc::new(Clients { connections_max: connections_max(), ..Clients::default() });
        let accepting = runtime::spawn(accept(listener.clone(), clients.clone(), site.clone()));
        Ok(Self { site, listener, accepting, clients })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Stops listening at once, gives responses in flight [`GRACE`], and cuts the rest.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::close`].
    pub async fn stop(self) -> io::Result<()> {
        let deadline = now() + GRACE;
        self.site.is_stopping.set(true);
        self.accepting.abort();
        // Aborted, or dead of a panic: either way it accepts no more.
        let _ended = self.accepting.await;
        let closed = match Rc::try_unwrap(self.listener) {
            Ok(listener) => listener.close().await,
            Err(_shared) => unreachable!("the task that accepts had the other half, and has ended"),
        };
        self.clients.finish(deadline).await;
        closed
    }
}

async fn accept(listener: Rc<TcpListener>, clients: Rc<Clients>, site: Rc<Site>) {
    let mut is_told = false;
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                is_told = false;
                clients.welcome(stream, &site);
            }
            Err(error) if is_exhaustion(&error) => {
                // An idle client has a descriptor that whoever comes next can use.
                clients.close_longest_idle();
                if !std::mem::replace(&mut is_told, true) {
                    eprintln!(
                        "serve: cannot accept: {error}: clients wait until others have gone; `ulimit -n` allows more at once"
                    );
                }
            }
            // Most of them tell of one connection that is gone again. The pause bounds what the others can do.
            Err(_gone) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The clients that are connected.
#[derive(Debug, Default)]
struct Clients {
    connections_max: usize,
    connected: RefCell<HashMap<u64, Client>>,
    last_number: Cell<u64>,
    /// Held by each newcomer that is being turned away.
    turned_away: Rc<()>,
}

#[derive(Debug)]
struct Client {
    task: JoinHandle<()>,
    /// What the task serves, until it closes it: to cut it.
    stream: Weak<TcpStream>,
    idle_since: Rc<Cell<Option<Instant>>>,
}

impl Clients {
    fn welcome(self: &Rc<Self>, stream: TcpStream, site: &Rc<Site>) {
        if self.connected.borrow().len() >= self.connections_max && !self.close_longest_idle() {
            if Rc::strong_count(&self.turned_away) <= TURNED_AWAY_MAX {
                drop(runtime::spawn(turn_away(stream, self.turned_away.clone())));
            }
            return;
        }
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let idle_since = Rc::new(Cell::new(Some(now())));
        let stream = Rc::new(stream);
        let weak = Rc::downgrade(&stream);
        let connection = Connection::new(stream, site.clone(), idle_since.clone());
        let leaving = Leaving { clients: self.clone(), number };
        let task = runtime::spawn(async move {
            let _leaving = leaving;
            connection.run().await;
        });
        self.connected.borrow_mut().insert(number, Client { task, stream: weak, idle_since });
    }

    /// Whether one was idle for long enough.
    fn close_longest_idle(&self) -> bool {
        let mut connected = self.connected.borrow_mut();
        let idle = connected.iter().filter_map(|(&number, client)| Some((client.idle_since.get()?, number)));
        let Some((_since, number)) = idle.min().filter(|&(since, _)| now() >= since + IDLE_MIN) else {
            return false;
        };
        let client = connected.remove(&number).expect("it has just been found");
        client.task.abort();
        true
    }

    /// Closes idle connections now, and the others when their response is out, or at `deadline`.
    async fn finish(&self, deadline: Instant) {
        let mut clients: Vec<_> = self.connected.take().into_values().collect();
        for client in clients.iter().filter(|client| client.idle_since.get().is_some()) {
            client.task.abort();
        }
        for client in &mut clients {
            if timeout_at(deadline, &mut client.task).await.is_err() {
                // A send that is only dropped goes on for as long as the end of the runtime lasts. This one fails, if
                // the client has not gone before.
                if let Some(stream) = client.stream.upgrade() {
                    let _gone = stream.shutdown(Shutdown::Both).await;
                }
                client.task.abort();
                // Cancelled, or just in time.
                let _ended = (&mut client.task).await;
            }
        }
    }
}

/// Takes a client off the list when its task ends, however it does.
struct Leaving {
    clients: Rc<Clients>,
    number: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let client = self.clients.connected.borrow_mut().remove(&self.number);
        drop(client);
    }
}

/// For who came when everybody is busy. The few bytes fit into any socket; then it takes a second at most.
async fn turn_away(stream: TcpStream, _counted: Rc<()>) {
    let mut out = Vec::new();
    let response = Response { now_seconds: unix_seconds(), connection: response::Connection::Close, is_head: false };
    response.message(&mut out, Status::Unavailable);
    if stream.write(&out).await.is_ok() {
        linger(&stream).await;
    }
}

/// [`CONNECTIONS_MAX`], or fewer where descriptors are scarce: a client that is answered may need two.
fn connections_max() -> usize {
    let descriptors =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (descriptors.saturating_sub(DESCRIPTORS_OURS) / 2).clamp(1, CONNECTIONS_MAX)
}

fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::PathBuf;

    use runtime::time::timeout;

    use super::*;

    /// More than all socket buffers on the way together take.
    const LARGE_LEN: usize = 48 << 20;

    /// A file of that length, in a folder of its own.
    struct Large(PathBuf);

    impl Large {
        fn new() -> Large {
            let driver = runtime::metrics().driver;
            let folder = std::env::temp_dir().join(format!("gimmal-serve-stop-{}-{driver}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::File::create(folder.join("large")).unwrap().set_len(u64::try_from(LARGE_LEN).unwrap()).unwrap();
            Large(folder)
        }
    }

    impl Drop for Large {
        fn drop(&mut self) {
            let _left_to_the_next_cleaning = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Nothing of its response is on its way any more, so that the end of the program waits for none of it.
    async fn a_client_that_does_not_read_is_cut_at_the_end_of_its_grace() {
        let large = Large::new();
        let in_flight_before = runtime::metrics().in_flight;
        let site = Rc::new(Site::new(fs::Dir::open(&large.0).await.unwrap(), None));
        let server = Server::start("127.0.0.1:0".parse().unwrap(), site).await.unwrap();
        let mut client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        client.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let (mut client, status) = runtime::spawn_blocking(move || {
            let mut status = [0; 15];
            client.read_exact(&mut status).map(|()| (client, status))
        })
        .await
        .unwrap()
        .unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        server.stop().await.unwrap();
        let is_over = async {
            while runtime::metrics().in_flight > in_flight_before {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), is_over).await.expect("its last send is over");
        let mut received = Vec::new();
        let _reset_or_end = client.read_to_end(&mut received);
        assert!(received.len() < LARGE_LEN, "all of it has arrived");
    }

    /// Catches: a response that is cut by dropping it, whose last send then goes on.
    #[runtime::test(driver = ring)]
    async fn on_a_ring_a_client_that_does_not_read_is_cut_at_the_end_of_its_grace() {
        a_client_that_does_not_read_is_cut_at_the_end_of_its_grace().await;
    }

    #[runtime::test(driver = fallback)]
    async fn on_the_fallback_a_client_that_does_not_read_is_cut_at_the_end_of_its_grace() {
        a_client_that_does_not_read_is_cut_at_the_end_of_its_grace().await;
    }
}
