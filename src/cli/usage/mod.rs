//! `usage`.

mod draw;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};
use syft_endpoints::{
    error::Cause,
    proto::{
        Cost, ListQueryRecordsRequest, QueryRecordFilter, SummarizeUsageRequest, SummarizeUsageResponse,
        TimeBucket, UsageShare, UsageSpread, UsageTotals, csv, moment,
    },
};
use time::{
    Date, Duration, OffsetDateTime, Time, format_description::well_known::Rfc3339, macros::format_description,
};
use uuid::Uuid;

use super::{
    client::{Client, ClientArgs},
    output::failure,
};

/// Longer ranges are mistakes.
const MAX_DAYS: i64 = 36_500;

#[derive(Args)]
pub(super) struct Usage {
    /// From when on: 12h, 7d (today and the six days before, in UTC), 4w, 2026-01-31 or an RFC 3339 time
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = Since::parse, allow_hyphen_values = true)]
    since: Since,
    /// The same as --since Nd
    #[arg(long, value_name = "N", conflicts_with = "since", value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS))]
    days: Option<i64>,
    /// Only this endpoint, by its slug or id
    #[arg(long, value_name = "SLUG_OR_ID")]
    endpoint: Option<String>,
    /// Only this caller
    #[arg(long, value_name = "EMAIL")]
    caller: Option<String>,
    /// Callers and endpoints that are listed at most, up to 100
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(i32).range(0..=100))]
    top: i32,
    /// Count previews too
    #[arg(long, conflicts_with = "csv")]
    previews: bool,
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object instead of tables
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// The records themselves, newest first, as CSV
    #[arg(long)]
    csv: bool,
}

/// The beginning of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Since {
    Hours(i64),
    /// The last of them is today.
    Days(i64),
    At(OffsetDateTime),
}

