//! A client of HTTP/1.1 that shows what it was sent, and sends whatever it is told to.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::program::PATIENCE;

/// A connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// A response, as it came.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// From the first line to the empty one.
    pub head: String,
    pub body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// Whether nothing comes for so long, not even an end.
    pub fn is_silent_for(&mut self, duration: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(duration)).unwrap();
        let heard = self.stream.fill_buf().map(<[u8]>::len);
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Asks, with these header lines more, and reads the answer.
    pub fn ask(&mut self, method: &str, target: &str, lines: &[&str]) -> Response {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        self.receive(method == "HEAD")
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.ask("GET", target, &[])
    }

    /// Reads one response.
    pub fn receive(&mut self, is_head: bool) -> Response {
        let mut response = self.receive_head();
        let has_none = is_head || response.status == 304;
        let length = response.length().filter(|_| !has_none).unwrap_or(0);
        response.body.resize(usize::try_from(length).unwrap(), 0);
        self.stream.read_exact(&mut response.body).unwrap_or_else(|error| panic!("{error}: {}", response.head));
        response
    }

    /// Reads the head of a response, and leaves its body.
    pub fn receive_head(&mut self) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            self.stream.read_line(&mut head).unwrap_or_else(|error| panic!("{error}: {head:?}"));
            assert!(head.len() > before, "the connection ended in a head: {head:?}");
        }
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
        Response { status: status.unwrap_or_else(|| panic!("{head}")), head, body: Vec::new() }
    }

    /// Reads some bytes of a body.
    pub fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buf)
    }

    /// Waits for the end of the connection, before which nothing more comes.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an end, and no reset");
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }

    /// Sends bytes, and returns all that comes back until the server closes.
    pub fn converse(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
        let mut client = Client::connect(address);
        client.send(bytes);
        let mut all = Vec::new();
        client.stream.read_to_end(&mut all).unwrap();
        all
    }
}

impl Response {
    /// The value of a header line.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    pub fn length(&self) -> Option<u64> {
        self.field("Content-Length")?.parse().ok()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
