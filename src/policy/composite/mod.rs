//! `any_of`, `all_of` and `not`: policies made of policies.
//!
//! Each child is an instance of its own. Children are asked in phase order, and every one that was asked
//! is settled exactly once, with the verdict that it gave: one that refused is settled as refused though
//! the query goes on, so it gives back whatever it took.

mod children;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;

use super::{AnswerFilter, Foresight, Outcome, Phase, Policy, Turn, set::guarded};
use crate::{
    domain::{self, Configuration, PolicyId, schema, schema::TypeSpec},
    error::{Cause, Error, Refusal},
};
use children::{Asked, Chosen, Verdict};

const ICON: &str = "🧩";

/// Composites within composites, these included.
pub(super) const MAX_DEPTH: usize = 3;

/// The type of this kind. Configurations of `types` may stand in it.
pub(super) fn spec(kind: Kind, types: Arc<[Arc<TypeSpec>]>) -> TypeSpec {
    let (name, description) = (kind.name(), kind.description());
    let spec = match kind {
        Kind::Not => TypeSpec::of::<NotConfig>(name, description, ICON, &[]),
        Kind::AllOf | Kind::AnyOf => TypeSpec::of::<Config>(name, description, ICON, &[]),
    };
    spec.holding(types)
}

/// How the verdicts of children become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AllOf,
    AnyOf,
    Not,
}

/// Policies that are asked together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The policies, each with its type and its configuration.
    #[schemars(length(min = 1, max = 10))]
    policies: Vec<Child>,
}

/// One policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is for the schema; `Config` reads it")]
pub(super) struct NotConfig {
    /// The one policy that must refuse.
    #[schemars(length(min = 1, max = 1))]
    policies: Vec<Child>,
}

/// A policy within another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Child {
    /// Its type.
    policy_type: String,
    /// As its type's schema says.
    #[serde(default)]
    configuration: Configuration,
}

/// Types and configurations of the children in a composite's configuration; none in any other.
pub(super) fn children(configuration: &Configuration) -> Vec<(String, Configuration)> {
    if !configuration.contains_key("policies") {
        return Vec::new();
    }
    let policies = schema::read::<Config>(configuration).map(|config| config.policies).unwrap_or_default();
    policies.into_iter().map(|child| (child.policy_type, child.configuration)).collect()
}

/// All composites of one kind on one endpoint: each must admit.
pub(super) struct Composite {
    kind: Kind,
    groups: Vec<Vec<Arc<dyn Policy>>>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::AllOf => "all_of",
            Self::AnyOf => "any_of",
            Self::Not => "not",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::AllOf => "Admits a query that every one of its policies admits.",
            Self::AnyOf => {
                "Admits a query that one of its policies admits. They are asked in the order access, limits, \
                 content, payment until one does; those behind it count and charge nothing."
            }
            Self::Not => "Admits a query that its policy refuses.",
        }
    }
}

impl Composite {
    /// `build` makes one child.
    ///
    /// # Errors
    /// When a child cannot be made.
    pub(super) fn new(
        kind: Kind,
        stored: &[domain::Policy],
        build: impl Fn(&domain::Policy) -> Result<Arc<dyn Policy>, Cause>,
    ) -> Result<Self, Cause> {
        let group = |stored: &domain::Policy| -> Result<Vec<Arc<dyn Policy>>, Cause> {
            let config: Config = schema::read(&stored.configuration)?;
            let children = config.policies.into_iter().zip(1..).map(|(child, place)| {
                build(&domain::Policy {
                    id: within(stored.id, place),
                    policy_type: child.policy_type,
                    configuration: child.configuration,
                    ..stored.clone()
                })
            });
            let mut children = children.collect::<Result<Vec<_>, _>>()?;
            children.sort_by_key(|child| child.phase());
            Ok(children)
        };
        Ok(Self { kind, groups: stored.iter().map(group).collect::<Result<_, _>>()? })
    }

    fn children(&self) -> impl Iterator<Item = &Arc<dyn Policy>> {
        self.groups.iter().flatten()
    }

