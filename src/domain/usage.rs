//! What queries leave behind, and what can be added up of it.

use std::{fmt, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{AttachmentId, Cost, EndpointId, EndpointRef, QueryId, TenantId, Usage};

/// One query, after it has been settled.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRecord {
    pub id: QueryId,
    pub tenant: TenantId,
    /// `None` when there was no such endpoint, or none that is published.
    pub endpoint: Option<EndpointId>,
    pub endpoint_slug: String,
    /// What was searched.
    pub dataset: Option<AttachmentId>,
    /// The caller's e-mail address.
    pub caller: String,
    pub request_id: Option<Uuid>,
    pub correlation_id: Option<String>,
    pub preview: bool,
    /// The name of a [`QueryOutcome`].
    pub outcome: &'static str,
    /// Code of what went wrong; empty when nothing did.
    pub reason: String,
    pub documents: usize,
    pub usage: Usage,
    pub cost: Option<Cost>,
    /// From the start to the first references or text.
    pub first_event: Option<Duration>,
    /// From the start to the first text.
    pub first_token: Option<Duration>,
    pub duration: Duration,
    pub started_at: OffsetDateTime,
    pub text: RecordedText,
}

/// What was asked and answered, where records keep that.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RecordedText {
    pub question: Option<String>,
    pub answer: Option<String>,
}

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryOutcome {
    Completed,
    Refused,
    Failed,
    ClientGone,
    DeadlineExceeded,
    ShuttingDown,
    Panicked,
}

/// Which records. What is `None` does not matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordFilter {
    pub endpoint: Option<EndpointRef>,
    pub dataset: Option<AttachmentId>,
    pub caller: Option<String>,
    pub outcome: Option<QueryOutcome>,
    /// Started then or later.
    pub from: Option<OffsetDateTime>,
    /// Started before.
    pub to: Option<OffsetDateTime>,
    pub request_id: Option<Uuid>,
    pub correlation_id: Option<String>,
}

/// Records added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTotals {
    pub queries: i64,
    pub completed: i64,
    pub refused: i64,
    /// The dataset, the model, the database or we.
    pub failed: i64,
    /// Ended from outside: the client, a deadline, a service that stopped.
    pub cancelled: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    /// One a currency, by its name.
    pub costs: Vec<Cost>,
    /// Different ones.
    pub callers: i64,
    /// Of completed queries.
    pub latency: Spread,
    /// Of queries that were answered with text, completed or not.
    pub first_token: Spread,
}

/// How times are spread. A percentile is one of the times: the shortest that so many are not longer than.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    pub p50: Option<Duration>,
    pub p95: Option<Duration>,
    pub max: Option<Duration>,
}

/// What was used from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBucket {
    pub start: OffsetDateTime,
    pub totals: UsageTotals,
}

/// What one caller, or one endpoint, used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageShare {
    /// An e-mail address, or a slug.
    pub name: String,
    /// When it is an endpoint's.
    pub endpoint: Option<EndpointId>,
    pub queries: i64,
    pub completed: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub costs: Vec<Cost>,
}

/// How long a bucket is. They begin at whole hours, at midnight, or on Mondays, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketWidth {
    Hour,
    Day,
    Week,
}

impl RecordedText {
    /// Characters that are kept of a question, and of an answer.
    pub const MAX_CHARS: usize = 4_000;

    /// As much of a text as is kept.
    pub fn head(text: &str, chars: usize) -> &str {
        text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
    }
}

/// It is not for logs.
impl fmt::Debug for RecordedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedText").finish_non_exhaustive()
    }
}

impl QueryOutcome {
    pub const ALL: [Self; 7] = [
        Self::Completed,
        Self::Refused,
        Self::Failed,
        Self::ClientGone,
        Self::DeadlineExceeded,
        Self::ShuttingDown,
        Self::Panicked,
    ];

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::ClientGone => "client_gone",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ShuttingDown => "shutting_down",
            Self::Panicked => "panicked",
        }
    }

    /// The outcome of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

impl BucketWidth {
    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * Self::HOUR;
    /// 1970 began on a Thursday.
    const MONDAY: i64 = 4 * Self::DAY;

    pub fn micros(self) -> i64 {
        match self {
            Self::Hour => Self::HOUR,
            Self::Day => Self::DAY,
            Self::Week => 7 * Self::DAY,
        }
    }

    /// When the bucket begins that such a moment is in. Both in microseconds since 1970.
    pub fn begin(self, micros: i64) -> i64 {
        let first = if self == Self::Week { Self::MONDAY } else { 0 };
        (micros - first).div_euclid(self.micros()) * self.micros() + first
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::{BucketWidth, OffsetDateTime, RecordedText};

    fn begin(width: BucketWidth, at: OffsetDateTime) -> OffsetDateTime {
        let micros = i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap();
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(width.begin(micros)) * 1_000).unwrap()
    }

    #[test]
    fn buckets_begin_in_utc_and_weeks_on_mondays() {
        let at = datetime!(2026-11-29 23:59:59.999999 UTC);
        assert_eq!(begin(BucketWidth::Hour, at), datetime!(2026-11-29 23:00 UTC));
        assert_eq!(begin(BucketWidth::Day, at), datetime!(2026-11-29 00:00 UTC));
        assert_eq!(begin(BucketWidth::Week, at), datetime!(2026-11-23 00:00 UTC));
        assert_eq!(
            begin(BucketWidth::Week, datetime!(2026-11-30 00:00 UTC)),
            datetime!(2026-11-30 00:00 UTC)
        );
        let berlin = datetime!(2026-11-30 00:30 +01:00);
        assert_eq!(begin(BucketWidth::Day, berlin), datetime!(2026-11-29 00:00 UTC));
        assert_eq!(
            begin(BucketWidth::Week, datetime!(1969-12-31 12:00 UTC)),
            datetime!(1969-12-29 00:00 UTC)
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(RecordedText::head("aé日本", 3), "aé日");
        assert_eq!(RecordedText::head("aé", 3), "aé");
        assert_eq!(RecordedText::head("aé", 0), "");
        let text = RecordedText { question: Some("secret".to_owned()), answer: None };
        assert!(!format!("{text:?}").contains("secret"));
    }
}
