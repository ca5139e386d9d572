//! Which bytes of a file a `Range` header asks for. RFC 9110, section 14.

use std::ops::Range;

/// What a `Range` header comes to, for a file of a known length.
#[derive(Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it: the header was none we serve, which RFC 9110 answers as if it were not there.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// The header asks for bytes after the end, and for nothing else.
    Nothing,
}

/// Reads a header such as `bytes=0-99`, `bytes=100-` or `bytes=-100`, for a file of `length` bytes.
///
/// A list of several ranges is answered by the whole file. That is allowed, and no list, however long, costs anything.
pub fn select(header: &[u8], length: u64) -> Selected {
    match parse(header) {
        None => Selected::Whole,
        Some(Asked::From { first, last }) if first < length => {
            Selected::Part(first..last.map_or(length, |last| last.saturating_add(1).min(length)))
        }
        Some(Asked::Last(count)) if count > 0 => match length.checked_sub(count) {
            Some(start) => Selected::Part(start..length),
            // There is no way to write the range of an empty file.
            None if length == 0 => Selected::Whole,
            None => Selected::Part(0..length),
        },
        Some(Asked::From { .. } | Asked::Last(_)) => Selected::Nothing,
    }
}

enum Asked {
    /// From the first of these bytes to the last, both counted from 0.
    From { first: u64, last: Option<u64> },
    /// So many bytes before the end.
    Last(u64),
}

/// None for everything but one well-formed range in bytes.
fn parse(header: &[u8]) -> Option<Asked> {
    let (unit, range) = split_at_byte(header, b'=')?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let (first, last) = split_at_byte(range.trim_ascii(), b'-')?;
    match (first, last) {
        (b"", count) => Some(Asked::Last(decimal(count)?)),
        (first, b"") => Some(Asked::From { first: decimal(first)?, last: None }),
        (first, last) => {
            let (first, last) = (decimal(first)?, decimal(last)?);
            (first <= last).then_some(Asked::From { first, last: Some(last) })
        }
    }
}

fn split_at_byte(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == separator)?;
    Some((&text[..place], &text[place + 1..]))
}

/// The number that these digits are. More than 64 bits can say is more than any file has: the largest number will do.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn single_ranges_are_cut_to_the_file() {
        for (header, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-99", 0..100),
            ("bytes=0-100", 0..100),
            ("bytes=99-99", 99..100),
            ("bytes=10-", 10..100),
            ("bytes=-1", 99..100),
            ("bytes=-100", 0..100),
            ("bytes=-1000", 0..100),
            ("BYTES=5-6", 5..7),
            ("bytes= 5-6 ", 5..7),
            ("bytes=5-18446744073709551615", 5..100),
            ("bytes=5-99999999999999999999999", 5..100),
            ("bytes=-99999999999999999999999", 0..100),
        ] {
            assert_eq!(select(header.as_bytes(), 100), Selected::Part(part), "{header}");
        }
    }

    #[test]
    fn a_range_after_the_end_selects_nothing() {
        for header in ["bytes=100-", "bytes=100-100", "bytes=99999999999999999999-", "bytes=-0"] {
            assert_eq!(select(header.as_bytes(), 100), Selected::Nothing, "{header}");
        }
    }

    #[test]
    fn a_header_that_we_do_not_serve_selects_the_whole_file() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=6-5",
            "bytes=a-b",
            "bytes=0x1-2",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=--1",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bytes=0 - 1",
            "items=0-1",
            "bytes =0-1",
            "bytes:0-1",
            "=0-1",
        ] {
            assert_eq!(select(header.as_bytes(), 100), Selected::Whole, "{header}");
        }
    }

    #[test]
    fn an_empty_file_has_no_part() {
        assert_eq!(select(b"bytes=0-", 0), Selected::Nothing);
        assert_eq!(select(b"bytes=0-0", 0), Selected::Nothing);
        assert_eq!(select(b"bytes=-5", 0), Selected::Whole);
        assert_eq!(select(b"bytes=-0", 0), Selected::Nothing);
    }

    #[test]
    fn a_part_is_never_empty_and_never_leaves_the_file() {
        const PARTS: &[&[u8]] =
            &[b"bytes=", b"bytes", b"=", b"-", b"-", b"0", b"1", b"9", b"18446744073709551615", b",", b" ", b"\xff"];
        let mut chance = Chance::new();
        for _ in 0..50_000 {
            let count = chance.below(6);
            let header = [&b"bytes="[..], &chance.salad(PARTS, count)].concat();
            let length = *chance.pick(&[&0, &1, &10, &100, &u64::MAX]);
            if let Selected::Part(part) = select(&header, length) {
                assert!(part.start < part.end && part.end <= length, "{} of {length}", header.escape_ascii());
            }
        }
    }
}
