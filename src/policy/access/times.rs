//! When a rule holds: until it expires, and within its windows.

use schemars::JsonSchema;
use serde::Deserialize;
use time::{OffsetDateTime, UtcOffset, Weekday, format_description::well_known::Rfc3339};

/// Hours of some days. One that ends before it begins, or when it begins, ends on the next day.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// The days on which it begins.
    #[serde(default = "all_week")]
    #[schemars(length(min = 1, max = 7))]
    days: Vec<Day>,
    /// The first minute that is in it.
    #[serde(default = "midnight")]
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    from: String,
    /// The first minute that no longer is.
    #[serde(default = "midnight")]
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    to: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

const WEEK: [(Day, Weekday); 7] = [
    (Day::Mon, Weekday::Monday),
    (Day::Tue, Weekday::Tuesday),
    (Day::Wed, Weekday::Wednesday),
    (Day::Thu, Weekday::Thursday),
    (Day::Fri, Weekday::Friday),
    (Day::Sat, Weekday::Saturday),
    (Day::Sun, Weekday::Sunday),
];

/// When a rule holds, ready to ask.
#[derive(Debug)]
pub(super) struct Times {
    expires: Option<OffsetDateTime>,
    offset: UtcOffset,
    /// None means always.
    windows: Vec<Hours>,
}

#[derive(Debug)]
struct Hours {
    days: Vec<Weekday>,
    /// Minutes of the day.
    from: u16,
    to: u16,
}

impl Times {
    /// # Errors
    /// The field that cannot be read, and what it must be.
    pub(super) fn new(
        expires_at: Option<&str>,
        utc_offset: &str,
        windows: &[Window],
    ) -> Result<Self, (&'static str, &'static str)> {
        let expires = expires_at.map(|text| OffsetDateTime::parse(text, &Rfc3339)).transpose();
        let expires = expires.map_err(|_| ("expires_at", "must be a time such as 2027-01-31T18:00:00Z"))?;
        let offset = offset(utc_offset).ok_or(("utc_offset", "must be an offset such as +02:00"))?;
        let hours = windows.iter().map(Hours::new).collect::<Option<_>>();
        let windows = hours.ok_or(("windows", "must have times such as 09:30"))?;
        Ok(Self { expires, offset, windows })
    }

    pub(super) fn hold(&self, now: OffsetDateTime) -> bool {
        let here = now.to_offset(self.offset);
        let (day, minute) = (here.weekday(), u16::from(here.hour()) * 60 + u16::from(here.minute()));
        self.expires.is_none_or(|expires| now < expires)
            && (self.windows.is_empty() || self.windows.iter().any(|hours| hours.include(day, minute)))
    }
}

impl Hours {
    fn new(window: &Window) -> Option<Self> {
        let named = WEEK.iter().filter(|(day, _)| window.days.contains(day));
        let days = named.map(|(_, weekday)| *weekday).collect();
        Some(Self { days, from: minutes(&window.from)?, to: minutes(&window.to)? })
    }

    fn include(&self, day: Weekday, minute: u16) -> bool {
        let (today, yesterday) = (self.days.contains(&day), self.days.contains(&day.previous()));
        if self.from < self.to {
            return today && (self.from..self.to).contains(&minute);
        }
        (today && minute >= self.from) || (yesterday && minute < self.to)
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    Some(hours.parse::<u16>().ok()? * 60 + minutes.parse::<u16>().ok()?)
}

/// `+02:00`, or `Z`.
fn offset(text: &str) -> Option<UtcOffset> {
    if text == "Z" {
        return Some(UtcOffset::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let part = |range| digits.get(range).filter(|text: &&str| text.bytes().all(|byte| byte.is_ascii_digit()));
    let whole = digits.len() == 5 && digits.as_bytes()[2] == b':';
    let (hours, minutes) = (part(0..2)?.parse::<i8>().ok()?, part(3..5)?.parse::<i8>().ok()?);
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok().filter(|_| whole)
}

fn all_week() -> Vec<Day> {
    WEEK.map(|(day, _)| day).to_vec()
}

fn midnight() -> String {
    "00:00".to_owned()
}

#[cfg(test)]
mod tests {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};

    use super::{Day, Times, Window};

    fn holds(times: &Times, now: &str) -> bool {
        times.hold(OffsetDateTime::parse(now, &Rfc3339).unwrap())
    }

    fn window(days: &[Day], from: &str, to: &str) -> Window {
        Window { days: days.to_vec(), from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn windows_are_of_the_place_that_is_named() {
        let office = window(&[Day::Mon, Day::Fri], "09:00", "17:30");
        let times = Times::new(None, "+02:00", &[office]).unwrap();
        // 2026-11-23 is a Monday.
        for (now, inside) in [
            ("2026-11-23T06:59:59Z", false),
            ("2026-11-23T07:00:00Z", true),
            ("2026-11-23T15:29:59Z", true),
            ("2026-11-23T15:30:00Z", false),
            ("2026-11-24T10:00:00Z", false),
            ("2026-11-27T09:00:00+02:00", true),
        ] {
            assert_eq!(holds(&times, now), inside, "{now}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let times = Times::new(None, "Z", &[window(&[Day::Sun], "22:00", "06:00")]).unwrap();
        for (now, inside) in [
            ("2026-11-22T05:00:00Z", false),
            ("2026-11-22T22:00:00Z", true),
            ("2026-11-23T05:59:00Z", true),
            ("2026-11-23T06:00:00Z", false),
            ("2026-11-23T23:00:00Z", false),
        ] {
            assert_eq!(holds(&times, now), inside, "{now}");
        }
        let always = Times::new(None, "Z", &[window(&[Day::Mon], "00:00", "00:00")]).unwrap();
        assert!(holds(&always, "2026-11-23T23:59:59Z") && !holds(&always, "2026-11-24T00:00:00Z"));
    }

    #[test]
    fn a_rule_ends_when_it_expires() {
        let times = Times::new(Some("2026-11-23T12:00:00+01:00"), "-05:30", &[]).unwrap();
        assert!(holds(&times, "2026-11-23T10:59:59Z"));
        assert!(!holds(&times, "2026-11-23T11:00:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let field = |expires, offset| Times::new(expires, offset, &[]).unwrap_err().0;
        assert_eq!(field(Some("tomorrow"), "Z"), "expires_at");
        for wrong in ["", "é", "2", "+2", "+99:00", "+02:99", "+-2:00", "Europe/Berlin"] {
            assert_eq!(field(None, wrong), "utc_offset", "{wrong}");
        }
        assert!(Times::new(None, "Z", &[window(&[Day::Mon], "é", "1")]).is_err());
    }
}
