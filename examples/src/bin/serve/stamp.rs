//! What tells one state of a file from another, and which of its bytes a request then gets.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use crate::http_date;
use crate::range::{self, Selected};
use crate::request::{Conditions, Method, Request};

/// A file as it was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub length: u64,
    /// After the start of 1970; files from before it are taken for as old as that.
    modified: Duration,
    inode: u64,
}

/// What of a file is the answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// The client has it already.
    NotModified,
    /// The range lies after the end.
    Unsatisfiable,
    /// The client wants something of another file than this has become.
    PreconditionFailed,
}

impl Stamp {
    /// Of a file of `length` bytes, from its metadata.
    pub fn new(length: u64, modified: SystemTime, inode: u64) -> Self {
        Self { length, modified: modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(), inode }
    }

    /// When the file was changed last, in whole seconds after the start of 1970, but never after `now`: a date in the
    /// future would make clients keep a file that has changed since. RFC 9110, section 8.8.2.1.
    pub fn modified_seconds(&self, now_seconds: u64) -> u64 {
        self.modified.as_secs().min(now_seconds)
    }

    /// A name for this state of the file, with its quotes.
    ///
    /// Two changes to one file within a tick of the file system's clock that keep its length have the same name.
    pub fn etag(&self) -> String {
        format!("\"{:x}-{:x}-{:x}\"", self.inode, self.length, self.modified.as_nanos())
    }

    /// What `request` gets, at this moment. RFC 9110, section 13.2.2: is the file the one that the client means; has it
    /// got it already; and if not, is the range it asks for one of the file it knows.
    pub fn answer(&self, request: &Request<'_>, now_seconds: u64) -> Answer {
        let Conditions { range, if_range, if_match, if_unmodified_since, if_none_match, if_modified_since } =
            request.conditions;
        let modified_by = |date| http_date::parse(date).map(|date| self.modified_seconds(now_seconds) <= date);
        let is_meant = match (if_match, if_unmodified_since) {
            (Some(tags), _) => self.is_named_by(tags),
            (None, Some(date)) => modified_by(date).unwrap_or(true),
            (None, None) => true,
        };
        if !is_meant {
            return Answer::PreconditionFailed;
        }
        let unchanged = match (if_none_match, if_modified_since) {
            (Some(tags), _) => self.is_among(tags),
            (None, Some(date)) => modified_by(date).unwrap_or(false),
            (None, None) => false,
        };
        if unchanged {
            return Answer::NotModified;
        }
        // A range is a part of what GET returns; HEAD has no use for it.
        let Some(range) = range.filter(|_| request.method == Method::Get) else {
            return Answer::Whole;
        };
        if if_range.is_some_and(|validator| !self.is_exactly(validator, now_seconds)) {
            return Answer::Whole;
        }
        match range::select(range, self.length) {
            Selected::Whole => Answer::Whole,
            Selected::Part(part) => Answer::Part(part),
            Selected::Nothing => Answer::Unsatisfiable,
        }
    }

    /// Whether one of these tags is ours. A weak tag counts as the strong one of the same name: it came from a cache on
    /// the way that had packed the file.
    fn is_among(&self, tags: &[u8]) -> bool {
        self.is_any(tags, |tag| tag.strip_prefix(b"W/").unwrap_or(tag))
    }

    /// As [`is_among`](Stamp::is_among), but a weak tag is none of ours: the client may want a part.
    fn is_named_by(&self, tags: &[u8]) -> bool {
        self.is_any(tags, |tag| tag)
    }

