//! The head of a request: what of it a file server needs, and what it must refuse.
//!
//! A body is never read here. A request that brings one is answered, and the connection then closes, so that no byte of
//! a body is ever taken for the next request: that is how requests are smuggled past a proxy that counts differently.

use crate::status::Status;

/// How long the head of a request may be, from its first line to the empty one: 8 KiB.
pub const HEAD_BYTES_MAX: usize = 8192;

/// How many header lines a request may have. Browsers send about 20.
const HEADERS_MAX: usize = 64;

/// A request without its body. Borrows from the bytes it was read from.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'head> {
    pub method: Method<'head>,
    /// As it was sent: no spaces and no control characters, nothing decoded.
    pub target: &'head str,
    /// HTTP/1.0 or older clients must be told that a connection stays open.
    pub is_http_1_0: bool,
    /// Whether the client lets another request follow on this connection, and we can tell where that begins.
    pub keeps_alive: bool,
    pub conditions: Conditions<'head>,
    /// How many bytes of the input the head took. The next request begins there.
    pub head_bytes: usize,
}

/// What the client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'head> {
    Get,
    Head,
    Other(&'head str),
}

impl Method<'_> {
    /// As it stands in the request.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Other(name) => name,
        }
    }
}

/// The headers that make another answer of the file than the whole of it. One that is given twice counts as not given:
/// then the whole file is the answer, which is never wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conditions<'head> {
    pub range: Option<&'head [u8]>,
    pub if_range: Option<&'head [u8]>,
    /// Given twice it is empty, and so names no file: what depends on it must not be done.
    pub if_match: Option<&'head [u8]>,
    pub if_unmodified_since: Option<&'head [u8]>,
    pub if_none_match: Option<&'head [u8]>,
    pub if_modified_since: Option<&'head [u8]>,
}

/// Reads the request that `input` begins with. None if its head is not all there yet.
///
/// Input that begins with what is left of pipelining is as good as a fresh one.
///
/// # Errors
///
/// The status to refuse it with. The connection must close after it: nobody knows where the next request would begin.
/// [`Status::HeadTooLarge`] from [`HEAD_BYTES_MAX`] bytes without an end on, so a caller that reads until this answers
/// needs no more memory than that.
pub fn parse(input: &[u8]) -> Result<Option<Request<'_>>, Status> {
    let within_limit = &input[..input.len().min(HEAD_BYTES_MAX)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(within_limit) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if within_limit.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Status::HeadTooLarge);
        }
        Err(httparse::Error::Version) if names_a_version(within_limit) => {
            return Err(Status::VersionNotSupported);
        }
        Err(_) => return Err(Status::BadRequest),
    };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Status::BadRequest);
    };
    let is_http_1_0 = minor == 0;

    let mut fields = Fields::default();
    for header in parsed.headers.iter() {
        fields.take(header.name, header.value)?;
    }
    fields.check(is_http_1_0)?;

    Ok(Some(Request {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            other => Method::Other(other),
        },
        target,
        is_http_1_0,
        keeps_alive: !fields.has_body && !fields.closes && (!is_http_1_0 || fields.asks_keep_alive),
        conditions: Conditions {
            range: fields.range.value(),
            if_range: fields.if_range.value(),
            if_match: fields.if_match.value_or(b""),
            if_unmodified_since: fields.if_unmodified_since.value(),
            if_none_match: fields.if_none_match.value(),
            if_modified_since: fields.if_modified_since.value(),
        },
        head_bytes,
    }))
}

/// Whether the first line is one of HTTP, of whatever version. The parser says «version» of any third word.
fn names_a_version(input: &[u8]) -> bool {
    let first_line = input.trim_ascii_start().split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = first_line.trim_ascii_end().split(|&byte| byte == b' ');
    words.nth(2).is_some_and(|version| version.starts_with(b"HTTP/")) && words.next().is_none()
}

/// What the header lines have said so far.
#[derive(Default)]
struct Fields<'head> {
    hosts: usize,
    content_lengths: usize,
    transfer_encodings: usize,
    has_body: bool,
    closes: bool,
    asks_keep_alive: bool,
    unknown_expectation: bool,
    range: Once<'head>,
    if_range: Once<'head>,
    if_match: Once<'head>,
    if_unmodified_since: Once<'head>,
    if_none_match: Once<'head>,
    if_modified_since: Once<'head>,
}

