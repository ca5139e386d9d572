//! One client: its requests, one after the other, and what each is answered.
//!
//! ```text
//!  receive a head ─► find what it asks for ─► answer ─┬─► the next, if both sides want one
//!    │ the client has gone, or has waited too long     └─► linger, then close
//!    ▼
//!  close
//! ```

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

use net::{Shutdown, TcpStream};
use runtime::time::{Duration, Instant, now, timeout};

use crate::body::Body;
use crate::chunk::Chunks;
use crate::input::{Input, Received};
use crate::journal::Journal;
use crate::log::Line;
use crate::request::{self, Method, Request};
use crate::response::{Connection as Kept, Response};
use crate::site::{self, Found};
use crate::stamp::Answer;
use crate::status::Status;

/// How long a client may leave us no room to send: then it does not want the rest.
const SEND_MAX: Duration = Duration::from_secs(30);

/// How long, and for how many bytes, a client may go on sending after our last response.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What all connections share.
#[derive(Debug)]
pub struct Site {
    pub root: fs::Dir,
    pub chunks: Chunks,
    pub journal: Option<Rc<Journal>>,
    /// Responses that begin from now on are the last of their connection.
    pub is_stopping: Cell<bool>,
}

impl Site {
    /// What lies below `root`.
    pub fn new(root: fs::Dir, journal: Option<Rc<Journal>>) -> Self {
        Self { root, journal, chunks: Chunks::default(), is_stopping: Cell::default() }
    }
}

/// A client, and what it has sent so far.
#[derive(Debug)]
pub struct Connection {
    stream: Rc<TcpStream>,
    site: Rc<Site>,
    input: Input,
    /// Since when nothing is being answered here; None while something is.
    idle_since: Rc<Cell<Option<Instant>>>,
}

/// Why a connection ends.
enum End {
    /// There is nobody to tell anything.
    Gone,
    /// The client has been told, or asked for it, and may not have read it yet.
    Answered,
}

impl Connection {
    /// `idle_since` is kept up to date for whoever may have to choose a connection to give up.
    pub fn new(stream: Rc<TcpStream>, site: Rc<Site>, idle_since: Rc<Cell<Option<Instant>>>) -> Self {
        Self { stream, site, input: Input::default(), idle_since }
    }

    /// Serves the client until one of the two sides has enough.
    pub async fn run(mut self) {
        // What we send is whole, so there is no reason to wait for more. Without it the tail of a response waits for
        // the client's acknowledgement, which it may delay by 40 ms. A socket that refuses is gone, as the first read
        // will tell.
        let _gone = self.stream.set_nodelay(true).and_then(|()| self.stream.set_write_timeout(Some(SEND_MAX)));
        // An error here is the client's doing, or its network's: it has nobody to be told to.
        if let Ok(End::Answered) = self.converse().await {
            linger(&self.stream).await;
        }
    }

    async fn converse(&mut self) -> io::Result<End> {
        loop {
            match request::parse(self.input.bytes()) {
                Ok(Some(request)) => {
                    self.idle_since.set(None);
                    let keeps_alive = self.answer(&request).await?;
                    let head_bytes = request.head_bytes;
                    if !keeps_alive || self.site.is_stopping.get() {
                        return Ok(End::Answered);
                    }
                    self.input.consume(head_bytes);
                }
                Ok(None) => {
                    self.idle_since.set(Some(now()));
                    match self.input.receive(&self.stream).await? {
                        Received::Some => {}
                        Received::End | Received::NothingInTime => return Ok(End::Gone),
                        Received::PartInTime => return self.refuse(Status::RequestTimeout).await,
                    }
                }
                Err(status) => return self.refuse(status).await,
            }
        }
    }

    /// Answers what is no request.
    async fn refuse(&self, status: Status) -> io::Result<End> {
        self.idle_since.set(None);
        let entry = Entry::new(&self.site, None);
        let response = Response { now_seconds: unix_seconds(), connection: Kept::Close, is_head: false };
        let mut out = Vec::new();
        let bytes = response.message(&mut out, status);
        entry.status.set(status);
        self.stream.write_all(&out).await?;
        entry.bytes.set(bytes);
        Ok(End::Answered)
    }

