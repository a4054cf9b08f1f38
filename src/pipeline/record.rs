//! The record of a query, as it comes about.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Call, stream::EventSink};
use crate::{
    domain::{EndpointId, QueryId, Usage},
    error::Error,
    policy::{Outcome, Turn},
    store::QueryRecord,
    telemetry::{
        Metrics,
        metrics::{self, Direction, Ended, PolicyType},
    },
};

/// A record in the making, and what is counted with it.
pub(super) struct Report {
    record: QueryRecord,
    started: Instant,
    reason: &'static str,
    first_token: Option<Duration>,
}

impl Report {
    pub(super) fn start(id: QueryId, call: &Call) -> Self {
        let record = QueryRecord {
            id,
            tenant: call.caller.tenant().id,
            endpoint: None,
            endpoint_slug: call.slug.clone(),
            caller: call.caller.email().to_owned(),
            request_id: call.request_id,
            preview: call.preview,
            outcome: Outcome::Failed.name(),
            reason: String::new(),
            documents: 0,
            usage: Usage::default(),
            cost_nano_units: None,
            first_event: None,
            duration: Duration::ZERO,
            started_at: OffsetDateTime::now_utc(),
        };
        Self { record, started: Instant::now(), reason: "", first_token: None }
    }

    pub(super) fn endpoint(&mut self, endpoint: EndpointId) {
        self.record.endpoint = Some(endpoint);
    }

    pub(super) fn end(&mut self, turn: &Turn, sink: &EventSink, error: Option<&Error>) {
        let outcome = error.map_or(Outcome::Completed, Error::outcome);
        self.reason = error.map_or("", Error::reason);
        self.record.outcome = outcome.name();
        self.record.reason = self.reason.to_owned();
        self.record.documents = turn.documents;
        self.record.usage = turn.usage;
        self.record.cost_nano_units = turn.cost.as_ref().map(|cost| cost.nano_units);
        self.record.first_event = sink.first_event().map(|at| at.duration_since(self.started));
        self.first_token = sink.first_token().map(|at| at.duration_since(self.started));
        if let Some(error) = error {
            log(turn, outcome, error);
        }
    }

    /// Counts the query and returns its record.
    pub(super) fn finish(mut self, metrics: &Metrics, error: Option<&Error>) -> QueryRecord {
        self.record.duration = self.started.elapsed();
        let outcome = self.record.outcome;
        metrics.queries.get_or_create(&Ended { outcome, reason: self.reason }).inc();
        metrics.query_duration.observe(&metrics::Outcome { outcome }, self.record.duration);
        if let Some(first_token) = self.first_token {
            metrics.time_to_first_token.observe(first_token);
        }
        let usage = self.record.usage;
        for (direction, tokens) in [("input", usage.prompt_tokens), ("output", usage.completion_tokens)] {
            let tokens = u64::try_from(tokens).unwrap_or_default();
            metrics.tokens.get_or_create(&Direction { direction }).inc_by(tokens);
        }
        count_failure(metrics, error);
        self.record
    }
}

fn count_failure(metrics: &Metrics, error: Option<&Error>) {
    match error {
        Some(Error::Refused(refusal)) => {
            let policy_type = PolicyType { policy_type: refusal.policy_type };
            metrics.policy_refusals.get_or_create(&policy_type).inc();
        }
        Some(Error::Upstream { part, fault }) => {
            let label = metrics::UpstreamError { part: part.name(), kind: fault.kind() };
            metrics.upstream_errors.get_or_create(&label).inc();
        }
        _ => {}
    }
}

/// The one place where a failed query is logged.
fn log(turn: &Turn, outcome: Outcome, error: &Error) {
    let (query_id, trace_id) = (turn.query_id, turn.trace.trace_id());
    let (outcome, reason, cause) = (outcome.name(), error.reason(), error.cause());
    match error {
        Error::Internal(_) => tracing::error!(%query_id, %trace_id, outcome, reason, cause, "query failed"),
        Error::Upstream { .. } | Error::StoreUnavailable(_) | Error::ConfigurationInvalid(..) => {
            tracing::warn!(%query_id, %trace_id, outcome, reason, cause, "query failed");
        }
        _ => tracing::debug!(%query_id, %trace_id, outcome, reason, "query ended"),
    }
}
