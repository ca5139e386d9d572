//! Dates as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT`. RFC 9110, section 5.6.7.
//!
//! The two obsolete forms are not read. A date that can't be read only means that a file is sent once more.

/// The last second that four digits of year can say: 31 December 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

const SECONDS_PER_DAY: u64 = 86_400;
const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Writes the moment that is `seconds` after the start of 1970. Later than the year 9999 is written as its end.
pub fn format(seconds: u64) -> [u8; 29] {
    let seconds = seconds.min(SECONDS_MAX);
    let days = seconds / SECONDS_PER_DAY;
    let of_day = seconds % SECONDS_PER_DAY;
    let date = Date::from_days(days);

    let mut text = *b"www, dd mmm yyyy hh:mm:ss GMT";
    text[0..3].copy_from_slice(WEEKDAYS[index(weekday(days))]);
    put_decimal(&mut text[5..7], date.day);
    text[8..11].copy_from_slice(MONTHS[index(date.month - 1)]);
    put_decimal(&mut text[12..16], date.year);
    put_decimal(&mut text[17..19], of_day / 3600);
    put_decimal(&mut text[20..22], of_day / 60 % 60);
    put_decimal(&mut text[23..25], of_day % 60);
    text
}

/// Reads a date, in seconds after the start of 1970. None if it is anything but a date of this form that exists.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let month = MONTHS.iter().position(|name| *name == &text[8..11])?;
    let date =
        Date { year: decimal(&text[12..16])?, month: u64::try_from(month).ok()? + 1, day: decimal(&text[5..7])? };
    let (hour, minute, second) = (decimal(&text[17..19])?, decimal(&text[20..22])?, decimal(&text[23..25])?);
    if date.year < 1970 || date.day == 0 {
        return None;
    }
    let seconds = date.to_days() * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    // Written again it must be the same text. That refuses in one place the wrong weekday, 31 February, an hour of 25
    // and every wrong byte in between.
    (format(seconds) == *text).then_some(seconds)
}

/// A day of the Gregorian calendar, from 1970 on.
struct Date {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
}

/// Both directions count from 1 March of the year 0: then the leap day is the last of its year, and the months' lengths
/// follow one line, `(153 * month + 2) / 5`.
impl Date {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_PER_CYCLE: u64 = 146_097;
    const YEARS_PER_CYCLE: u64 = 400;

    fn from_days(days: u64) -> Self {
        let days = days + Self::DAYS_BEFORE_1970;
        let cycle = days / Self::DAYS_PER_CYCLE;
        let of_cycle = days % Self::DAYS_PER_CYCLE;
        let year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
        let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let (month, years_begun) =
            if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
        Self { year: cycle * Self::YEARS_PER_CYCLE + year_of_cycle + years_begun, month, day }
    }

    fn to_days(&self) -> u64 {
        let (month_from_march, year) =
            if self.month > 2 { (self.month - 3, self.year) } else { (self.month + 9, self.year - 1) };
        let of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        let leap_days = year / 4 - year / 100 + year / Self::YEARS_PER_CYCLE;
        365 * year + leap_days + of_year - Self::DAYS_BEFORE_1970
    }
}

/// 0 is Sunday. The first day of 1970 was a Thursday.
fn weekday(days: u64) -> u64 {
    (days + 4) % 7
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("below twelve")
}

/// Fills `out` with the last digits of `number`, zeros in front.
fn put_decimal(out: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
}

/// The number that `digits`, of which there are at most four, are.
fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    const KNOWN: &[(u64, &str)] = &[
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (1_704_067_199, "Sun, 31 Dec 2023 23:59:59 GMT"),
        (SECONDS_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ];

    #[test]
    fn known_moments_are_written_and_read() {
        for &(seconds, text) in KNOWN {
            assert_eq!(std::str::from_utf8(&format(seconds)).unwrap(), text);
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn a_moment_after_the_last_year_is_written_as_its_end() {
        assert_eq!(format(u64::MAX), format(SECONDS_MAX));
    }

    #[test]
    fn what_is_no_date_of_this_form_is_not_read() {
        for text in [
            "",
            "0",
            "Sun, 06 Nov 1994 08:49:37",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Fri, 30 Feb 2024 00:00:00 GMT",
            "Mon, 00 Jan 2024 00:00:00 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_until_2400_follows_the_one_before() {
        let mut date = Date { year: 1970, month: 1, day: 1 };
        for days in 0..157_054 {
            let computed = Date::from_days(days);
            assert_eq!((computed.year, computed.month, computed.day), (date.year, date.month, date.day));
            assert_eq!(computed.to_days(), days);
            date = day_after(&date);
        }
        assert_eq!((date.year, date.month, date.day), (2400, 1, 1));
    }

    #[test]
    fn random_moments_and_random_bytes_are_survived() {
        let mut chance = Chance::new();
        for _ in 0..20_000 {
            let seconds = u64::try_from(chance.below(253_402_300_800)).unwrap();
            let mut text = format(seconds);
            assert_eq!(parse(&text), Some(seconds));
            let (place, other) = (chance.below(29), chance.bytes(1));
            if let [byte] = other[..] {
                text[place] = byte;
            }
            if let Some(read) = parse(&text) {
                assert_eq!(format(read), text);
            }
        }
    }

    /// The calendar as one learns it, to check the arithmetic against.
    fn day_after(date: &Date) -> Date {
        let leap = (date.year.is_multiple_of(4) && !date.year.is_multiple_of(100)) || date.year.is_multiple_of(400);
        let length = match date.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        match (date.day < length, date.month < 12) {
            (true, _) => Date { day: date.day + 1, ..*date },
            (false, true) => Date { day: 1, month: date.month + 1, year: date.year },
            (false, false) => Date { day: 1, month: 1, year: date.year + 1 },
        }
    }
}
