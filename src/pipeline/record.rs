//! The record of a query, as it comes about.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Call, Plan, stream::EventSink};
use crate::{
    domain::{QueryId, QueryRecord, RecordedText, Usage},
    error::Error,
    policy::{Outcome, Turn},
    telemetry::{
        Metrics,
        metrics::{self, Direction, Ended, PolicyType},
    },
};

/// A record in the making, and what is counted with it.
pub(super) struct Report {
    /// Boxed: every open stream holds one.
    record: Box<QueryRecord>,
    started: Instant,
    reason: &'static str,
    /// Whether the record has what was asked and answered.
    keeps_text: bool,
}

impl Report {
    pub(super) fn start(id: QueryId, call: &Call, keeps_text: bool) -> Self {
        let record = QueryRecord {
            id,
            tenant: call.caller.tenant().id,
            endpoint: None,
            endpoint_slug: call.slug.clone(),
            dataset: None,
            caller: call.caller.email().to_owned(),
            request_id: call.request_id,
            correlation_id: call.correlation_id.clone(),
            preview: call.preview,
            outcome: Outcome::Failed.name(),
            reason: String::new(),
            documents: 0,
            usage: Usage::default(),
            cost: None,
            first_event: None,
            first_token: None,
            duration: Duration::ZERO,
            started_at: OffsetDateTime::now_utc(),
            text: RecordedText::default(),
        };
        Self { record: Box::new(record), started: Instant::now(), reason: "", keeps_text }
    }

    pub(super) fn planned(&mut self, plan: &Plan) {
        self.record.endpoint = Some(plan.endpoint);
        self.record.dataset = plan.dataset_id;
    }

    pub(super) fn end(&mut self, turn: &Turn, sink: &EventSink, error: Option<&Error>) {
        let outcome = error.map_or(Outcome::Completed, Error::outcome);
        self.reason = error.map_or("", Error::reason);
        self.record.outcome = outcome.name();
        self.record.reason = self.reason.to_owned();
        self.record.documents = turn.documents;
        self.record.usage = turn.usage;
        self.record.cost.clone_from(&turn.cost);
        self.record.first_event = sink.first_event().map(|at| at.duration_since(self.started));
        self.record.first_token = sink.first_token().map(|at| at.duration_since(self.started));
        // Before all policies had their say, one that strikes something out may not have had it.
        if self.keeps_text && turn.admitted() {
            let question = RecordedText::head(turn.query.search_text(), RecordedText::MAX_CHARS);
            self.record.text =
                RecordedText { question: Some(question.to_owned()), answer: sink.told(error.is_none()) };
        }
        if let Some(error) = error {
            log(turn, outcome, error);
        }
    }

    /// Counts the query and returns its record.
    pub(super) fn finish(mut self, metrics: &Metrics, error: Option<&Error>) -> Box<QueryRecord> {
        self.record.duration = self.started.elapsed();
        let outcome = self.record.outcome;
        metrics.queries.get_or_create(&Ended { outcome, reason: self.reason }).inc();
        metrics.query_duration.observe(&metrics::Outcome { outcome }, self.record.duration);
        if let Some(first_token) = self.record.first_token {
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
