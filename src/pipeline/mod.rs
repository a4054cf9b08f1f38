//! The Query RPC, whole: plan → admit → search → chat → settle.
//!
//! A query is one function on a tracked task that speaks through a bounded channel. Unary is a fold
//! over the same stream. Only the answer can be cancelled; what was entered is always settled.

mod answer;
mod context;
mod places;
mod plan;
mod prompt;
mod record;
mod repeats;
mod spans;
mod stream;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;
use uuid::Uuid;

pub use plan::{Plan, Plans, Registries};
pub use stream::{Failure, QueryStream};

use crate::{
    domain::{Answer, Caller, Query, QueryEvent, QueryId},
    error::Error,
    policy::{Outcome, Turn},
    store::{Recorder, Repeats},
    telemetry::{Metrics, TraceContext},
};
use context::CallContext;
use places::{Place, Places};
use record::Report;
use stream::EventSink;

/// How queries are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Queries that run at once; one more is refused.
    pub max_running: usize,
    /// Longest time a query may take, in milliseconds, whatever deadline its client sets.
    pub timeout_ms: u64,
    /// Events that wait for a slow client, per query. Beyond it the model waits too.
    pub buffered_events: usize,
    /// Bytes of references that are written into a model's prompt.
    pub context_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_running: 1024, timeout_ms: 300_000, buffered_events: 16, context_bytes: 32 << 10 }
    }
}

/// When to ask again that was refused because too many were running.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A question on its way to an endpoint.
#[derive(Debug)]
pub struct Call {
    pub caller: Caller,
    pub slug: String,
    pub query: Query,
    /// Asked by the owner: published or not, past rate limits and payment.
    pub preview: bool,
    /// The client's name for this query.
    pub request_id: Option<Uuid>,
    /// The client's name for what this query is part of.
    pub correlation_id: Option<String>,
    /// What the client's deadline leaves.
    pub timeout: Option<Duration>,
    /// The trace that the client has begun.
    pub trace: Option<TraceContext>,
}

/// A query that has begun, with its place among those that may run at once.
struct Running {
    id: QueryId,
    // Boxed: a task keeps its arguments and what it takes from them, each in its place.
    call: Box<Call>,
    cx: CallContext,
    place: Place,
}

/// Runs queries. Clones share everything.
#[derive(Clone)]
pub struct Pipeline {
    plans: Plans,
    recorder: Recorder,
    repeats: Option<Repeats>,
    places: Places,
    lifetime: Lifetime,
    metrics: Metrics,
    config: Arc<Config>,
}

/// What queries run on and what ends them.
#[derive(Clone, Default)]
pub struct Lifetime {
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
}

impl Pipeline {
    /// Nothing runs yet.
    pub fn new(
        config: Config,
        plans: Plans,
        recorder: Recorder,
        lifetime: Lifetime,
        metrics: Metrics,
    ) -> Self {
        let places = Places::new(config.max_running);
        Self { plans, recorder, repeats: None, places, lifetime, metrics, config: Arc::new(config) }
    }

    /// Knows queries again that come twice under one name, with `repeats`.
    #[must_use]
    pub fn knowing(self, repeats: Repeats) -> Self {
        Self { repeats: Some(repeats), ..self }
    }

    /// Starts a query and returns its events. Dropping the stream cancels the search and the model,
    /// not the settling. The query counts as running until it has been settled and recorded.
    ///
    /// # Errors
    /// `Overloaded` at once when too many queries are running, or too many of this tenant.
    pub fn run(&self, call: Call) -> Result<QueryStream, Error> {
        let Some(place) = self.places.take(call.caller.tenant().id) else {
            self.metrics.queries_refused_overload.inc();
            return Err(Error::Overloaded { retry_after: RETRY_AFTER });
        };
        let limit = Duration::from_millis(self.config.timeout_ms);
        let deadline = Instant::now() + call.timeout.map_or(limit, |timeout| timeout.min(limit));
        let client = CancellationToken::new();
        let cx = CallContext::new(deadline, client.clone(), self.lifetime.shutdown.clone());
        let id = QueryId::new();
        let keeps_text = self.recorder.keeps_text();
        let (sink, stream) = stream::channel(id, self.config.buffered_events, keeps_text, client);
        let running = Running { id, call: Box::new(call), cx, place };
        let pipeline = self.clone();
        self.metrics.running_queries.inc();
        let driven = async move { pipeline.drive(running, sink).await };
        // Boxed: a task is moved when it is spawned and when it ends.
        self.lifetime.tasks.spawn(Box::pin(driven.in_current_span()));
        Ok(stream)
    }