impl<'head> Fields<'head> {
    fn take(&mut self, name: &str, value: &'head [u8]) -> Result<(), Status> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            self.hosts += 1;
        } else if is("connection") {
            for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= option.eq_ignore_ascii_case(b"close");
                self.asks_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("content-length") {
            self.content_lengths += 1;
            self.has_body |= content_length_is_positive(value)?;
        } else if is("transfer-encoding") {
            self.transfer_encodings += 1;
            self.has_body = true;
        } else if is("expect") {
            self.unknown_expectation |= !value.eq_ignore_ascii_case(b"100-continue");
        } else if is("range") {
            self.range.set(value);
        } else if is("if-range") {
            self.if_range.set(value);
        } else if is("if-match") {
            self.if_match.set(value);
        } else if is("if-unmodified-since") {
            self.if_unmodified_since.set(value);
        } else if is("if-none-match") {
            self.if_none_match.set(value);
        } else if is("if-modified-since") {
            self.if_modified_since.set(value);
        }
        Ok(())
    }

    /// Refuses what two readers could take for two different requests, and what we can't do.
    ///
    /// `Expect: 100-continue` needs nothing: the final answer, which never waits for the body, takes its place.
    fn check(&self, is_http_1_0: bool) -> Result<(), Status> {
        let host_is_clear = self.hosts == 1 || (self.hosts == 0 && is_http_1_0);
        let length_is_clear = self.content_lengths + self.transfer_encodings <= 1;
        let encoding_is_allowed = self.transfer_encodings == 0 || !is_http_1_0;
        if !host_is_clear || !length_is_clear || !encoding_is_allowed {
            return Err(Status::BadRequest);
        }
        // HTTP/1.0 knew no expectations, and passes on those it doesn't understand.
        if self.unknown_expectation && !is_http_1_0 { Err(Status::ExpectationFailed) } else { Ok(()) }
    }
}

/// Digits and nothing else: no sign, no list, no space inside.
fn content_length_is_positive(value: &[u8]) -> Result<bool, Status> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    Ok(value.iter().any(|&digit| digit != b'0'))
}

/// A header's value, as long as it was given once.
#[derive(Clone, Copy, Default)]
enum Once<'head> {
    #[default]
    Absent,
    Given(&'head [u8]),
    Repeated,
}

impl<'head> Once<'head> {
    fn set(&mut self, value: &'head [u8]) {
        *self = match self {
            Self::Absent => Self::Given(value),
            Self::Given(_) | Self::Repeated => Self::Repeated,
        };
    }

