//! Sums, series and percentiles are those that one gets by adding up by hand.

use std::collections::{BTreeMap, BTreeSet};

use syft_endpoints::{
    domain::{EndpointId, QueryOutcome, QueryRecord, TenantId, Usage},
    proto::{
        Cost, QueryOutcome as Outcome, QueryRecordFilter, SummarizeUsageRequest, TimeBucket, UsageBucket,
        UsageShare, UsageSpread, UsageTotals,
    },
};
use time::{Duration, OffsetDateTime, macros::datetime};
use tonic::Code;
use tonic_types::StatusExt;

use super::{BEGIN, at, cost, record, store_all, summary};
use crate::support::{
    database::Database,
    on_both,
    space::{Clients, Space},
};

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn maybe<T>(&mut self, one_in: u64, value: T) -> Option<T> {
        (self.below(one_in) == 0).then_some(value)
    }
}

/// Ten days of queries. Many are exactly on the hour, some cost as much as can be, and times repeat.
fn history(tenant: TenantId, endpoints: &[EndpointId], dice: &mut Dice) -> Vec<QueryRecord> {
    let one = |_| {
        let micros = match dice.below(4) {
            0 => dice.below(240) * 3_600_000_000,
            _ => dice.below(10 * 24 * 3_600_000_000),
        };
        let place = usize::try_from(dice.below(4)).unwrap();
        let tokens = |dice: &mut Dice| match dice.below(300) {
            0 => i64::MAX,
            _ => i64::try_from(dice.below(3_000)).unwrap(),
        };
        let started = BEGIN + Duration::microseconds(i64::try_from(micros).unwrap());
        let price = cost(tokens(dice), ["EUR", "USD", "credits"][usize::try_from(dice.below(3)).unwrap()]);
        let time = std::time::Duration::from_micros(dice.below(500) * 1_000 + dice.below(2));
        let first_token = std::time::Duration::from_millis(dice.below(90));
        QueryRecord {
            endpoint: endpoints.get(place).copied(),
            endpoint_slug: format!("ask{place}"),
            caller: format!("u{}@x.org", dice.below(9)),
            preview: dice.below(6) == 0,
            outcome: QueryOutcome::ALL[usize::try_from(dice.below(7)).unwrap()].name(),
            usage: Usage { prompt_tokens: tokens(dice), completion_tokens: tokens(dice), estimated: false },
            cost: dice.maybe(2, price),
            first_token: dice.maybe(3, first_token),
            duration: time,
            ..record(tenant, started)
        }
    };
    (0..700).map(one).collect()
}

fn spread(mut times: Vec<std::time::Duration>) -> Option<UsageSpread> {
    times.sort_unstable();
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1].try_into().ok();
    (!times.is_empty()).then(|| UsageSpread { p50: rank(50), p95: rank(95), max: rank(100) })
}

fn costs<'r>(records: impl IntoIterator<Item = &'r QueryRecord>) -> Vec<Cost> {
    let mut sums = BTreeMap::<&str, i128>::new();
    for cost in records.into_iter().filter_map(|record| record.cost.as_ref()) {
        *sums.entry(&cost.currency).or_default() += i128::from(cost.nano_units);
    }
    let sum = |(currency, sum): (&str, i128)| Cost {
        nano_units: i64::try_from(sum).unwrap_or(i64::MAX),
        currency: currency.to_owned(),
    };
    sums.into_iter().map(sum).collect()
}

fn sum(numbers: impl Iterator<Item = i64>) -> i64 {
    i64::try_from(numbers.map(i128::from).sum::<i128>()).unwrap_or(i64::MAX)
}

fn count(records: &[&QueryRecord], outcomes: &[&str]) -> i64 {
    i64::try_from(records.iter().filter(|record| outcomes.contains(&record.outcome)).count()).unwrap()
}

fn totals(records: &[&QueryRecord]) -> UsageTotals {
    let completed = records.iter().filter(|record| record.outcome == "completed");
    let callers: BTreeSet<&str> = records.iter().map(|record| record.caller.as_str()).collect();
    UsageTotals {
        queries: i64::try_from(records.len()).unwrap(),
        completed: count(records, &["completed"]),
        refused: count(records, &["refused"]),
        failed: count(records, &["failed", "panicked"]),
        cancelled: count(records, &["client_gone", "deadline_exceeded", "shutting_down"]),
        prompt_tokens: sum(records.iter().map(|record| record.usage.prompt_tokens)),
        completion_tokens: sum(records.iter().map(|record| record.usage.completion_tokens)),
        costs: costs(records.iter().copied()),
        callers: i64::try_from(callers.len()).unwrap(),
        latency: spread(completed.map(|record| record.duration).collect()),
        first_token_delay: spread(records.iter().filter_map(|record| record.first_token).collect()),
    }
}