    /// Answers a request. Returns whether another may follow.
    async fn answer(&self, request: &Request<'_>) -> io::Result<bool> {
        let entry = Entry::new(&self.site, Some((request.method.as_str(), request.target)));
        let keeps_alive = request.keeps_alive && !self.site.is_stopping.get();
        let response = Response {
            now_seconds: unix_seconds(),
            connection: match (keeps_alive, request.is_http_1_0) {
                (false, _) => Kept::Close,
                (true, true) => Kept::KeepAliveSaid,
                (true, false) => Kept::KeepAlive,
            },
            is_head: request.method == Method::Head,
        };
        let mut out = Vec::with_capacity(512);
        let found = match request.method {
            Method::Get | Method::Head => site::find(&self.site.root, request.target).await,
            Method::Other(_) => Err(Status::MethodNotAllowed),
        };
        let mut body = None;
        let (status, bytes) = match found {
            Ok(Found::File { file, stamp, content_type }) => {
                let answer = stamp.answer(request, response.now_seconds);
                let (status, bytes) = response.file(&mut out, &stamp, content_type, &answer);
                let part = match answer {
                    Answer::Whole => 0..stamp.length,
                    Answer::Part(part) => part,
                    Answer::NotModified | Answer::Unsatisfiable | Answer::PreconditionFailed => 0..0,
                };
                if !part.is_empty() && !response.is_head {
                    body = Some(Body::begin(&self.site.chunks, &out, file, part).await);
                }
                (status, bytes)
            }
            Ok(Found::Listing(html)) => (Status::Ok, response.page(&mut out, &html)),
            Ok(Found::Elsewhere(url)) => (Status::MovedPermanently, response.redirect(&mut out, &url)),
            Err(status) => (status, response.message(&mut out, status)),
        };
        entry.status.set(status);
        match body {
            Some(Ok(body)) => body.send(&self.stream, &entry.bytes).await?,
            Some(Err(_unreadable)) => {
                out.clear();
                let bytes = response.message(&mut out, Status::InternalError);
                entry.status.set(Status::InternalError);
                self.send(&out, bytes, &entry).await?;
            }
            None => self.send(&out, bytes, &entry).await?,
        }
        Ok(keeps_alive)
    }

    /// Sends a response that is whole, and has `bytes` of a body.
    async fn send(&self, response: &[u8], bytes: u64, entry: &Entry) -> io::Result<()> {
        self.stream.write_all(response).await?;
        entry.bytes.set(bytes);
        Ok(())
    }
}

/// Closes our side, and waits until the client has seen that. A socket that is closed with something unread in it
/// resets the connection, and the reset takes our response away from a client that was still sending. RFC 9112, section
/// 9.6.
pub async fn linger(stream: &TcpStream) {
    let drained = async {
        stream.shutdown(Shutdown::Write).await?;
        let mut left = LINGER_BYTES_MAX;
        let mut unwanted = [0; 512];
        while left > 0 {
            match stream.read(&mut unwanted).await? {
                0 => break,
                received => left = left.saturating_sub(received),
            }
        }
        io::Result::Ok(())
    };
    // However it ends, it ends.
    let _ended = timeout(LINGER_MAX, drained).await;
}

/// A request's line in the log, which is written when this is dropped: also for a response that was cut.
struct Entry {
    journal: Option<Rc<Journal>>,
    method_and_target: Option<(String, String)>,
    began: Instant,
    status: Cell<Status>,
    /// Of the body.
    bytes: Cell<u64>,
}

impl Entry {
    fn new(site: &Site, method_and_target: Option<(&str, &str)>) -> Self {
        let journal = site.journal.clone();
        // Nothing is copied if nobody will read it.
        let named = method_and_target.filter(|_| journal.is_some());
        Self {
            journal,
            method_and_target: named.map(|(method, target)| (method.to_owned(), target.to_owned())),
            began: now(),
            status: Cell::new(Status::InternalError),
            bytes: Cell::new(0),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(journal) = &self.journal else {
            return;
        };
        let line = Line {
            method_and_target: self
                .method_and_target
                .as_ref()
                .map(|(method, target)| (method.as_str(), target.as_str())),
            status: self.status.get(),
            bytes: self.bytes.get(),
            took: now().saturating_duration_since(self.began),
        };
        journal.push(&line.text());
    }
}

/// What time it is, after the start of 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long clients are waited for, on the simulated kernel, where an hour passes in no time.
#[cfg(test)]
mod tests {
    use net::TcpListener;
    use runtime::JoinHandle;
    use runtime::time::sleep;

    use super::*;
    use crate::input::{HEAD_MAX, IDLE_MAX};

