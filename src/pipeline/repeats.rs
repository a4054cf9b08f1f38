//! Queries that come again under one name: they wait for one another, and count and cost once.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::time::sleep;
use uuid::Uuid;

use super::{CallContext, Plan};
use crate::{
    domain::QueryId,
    error::{Error, Resource},
    policy::{Outcome, Repeat, Turn},
    store::{Claim, Ending, RepeatKey, Repeats},
};

/// How long a repeat waits before it looks again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));

/// What a client calls a query.
pub(super) struct Name {
    pub(super) request: Option<Uuid>,
    /// Of what it is part of: several questions may have it.
    pub(super) correlation: Option<String>,
}

/// A query that nobody else runs, under its name.
pub(super) struct Claimed<'a> {
    repeats: &'a Repeats,
    key: RepeatKey,
    query: QueryId,
    repeat: Repeat,
}

impl<'a> Claimed<'a> {
    /// Claims a query that has a name, once it does not run elsewhere, and notes in the turn whether it is a
    /// repeat. `None` when nothing has to be settled for it: it has no name, nothing that a correlation id
    /// could save it from, or has been answered before.
    ///
    /// # Errors
    /// `AlreadyExists` when another question has its `request_id`, `StoreUnavailable`, or what ended the query
    /// while it waited.
    pub(super) async fn get(
        repeats: &'a Repeats,
        name: Name,
        plan: &Plan,
        cx: &CallContext,
        turn: &mut Turn,
    ) -> Result<Option<Self>, Error> {
        let counts = plan.policies.counts();
        let key = if turn.preview { None } else { name.key(plan, turn, counts) };
        let Some(key) = key.transpose()? else { return Ok(None) };
        let mut pause = PAUSES.0;
        loop {
            match cx.bound(repeats.claim(&key, turn.query_id)).await? {
                Claim::First => break,
                Claim::Counted => {
                    turn.repeat = Repeat::Counted;
                    break;
                }
                Claim::Answered => {
                    turn.repeat = Repeat::Answered;
                    return Ok(None);
                }
                Claim::Differs => {
                    let request = name.request.map(|id| id.to_string()).unwrap_or_default();
                    return Err(Error::AlreadyExists(Resource::Request, request));
                }
                Claim::Running => cx.bound(waited(repeats, &key, &mut pause)).await?,
            }
        }
        turn.name = Some(Box::new(key.clone()));
        Ok(Some(Self { repeats, key, query: turn.query_id, repeat: turn.repeat }))
    }

    /// What is to be left behind of the query.
    pub(super) fn ending(&self, turn: &Turn, outcome: Outcome) -> Ending {
        // What was paid for needs no second payment, though its client had gone when the text left. Who has had
        // a part, and was counted and charged for that, must not have the whole for it.
        let is_paid = turn.cost.is_some() && !turn.cost_is_part;
        if outcome == Outcome::Completed || is_paid {
            Ending::Answered
        } else if self.repeat == Repeat::Counted || turn.admitted() {
            Ending::Counted
        } else {
            Ending::Void
        }
    }

    /// Leaves it behind, before the client hears of the end.
    pub(super) async fn end(self, ending: Ending) {
        if let Err(error) = self.repeats.finish(&self.key, self.query, ending).await {
            tracing::warn!(query_id = %self.query, cause = error.cause(), "how a query ended was not noted");
        }
    }
}

impl Drop for Claimed<'_> {
    /// One that panicked is given up.
    fn drop(&mut self) {
        self.repeats.let_go(&self.key, self.query);
    }
}

/// Waits until a query has ended that runs elsewhere.
async fn waited(repeats: &Repeats, key: &RepeatKey, pause: &mut Duration) -> Result<(), Error> {
    loop {
        sleep(*pause).await;
        *pause = PAUSES.1.min(*pause * 2);
        if !repeats.is_running(key).await? {
            return Ok(());
        }
    }
}

impl Name {
    /// `None` for a query that has no name, or one that saves nothing.
    fn key(&self, plan: &Plan, turn: &Turn, counts: bool) -> Option<Result<RepeatKey, Error>> {
        let named = match (self.request, &self.correlation) {
            (Some(request), _) => ("request", request.to_string(), false),
            (None, Some(correlation)) if counts => ("correlation", correlation.clone(), true),
            _ => return None,
        };
        Some(self::key(plan, turn, named))
    }
}

/// Questions that share a name differ by their bodies if the name is `shared`.
fn key(plan: &Plan, turn: &Turn, (kind, name, shared): (&str, String, bool)) -> Result<RepeatKey, Error> {
    let body = hash(&[&turn.query.canonical().map_err(Error::internal)?]);
    let caller = turn.caller.email().to_lowercase();
    let endpoint = plan.endpoint.0;
    let question = if shared { body.as_str() } else { "" };
    let key = hash(&[
        kind.as_bytes(),
        endpoint.as_bytes(),
        caller.as_bytes(),
        name.as_bytes(),
        question.as_bytes(),
    ]);
    Ok(RepeatKey { tenant: turn.caller.tenant().id, key, body })
}

/// One hash over several texts, each with its length before it.
fn hash(texts: &[&[u8]]) -> String {
    let mut hash = Context::new(&SHA256);
    for text in texts {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    URL_SAFE_NO_PAD.encode(hash.finish())
}