fn series(
    records: &[&QueryRecord],
    range: (OffsetDateTime, OffsetDateTime),
    bucket: TimeBucket,
) -> Vec<UsageBucket> {
    let midnight = range.0.replace_time(time::Time::MIDNIGHT);
    let (mut start, length) = match bucket {
        TimeBucket::Hour => (range.0.truncate_to_hour(), Duration::HOUR),
        TimeBucket::Day => (midnight, Duration::DAY),
        _ => (
            midnight - Duration::days(i64::from(midnight.weekday().number_days_from_monday())),
            Duration::WEEK,
        ),
    };
    let mut buckets = Vec::new();
    while start < range.1 {
        let within = |record: &&&QueryRecord| (start..start + length).contains(&record.started_at);
        let within: Vec<&QueryRecord> = records.iter().filter(within).copied().collect();
        buckets.push(UsageBucket { start_time: at(start), totals: Some(totals(&within)) });
        start += length;
    }
    buckets
}

/// By what `name` says, the `top` with most queries.
fn shares(
    records: &[&QueryRecord],
    top: usize,
    name: impl Fn(&QueryRecord) -> Option<(String, Option<String>)>,
) -> Vec<UsageShare> {
    let mut groups = BTreeMap::<(String, Option<String>), Vec<&QueryRecord>>::new();
    for record in records {
        if let Some(name) = name(record) {
            groups.entry(name).or_default().push(record);
        }
    }
    let share = |((name, endpoint_id), records): ((String, Option<String>), Vec<&QueryRecord>)| UsageShare {
        name,
        endpoint_id,
        queries: i64::try_from(records.len()).unwrap(),
        completed: count(&records, &["completed"]),
        prompt_tokens: sum(records.iter().map(|record| record.usage.prompt_tokens)),
        completion_tokens: sum(records.iter().map(|record| record.usage.completion_tokens)),
        costs: costs(records),
    };
    let mut shares: Vec<UsageShare> = groups.into_iter().map(share).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.queries));
    shares.truncate(top);
    shares
}

/// What is asked, and which records fit.
type Case = (QueryRecordFilter, fn(&QueryRecord) -> bool);

async fn compare(
    clients: &mut Clients,
    records: &[QueryRecord],
    range: (OffsetDateTime, OffsetDateTime),
    case: &Case,
) {
    let (filter, fits) = case;
    for (bucket, include_previews) in
        [(TimeBucket::Hour, false), (TimeBucket::Day, true), (TimeBucket::Week, false)]
    {
        let filter = QueryRecordFilter { start_time: at(range.0), end_time: at(range.1), ..filter.clone() };
        let request = SummarizeUsageRequest {
            filter: Some(filter),
            bucket: bucket.into(),
            top: Some(4),
            include_previews,
        };
        let told = summary(clients, request.clone()).await;
        let wanted = |record: &&QueryRecord| {
            fits(record)
                && (range.0..range.1).contains(&record.started_at)
                && (include_previews || !record.preview)
        };
        let within: Vec<&QueryRecord> = records.iter().filter(wanted).collect();
        assert_eq!(told.totals.unwrap(), totals(&within), "{request:?}");
        assert_eq!(told.buckets, series(&within, range, bucket), "{request:?}");
        assert_eq!(told.top_callers, shares(&within, 4, |record| Some((record.caller.clone(), None))));
        let endpoint = |record: &QueryRecord| {
            record.endpoint.map(|id| (record.endpoint_slug.clone(), Some(id.to_string())))
        };
        assert_eq!(told.top_endpoints, shares(&within, 4, endpoint));
    }
}

