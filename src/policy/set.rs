//! The policies of one endpoint, in order.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{error::Elapsed, timeout};
use tracing::Instrument;

use super::{Filters, Foresight, Outcome, Phase, Policy, Turn};
use crate::{
    error::{Ended, Error},
    telemetry::traces,
};

/// A hook that has not returned by then is abandoned.
const HOOK_LIMIT: Duration = Duration::from_secs(10);

/// The policies of one endpoint, in phase order.
#[derive(Clone, Default)]
pub struct PolicySet {
    policies: Arc<[Arc<dyn Policy>]>,
}

/// What the policies of one type would say.
pub struct Verdict {
    pub policy_type: &'static str,
    pub foresight: Foresight,
}

impl PolicySet {
    /// Orders the policies by phase; within a phase they keep their order.
    pub fn new(mut policies: Vec<Arc<dyn Policy>>) -> Self {
        policies.sort_by_key(|policy| policy.phase());
        Self { policies: policies.into() }
    }

    /// Asks every policy, in phase order, until one refuses. Guests all look alike to policies, so they
    /// are refused where there are any, unless one admits guests. Not to be cancelled: what has been entered
    /// must be settled. `ended` is asked between hooks.
    ///
    /// # Errors
    /// `GuestNotAllowed`, the first refusal or failure, or what `ended` says.
    pub async fn admit(&self, turn: &mut Turn, ended: impl Fn() -> Option<Ended>) -> Result<(), Error> {
        let open = self.policies.is_empty() || self.policies.iter().any(|policy| policy.admits_guests());
        if turn.caller.is_guest() && !open {
            return Err(Error::GuestNotAllowed);
        }
        for (i, policy) in self.policies.iter().enumerate() {
            if turn.passes(policy.as_ref()) {
                turn.note_passed(policy.as_ref());
                continue;
            }
            if let Some(ended) = ended() {
                return Err(Error::Ended(ended));
            }
            turn.entered.push(i);
            turn.desk(policy);
            let admitted = guarded("pre_hook", policy.as_ref(), policy.pre_hook(turn)).await;
            if let Err(Error::Refused(refusal)) = &admitted {
                turn.note_refusal(refusal);
            }
            admitted?;
        }
        turn.admitted = true;
        Ok(())
    }

    /// What every policy would say, in phase order, also behind one that refuses. Nothing is entered.
    ///
    /// # Errors
    /// The first failure.
    pub async fn foresee(&self, turn: &mut Turn) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::with_capacity(self.policies.len());
        for policy in self.policies.iter() {
            turn.desk(policy);
            let (policy_type, limit) = (policy.policy_type(), HOOK_LIMIT * policy.parts());
            let foreseen = timeout(limit, AssertUnwindSafe(policy.foresee(turn)).catch_unwind()).await;
            verdicts.push(Verdict { policy_type, foresight: judge(policy_type, foreseen)? });
        }
        Ok(verdicts)
    }

    /// Settles every entered policy once, in reverse order, payment last: a policy that refuses the
    /// answer must do so before it is paid for. A hook that fails or panics does not skip the others;
    /// those after it see the query as refused or failed.
    ///
    /// # Errors
    /// The first refusal or failure.
    pub async fn settle(&self, turn: &mut Turn, mut outcome: Outcome) -> Result<(), Error> {
        let mut entered: Vec<_> = std::mem::take(&mut turn.entered).into_iter().rev().collect();
        entered.sort_by_key(|i| self.policies[*i].phase() == Phase::Payment);
        let mut verdict = Ok(());
        for policy in entered.into_iter().map(|i| &self.policies[i]) {
            turn.desk(policy);
            let settled = guarded("post_hook", policy.as_ref(), policy.post_hook(turn, &outcome)).await;
            let Err(error) = settled else { continue };
            if let Error::Refused(refusal) = &error {
                turn.note_refusal(refusal);
            }
            if outcome == Outcome::Completed {
                outcome = error.outcome();
            }
            match &verdict {
                Ok(()) => verdict = Err(error),
                Err(_) => {
                    tracing::warn!(policy = policy.policy_type(), cause = error.cause(), %error, "not settled")
                }
            }
        }
        verdict
    }

    /// The policies, in the order in which they are asked.
    pub fn policies(&self) -> &[Arc<dyn Policy>] {
        &self.policies
    }

    /// Whether queries leave something behind that a repeat must not leave again.
    pub fn counts(&self) -> bool {
        self.policies.iter().any(|policy| policy.counts())
    }

    /// The filters of this query, in phase order.
    pub fn filters(&self, turn: &mut Turn) -> Filters {
        let filter = |policy: &Arc<dyn Policy>| {
            turn.desk(policy);
            policy.answer_filter(turn)
        };
        Filters::new(self.policies.iter().filter_map(filter).collect())
    }

    /// Whether this query's text is kept back until the answer has been settled.
    pub fn withholds_answer(&self, turn: &Turn) -> bool {
        let is_asked = |policy: &&Arc<dyn Policy>| !turn.passes(policy.as_ref());
        self.policies.iter().filter(is_asked).any(|policy| policy.withholds_answer(turn))
    }
}

impl Error {
    /// How a query that ended with this error is settled.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) | Self::GuestNotAllowed => Outcome::Refused,
            Self::Ended(ended) => Outcome::Ended(*ended),
            Self::Internal(_) => Outcome::Panicked,
            _ => Outcome::Failed,
        }
    }
}

/// Runs a hook with its limit of time; a panic in it is an error like any other.
pub(super) async fn guarded(
    name: &'static str,
    policy: &dyn Policy,
    hook: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let (limit, policy) = (HOOK_LIMIT * policy.parts(), policy.policy_type());
    let span = tracing::info_span!(
        target: traces::TARGET,
        "hook",
        otel.name = format_args!("{name} {policy}"),
        syft.policy.type = policy,
        error.type = tracing::field::Empty,
    );
    let hook = timeout(limit, AssertUnwindSafe(hook).catch_unwind()).instrument(span.clone()).await;
    let done = judge(policy, hook);
    if let Err(error) = &done {
        span.record("error.type", error.reason());
    }
    done
}

fn judge<T>(
    policy: &'static str,
    hook: Result<std::thread::Result<Result<T, Error>>, Elapsed>,
) -> Result<T, Error> {
    match hook {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Error::internal(format!("a hook of policy '{policy}' panicked"))),
        Err(_) => Err(Error::internal(format!("a hook of policy '{policy}' did not return"))),
    }
}