    /// Ours holds no comma, so that cutting at commas can't make one up.
    fn is_any(&self, tags: &[u8], strong: impl Fn(&[u8]) -> &[u8]) -> bool {
        let ours = self.etag();
        tags.split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|tag| tag == b"*" || strong(tag) == ours.as_bytes())
    }

    /// Whether parts of the file that the client knows fit parts of this one: a strong tag, or the very same date.
    fn is_exactly(&self, validator: &[u8], now_seconds: u64) -> bool {
        match http_date::parse(validator) {
            Some(date) => date == self.modified_seconds(now_seconds),
            None => validator == self.etag().as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 2_000_000_000;
    const MODIFIED: u64 = 784_111_777;
    const SAME_DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";

    fn stamp() -> Stamp {
        Stamp::new(100, SystemTime::UNIX_EPOCH + Duration::new(MODIFIED, 5), 0x2a)
    }

    fn answer(method: Method<'_>, conditions: Conditions<'_>) -> Answer {
        let request = Request { method, target: "/", is_http_1_0: false, keeps_alive: true, conditions, head_bytes: 1 };
        stamp().answer(&request, NOW)
    }

    #[test]
    fn a_client_without_conditions_gets_the_file() {
        assert_eq!(answer(Method::Get, Conditions::default()), Answer::Whole);
    }

    #[test]
    fn a_file_is_not_sent_again_to_a_client_whose_date_is_as_late() {
        for (date, expected) in [
            (SAME_DATE, Answer::NotModified),
            (LATER, Answer::NotModified),
            (EARLIER, Answer::Whole),
            (b"yesterday", Answer::Whole),
        ] {
            let conditions = Conditions { if_modified_since: Some(date), ..Conditions::default() };
            assert_eq!(answer(Method::Get, conditions), expected, "{}", date.escape_ascii());
        }
    }

    #[test]
    fn a_tag_decides_before_a_date_does() {
        let ours = stamp().etag();
        for (tags, expected) in [
            (ours.clone(), Answer::NotModified),
            (format!("W/{ours}"), Answer::NotModified),
            (format!("\"other\" ,{ours}"), Answer::NotModified),
            ("*".into(), Answer::NotModified),
            ("\"other\"".into(), Answer::Whole),
            (ours.trim_matches('"').into(), Answer::Whole),
            (String::new(), Answer::Whole),
        ] {
            let conditions = Conditions {
                if_none_match: Some(tags.as_bytes()),
                if_modified_since: Some(LATER),
                ..Conditions::default()
            };
            assert_eq!(answer(Method::Get, conditions), expected, "{tags}");
        }
    }

    /// Who goes on with a download gets a part of the file that it knows, or none.
    /// Catches: preconditions that are not looked at; a weak tag that counts.
    #[test]
    fn a_file_that_is_not_the_one_meant_is_not_served() {
        let ours = stamp().etag();
        let tags = [
            (ours.clone(), true),
            (format!("\"other\", {ours}"), true),
            ("*".into(), true),
            ("\"other\"".into(), false),
            (format!("W/{ours}"), false),
            (String::new(), false),
        ];
        let dates: [(&[u8], bool); 4] = [(SAME_DATE, true), (LATER, true), (EARLIER, false), (b"yesterday", true)];
        for (range, expected) in [(None, Answer::Whole), (Some(&b"bytes=10-19"[..]), Answer::Part(10..20))] {
            let check = |conditions: Conditions<'_>, is_meant: bool| {
                let what = format!("{conditions:?}");
                let expected = if is_meant { &expected } else { &Answer::PreconditionFailed };
                assert_eq!(&answer(Method::Get, conditions), expected, "{what}");
            };
            for (tags, is_meant) in &tags {
                let if_match = Some(tags.as_bytes());
                // A tag decides, whatever the date is.
                check(
                    Conditions { range, if_match, if_unmodified_since: Some(EARLIER), ..Conditions::default() },
                    *is_meant,
                );
            }
            for (date, is_meant) in dates {
                check(Conditions { range, if_unmodified_since: Some(date), ..Conditions::default() }, is_meant);
            }
        }
    }

    #[test]
    fn a_range_is_served_to_get_alone() {
        let conditions = || Conditions { range: Some(b"bytes=10-19"), ..Conditions::default() };
        assert_eq!(answer(Method::Get, conditions()), Answer::Part(10..20));
        assert_eq!(answer(Method::Head, conditions()), Answer::Whole);
        let beyond = Conditions { range: Some(b"bytes=100-"), ..Conditions::default() };
        assert_eq!(answer(Method::Get, beyond), Answer::Unsatisfiable);
    }

    /// Catches: a comparison that ignores `W/` here too. Parts of two packings of one file don't fit together.
    #[test]
    fn a_range_of_a_file_that_changed_is_answered_by_the_whole_of_it() {
        let ours = stamp().etag();
        for (validator, expected) in [
            (ours.clone().into_bytes(), Answer::Part(10..20)),
            (SAME_DATE.to_vec(), Answer::Part(10..20)),
            (format!("W/{ours}").into_bytes(), Answer::Whole),
            (b"\"other\"".to_vec(), Answer::Whole),
            (LATER.to_vec(), Answer::Whole),
            (EARLIER.to_vec(), Answer::Whole),
        ] {
            let conditions =
                Conditions { range: Some(b"bytes=10-19"), if_range: Some(&validator), ..Conditions::default() };
            assert_eq!(answer(Method::Get, conditions), expected, "{}", validator.escape_ascii());
        }
    }

    #[test]
    fn every_change_that_can_be_seen_makes_another_tag() {
        let moment = SystemTime::UNIX_EPOCH + Duration::new(MODIFIED, 5);
        let longer = Stamp::new(101, moment, 0x2a);
        let later = Stamp::new(100, moment + Duration::from_nanos(1), 0x2a);
        let replaced = Stamp::new(100, moment, 0x2b);
        for other in [longer, later, replaced] {
            assert_ne!(other.etag(), stamp().etag(), "{other:?}");
        }
    }

    #[test]
    fn dates_stay_between_1970_and_now() {
        let old = Stamp::new(1, SystemTime::UNIX_EPOCH - Duration::from_secs(1), 1);
        assert_eq!(old.modified_seconds(NOW), 0);
        let future = Stamp::new(1, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 1), 1);
        assert_eq!(future.modified_seconds(NOW), NOW);
    }
}
