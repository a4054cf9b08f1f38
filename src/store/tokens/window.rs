//! The arithmetic of windows, without a database.
//!
//! What queries use is counted in buckets of a sixtieth of the period. A bucket counts until it lies
//! wholly outside the window, so no window ever holds more than is allowed, and what has left it may go on
//! counting for a sixtieth of it.

use std::{
    iter::Sum,
    ops::{Add, Sub},
    time::Duration,
};

use time::{OffsetDateTime, UtcOffset};

const SECOND: i64 = 1_000_000;
/// Buckets of a period.
const PARTS: i64 = 60;
/// When to ask again where only running queries stand in the way.
const SOON: Duration = Duration::from_secs(1);
/// What one query is counted with at most: more than any limit of tokens. Providers say what they like, and a
/// column that overflows fails everybody's batch.
const MOST: i64 = 1_000_000_000_000;

/// What queries take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    pub requests: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
}

/// For how long a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Minute,
    Hour,
    Day,
    /// A calendar month, or 30 days that slide.
    Month,
}

/// Which queries are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Those admitted since the period began, in UTC.
    Fixed(Period),
    /// Those admitted within a period before now, wherever it lies.
    Rolling(Period),
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Requests,
    InputTokens,
    OutputTokens,
    Cost,
}

/// How much of one unit may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    pub unit: Unit,
    pub most: i128,
    /// What a token counts, read and written.
    weights: (i128, i128),
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub cap: Cap,
    /// By queries that have ended.
    pub used: Amount,
    /// For queries that run.
    pub held: Amount,
    /// When to ask again; `None` when the query is too large for the limit whenever it is asked.
    pub retry_after: Option<Duration>,
    /// When there is room even if all that is held is used.
    pub resets_after: Duration,
}

/// What was counted in one stretch of time, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) place: Place,
    pub(super) used: Amount,
    pub(super) held: Amount,
}

/// The stretch of time of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) ends_at: i64,
    pub(super) grain: i64,
}

impl Period {
    fn length(self) -> i64 {
        SECOND
            * match self {
                Self::Minute => 60,
                Self::Hour => 3_600,
                Self::Day => 86_400,
                Self::Month => 30 * 86_400,
            }
    }

    /// When the one began, in UTC, in which `now` is.
    fn begin(self, now: i64) -> i64 {
        match self {
            Self::Minute | Self::Hour | Self::Day => now - now.rem_euclid(self.length()),
            Self::Month => first_of_month(now, false),
        }
    }

    fn end(self, now: i64) -> i64 {
        match self {
            Self::Minute | Self::Hour | Self::Day => self.begin(now) + self.length(),
            Self::Month => first_of_month(now, true),
        }
    }
}

impl Frame {
    fn period(self) -> Period {
        match self {
            Self::Fixed(period) | Self::Rolling(period) => period,
        }
    }

    /// Buckets that end later count.
    pub(super) fn since(self, now: i64) -> i64 {
        match self {
            Self::Fixed(period) => period.begin(now),
            Self::Rolling(period) => now - period.length(),
        }
    }

    /// Where an admission is counted. Periods of the calendar begin where buckets do.
    pub(super) fn place(self, now: i64) -> Place {
        let grain = self.period().length() / PARTS;
        Place { ends_at: now - now.rem_euclid(grain) + grain, grain }
    }

    /// When a bucket counts no more.
    fn leaves_at(self, place: Place, now: i64) -> i64 {
        match self {
            Self::Fixed(period) => period.end(now),
            Self::Rolling(period) => place.ends_at + period.length(),
        }
    }

    /// When a bucket counts no more in either frame of its period.
    pub(super) fn stale_at(self, place: Place) -> i64 {
        let longest = if self.period() == Period::Month { 31 * 86_400 * SECOND } else { 0 };
        place.ends_at + longest.max(self.period().length())
    }
}