on_both! {
    async fn sums_are_those_of_a_count_by_hand(database: Database) {
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        let model = owner.model("local", "extractive", serde_json::json!({})).await;
        let mut endpoints = Vec::new();
        for slug in ["ask0", "ask1"] {
            let made = owner.endpoint(slug, None, Some(&model)).await;
            endpoints.push(EndpointId(made.id.parse().unwrap()));
        }
        // This one has been deleted.
        endpoints.push(EndpointId::new());
        let tenant = space.store.tenant("root").await.unwrap().id;
        for seed in 0..3 {
            let mut dice = Dice(seed);
            let mut records = history(tenant, &endpoints, &mut dice);
            // What came before must not be counted again.
            let shift = Duration::days(100 * i64::try_from(seed).unwrap());
            records.iter_mut().for_each(|record| record.started_at += shift);
            store_all(&space.store, &records).await;
            let begin = BEGIN + shift;
            let ranges = [
                (begin, begin + Duration::days(10)),
                (begin + Duration::minutes(90), begin + Duration::hours(77) + Duration::microseconds(1)),
                (begin - Duration::days(3), begin - Duration::days(1)),
                (begin + Duration::hours(1), begin + Duration::hours(1) + Duration::microseconds(1)),
            ];
            let slug = || QueryRecordFilter { endpoint_slug: "ask1".to_owned(), ..Default::default() };
            let cases: [Case; 5] = [
                (QueryRecordFilter::default(), |_| true),
                (slug(), |record| record.endpoint_slug == "ask1"),
                (QueryRecordFilter { caller: "u3@x.org".to_owned(), ..Default::default() }, |record| {
                    record.caller == "u3@x.org"
                }),
                (QueryRecordFilter { outcome: Outcome::Refused.into(), ..slug() }, |record| {
                    record.endpoint_slug == "ask1" && record.outcome == "refused"
                }),
                (QueryRecordFilter { caller: "nobody@x.org".to_owned(), ..Default::default() }, |_| false),
            ];
            for range in ranges {
                for case in &cases {
                    compare(&mut owner, &records, range, case).await;
                }
            }
            for (place, slug) in ["ask0", "ask2"].into_iter().enumerate() {
                let id = endpoints[place * 2];
                let filter = QueryRecordFilter { endpoint_id: id.to_string(), ..Default::default() };
                let asked = QueryRecordFilter { start_time: at(begin), end_time: at(begin + Duration::days(10)), ..filter };
                let told = summary(&mut owner, SummarizeUsageRequest { filter: Some(asked), ..Default::default() }).await;
                let within = |record: &&QueryRecord| record.endpoint_slug == slug && !record.preview;
                assert_eq!(told.totals.unwrap(), totals(&records.iter().filter(within).collect::<Vec<_>>()), "{slug}");
            }
        }
    }

    async fn ranges_have_an_end_and_a_length(database: Database) {
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        let nothing = summary(&mut owner, SummarizeUsageRequest::default()).await;
        assert_eq!(nothing.totals.unwrap(), UsageTotals::default());
        let seconds = |at: Option<prost_types::Timestamp>| at.unwrap().seconds;
        assert_eq!(seconds(nothing.end_time) - seconds(nothing.start_time), 30 * 24 * 3600);
        assert!(nothing.buckets.is_empty() && nothing.top_callers.is_empty() && nothing.top_endpoints.is_empty());
        let asked = |from: OffsetDateTime, to: OffsetDateTime, bucket: TimeBucket, top: i32| SummarizeUsageRequest {
            filter: Some(QueryRecordFilter { start_time: at(from), end_time: at(to), ..Default::default() }),
            bucket: bucket.into(),
            top: Some(top),
            include_previews: false,
        };
        let most = asked(BEGIN, BEGIN + Duration::hours(10_000), TimeBucket::Hour, 0);
        let most = summary(&mut owner, most).await;
        assert_eq!(most.buckets.len(), 10_000);
        let far = datetime!(0001-01-01 00:00 UTC);
        for (request, field) in [
            (asked(BEGIN, BEGIN + Duration::hours(10_001), TimeBucket::Hour, 0), "bucket"),
            (asked(far, datetime!(9999-12-31 00:00 UTC), TimeBucket::Week, 0), "bucket"),
            (asked(BEGIN, BEGIN, TimeBucket::Day, 0), "filter.end_time"),
            (asked(BEGIN, BEGIN - Duration::HOUR, TimeBucket::Unspecified, 0), "filter.end_time"),
            (asked(BEGIN, BEGIN + Duration::HOUR, TimeBucket::Unspecified, -1), "top"),
            (SummarizeUsageRequest { bucket: 9, ..Default::default() }, "bucket"),
            (asked_in_future(), "filter.start_time"),
        ] {
            let refused = owner.usage.summarize_usage(request.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}");
            let fields = refused.get_details_bad_request().unwrap().field_violations;
            assert_eq!(fields.iter().map(|found| found.field.as_str()).collect::<Vec<_>>(), [field]);
        }
    }
}

fn asked_in_future() -> SummarizeUsageRequest {
    let filter = QueryRecordFilter { start_time: at(datetime!(9990-01-01 00:00 UTC)), ..Default::default() };
    SummarizeUsageRequest { filter: Some(filter), ..Default::default() }
}