    const REQUEST: &[u8] = b"GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n";

    /// A client, and the task that serves it.
    async fn connected() -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:80").await.unwrap();
        let client = TcpStream::connect("127.0.0.1:80").await.unwrap();
        let (stream, _peer) = listener.accept().await.unwrap();
        let site = Rc::new(Site::new(fs::Dir::open("/").await.unwrap(), None));
        let connection = Connection::new(Rc::new(stream), site, Rc::default());
        (client, runtime::spawn(connection.run()))
    }

    /// All that the client is sent until the other side closes.
    async fn read_to_end(client: &TcpStream) -> String {
        let mut all = Vec::new();
        while receive(client, &mut all).await {}
        String::from_utf8(all).unwrap()
    }

    /// All that the client is sent up to these words.
    async fn read_until(client: &TcpStream, words: &str) -> String {
        let mut all = Vec::new();
        while !all.ends_with(words.as_bytes()) {
            assert!(receive(client, &mut all).await, "{}", all.escape_ascii());
        }
        String::from_utf8(all).unwrap()
    }

    async fn receive(client: &TcpStream, all: &mut Vec<u8>) -> bool {
        let mut buf = [0; 4096];
        let received = client.read(&mut buf).await.unwrap();
        all.extend_from_slice(&buf[..received]);
        received > 0
    }

    fn assert_took(began: Instant, expected: Duration) {
        let took = now() - began;
        assert!(took >= expected && took < expected + Duration::from_secs(1), "{took:?} instead of {expected:?}");
    }

    #[runtime::test(driver = simulated, seeds = 20)]
    async fn a_client_that_says_nothing_is_left_without_a_word() {
        let (client, server) = connected().await;
        let began = now();
        assert_eq!(read_to_end(&client).await, "");
        assert_took(began, IDLE_MAX);
        server.await.unwrap();
    }

    /// Catches: a deadline that is set anew with each byte.
    #[runtime::test(driver = simulated, seeds = 20)]
    async fn a_head_that_trickles_in_is_refused_when_its_time_is_over() {
        let (client, server) = connected().await;
        sleep(IDLE_MAX / 2).await;
        let began = now();
        for byte in REQUEST.chunks(1).take(10) {
            client.write_all(byte).await.unwrap();
            sleep(Duration::from_millis(900)).await;
        }
        let answer = read_to_end(&client).await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_took(began, HEAD_MAX);
        drop(client);
        server.await.unwrap();
    }

    /// Catches: a deadline of one head that goes on for the next; an idle time that does not begin anew.
    #[runtime::test(driver = simulated, seeds = 20)]
    async fn each_request_gets_its_own_time() {
        let (client, server) = connected().await;
        for _ in 0..5 {
            sleep(IDLE_MAX - Duration::from_secs(1)).await;
            let (begin, end) = REQUEST.split_at(10);
            client.write_all(begin).await.unwrap();
            sleep(HEAD_MAX - Duration::from_secs(1)).await;
            client.write_all(end).await.unwrap();
            let answer = read_until(&client, "\n404 Not Found\n").await;
            assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        }
        drop(client);
        server.await.unwrap();
    }

    /// Catches: a response that waits for ever for a client that does not read.
    #[runtime::test(driver = simulated, seeds = 20)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (client, server) = connected().await;
        let began = now();
        let asking = runtime::spawn(async move {
            // Far more answers than fit on the way. In the end nobody takes the questions either.
            while client.write_all(&REQUEST.repeat(100)).await.is_ok() {}
            client
        });
        server.await.unwrap();
        // The answer that found no room, and then the wait for the client to see the end.
        assert!(now() - began >= SEND_MAX, "{:?}", now() - began);
        assert!(now() - began < SEND_MAX + LINGER_MAX + Duration::from_secs(5), "{:?}", now() - began);
        drop(asking.await);
    }

    #[runtime::test(driver = simulated, seeds = 20)]
    async fn a_client_that_goes_on_sending_after_the_last_response_is_cut() {
        let (client, server) = connected().await;
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        let began = now();
        let sending = {
            let client = client.try_clone().unwrap();
            runtime::spawn(async move {
                while client.write_all(&[b'x'; 16]).await.is_ok() {
                    sleep(Duration::from_millis(100)).await;
                }
            })
        };
        let answer = read_to_end(&client).await;
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
        server.await.unwrap();
        assert_took(began, LINGER_MAX);
        sending.await.unwrap();
    }
}
