//! The line that `--log` prints for a request.

use std::fmt::Write;
use std::time::Duration;

use crate::status::Status;

/// A request that has been answered.
#[derive(Debug)]
pub struct Line<'a> {
    /// None if what came was no request.
    pub method_and_target: Option<(&'a str, &'a str)>,
    pub status: Status,
    /// Of the body, as far as it was sent.
    pub bytes: u64,
    pub took: Duration,
}

impl Line<'_> {
    /// `GET /a%20b 200 1234 87us`, with its newline. Written by one call, so that lines of several cores don't mix.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(80);
        match self.method_and_target {
            Some((method, target)) => {
                push_printable(&mut text, method);
                text.push(' ');
                push_printable(&mut text, target);
            }
            None => text.push_str("- -"),
        }
        writeln!(text, " {} {} {}us", self.status.code(), self.bytes, self.took.as_micros())
            .expect("a String takes all");
        text
    }
}

/// Appends what a client sent so that it can neither end the line nor speak to the terminal that shows it.
fn push_printable(out: &mut String, sent: &str) {
    for byte in sent.bytes() {
        if byte.is_ascii_graphic() && byte != b'\\' {
            out.push(char::from(byte));
        } else {
            write!(out, "\\x{byte:02x}").expect("a String takes all");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn a_line_has_five_fields() {
        let line = Line {
            method_and_target: Some(("GET", "/a%20b?c")),
            status: Status::PartialContent,
            bytes: 1234,
            took: Duration::from_nanos(87_900),
        };
        assert_eq!(line.text(), "GET /a%20b?c 206 1234 87us\n");
    }

    #[test]
    fn what_was_no_request_has_no_name() {
        let line = Line { method_and_target: None, status: Status::BadRequest, bytes: 0, took: Duration::ZERO };
        assert_eq!(line.text(), "- - 400 0 0us\n");
    }

    #[test]
    fn whatever_was_sent_it_is_one_line_of_five_printable_fields() {
        let mut chance = Chance::new();
        for _ in 0..2_000 {
            let sent = format!("/{}", String::from_utf8_lossy(&chance.bytes(40)));
            let line = Line {
                method_and_target: Some(("GET", &sent)),
                status: Status::Ok,
                bytes: 1,
                took: Duration::from_micros(2),
            };
            let text = line.text();
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line}");
            assert_eq!(line.split(' ').count(), 5, "{line}");
        }
    }
}
