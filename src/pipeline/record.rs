//! The record of a query, as it comes about.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::Call;
use crate::{
    domain::{EndpointId, QueryId, Usage},
    error::Error,
    policy::{Outcome, Turn},
    store::QueryRecord,
};

/// A record in the making.
pub(super) struct Report {
    record: QueryRecord,
    started: Instant,
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
        Self { record, started: Instant::now() }
    }

    pub(super) fn endpoint(&mut self, endpoint: EndpointId) {
        self.record.endpoint = Some(endpoint);
    }

    pub(super) fn end(&mut self, turn: &Turn, first_event: Option<Instant>, error: Option<&Error>) {
        let outcome = error.map_or(Outcome::Completed, Error::outcome);
        self.record.outcome = outcome.name();
        self.record.reason = error.map(|error| error.reason().to_owned()).unwrap_or_default();
        self.record.documents = turn.documents;
        self.record.usage = turn.usage;
        self.record.cost_nano_units = turn.cost.as_ref().map(|cost| cost.nano_units);
        self.record.first_event = first_event.map(|at| at.duration_since(self.started));
        if let Some(error) = error {
            log(turn.query_id, outcome, error);
        }
    }

    pub(super) fn finish(mut self) -> QueryRecord {
        self.record.duration = self.started.elapsed();
        self.record
    }
}

/// The one place where a failed query is logged.
fn log(query_id: QueryId, outcome: Outcome, error: &Error) {
    let (outcome, reason, cause) = (outcome.name(), error.reason(), error.cause());
    match error {
        Error::Internal(_) => tracing::error!(%query_id, outcome, reason, cause, "query failed"),
        Error::Upstream { .. } | Error::StoreUnavailable(_) | Error::ConfigurationInvalid(..) => {
            tracing::warn!(%query_id, outcome, reason, cause, "query failed");
        }
        _ => tracing::debug!(%query_id, outcome, reason, "query ended"),
    }
}
