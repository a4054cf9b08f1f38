//! `token_limit`: how much.
//!
//! A query holds an upper bound of what it may use before it runs, so that running queries cannot exceed a
//! limit together, and is counted with what it has used when it ends.

mod config;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

pub(super) use config::Config;

use super::{Foresight, Outcome, Phase, Policy, Repeat, Turn, share::Share};
use crate::{
    domain::{PolicyId, schema::TypeSpec},
    error::{Cause, Error, Refusal},
    store::{Allowance, Amount, Grant, Hold, Shortage, TokenCounters, Unit},
};
use config::Limit;

const NAME: &str = "token_limit";
const ICON: &str = "🪙";
const DESCRIPTION: &str = "Limits requests, tokens and their cost per minute, hour, day or month, for each \
    caller or for all together. Exact over all replicas: a query holds what it may use at most until it ends.";
const PUBLIC: &[&str] = &[
    "period",
    "window",
    "scope",
    "requests",
    "input_tokens",
    "output_tokens",
    "cost",
    "input_price",
    "output_price",
];

/// Tokens that a model's template may put around a conversation, and around a message.
const TEMPLATE: usize = 64;
const MESSAGE: usize = 8;

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[]).publishing(PUBLIC).checking(config::check)
}

/// All `token_limit` policies of one endpoint: a query needs room in each that applies to its caller, and
/// holds it in all of them or in none.
pub(super) struct TokenLimit {
    limits: Vec<Limit>,
    counters: TokenCounters,
}

/// What a query holds.
struct Held {
    holds: Vec<Hold>,
    bound: Amount,
}

impl TokenLimit {
    pub(super) fn new(configs: Vec<(PolicyId, Config)>, counters: TokenCounters) -> Result<Self, Cause> {
        let limits = configs.into_iter().map(|(policy, config)| Limit::new(policy, config));
        Ok(Self { limits: limits.collect::<Result<_, _>>()?, counters })
    }

    fn of(&self, email: &str) -> (Vec<&Limit>, Vec<Allowance>) {
        let limits: Vec<&Limit> = self.limits.iter().filter(|limit| limit.applies_to(email)).collect();
        let allowances = limits.iter().map(|limit| limit.allowance(email)).collect();
        (limits, allowances)
    }
}

#[async_trait]
impl Policy for TokenLimit {
    fn policy_type(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::RateLimit
    }

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        let (limits, allowances) = self.of(turn.caller.email());
        if limits.is_empty() {
            return Ok(());
        }
        let bound = bound(turn);
        match self.counters.hold(allowances, bound).await? {
            Grant::Held(holds) => {
                turn.keep(Held { holds, bound });
                Ok(())
            }
            Grant::Refused { allowance, shortage } => {
                Err(refusal(limits[allowance], &shortage, bound).into())
            }
        }
    }

    async fn foresee(&self, turn: &mut Turn) -> Result<Foresight, Error> {
        let (limits, allowances) = self.of(turn.caller.email());
        let bound = bound(turn);
        let short = self.counters.foresee(&allowances, bound).await?;
        Ok(short.map_or(Foresight::Admits, |(i, shortage)| refusal(limits[i], &shortage, bound).into()))
    }

    /// A request counts unless a later policy refused it; tokens count as they are charged.
    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        let Some(Held { holds, bound }) = turn.take() else { return Ok(()) };
        let is_refused = *outcome == Outcome::Refused && !turn.admitted();
        let requests = if is_refused { 0 } else { bound.requests };
        let tokens = Share::of(turn, *outcome).tokens(turn);
        let mut used = Amount {
            requests,
            input_tokens: tokens.prompt_tokens.max(0),
            output_tokens: tokens.completion_tokens.max(0),
        };
        if tokens.estimated {
            // The bound is certain, the estimate is not.
            used.input_tokens = used.input_tokens.min(bound.input_tokens);
            used.output_tokens = used.output_tokens.min(bound.output_tokens);
        }
        self.counters.settle(holds, used).await;
        Ok(())
    }
}

/// What a query uses at most. No token is shorter than a byte. One that comes again after it came to nothing is
/// counted already, but its tokens are not.
fn bound(turn: &Turn) -> Amount {
    let requests = i64::from(turn.repeat != Repeat::Counted);
    let Some(prompt) = turn.prompt_bytes else {
        return Amount { requests, ..Amount::default() };
    };
    let messages = turn.query.messages();
    let question = messages.iter().map(|message| message.content.len() + MESSAGE).sum::<usize>();
    // The service's own message and the model's are two more.
    let input = question.saturating_add(prompt).saturating_add(TEMPLATE + 2 * MESSAGE);
    Amount {
        requests,
        input_tokens: i64::try_from(input).unwrap_or(i64::MAX),
        output_tokens: turn.query.chat().max_tokens.into(),
    }
}

fn refusal(limit: &Limit, shortage: &Shortage, bound: Amount) -> Refusal {
    let (cap, period) = (shortage.cap, limit.period());
    let number = |measured: i128| match cap.unit {
        Unit::Cost => json!(config::cost(measured)),
        _ => i64::try_from(measured).map_or(Value::Null, Value::from),
    };
    let (used, held) = (cap.measure(shortage.used), cap.measure(shortage.held));
    let needed = cap.measure(bound);
    let remaining = cap.most.saturating_sub(used).saturating_sub(held).max(0);
    // Rounded up: who waits that long finds it so.
    let seconds = shortage.resets_after.as_micros().div_ceil(1_000_000);
    let unit = config::unit(cap.unit);
    let message = match shortage.retry_after {
        Some(_) => {
            let most = number(cap.most);
            format!("Limit of {most} {unit} per {period} exceeded. It resets in {seconds}s at the latest.")
        }
        None => {
            format!("This query may use more {unit} than the limit per {period} ever allows. Ask for less.")
        }
    };
    let details = [
        ("unit", json!(unit)),
        ("limit", number(cap.most)),
        ("used", number(used)),
        ("reserved", number(held)),
        ("needed", number(needed)),
        ("remaining", number(remaining)),
        ("period", json!(period)),
        ("reset_seconds", u64::try_from(seconds).map_or(Value::Null, Value::from)),
        ("scope", json!(limit.scope())),
    ];
    Refusal {
        policy_type: NAME,
        kind: "rate_limit",
        // SyftHub knows no other code for a limit.
        code: "RATE_LIMITED",
        message,
        retry_after: shortage.retry_after,
        details: Map::from_iter(details.map(|(name, value)| (name.to_owned(), value))),
    }
}
