//! The bytes of a response: its head, and its body where that is a text of ours.
//!
//! All is appended to one buffer, so that a small response leaves in one write.

use std::io::Write;

use crate::http_date;
use crate::stamp::{Answer, Stamp};
use crate::status::Status;

/// What all that can be answered to one request has in common.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// After the start of 1970.
    pub now_seconds: u64,
    pub connection: Connection,
    /// Whether the request was HEAD: the head is the same then, and no body follows.
    pub is_head: bool,
}

/// What becomes of the connection after this response, and how the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It stays open, as HTTP/1.1 has it unless something is said.
    KeepAlive,
    /// It stays open, which an HTTP/1.0 client must be told.
    KeepAliveSaid,
    Close,
}

impl Response {
    /// Appends a response whose body is the status in words. Returns the length of the body.
    pub fn message(&self, out: &mut Vec<u8>, status: Status) -> u64 {
        self.say(out, status, |out| {
            // RFC 9110 asks for this in every 405.
            if status == Status::MethodNotAllowed {
                put_field(out, "Allow", "GET, HEAD");
            }
        })
    }

    /// Appends a response that sends the client to `url`. Returns the length of the body.
    pub fn redirect(&self, out: &mut Vec<u8>, url: &[u8]) -> u64 {
        self.say(out, Status::MovedPermanently, |out| {
            out.extend_from_slice(b"Location: ");
            out.extend_from_slice(url);
            out.extend_from_slice(b"\r\n");
        })
    }

    /// Appends a response whose body is `html`. Returns the length of the body.
    pub fn page(&self, out: &mut Vec<u8>, html: &[u8]) -> u64 {
        self.text(out, Status::Ok, "text/html; charset=utf-8", html, |_| {})
    }

    /// Appends the head of the response that `answer` says. The bytes of the file, if the answer has any and the
    /// request was not HEAD, are the caller's to send. Returns the status, and the length of a body that has been
    /// appended.
    pub fn file(&self, out: &mut Vec<u8>, stamp: &Stamp, content_type: &str, answer: &Answer) -> (Status, u64) {
        let (status, length) = match answer {
            Answer::Whole => (Status::Ok, Some(stamp.length)),
            Answer::Part(part) => (Status::PartialContent, Some(part.end - part.start)),
            Answer::NotModified => (Status::NotModified, None),
            Answer::Unsatisfiable => {
                return (Status::RangeNotSatisfiable, self.unsatisfiable(out, stamp));
            }
            Answer::PreconditionFailed => {
                return (Status::PreconditionFailed, self.message(out, Status::PreconditionFailed));
            }
        };
        self.begin(out, status);
        if let Some(length) = length {
            put_field(out, "Content-Type", content_type);
            put_field(out, "Content-Length", length);
            put_field(out, "Accept-Ranges", "bytes");
        }
        if let Answer::Part(part) = answer {
            let (first, last, of) = (part.start, part.end - 1, stamp.length);
            put_field(out, "Content-Range", format_args!("bytes {first}-{last}/{of}"));
        }
        out.extend_from_slice(b"Last-Modified: ");
        out.extend_from_slice(&http_date::format(stamp.modified_seconds(self.now_seconds)));
        out.extend_from_slice(b"\r\n");
        put_field(out, "ETag", stamp.etag());
        out.extend_from_slice(b"\r\n");
        (status, 0)
    }

    fn unsatisfiable(&self, out: &mut Vec<u8>, stamp: &Stamp) -> u64 {
        self.say(out, Status::RangeNotSatisfiable, |out| {
            put_field(out, "Content-Range", format_args!("bytes */{}", stamp.length));
        })
    }

    fn say(&self, out: &mut Vec<u8>, status: Status, more_fields: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let body = [status.text().as_bytes(), b"\n"].concat();
        self.text(out, status, "text/plain; charset=utf-8", &body, more_fields)
    }

    /// Appends a whole response. `more_fields` appends lines to its head.
    fn text(
        &self,
        out: &mut Vec<u8>,
        status: Status,
        content_type: &str,
        body: &[u8],
        more_fields: impl FnOnce(&mut Vec<u8>),
    ) -> u64 {
        self.begin(out, status);
        put_field(out, "Content-Type", content_type);
        put_field(out, "Content-Length", body.len());
        more_fields(out);
        out.extend_from_slice(b"\r\n");
        if self.is_head {
            return 0;
        }
        out.extend_from_slice(body);
        u64::try_from(body.len()).expect("a length in memory fits 64 bits")
    }

