//! `/analytics`: what the Python Space shows on its dashboard, from what endpoints were used for.

use http::Method;
use prost_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    problem::Problem,
    resources::{endpoints, moment},
    route::{Call, Route},
    usage::units,
};
use crate::proto::{
    Cost, QueryOutcome, QueryRecordFilter, SummarizeUsageRequest, SummarizeUsageResponse, TimeBucket,
    UsageBucket, UsageTotals,
};

/// Users that are listed.
const TOP: i32 = 5;

/// Which queries. Only those that were answered count, and no previews.
#[derive(Deserialize, JsonSchema)]
struct AnalyticsQuery {
    /// How far back, from now
    #[serde(default)]
    #[schemars(extend("default" = "30d"))]
    time_range: TimeRange,
    /// Only queries of this endpoint
    #[serde(default)]
    #[schemars(with = "Uuid")]
    endpoint_id: Option<Uuid>,
    /// Only queries in this dataset
    #[serde(default)]
    #[schemars(with = "Uuid")]
    dataset_id: Option<Uuid>,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(inline)]
enum TimeRange {
    #[serde(rename = "7d")]
    Week,
    #[default]
    #[serde(rename = "30d")]
    Month,
    #[serde(rename = "90d")]
    Quarter,
    #[serde(rename = "1y")]
    Year,
}

/// Figures of a dashboard.
#[derive(Serialize, JsonSchema)]
struct SummaryStatsResponse {
    /// Endpoints that are published; the change is those that were made in the range.
    active_endpoints: StatCard,
    /// Queries that were answered; the change is in per cent of the range before.
    total_queries: StatCard,
    /// What was charged for them.
    total_revenue: RevenueStatCard,
    /// Different callers.
    active_users: StatCard,
}

/// A figure, and what to compare it with.
#[derive(Serialize, JsonSchema)]
struct StatCard {
    value: f64,
    change_value: f64,
    /// The same in words.
    change_label: String,
}

/// What was charged, by currency: sums of different ones are none.
#[derive(Serialize, JsonSchema)]
struct RevenueStatCard {
    breakdown: Vec<CurrencyAmount>,
    /// Since the first of this month.
    change_breakdown: Vec<CurrencyAmount>,
}

/// An amount, in units of its currency.
#[derive(Serialize, JsonSchema)]
struct CurrencyAmount {
    currency: String,
    amount: f64,
}

/// Figures by time, oldest first: days for `7d` and `30d`, weeks for `90d` and `1y`, all in UTC.
#[derive(Serialize, JsonSchema)]
struct TimeSeriesResponse {
    query_volume: Vec<TimeSeriesPoint>,
    /// Different callers of each day or week.
    user_activity: Vec<TimeSeriesPoint>,
    revenue: Vec<CurrencySeries>,
}

/// What was charged in one currency.
#[derive(Serialize, JsonSchema)]
struct CurrencySeries {
    currency: String,
    points: Vec<TimeSeriesPoint>,
}

#[derive(Serialize, JsonSchema)]
struct TimeSeriesPoint {
    /// For people: `Nov 24`, or `Week of Nov 24`.
    label: String,
    value: f64,
    /// When the day or the week begins.
    start_time: String,
}

/// Who asked most, most first.
#[derive(Serialize, JsonSchema)]
struct TopUsersResponse {
    users: Vec<TopUserEntry>,
}

#[derive(Serialize, JsonSchema)]
struct TopUserEntry {
    user_email: String,
    query_count: i64,
    revenue: Vec<CurrencyAmount>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::asking(Method::GET, "/api/v1/analytics/summary", summary)
            .says("Shows the figures of a dashboard")
            .fails(&[422]),
        Route::asking(Method::GET, "/api/v1/analytics/time-series", time_series)
            .says("Shows queries, users and revenue by day or week")
            .fails(&[422]),
        Route::asking(Method::GET, "/api/v1/analytics/top-users", top_users)
            .says("Shows the five users who asked most")
            .fails(&[422]),
    ]
}

async fn summary(call: Call, asked: AnalyticsQuery) -> Result<SummaryStatsResponse, Problem> {
    let (now, length) = (OffsetDateTime::now_utc(), asked.time_range.length());
    let begin = now - length;
    let first = now.replace_time(time::Time::MIDNIGHT).replace_day(1).unwrap_or(now);
    let shown = |endpoint: crate::proto::Endpoint| {
        let made = endpoint.create_time.map_or(0, |at| at.seconds);
        (endpoint.published, made >= begin.unix_timestamp())
    };
    let endpoints = endpoints(&call, shown).await?;
    let within = totals(&call, &asked, (begin, now)).await?;
    let before = totals(&call, &asked, (begin - length, begin)).await?;
    // On the first of a month at midnight nothing has been in it.
    let month = totals(&call, &asked, (first.min(now - Duration::MICROSECOND), now)).await?;
    let new = endpoints.iter().filter(|(_, is_new)| *is_new).count();
    let change = change(within.queries, before.queries);
    Ok(SummaryStatsResponse {
        active_endpoints: StatCard {
            value: number(endpoints.iter().filter(|(published, _)| *published).count()),
            change_value: number(new),
            change_label: format!("+{new} this period"),
        },
        total_queries: StatCard {
            value: figure(within.queries),
            change_value: change,
            change_label: format!("{change:+.1}% from last period"),
        },
        total_revenue: RevenueStatCard {
            breakdown: amounts(within.costs),
            change_breakdown: amounts(month.costs),
        },
        active_users: StatCard {
            value: figure(within.callers),
            change_value: 0.0,
            change_label: asked.time_range.name().to_owned(),
        },
    })
}

