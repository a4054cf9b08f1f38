//! Records of queries, and what they add up to.

use std::time::Duration;

use super::{query::cost, resources::timestamp, time_of};
use crate::{
    catalog::{FilterDraft, SummaryDraft, UsageSummary},
    domain::{
        BucketWidth, QueryOutcome, QueryRecord, Spread, UsageBucket, UsageShare, UsageTotals,
        rules::violation,
    },
    error::{Rule, Violation},
    proto,
};

pub(in crate::grpc) fn record_filter(filter: Option<proto::QueryRecordFilter>) -> FilterDraft {
    let filter = filter.unwrap_or_default();
    let mut problems = Vec::new();
    let outcome = outcome_of(&filter).unwrap_or_else(|violation| {
        problems.push(violation);
        None
    });
    let (from, unreadable) = time_of("start_time", filter.start_time);
    problems.extend(unreadable);
    let (to, unreadable) = time_of("end_time", filter.end_time);
    problems.extend(unreadable);
    FilterDraft {
        endpoint_slug: filter.endpoint_slug,
        endpoint_id: filter.endpoint_id,
        dataset_id: filter.dataset_id,
        caller: filter.caller,
        outcome,
        from,
        to,
        correlation_id: filter.correlation_id,
        request_id: filter.request_id,
        problems,
    }
}

pub(in crate::grpc) fn summary_draft(request: proto::SummarizeUsageRequest) -> SummaryDraft {
    let mut problems = Vec::new();
    let bucket = match proto::TimeBucket::try_from(request.bucket) {
        Ok(proto::TimeBucket::Unspecified) => None,
        Ok(proto::TimeBucket::Hour) => Some(BucketWidth::Hour),
        Ok(proto::TimeBucket::Day) => Some(BucketWidth::Day),
        Ok(proto::TimeBucket::Week) => Some(BucketWidth::Week),
        Err(_) => {
            problems.push(violation("bucket", Rule::OneOf, "is not a TimeBucket"));
            None
        }
    };
    SummaryDraft {
        filter: record_filter(request.filter),
        bucket,
        top: request.top,
        previews: request.include_previews,
        problems,
    }
}

pub(in crate::grpc) fn query_record(record: QueryRecord) -> proto::QueryRecord {
    let usage = record.usage;
    proto::QueryRecord {
        id: record.id.to_string(),
        endpoint_id: record.endpoint.map(|id| id.to_string()),
        endpoint_slug: record.endpoint_slug,
        dataset_id: record.dataset.map(|id| id.to_string()),
        caller: record.caller,
        request_id: record.request_id.map(|id| id.to_string()),
        correlation_id: record.correlation_id,
        preview: record.preview,
        outcome: outcome(record.outcome).into(),
        reason: record.reason,
        documents: i64::try_from(record.documents).unwrap_or(i64::MAX),
        usage: Some(proto::Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            estimated: usage.estimated,
        }),
        cost: record.cost.map(cost),
        first_event_delay: record.first_event.map(duration),
        first_token_delay: record.first_token.map(duration),
        duration: Some(duration(record.duration)),
        start_time: Some(timestamp(record.started_at)),
        question: record.text.question,
        answer: record.text.answer,
    }
}

pub(in crate::grpc) fn usage_summary(summary: UsageSummary) -> proto::SummarizeUsageResponse {
    let bucket = |UsageBucket { start, totals }| proto::UsageBucket {
        start_time: Some(timestamp(start)),
        totals: Some(usage_totals(totals)),
    };
    proto::SummarizeUsageResponse {
        start_time: Some(timestamp(summary.from)),
        end_time: Some(timestamp(summary.to)),
        totals: Some(usage_totals(summary.totals)),
        buckets: summary.buckets.into_iter().map(bucket).collect(),
        top_callers: summary.top_callers.into_iter().map(share).collect(),
        top_endpoints: summary.top_endpoints.into_iter().map(share).collect(),
    }
}

fn usage_totals(totals: UsageTotals) -> proto::UsageTotals {
    proto::UsageTotals {
        queries: totals.queries,
        completed: totals.completed,
        refused: totals.refused,
        failed: totals.failed,
        cancelled: totals.cancelled,
        prompt_tokens: totals.prompt_tokens,
        completion_tokens: totals.completion_tokens,
        costs: totals.costs.into_iter().map(cost).collect(),
        callers: totals.callers,
        latency: spread(totals.latency),
        first_token_delay: spread(totals.first_token),
    }
}

/// Nothing when there were no times: most buckets of a long series are empty.
fn spread(spread: Spread) -> Option<proto::UsageSpread> {
    let Spread { p50, p95, max } = spread;
    max.is_some().then(|| proto::UsageSpread {
        p50: p50.map(duration),
        p95: p95.map(duration),
        max: max.map(duration),
    })
}

fn share(share: UsageShare) -> proto::UsageShare {
    proto::UsageShare {
        name: share.name,
        endpoint_id: share.endpoint.map(|id| id.to_string()),
        queries: share.queries,
        completed: share.completed,
        prompt_tokens: share.prompt_tokens,
        completion_tokens: share.completion_tokens,
        costs: share.costs.into_iter().map(cost).collect(),
    }
}

fn outcome_of(filter: &proto::QueryRecordFilter) -> Result<Option<QueryOutcome>, Violation> {
    use proto::QueryOutcome as Wire;

    let wire = Wire::try_from(filter.outcome);
    let wire = wire.map_err(|_| violation("outcome", Rule::OneOf, "is not a QueryOutcome"))?;
    Ok(match wire {
        Wire::Unspecified => None,
        Wire::Completed => Some(QueryOutcome::Completed),
        Wire::Refused => Some(QueryOutcome::Refused),
        Wire::Failed => Some(QueryOutcome::Failed),
        Wire::ClientGone => Some(QueryOutcome::ClientGone),
        Wire::DeadlineExceeded => Some(QueryOutcome::DeadlineExceeded),
        Wire::ShuttingDown => Some(QueryOutcome::ShuttingDown),
        Wire::Panicked => Some(QueryOutcome::Panicked),
    })
}

fn outcome(name: &str) -> proto::QueryOutcome {
    match QueryOutcome::parse(name) {
        None => proto::QueryOutcome::Unspecified,
        Some(QueryOutcome::Completed) => proto::QueryOutcome::Completed,
        Some(QueryOutcome::Refused) => proto::QueryOutcome::Refused,
        Some(QueryOutcome::Failed) => proto::QueryOutcome::Failed,
        Some(QueryOutcome::ClientGone) => proto::QueryOutcome::ClientGone,
        Some(QueryOutcome::DeadlineExceeded) => proto::QueryOutcome::DeadlineExceeded,
        Some(QueryOutcome::ShuttingDown) => proto::QueryOutcome::ShuttingDown,
        Some(QueryOutcome::Panicked) => proto::QueryOutcome::Panicked,
    }
}

fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
    }
}