impl Cap {
    pub fn requests(most: u64) -> Self {
        Self { unit: Unit::Requests, most: most.into(), weights: (0, 0) }
    }

    pub fn input_tokens(most: u64) -> Self {
        Self { unit: Unit::InputTokens, most: most.into(), weights: (1, 0) }
    }

    pub fn output_tokens(most: u64) -> Self {
        Self { unit: Unit::OutputTokens, most: most.into(), weights: (0, 1) }
    }

    /// `input` and `output` are what a token costs, all three in one unit.
    pub fn cost(most: i128, input: i128, output: i128) -> Self {
        Self { unit: Unit::Cost, most, weights: (input, output) }
    }

    /// How much of the unit an amount is.
    pub fn measure(&self, amount: Amount) -> i128 {
        if self.unit == Unit::Requests {
            return amount.requests.into();
        }
        let (input, output) = self.weights;
        let read = input.saturating_mul(amount.input_tokens.into());
        read.saturating_add(output.saturating_mul(amount.output_tokens.into()))
    }

    /// Why `need` does not fit beside what counts; `None` when it does. The latest to count comes first.
    fn shortage(&self, frame: Frame, now: i64, counting: &[&Bucket], need: Amount) -> Option<Shortage> {
        let used: Amount = counting.iter().map(|bucket| bucket.used).sum();
        let held: Amount = counting.iter().map(|bucket| bucket.held).sum();
        let fits = |taken: Amount| self.measure(taken).saturating_add(self.measure(need)) <= self.most;
        if fits(used + held) {
            return None;
        }
        let mut taken = Amount::default();
        let stays = counting.iter().take_while(|bucket| {
            taken = taken + bucket.used + bucket.held;
            fits(taken)
        });
        let first_to_go = counting.get(stays.count());
        let resets_at = first_to_go.map_or(now, |bucket| frame.leaves_at(bucket.place, now));
        let resets_after = Duration::from_micros(u64::try_from(resets_at - now).unwrap_or(0));
        let retry_after = if fits(used) { resets_after.min(SOON) } else { resets_after };
        let retry_after = fits(Amount::default()).then_some(retry_after);
        Some(Shortage { cap: *self, used, held, retry_after, resets_after })
    }
}

/// Why `need` does not fit: the cap that stands in its way for the longest time.
pub(super) fn shortage(
    (frame, caps): (Frame, &[Cap]),
    now: i64,
    buckets: &[Bucket],
    need: Amount,
) -> Option<Shortage> {
    let since = frame.since(now);
    let mut counting: Vec<&Bucket> = buckets.iter().filter(|bucket| bucket.place.ends_at > since).collect();
    counting.sort_by_key(|bucket| std::cmp::Reverse(bucket.place));
    let short: Vec<Shortage> =
        caps.iter().filter_map(|cap| cap.shortage(frame, now, &counting, need)).collect();
    let resets_after = short.iter().map(|shortage| shortage.resets_after).max()?;
    let longest =
        short.into_iter().max_by_key(|shortage| (shortage.retry_after.is_none(), shortage.retry_after));
    longest.map(|shortage| Shortage { resets_after, ..shortage })
}

fn first_of_month(now: i64, next: bool) -> i64 {
    let nanos = i128::from(now) * 1_000;
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .map_or(OffsetDateTime::UNIX_EPOCH.date(), |at| at.to_offset(UtcOffset::UTC).date());
    let first = date.replace_day(1).unwrap_or(date);
    let days = if next { first.month().length(first.year()) } else { 0 };
    let begun = first.midnight().assume_utc() + time::Duration::days(days.into());
    begun.unix_timestamp() * SECOND
}

impl Amount {
    /// As far as it can be counted.
    pub(super) fn countable(self) -> Self {
        let bounded = |count: i64| count.clamp(0, MOST);
        Self {
            requests: bounded(self.requests),
            input_tokens: bounded(self.input_tokens),
            output_tokens: bounded(self.output_tokens),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
        }
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests;