async fn time_series(call: Call, asked: AnalyticsQuery) -> Result<TimeSeriesResponse, Problem> {
    let now = OffsetDateTime::now_utc();
    let request = SummarizeUsageRequest {
        bucket: asked.time_range.bucket().into(),
        ..request(&asked, (now - asked.time_range.length(), now))
    };
    let buckets = summarize(&call, request).await?.buckets;
    let series = |value: &dyn Fn(&UsageTotals) -> f64| -> Vec<TimeSeriesPoint> {
        buckets.iter().map(|bucket| asked.time_range.point(bucket, value)).collect()
    };
    let costs = buckets.iter().filter_map(|bucket| bucket.totals.as_ref()).flat_map(|totals| &totals.costs);
    let mut currencies: Vec<&str> = costs.map(|cost| cost.currency.as_str()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let revenue = |currency: &str| CurrencySeries {
        currency: currency.to_owned(),
        points: series(&|totals| {
            let cost = totals.costs.iter().find(|cost| cost.currency == currency);
            cost.map_or(0.0, |cost| units(cost.nano_units))
        }),
    };
    Ok(TimeSeriesResponse {
        query_volume: series(&|totals| figure(totals.queries)),
        user_activity: series(&|totals| figure(totals.callers)),
        revenue: currencies.into_iter().map(revenue).collect(),
    })
}

async fn top_users(call: Call, asked: AnalyticsQuery) -> Result<TopUsersResponse, Problem> {
    let now = OffsetDateTime::now_utc();
    let request =
        SummarizeUsageRequest { top: Some(TOP), ..request(&asked, (now - asked.time_range.length(), now)) };
    let users = summarize(&call, request).await?.top_callers.into_iter().map(|share| TopUserEntry {
        user_email: share.name,
        query_count: share.queries,
        revenue: amounts(share.costs),
    });
    Ok(TopUsersResponse { users: users.collect() })
}

async fn totals(
    call: &Call,
    asked: &AnalyticsQuery,
    range: (OffsetDateTime, OffsetDateTime),
) -> Result<UsageTotals, Problem> {
    Ok(summarize(call, request(asked, range)).await?.totals.unwrap_or_default())
}

async fn summarize(call: &Call, request: SummarizeUsageRequest) -> Result<SummarizeUsageResponse, Problem> {
    Ok(call.gateway.usage().summarize_usage(call.asks(request)).await?.into_inner())
}

fn request(asked: &AnalyticsQuery, (from, to): (OffsetDateTime, OffsetDateTime)) -> SummarizeUsageRequest {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let filter = QueryRecordFilter {
        endpoint_id: id(asked.endpoint_id),
        dataset_id: id(asked.dataset_id),
        outcome: QueryOutcome::Completed.into(),
        start_time: Some(timestamp(from)),
        end_time: Some(timestamp(to)),
        ..QueryRecordFilter::default()
    };
    SummarizeUsageRequest { filter: Some(filter), top: Some(0), ..SummarizeUsageRequest::default() }
}

impl TimeRange {
    fn length(self) -> Duration {
        Duration::days(match self {
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        })
    }

    fn bucket(self) -> TimeBucket {
        match self {
            Self::Week | Self::Month => TimeBucket::Day,
            Self::Quarter | Self::Year => TimeBucket::Week,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
            Self::Year => "1y",
        }
    }

    fn point(self, bucket: &UsageBucket, value: impl Fn(&UsageTotals) -> f64) -> TimeSeriesPoint {
        let at = bucket.start_time.map_or(0, |at| at.seconds);
        let day = OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let month = day.month().to_string();
        let day = format!("{} {}", month.get(..3).unwrap_or_default(), day.day());
        TimeSeriesPoint {
            label: if self.bucket() == TimeBucket::Week { format!("Week of {day}") } else { day },
            value: bucket.totals.as_ref().map_or(0.0, value),
            start_time: moment(bucket.start_time),
        }
    }
}

fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or_default() }
}

fn amounts(costs: Vec<Cost>) -> Vec<CurrencyAmount> {
    let amount = |cost: Cost| CurrencyAmount { amount: units(cost.nano_units), currency: cost.currency };
    costs.into_iter().map(amount).collect()
}

/// In per cent. From nothing to something is all of it.
fn change(now: i64, before: i64) -> f64 {
    match before {
        0 if now > 0 => 100.0,
        0 => 0.0,
        _ => (figure(now) - figure(before)) / figure(before) * 100.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "JSON has no other numbers")]
fn figure(count: i64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "JSON has no other numbers")]
fn number(count: usize) -> f64 {
    count as f64
}