    async fn foresee_group(&self, group: &[Arc<dyn Policy>], turn: &mut Turn) -> Result<Foresight, Error> {
        let mut so_far = if self.kind == Kind::AllOf { Foresight::Admits } else { refusal(self.kind).into() };
        for child in group {
            let desk = turn.desk(child);
            let question = Arc::clone(&turn.query);
            let foreseen = child.foresee(turn).await;
            turn.back_to(desk);
            so_far = match (self.kind, foreseen?) {
                (Kind::Not, Foresight::Refuses(_)) => {
                    turn.query = question;
                    Foresight::Admits
                }
                (Kind::Not, Foresight::Admits) => refusal(Kind::Not).into(),
                (Kind::Not, Foresight::Unknown) => Foresight::Unknown,
                (Kind::AllOf, refuses @ Foresight::Refuses(_)) => return Ok(refuses),
                (Kind::AnyOf, Foresight::Admits) => return Ok(Foresight::Admits),
                (Kind::AllOf, Foresight::Admits) => so_far,
                // What a child that refuses, or may refuse, does to the question is not seen by the next.
                (Kind::AnyOf, refuses @ Foresight::Refuses(_)) => {
                    turn.query = question;
                    if so_far == Foresight::Unknown { so_far } else { refuses }
                }
                (Kind::AnyOf, Foresight::Unknown) => {
                    turn.query = question;
                    Foresight::Unknown
                }
                (Kind::AllOf, Foresight::Unknown) => Foresight::Unknown,
            };
        }
        Ok(so_far)
    }

    async fn ask_group(&self, group: usize, turn: &mut Turn) -> Result<(), Error> {
        let mut last = None;
        for (i, child) in self.groups[group].iter().enumerate() {
            let verdict =
                if turn.passes(child.as_ref()) { Ok(()) } else { ask((group, i), child, turn).await };
            match (self.kind, verdict) {
                (_, Err(error)) if !matches!(error, Error::Refused(_)) => return Err(error),
                (Kind::AnyOf, Ok(())) | (Kind::Not, Err(_)) => return Ok(()),
                (Kind::AllOf, Err(error)) => return Err(error),
                (Kind::AnyOf, Err(error)) => last = Some(error),
                (Kind::Not, Ok(())) if turn.passes(child.as_ref()) => return Ok(()),
                (Kind::AllOf | Kind::Not, Ok(())) => {}
            }
        }
        match (self.kind, last) {
            (Kind::AllOf, _) => Ok(()),
            (_, Some(error)) => Err(error),
            (kind, None) => Err(refusal(kind).into()),
        }
    }
}

impl Composite {
    /// Settles the children of a group that has refused, now: what those took that admitted is for others.
    async fn give_back(&self, group: usize, turn: &mut Turn) {
        let asked: Asked = turn.note();
        for (group, i) in asked.take(group).into_iter().rev() {
            let child = &self.groups[group][i];
            if let Err(error) = turn.as_refused(child).await {
                tracing::warn!(policy = child.policy_type(), cause = error.cause(), %error, "not settled");
            }
        }
    }
}