impl Usage {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let now = OffsetDateTime::now_utc();
        let from = self.days.map_or(self.since, Since::Days).from(now);
        let (endpoint_id, endpoint_slug) = match self.endpoint.unwrap_or_default() {
            id if Uuid::try_parse(&id).is_ok() => (id, String::new()),
            slug => (String::new(), slug),
        };
        let filter = QueryRecordFilter {
            endpoint_slug,
            endpoint_id,
            caller: self.caller.unwrap_or_default().to_lowercase(),
            start_time: Some(timestamp(from)),
            end_time: Some(timestamp(now)),
            ..QueryRecordFilter::default()
        };
        let client = self.client.connect().await?;
        if self.csv {
            export(&client, filter).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let bucket = bucket_for(now - from);
        let request = SummarizeUsageRequest {
            filter: Some(filter),
            bucket: bucket.into(),
            top: Some(self.top),
            include_previews: self.previews,
        };
        let summary = client.usage().summarize_usage(request).await;
        let summary = summary.map_err(|status| failure(&status))?.into_inner();
        match self.json {
            true => say!("{}", as_json(&summary))?,
            false => write!(io::stdout(), "{}", draw::tables(&summary, bucket, io::stdout().is_terminal()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints records page by page.
async fn export(client: &Client, filter: QueryRecordFilter) -> Result<(), Cause> {
    let (mut usage, mut page_token, mut text) = (client.usage(), String::new(), csv::HEADER.to_owned());
    loop {
        let filter = Some(filter.clone());
        let page =
            usage.list_query_records(ListQueryRecordsRequest { filter, page_size: 1000, page_token }).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        page.query_records.iter().for_each(|record| csv::write(record, &mut text));
        io::stdout().write_all(text.as_bytes())?;
        text.clear();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// Such that a line of them is neither empty nor endless.
fn bucket_for(length: Duration) -> TimeBucket {
    match length.whole_hours() {
        ..=48 => TimeBucket::Hour,
        49..=2_208 => TimeBucket::Day,
        _ => TimeBucket::Week,
    }
}

impl Since {
    fn parse(text: &str) -> Result<Self, String> {
        let number = |unit: char| text.strip_suffix(unit)?.parse().ok();
        let within = |days: i64, most: i64| (1..=most).contains(&days).then_some(days);
        let length = number('h').and_then(|hours| within(hours, MAX_DAYS * 24)).map(Self::Hours);
        let length = length.or_else(|| within(number('d')?, MAX_DAYS).map(Self::Days));
        let length = length.or_else(|| within(number('w')?, MAX_DAYS / 7).map(|weeks| Self::Days(weeks * 7)));
        let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
        let day = day.map(|day| day.with_time(Time::MIDNIGHT).assume_utc());
        let at = day.or_else(|_| OffsetDateTime::parse(text, &Rfc3339)).ok().map(Self::At);
        length.or(at).ok_or_else(|| "must be as 12h, 7d, 4w, 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())
    }

    fn from(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::Hours(hours) => now.saturating_sub(Duration::hours(hours)),
            Self::Days(days) => now.replace_time(Time::MIDNIGHT).saturating_sub(Duration::days(days - 1)),
            Self::At(moment) => moment,
        }
    }
}

fn timestamp(at: OffsetDateTime) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.nanosecond()).unwrap_or_default();
    prost_types::Timestamp { seconds: at.unix_timestamp(), nanos }
}

fn as_json(summary: &SummarizeUsageResponse) -> Value {
    let buckets = summary.buckets.iter().map(
        |bucket| json!({"start_time": moment(bucket.start_time), "totals": totals(bucket.totals.as_ref())}),
    );
    json!({
        "start_time": moment(summary.start_time),
        "end_time": moment(summary.end_time),
        "totals": totals(summary.totals.as_ref()),
        "buckets": buckets.collect::<Vec<_>>(),
        "top_callers": summary.top_callers.iter().map(share).collect::<Vec<_>>(),
        "top_endpoints": summary.top_endpoints.iter().map(share).collect::<Vec<_>>(),
    })
}

fn totals(totals: Option<&UsageTotals>) -> Value {
    let Some(totals) = totals else { return json!({}) };
    json!({
        "queries": totals.queries, "completed": totals.completed, "refused": totals.refused,
        "failed": totals.failed, "cancelled": totals.cancelled, "callers": totals.callers,
        "prompt_tokens": totals.prompt_tokens, "completion_tokens": totals.completion_tokens,
        "costs": costs(&totals.costs),
        "latency_ms": spread(totals.latency), "first_token_ms": spread(totals.first_token_delay),
    })
}

fn share(share: &UsageShare) -> Value {
    json!({
        "name": share.name, "endpoint_id": share.endpoint_id, "queries": share.queries,
        "completed": share.completed, "prompt_tokens": share.prompt_tokens,
        "completion_tokens": share.completion_tokens, "costs": costs(&share.costs),
    })
}

fn costs(costs: &[Cost]) -> Value {
    costs.iter().map(|cost| json!({"nano_units": cost.nano_units, "currency": cost.currency})).collect()
}

fn spread(spread: Option<UsageSpread>) -> Value {
    let Some(spread) = spread else { return Value::Null };
    let millis = |time: Option<prost_types::Duration>| {
        let time = std::time::Duration::try_from(time.unwrap_or_default()).unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    json!({"p50": millis(spread.p50), "p95": millis(spread.p95), "max": millis(spread.max)})
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::Since;

    #[test]
    fn ranges_begin_where_people_say() {
        let now = datetime!(2026-03-11 10:30 UTC);
        for (text, from) in [
            ("12h", datetime!(2026-03-10 22:30 UTC)),
            ("1d", datetime!(2026-03-11 00:00 UTC)),
            ("7d", datetime!(2026-03-05 00:00 UTC)),
            ("2w", datetime!(2026-02-26 00:00 UTC)),
            ("2026-01-31", datetime!(2026-01-31 00:00 UTC)),
            ("2026-01-31T12:00:00+01:00", datetime!(2026-01-31 11:00 UTC)),
        ] {
            assert_eq!(Since::parse(text).unwrap().from(now), from, "{text}");
        }
        for bad in [
            "",
            "d",
            "0d",
            "-1d",
            "7",
            "7m",
            "36501d",
            "9999999999999999999h",
            "2026-02-30",
            "yesterday",
            "é",
        ] {
            assert!(Since::parse(bad).is_err(), "{bad}");
        }
    }
}
