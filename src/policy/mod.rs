//! Policies: who may ask, how often, and what may come back.
//!
//! A policy type is one file here and one line in [`registry`]. One instance serves an endpoint, with
//! all the configurations of its type, so it decides itself how they combine.

mod access;
mod accounting;
mod allow_guests;
mod attribution;
mod beside;
mod composite;
mod content;
mod filter;
mod pattern;
mod pii_filter;
mod prompt_filter;
mod rate_limit;
mod registry;
mod scope;
mod set;
mod share;
mod token_limit;
mod turn;

use async_trait::async_trait;

pub use accounting::leaves_account_out;
pub use beside::{BESIDE, conflicts};
pub use filter::{AnswerFilter, Filters};
pub use registry::Policies;
pub use set::{PolicySet, Verdict};
pub use turn::{Outcome, Repeat, Turn};

use crate::error::{Error, Refusal};

/// When a policy's `pre_hook` runs: in this order, so that nobody pays for a refused query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Access,
    RateLimit,
    Content,
    /// Adds to the answer, behind everything that filters it.
    Addition,
    Payment,
}

/// What a policy would say.
#[derive(Debug, Clone, PartialEq)]
pub enum Foresight {
    Admits,
    Refuses(Box<Refusal>),
    /// It cannot be told without counting or charging.
    Unknown,
}

/// One type of policy on one endpoint.
///
/// A policy is *entered* before its `pre_hook` is first polled, and every entered policy is settled:
/// `post_hook` runs exactly once, however the query ended, also when its own `pre_hook` refused,
/// failed or panicked. Neither hook is ever cancelled by the client; each must bound its own I/O, and
/// is abandoned after ten seconds.
#[async_trait]
pub trait Policy: Send + Sync {
    /// The type's name.
    fn policy_type(&self) -> &'static str;

    fn phase(&self) -> Phase;

    /// Whether it counts or charges queries: a repeat must not be counted or charged again.
    fn counts(&self) -> bool {
        matches!(self.phase(), Phase::RateLimit | Phase::Payment)
    }

    /// Whether it is not asked when owners try an endpoint, or when a query that was answered comes again.
    fn passes_previews(&self) -> bool {
        self.counts()
    }

    /// How many policies this one is: each has its ten seconds.
    fn parts(&self) -> u32 {
        1
    }

    /// Admits the query or refuses it.
    ///
    /// # Errors
    /// `Refused`; anything else when it cannot decide. Either ends the query.
    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error>;

    /// What `pre_hook` would say, leaving nothing behind: nothing is settled afterwards. What `pre_hook`s of
    /// access and content policies do ends with the turn; others must say it themselves.
    ///
    /// # Errors
    /// When it cannot decide, as in `pre_hook`.
    async fn foresee(&self, turn: &mut Turn) -> Result<Foresight, Error> {
        match self.phase() {
            Phase::RateLimit | Phase::Payment => Ok(Foresight::Unknown),
            Phase::Access | Phase::Content | Phase::Addition => Foresight::of(self.pre_hook(turn).await),
        }
    }

    /// Settles the query: takes what it costs, gives back what it does not.
    ///
    /// # Errors
    /// `Refused` to refuse an answer that was made; anything else when it cannot settle. Either turns
    /// a completed query into a failed one, for the policies settled after this one too.
    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error>;

    /// A filter over what leaves, for this query. Made before any policy is entered; what both need to
    /// know is kept with [`Turn::note`].
    fn answer_filter(&self, _turn: &mut Turn) -> Option<Box<dyn AnswerFilter>> {
        None
    }

    /// Whether guests may ask an endpoint with this policy, as far as the others let them.
    fn admits_guests(&self) -> bool {
        false
    }

    /// Whether this query's text is kept back until this policy's `post_hook` has approved the whole answer.
    /// Asked before any policy is entered.
    fn withholds_answer(&self, _turn: &Turn) -> bool {
        false
    }
}

impl Foresight {
    fn of(verdict: Result<(), Error>) -> Result<Self, Error> {
        match verdict {
            Ok(()) => Ok(Self::Admits),
            Err(Error::Refused(refusal)) => Ok(Self::Refuses(refusal)),
            Err(error) => Err(error),
        }
    }
}
