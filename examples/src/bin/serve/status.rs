//! The answers that this server gives, by number.

/// A status code. RFC 9110, section 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    PartialContent,
    MovedPermanently,
    NotModified,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PreconditionFailed,
    RangeNotSatisfiable,
    ExpectationFailed,
    HeadTooLarge,
    InternalError,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// The code and its phrase, as the first line of a response has them.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::PartialContent => "206 Partial Content",
            Self::MovedPermanently => "301 Moved Permanently",
            Self::NotModified => "304 Not Modified",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::PreconditionFailed => "412 Precondition Failed",
            Self::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::InternalError => "500 Internal Server Error",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The three digits.
    pub fn code(self) -> &'static str {
        &self.text()[..3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_three_digits_and_a_phrase() {
        for status in [
            Status::Ok,
            Status::PartialContent,
            Status::MovedPermanently,
            Status::NotModified,
            Status::BadRequest,
            Status::NotFound,
            Status::MethodNotAllowed,
            Status::RequestTimeout,
            Status::PreconditionFailed,
            Status::RangeNotSatisfiable,
            Status::ExpectationFailed,
            Status::HeadTooLarge,
            Status::InternalError,
            Status::Unavailable,
            Status::VersionNotSupported,
        ] {
            let (code, phrase) = status.text().split_once(' ').unwrap();
            assert_eq!(code, status.code());
            assert!(code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()), "{status:?}");
            assert!(!phrase.is_empty(), "{status:?}");
        }
    }
}
