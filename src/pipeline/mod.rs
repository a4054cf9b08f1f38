//! The Query RPC, whole: plan → admit → search → chat → settle.
//!
//! A query is one function on a tracked task that speaks through a bounded channel. Unary is a fold
//! over the same stream. Only the answer can be cancelled; what was entered is always settled.

mod answer;
mod context;
mod plan;
mod prompt;
mod record;
mod stream;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use plan::{Plan, Plans, Registries};
pub use stream::{Failure, QueryStream};

use crate::{
    domain::{Answer, Caller, Query, QueryEvent, QueryId},
    error::Error,
    policy::{Outcome, Turn},
    store::Recorder,
};
use context::CallContext;
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

/// A question on its way to an endpoint.
#[derive(Debug)]
pub struct Call {
    pub caller: Caller,
    pub slug: String,
    pub query: Query,
    /// Asked by the owner: published or not, past rate limits and payment.
    pub preview: bool,
    pub request_id: Option<Uuid>,
    /// What the client's deadline leaves.
    pub timeout: Option<Duration>,
}

/// A query that has begun, with its place among those that may run at once.
struct Running {
    id: QueryId,
    call: Call,
    cx: CallContext,
    permit: OwnedSemaphorePermit,
}

/// Runs queries. Clones share everything.
#[derive(Clone)]
pub struct Pipeline {
    plans: Plans,
    recorder: Recorder,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    config: Arc<Config>,
}

impl Pipeline {
    /// Queries run on `tasks` and are ended by `shutdown`.
    pub fn new(
        config: Config,
        plans: Plans,
        recorder: Recorder,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(config.max_running));
        Self { plans, recorder, permits, tasks, shutdown, config: Arc::new(config) }
    }

    /// Starts a query and returns its events. Dropping the stream cancels the search and the model,
    /// not the settling. The query counts as running until it has been settled and recorded.
    ///
    /// # Errors
    /// `Overloaded` at once when too many queries are running.
    pub fn run(&self, call: Call) -> Result<QueryStream, Error> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Error::Overloaded { retry_after: Duration::from_secs(1) })?;
        let limit = Duration::from_millis(self.config.timeout_ms);
        let deadline = Instant::now() + call.timeout.map_or(limit, |timeout| timeout.min(limit));
        let client = CancellationToken::new();
        let cx = CallContext::new(deadline, client.clone(), self.shutdown.clone());
        let id = QueryId::new();
        let (sink, stream) = stream::channel(id, self.config.buffered_events, client);
        let running = Running { id, call, cx, permit };
        let pipeline = self.clone();
        self.tasks.spawn(async move { pipeline.drive(running, sink).await });
        Ok(stream)
    }

    /// Answers, then settles, then says the last word. Nothing here is ever dropped half-way.
    async fn drive(self, running: Running, mut sink: EventSink) {
        let Running { id, call, cx, permit } = running;
        let mut report = Report::start(id, &call);
        let mut turn = Turn::new(id, call.caller.clone(), Arc::new(call.query.clone()), call.preview);
        let plan = cx.bound(self.plans.get(&call)).await;
        let ended = match plan {
            Err(error) => Err(error),
            Ok(plan) => {
                report.endpoint(plan.endpoint);
                self.answer_and_settle(&plan, &cx, &mut turn, &mut sink).await
            }
        };
        report.end(&turn, sink.first_event(), ended.as_ref().err());
        self.recorder.record(report.finish()).await;
        // Whoever has seen the end of a query finds its place free.
        drop(permit);
        sink.finish(ended.map_err(|error| stream::Failure { error, entries: turn.entries }));
    }

    async fn answer_and_settle(
        &self,
        plan: &Plan,
        cx: &CallContext,
        turn: &mut Turn,
        sink: &mut EventSink,
    ) -> Result<QueryEvent, Error> {
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
        let settling = AssertUnwindSafe(plan.policies.settle(turn, outcome)).catch_unwind();
        let settled = settling.await.unwrap_or_else(|_| Err(Error::internal("settling panicked")));
        if let (Err(_), Err(error)) = (&result, &settled) {
            // The caller hears of the first failure; this one would be lost.
            tracing::warn!(query_id = %turn.query_id, cause = error.cause(), %error, "not settled");
        }
        result.and(settled)?;
        // Withheld text leaves only now, approved and paid for.
        cx.bound(draft.release(turn, sink)).await?;
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
