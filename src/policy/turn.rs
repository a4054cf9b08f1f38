//! One query as policies see it.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};

use serde_json::Map;

use super::{Phase, Policy};
use crate::{
    domain::{Caller, Cost, PolicyEntry, Query, QueryId, Usage},
    error::{Ended, Refusal},
    store::RepeatKey,
    telemetry::TraceContext,
};

/// What is known of a query so far. It lives outside the part of the query that can be cancelled, so
/// it is whole whenever the query is settled.
pub struct Turn {
    pub query_id: QueryId,
    pub caller: Caller,
    pub query: Arc<Query>,
    /// Asked by the owner, past rate limits and payment.
    pub preview: bool,
    /// Whether it was asked before.
    pub repeat: Repeat,
    /// The name under which it is held, so that nobody else pays for it.
    pub name: Option<Box<RepeatKey>>,
    /// Where in its trace the query is, for calls that are made for it.
    pub trace: TraceContext,
    /// Tokens so far. Estimated until the model has said.
    pub usage: Usage,
    /// References found.
    pub documents: usize,
    /// Whether an event was handed to the client. One that waits for the whole answer is handed nothing before.
    pub delivered: bool,
    /// Whether some of it was text.
    pub text_delivered: bool,
    /// How many characters of text.
    pub characters_delivered: usize,
    /// Whether the deadline, if there is one, is the client's and not ours.
    pub is_clients_deadline: bool,
    /// Bytes that may be put before the question for the model: references, the owner's own prompt. `None` when
    /// no model is asked.
    pub prompt_bytes: Option<usize>,
    /// What the query costs; set by payment policies.
    pub cost: Option<Cost>,
    /// Whether that pays for a part of the answer only.
    pub cost_is_part: bool,
    /// What policies have to say in `policy_metadata`.
    pub entries: Vec<PolicyEntry>,
    /// Indices of the policies that were entered, in order.
    pub(super) entered: Vec<usize>,
    pub(super) admitted: bool,
    notes: HashMap<(Desk, TypeId), Box<dyn Any + Send>>,
    /// Whose notes are open.
    desk: Desk,
}

/// Whether a query was asked before, under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    No,
    /// And came to nothing: it is counted already, and pays if it is answered now.
    Counted,
    /// And was answered: it is counted and paid for.
    Answered,
}

/// A policy, known by where it is in memory: it stays there for as long as the query runs.
pub(super) type Desk = usize;

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// A policy refused it.
    Refused,
    /// The dataset, the model or the database failed.
    Failed,
    /// Ended from outside.
    Ended(Ended),
    /// A fault of ours.
    Panicked,
}

impl Turn {
    pub fn new(
        query_id: QueryId,
        caller: Caller,
        query: Arc<Query>,
        preview: bool,
        trace: TraceContext,
    ) -> Self {
        Self {
            query_id,
            caller,
            query,
            preview,
            repeat: Repeat::No,
            name: None,
            trace,
            usage: Usage::default(),
            documents: 0,
            delivered: false,
            text_delivered: false,
            characters_delivered: 0,
            is_clients_deadline: false,
            prompt_bytes: None,
            cost: None,
            cost_is_part: false,
            entries: Vec::new(),
            entered: Vec::new(),
            admitted: false,
            notes: HashMap::new(),
            desk: 0,
        }
    }

    /// Tokens read, and those written that the client was handed.
    pub(super) fn usage_delivered(&self) -> Usage {
        let handed = Usage::estimate(0, self.characters_delivered).completion_tokens;
        Usage { completion_tokens: self.usage.completion_tokens.min(handed), ..self.usage }
    }

    /// Whether every policy admitted the query.
    pub fn admitted(&self) -> bool {
        self.admitted
    }

    /// Whether this policy is not asked: the owner tries the endpoint, or the query is settled already.
    pub(super) fn passes(&self, policy: &dyn Policy) -> bool {
        (self.preview || self.repeat == Repeat::Answered) && policy.passes_previews()
    }

    /// Whether a query that ended like this had its answer, or as much of it as its client waited for.
    pub fn has_answered(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Completed => true,
            Outcome::Ended(Ended::ClientGone) => self.delivered,
            Outcome::Ended(Ended::DeadlineExceeded) => self.delivered && self.is_clients_deadline,
            _ => false,
        }
    }

    /// Opens the notes of a policy that is asked now, and returns whose were open.
    pub(super) fn desk(&mut self, policy: &Arc<dyn Policy>) -> Desk {
        std::mem::replace(&mut self.desk, Arc::as_ptr(policy).cast::<()>().addr())
    }

    /// Opens the notes again that were open before.
    pub(super) fn back_to(&mut self, desk: Desk) {
        self.desk = desk;
    }

    /// Keeps a value from `pre_hook` for `post_hook`. One value per type; each policy has its own.
    pub fn keep<T: Any + Send>(&mut self, note: T) {
        self.notes.insert((self.desk, TypeId::of::<T>()), Box::new(note));
    }

    /// A value that a policy's filter and its hooks share; it begins as the default.
    pub fn note<T: Any + Send + Clone + Default>(&mut self) -> T {
        let note = self.notes.entry((self.desk, TypeId::of::<T>())).or_insert_with(|| Box::new(T::default()));
        note.downcast_ref().cloned().unwrap_or_default()
    }

    /// Takes a kept value.
    pub fn take<T: Any + Send>(&mut self) -> Option<T> {
        let note = self.notes.remove(&(self.desk, TypeId::of::<T>()))?;
        note.downcast().ok().map(|note| *note)
    }

    /// Says in `policy_metadata` of a repeat what it is not counted and charged by.
    pub(super) fn note_passed(&mut self, policy: &dyn Policy) {
        if self.repeat != Repeat::Answered {
            return;
        }
        self.entries.push(PolicyEntry {
            policy_type: policy.policy_type(),
            kind: if policy.phase() == Phase::Payment { "payment" } else { "rate_limit" },
            status: "skipped",
            cost: None,
            transaction: None,
            reason_code: Some("REPEATED"),
            reason: Some("The query was answered before.".to_owned()),
            details: Map::new(),
        });
    }

    /// Notes a refusal in `policy_metadata`.
    pub fn note_refusal(&mut self, refusal: &Refusal) {
        self.entries.push(PolicyEntry {
            policy_type: refusal.policy_type,
            kind: refusal.kind,
            status: "rejected",
            cost: None,
            transaction: None,
            reason_code: Some(refusal.code),
            reason: Some(refusal.message.clone()),
            details: refusal.details.clone(),
        });
    }
}

impl Outcome {
    /// The name in query records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Ended(Ended::ClientGone) => "client_gone",
            Self::Ended(Ended::DeadlineExceeded) => "deadline_exceeded",
            Self::Ended(Ended::ShuttingDown) => "shutting_down",
            Self::Panicked => "panicked",
        }
    }
}