#[async_trait]
impl Policy for Composite {
    fn policy_type(&self) -> &'static str {
        self.kind.name()
    }

    /// That of its last child: nothing is counted or paid for before every access policy has been asked.
    fn phase(&self) -> Phase {
        self.children().map(|child| child.phase()).max().unwrap_or(Phase::Access)
    }

    fn counts(&self) -> bool {
        self.children().any(|child| child.counts())
    }

    /// Its children are skipped, one by one.
    fn passes_previews(&self) -> bool {
        self.children().all(|child| child.passes_previews())
    }

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        for group in 0..self.groups.len() {
            let asked = self.ask_group(group, turn).await;
            if matches!(asked, Err(Error::Refused(_))) {
                self.give_back(group, turn).await;
            }
            asked?;
        }
        Ok(())
    }

    async fn foresee(&self, turn: &mut Turn) -> Result<Foresight, Error> {
        let mut together = Foresight::Admits;
        for group in &self.groups {
            match self.foresee_group(group, turn).await? {
                Foresight::Admits => {}
                Foresight::Unknown => together = Foresight::Unknown,
                refuses @ Foresight::Refuses(_) => return Ok(refuses),
            }
        }
        Ok(together)
    }

    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        let Asked(asked) = turn.note();
        let mut asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
        asked.reverse();
        asked.sort_by_key(|((group, i), _)| self.groups[*group][*i].phase() == Phase::Payment);
        let (mut settled, mut outcome) = (Ok(()), *outcome);
        for ((group, i), verdict) in asked {
            let child = &self.groups[group][i];
            let done = match verdict {
                Verdict::Refused => turn.as_refused(child).await,
                Verdict::Pending | Verdict::Admitted => settle(child, turn, &outcome).await,
            };
            if let (Err(error), Outcome::Completed) = (&done, outcome) {
                outcome = error.outcome();
            }
            match (&settled, done) {
                (Err(_), Err(error)) => {
                    tracing::warn!(policy = child.policy_type(), cause = error.cause(), %error, "not settled");
                }
                (Ok(()), done) => settled = done,
                (Err(_), Ok(())) => {}
            }
        }
        settled
    }

    fn answer_filter(&self, turn: &mut Turn) -> Option<Box<dyn AnswerFilter>> {
        if self.kind == Kind::Not {
            return None;
        }
        let asked: Asked = turn.note();
        let mut filters = Vec::new();
        for (group, children) in self.groups.iter().enumerate() {
            for (i, child) in children.iter().enumerate() {
                let desk = turn.desk(child);
                let filter = child.answer_filter(turn);
                turn.back_to(desk);
                filters.extend(filter.map(|filter| ((group, i), filter)));
            }
        }
        let always = self.kind == Kind::AllOf;
        (!filters.is_empty()).then(|| Box::new(Chosen { asked, always, filters }) as Box<dyn AnswerFilter>)
    }

    fn withholds_answer(&self, turn: &Turn) -> bool {
        self.kind != Kind::Not && self.children().any(|child| child.withholds_answer(turn))
    }

    fn parts(&self) -> u32 {
        self.children().map(|child| child.parts()).sum::<u32>() + 1
    }
}

/// Asks one child. It counts as asked before its `pre_hook` is first polled. What a child that refuses did
/// to the question is undone.
async fn ask(place: (usize, usize), child: &Arc<dyn Policy>, turn: &mut Turn) -> Result<(), Error> {
    let asked: Asked = turn.note();
    let question = Arc::clone(&turn.query);
    asked.note(place, Verdict::Pending);
    let desk = turn.desk(child);
    let verdict = guarded("pre_hook", child.as_ref(), child.pre_hook(turn)).await;
    turn.back_to(desk);
    match &verdict {
        Ok(()) => asked.note(place, Verdict::Admitted),
        Err(Error::Refused(_)) => {
            turn.query = question;
            asked.note(place, Verdict::Refused);
        }
        Err(_) => {}
    }
    verdict
}

async fn settle(child: &Arc<dyn Policy>, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
    let desk = turn.desk(child);
    let settled = guarded("post_hook", child.as_ref(), child.post_hook(turn, outcome)).await;
    turn.back_to(desk);
    settled
}

impl Turn {
    /// Settles a child that refused, as in a query that ended with that.
    async fn as_refused(&mut self, child: &Arc<dyn Policy>) -> Result<(), Error> {
        let admitted = std::mem::replace(&mut self.admitted, false);
        let settled = settle(child, self, &Outcome::Refused).await;
        self.admitted = admitted;
        settled
    }
}

/// The id under which a child counts: another for each place, and for each depth.
fn within(parent: PolicyId, place: u128) -> PolicyId {
    PolicyId(uuid::Uuid::from_u128(parent.0.as_u128().rotate_left(5) ^ place))
}

fn refusal(kind: Kind) -> Refusal {
    Refusal {
        policy_type: kind.name(),
        kind: "access",
        code: "ACCESS_DENIED",
        message: "Access denied".to_owned(),
        retry_after: None,
        details: Map::new(),
    }
}

impl From<Refusal> for Foresight {
    fn from(refusal: Refusal) -> Self {
        Self::Refuses(Box::new(refusal))
    }
}