    /// Answers, then settles, then says the last word. Nothing here is ever dropped half-way.
    async fn drive(self, running: Running, mut sink: EventSink) {
        let Running { id, call, cx, place } = running;
        let mut report = Report::start(id, &call, self.recorder.keeps_text());
        let plan = cx.bound(self.plans.get(&call)).await;
        let trace = call.trace.unwrap_or_else(|| TraceContext::root(id.0));
        let limit = Duration::from_millis(self.config.timeout_ms);
        let name = repeats::Name { request: call.request_id, correlation: call.correlation_id };
        let is_clients_deadline = call.timeout.is_some_and(|timeout| timeout <= limit);
        let mut turn = Turn::new(id, call.caller, Arc::new(call.query), call.preview, trace);
        turn.is_clients_deadline = is_clients_deadline;
        let ended = match plan {
            Err(error) => Err(error),
            Ok(plan) => {
                report.planned(&plan);
                self.run_once(name, &plan, &cx, (&mut turn, &mut sink)).await
            }
        };
        report.end(&turn, &sink, ended.as_ref().err());
        let record = report.finish(&self.metrics, ended.as_ref().err());
        Box::pin(self.recorder.record(*record)).await;
        // Whoever has seen the end of a query finds its place free.
        self.metrics.running_queries.dec();
        drop(place);
        sink.finish(ended.map_err(|error| stream::Failure { error, entries: turn.entries }));
    }

    /// A query that comes again while it runs waits for itself.
    async fn run_once(
        &self,
        name: repeats::Name,
        plan: &Plan,
        cx: &CallContext,
        (turn, sink): (&mut Turn, &mut EventSink),
    ) -> Result<QueryEvent, Error> {
        let claim = match &self.repeats {
            Some(repeats) => Box::pin(repeats::Claimed::get(repeats, name, plan, cx, turn)).await?,
            None => None,
        };
        let ended = self.answer_and_settle(plan, cx, turn, sink).await;
        if let Some(claim) = claim {
            let outcome = ended.as_ref().err().map_or(Outcome::Completed, Error::outcome);
            let ending = claim.ending(turn, outcome);
            Box::pin(claim.end(ending)).await;
        }
        ended
    }

    async fn answer_and_settle(
        &self,
        plan: &Plan,
        cx: &CallContext,
        turn: &mut Turn,
        sink: &mut EventSink,
    ) -> Result<QueryEvent, Error> {
        turn.prompt_bytes = plan.prompt_bytes(self.config.context_bytes);
        // Policies make the filters, before any of them is entered.
        let draft = catch_unwind(AssertUnwindSafe(|| answer::Draft::new(plan, turn)));
        let mut draft = draft.map_err(|_| Error::internal("making the answer's filters panicked"))?;
        let result = match plan.policies.admit(turn, || cx.ended()).await {
            Ok(()) => cx.bound(draft.answer(plan, &self.config, turn, sink)).await,
            refused => refused,
        };
        if let Err(Error::Refused(refusal)) = &result
            && turn.admitted()
        {
            turn.note_refusal(refusal);
        }
        let outcome = result.as_ref().err().map_or(Outcome::Completed, Error::outcome);
        sink.tell(turn);
        let settling = AssertUnwindSafe(plan.policies.settle(turn, outcome)).catch_unwind();
        let settled = settling.await.unwrap_or_else(|_| Err(Error::internal("settling panicked")));
        if let (Err(_), Err(error)) = (&result, &settled) {
            // The caller hears of the first failure; this one would be lost.
            tracing::warn!(query_id = %turn.query_id, cause = error.cause(), %error, "not settled");
        }
        result.and(settled)?;
        if draft.withholds() {
            // The text leaves only now, approved and paid for.
            draft.release(sink, cx).await?;
        }
        Ok(QueryEvent::Completed(Box::new(Answer {
            query_id: turn.query_id,
            references: None,
            text: String::new(),
            completion: draft.completion,
            cost: turn.cost.clone(),
            entries: turn.entries.clone(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::Pipeline;

    /// The size of what such a function returns.
    fn size_of_future<A, B, C, F: Future>(_function: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Every open stream holds one.
    #[test]
    fn a_running_query_is_small() {
        let size = size_of_future(Pipeline::drive);
        assert!(size <= 6 << 10, "{size} bytes");
    }
}
