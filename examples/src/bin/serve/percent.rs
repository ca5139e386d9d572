//! Percent-encoding: how any byte travels in a URL. RFC 3986, section 2.1.

/// A `%` that two hexadecimal digits do not follow.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Appends to `out` the bytes that `text` stands for.
///
/// Decodes once: what `%2541` stands for is `%41`, not `A`. A `+` is a plus: it means a space in forms only.
pub fn decode_into(out: &mut Vec<u8>, text: &[u8]) -> Result<(), Malformed> {
    let mut rest = text;
    while let Some(percent) = rest.iter().position(|&byte| byte == b'%') {
        out.extend_from_slice(&rest[..percent]);
        let [_, high, low, ..] = rest[percent..] else {
            return Err(Malformed);
        };
        out.push(hex_value(high)? << 4 | hex_value(low)?);
        rest = &rest[percent + 3..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends one path component to `out`, encoded.
///
/// Every byte but RFC 3986's unreserved ones is encoded, also those that a path may hold as they are: a `:` makes the
/// start of a relative link a scheme, browsers take a `\` for a `/`, and `&` or `'` would matter in HTML.
pub fn encode_component_into(out: &mut Vec<u8>, component: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in component {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
        }
    }
}

fn hex_value(digit: u8) -> Result<u8, Malformed> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn decoded(text: &str) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode_into(&mut out, text.as_bytes()).map(|()| out)
    }

    #[test]
    fn decoding_happens_once_and_keeps_plus() {
        assert_eq!(decoded("a%20b%2Fc%2fd").unwrap(), b"a b/c/d");
        assert_eq!(decoded("%252e+%00").unwrap(), b"%2e+\0");
        assert_eq!(decoded("").unwrap(), b"");
    }

    #[test]
    fn a_percent_without_two_digits_is_refused() {
        for text in ["%", "a%", "%4", "%zz", "%4g", "%g4", "%%41", "% 41", "%+1"] {
            assert_eq!(decoded(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn only_unreserved_bytes_travel_as_they_are() {
        let mut out = Vec::new();
        encode_component_into(&mut out, b"aZ09-._~ :/\\&'\"<>%\0\xff");
        assert_eq!(out, b"aZ09-._~%20%3A%2F%5C%26%27%22%3C%3E%25%00%FF");
    }

    #[test]
    fn every_name_survives_the_way_there_and_back() {
        let mut chance = Chance::new();
        for _ in 0..2_000 {
            let name = chance.bytes(40);
            let mut encoded = Vec::new();
            encode_component_into(&mut encoded, &name);
            assert!(encoded.is_ascii());
            let mut back = Vec::new();
            decode_into(&mut back, &encoded).unwrap();
            assert_eq!(back, name);
        }
    }
}