    /// The first line, and the fields that every response has.
    fn begin(&self, out: &mut Vec<u8>, status: Status) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.text().as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(&http_date::format(self.now_seconds));
        out.extend_from_slice(match self.connection {
            Connection::KeepAlive => &b"\r\n"[..],
            Connection::KeepAliveSaid => b"\r\nConnection: keep-alive\r\n",
            Connection::Close => b"\r\nConnection: close\r\n",
        });
    }
}

fn put_field(out: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    write!(out, "{name}: {value}\r\n").expect("a Vec takes all");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const ANSWER: Response = Response { now_seconds: 784_111_777, connection: Connection::KeepAlive, is_head: false };
    const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

    fn stamp() -> Stamp {
        Stamp::new(100, SystemTime::UNIX_EPOCH + Duration::from_secs(1), 0x2a)
    }

    fn file_head(response: Response, answer: &Answer) -> (Status, String) {
        let mut out = Vec::new();
        let (status, appended) = response.file(&mut out, &stamp(), "text/css", answer);
        assert_eq!(appended, 0);
        (status, String::from_utf8(out).unwrap())
    }

    const VALIDATORS: &str = "Last-Modified: Thu, 01 Jan 1970 00:00:01 GMT\r\nETag: \"2a-64-3b9aca00\"\r\n\r\n";

    #[test]
    fn a_whole_file_says_its_length_and_how_to_ask_for_it_again() {
        let (status, head) = file_head(ANSWER, &Answer::Whole);
        let fields = "Content-Type: text/css\r\nContent-Length: 100\r\nAccept-Ranges: bytes\r\n";
        assert_eq!(status, Status::Ok);
        assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{DATE}{fields}{VALIDATORS}"));
        assert_eq!(file_head(Response { is_head: true, ..ANSWER }, &Answer::Whole).1, head);
    }

    #[test]
    fn a_part_says_where_it_lies() {
        let (status, head) = file_head(ANSWER, &Answer::Part(10..20));
        assert_eq!(status, Status::PartialContent);
        assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 10\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Range: bytes 10-19/100\r\n"), "{head}");
    }

    #[test]
    fn a_file_that_the_client_has_gets_no_length() {
        let (status, head) = file_head(ANSWER, &Answer::NotModified);
        assert_eq!(status, Status::NotModified);
        assert_eq!(head, format!("HTTP/1.1 304 Not Modified\r\n{DATE}{VALIDATORS}"));
    }

    #[test]
    fn a_range_beyond_the_end_learns_the_length() {
        let mut out = Vec::new();
        let answered = ANSWER.file(&mut out, &stamp(), "text/css", &Answer::Unsatisfiable);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(answered, (Status::RangeNotSatisfiable, 26));
        assert!(text.contains("\r\nContent-Range: bytes */100\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n416 Range Not Satisfiable\n"), "{text}");
    }

    #[test]
    fn a_message_has_the_length_it_says_and_head_leaves_it_out() {
        let mut out = Vec::new();
        assert_eq!(ANSWER.message(&mut out, Status::NotFound), 14);
        let fields = "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\n\r\n";
        let head = format!("HTTP/1.1 404 Not Found\r\n{DATE}{fields}");
        assert_eq!(String::from_utf8(out).unwrap(), format!("{head}404 Not Found\n"));

        let mut out = Vec::new();
        assert_eq!(Response { is_head: true, ..ANSWER }.message(&mut out, Status::NotFound), 0);
        assert_eq!(String::from_utf8(out).unwrap(), head);
    }

    #[test]
    fn a_wrong_method_learns_the_right_ones() {
        let mut out = Vec::new();
        ANSWER.message(&mut out, Status::MethodNotAllowed);
        assert!(String::from_utf8(out).unwrap().contains("\r\nAllow: GET, HEAD\r\n"));
    }

    #[test]
    fn pages_and_redirects_carry_what_they_were_given() {
        let mut out = b"before".to_vec();
        assert_eq!(ANSWER.page(&mut out, b"<p>"), 3);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("beforeHTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n<p>"), "{text}");
        assert!(text.contains("\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\n"), "{text}");

        let mut out = Vec::new();
        ANSWER.redirect(&mut out, b"/a/?b");
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{text}");
        assert!(text.contains("\r\nLocation: /a/?b\r\n"), "{text}");
    }

    #[test]
    fn the_client_is_told_what_becomes_of_the_connection() {
        for (connection, line) in [
            (Connection::KeepAlive, None),
            (Connection::KeepAliveSaid, Some("Connection: keep-alive")),
            (Connection::Close, Some("Connection: close")),
        ] {
            let (_, head) = file_head(Response { connection, ..ANSWER }, &Answer::Whole);
            assert_eq!(head.lines().find(|line| line.starts_with("Connection")), line);
        }
    }
}