    fn value(self) -> Option<&'head [u8]> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Repeated => None,
        }
    }

    fn value_or(self, repeated: &'head [u8]) -> Option<&'head [u8]> {
        if matches!(self, Self::Repeated) { Some(repeated) } else { self.value() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    /// A request for `/` with these lines after its first one.
    fn head(version: &str, lines: &[&str]) -> Vec<u8> {
        let mut text = format!("GET / HTTP/{version}\r\n");
        for line in lines {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn refusal(version: &str, lines: &[&str]) -> Option<Status> {
        parse(&head(version, lines)).err()
    }

    fn keeps_alive(version: &str, lines: &[&str]) -> bool {
        parse(&head(version, lines)).unwrap().unwrap().keeps_alive
    }

    #[test]
    fn a_request_is_read_and_the_next_one_left() {
        let first = b"HEAD /a%20b?c HTTP/1.1\r\nhost: h\r\nRANGE: bytes=1-2\r\nIf-None-Match: \"x\"\r\n\r\n";
        let input = [&first[..], b"GET /next HTTP/1.1\r\n"].concat();
        let expected = Request {
            method: Method::Head,
            target: "/a%20b?c",
            is_http_1_0: false,
            keeps_alive: true,
            conditions: Conditions {
                range: Some(b"bytes=1-2"),
                if_none_match: Some(b"\"x\""),
                ..Conditions::default()
            },
            head_bytes: first.len(),
        };
        assert_eq!(parse(&input), Ok(Some(expected)));
        assert_eq!(parse(&input[first.len()..]), Ok(None));
    }

    #[test]
    fn a_head_that_arrives_byte_by_byte_is_incomplete_until_its_last() {
        let whole = head("1.1", &["Host: h", "Range: bytes=0-"]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Ok(None), "{length} bytes");
        }
        assert_eq!(parse(&whole).unwrap().unwrap().head_bytes, whole.len());
    }

    #[test]
    fn other_methods_are_named() {
        let request = parse(b"BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap();
        assert_eq!(request.method, Method::Other("BREW"));
        assert_eq!(request.method.as_str(), "BREW");
        let lower_case = parse(b"get / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap();
        assert_eq!(lower_case.method, Method::Other("get"));
    }

    #[test]
    fn who_may_send_another_request() {
        assert!(keeps_alive("1.1", &["Host: h"]));
        assert!(keeps_alive("1.1", &["Host: h", "Connection: keep-alive"]));
        assert!(!keeps_alive("1.1", &["Host: h", "Connection: Close"]));
        assert!(!keeps_alive("1.1", &["Host: h", "Connection: upgrade , close"]));
        assert!(!keeps_alive("1.1", &["Host: h", "Connection: keep-alive", "Connection: close"]));
        assert!(!keeps_alive("1.0", &[]));
        assert!(keeps_alive("1.0", &["Connection: Keep-Alive"]));
        assert!(!keeps_alive("1.0", &["Connection: keep-alive, close"]));
    }

    /// Catches: keeping the connection of a request that has a body, whose bytes would be read as a request.
    #[test]
    fn a_request_with_a_body_is_the_last_of_its_connection() {
        assert!(!keeps_alive("1.1", &["Host: h", "Content-Length: 5"]));
        assert!(!keeps_alive("1.1", &["Host: h", "Content-Length: 005"]));
        assert!(!keeps_alive("1.1", &["Host: h", "Transfer-Encoding: chunked"]));
        assert!(!keeps_alive("1.1", &["Host: h", "transfer-encoding: identity"]));
        assert!(!keeps_alive("1.1", &["Host: h", "Expect: 100-continue", "Content-Length: 5"]));
        assert!(!keeps_alive("1.0", &["Connection: keep-alive", "Content-Length: 5"]));
        assert!(keeps_alive("1.1", &["Host: h", "Content-Length: 0"]));
    }

    /// Catches: a `check` that lets any of the three pass; a length that may have a sign or be a list.
    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        for lines in [
            &["Host: h", "Content-Length: 5", "Transfer-Encoding: chunked"][..],
            &["Host: h", "Content-Length: 5", "Content-Length: 6"],
            &["Host: h", "Content-Length: 5", "Content-Length: 5"],
            &["Host: h", "Content-Length: 0", "Content-Length: 5"],
            &["Host: h", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            &["Host: h", "Content-Length: 5, 5"],
            &["Host: h", "Content-Length: +5"],
            &["Host: h", "Content-Length: -5"],
            &["Host: h", "Content-Length: 0x5"],
            &["Host: h", "Content-Length: "],
            &["Host: h", "Content-Length : 5"],
            &["Host: h", "X: a", " folded"],
            &["Host: a", "Host: b"],
            &["Host: a", "Host: a"],
            &[],
        ] {
            assert_eq!(refusal("1.1", lines), Some(Status::BadRequest), "{lines:?}");
        }
        assert_eq!(refusal("1.0", &["Transfer-Encoding: chunked"]), Some(Status::BadRequest));
        assert_eq!(refusal("1.0", &["Host: a", "Host: b"]), Some(Status::BadRequest));
    }

    #[test]
    fn only_continue_can_be_expected() {
        assert_eq!(refusal("1.1", &["Host: h", "Expect: 100-Continue"]), None);
        assert_eq!(refusal("1.1", &["Host: h", "Expect: tea"]), Some(Status::ExpectationFailed));
        assert_eq!(refusal("1.0", &["Expect: tea"]), None);
    }

    #[test]
    fn a_condition_given_twice_counts_as_not_given() {
        let head =
            head("1.1", &["Host: h", "Range: bytes=0-1", "Range: bytes=0-1", "Range: bytes=0-1", "If-Range: \"a\""]);
        let expected = Conditions { if_range: Some(b"\"a\""), ..Conditions::default() };
        assert_eq!(parse(&head).unwrap().unwrap().conditions, expected);
    }

    /// Catches: one that counts as not given then, so that a client gets a part of a file that it did not mean.
    #[test]
    fn a_precondition_given_twice_names_no_file() {
        let head = head("1.1", &["Host: h", "If-Match: \"a\"", "If-Match: \"b\"", "If-Unmodified-Since: today"]);
        let expected = Conditions { if_match: Some(b""), if_unmodified_since: Some(b"today"), ..Conditions::default() };
        assert_eq!(parse(&head).unwrap().unwrap().conditions, expected);
    }

    #[test]
    fn other_versions_and_other_protocols_are_refused() {
        assert_eq!(refusal("2.0", &["Host: h"]), Some(Status::VersionNotSupported));
        assert_eq!(parse(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Err(Status::VersionNotSupported));
        assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01\x00"), Err(Status::BadRequest));
        assert_eq!(parse(b"GET /\0 HTTP/1.1\r\n\r\n"), Err(Status::BadRequest));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n"), Err(Status::BadRequest));
        assert_eq!(parse(b"GET /a b HTTP/1.1\r\n\r\n"), Err(Status::BadRequest));
        assert_eq!(parse(b"GET /\r\n\r\n"), Err(Status::BadRequest));
    }

    /// Catches: a limit that is off by one, in either direction.
    #[test]
    fn a_head_of_8_kib_is_read_and_a_longer_one_refused() {
        let filled_to = |length: usize| {
            let empty = head("1.1", &["Host: h", "X: "]).len();
            head("1.1", &["Host: h", &format!("X: {}", "y".repeat(length - empty))])
        };
        let longest = filled_to(HEAD_BYTES_MAX);
        assert_eq!(parse(&longest).unwrap().unwrap().head_bytes, HEAD_BYTES_MAX);
        assert_eq!(parse(&longest[..HEAD_BYTES_MAX - 1]), Ok(None));
        let too_long = filled_to(HEAD_BYTES_MAX + 1);
        assert_eq!(parse(&too_long), Err(Status::HeadTooLarge));
        assert_eq!(parse(&too_long[..HEAD_BYTES_MAX]), Err(Status::HeadTooLarge));
        assert_eq!(parse(&vec![b'G'; HEAD_BYTES_MAX]), Err(Status::HeadTooLarge));
    }

    #[test]
    fn too_many_headers_are_refused() {
        let lines = |count| std::iter::once("Host: h").chain(std::iter::repeat_n("X: y", count)).collect::<Vec<_>>();
        assert_eq!(refusal("1.1", &lines(HEADERS_MAX - 1)), None);
        assert_eq!(refusal("1.1", &lines(HEADERS_MAX)), Some(Status::HeadTooLarge));
    }

    #[test]
    fn whatever_is_sent_nothing_panics_and_more_input_never_changes_a_request() {
        const PARTS: &[&[u8]] = &[
            b"GET ",
            b"POST ",
            b"/",
            b"/a",
            b"?",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b"Host: h\r\n",
            b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"Range: bytes=",
            b":",
            b" ",
            b"\0",
            b"\xff",
        ];
        let mut chance = Chance::new();
        let mut complete = 0;
        for _ in 0..50_000 {
            let count = chance.below(12);
            let start: &[u8] = chance.pick(&[&b""[..], b"GET / HTTP/1.1\r\nHost: h\r\n"]);
            let input = [start, &chance.salad(PARTS, count)].concat();
            let Ok(Some(request)) = parse(&input) else {
                continue;
            };
            complete += 1;
            assert!(request.head_bytes > 0 && request.head_bytes <= input.len(), "{}", input.escape_ascii());
            assert!(!request.target.bytes().any(|byte| byte <= b' ' || byte == 0x7f), "{}", input.escape_ascii());
            let longer = [&input[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(parse(&longer), Ok(Some(request)), "{}", input.escape_ascii());
        }
        assert!(complete > 500, "{complete} of the random inputs were requests: too few to have tried anything");
    }
}
