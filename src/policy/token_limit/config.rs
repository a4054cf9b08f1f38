//! What an owner says about tokens.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    domain::{Configuration, PolicyId, rules::violation},
    error::{Cause, Rule, Violation},
    policy::{
        accounting::{Price, decimal_of},
        pattern::Pattern,
        scope::{Scope, everybody},
    },
    store::{self, Allowance, Cap, Frame, Unit},
};

/// One limit at least is needed: `requests`, `input_tokens`, `output_tokens` or `cost`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Config {
    /// For how long a limit counts.
    period: Period,
    /// `rolling`: within any stretch of that length; a month is 30 days. `fixed`: since the minute, hour, day or
    /// month began, in UTC.
    #[serde(default)]
    window: Window,
    /// Whether each caller has a limit of its own or all share one.
    #[serde(default)]
    scope: Scope,
    /// Queries that are admitted.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    requests: Option<u64>,
    /// Tokens that the model reads. A running query holds the bytes of its question and of what may be put before
    /// it (references, a system prompt) until it ends.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    input_tokens: Option<u64>,
    /// Tokens that the model writes. A running query holds its `max_tokens` until it ends.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    output_tokens: Option<u64>,
    /// What all these tokens cost together at `input_price` and `output_price`, which must be given. As a text it
    /// keeps every digit.
    #[serde(default)]
    cost: Option<Price>,
    /// Of a token that the model reads.
    #[serde(default)]
    input_price: Option<Price>,
    /// Of a token that the model writes.
    #[serde(default)]
    output_price: Option<Price>,
    /// Whom it applies to, as patterns of e-mail addresses.
    #[serde(default = "everybody")]
    #[schemars(length(max = 10_000))]
    applied_to: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Period {
    Minute,
    Hour,
    Day,
    Month,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Window {
    #[default]
    Rolling,
    Fixed,
}

/// One policy, ready to count.
pub(super) struct Limit {
    policy: PolicyId,
    period: Period,
    scope: Scope,
    frame: Frame,
    caps: Vec<Cap>,
    applied_to: Vec<Pattern>,
}

/// What the schema cannot say.
pub(super) fn check(configuration: &Configuration) -> Vec<Violation> {
    let has = |field: &&str| configuration.get(*field).is_some_and(|value| !value.is_null());
    if !["requests", "input_tokens", "output_tokens", "cost"].iter().any(has) {
        let message = "needs requests, input_tokens, output_tokens or cost";
        return vec![violation("configuration", Rule::Missing, message)];
    }
    let prices = ["input_price", "output_price"];
    let broken = |field: &str, message| violation(format!("configuration.{field}"), Rule::Missing, message);
    if has(&"cost") {
        let missing = prices.iter().filter(|price| !has(price));
        return missing.map(|price| broken(price, "is required with cost")).collect();
    }
    let idle = prices.iter().any(has);
    idle.then(|| broken("cost", "is required with prices")).into_iter().collect()
}

impl Limit {
    pub(super) fn new(policy: PolicyId, config: Config) -> Result<Self, Cause> {
        let period = config.period.counted();
        let mut caps: Vec<Cap> = [
            config.requests.map(Cap::requests),
            config.input_tokens.map(Cap::input_tokens),
            config.output_tokens.map(Cap::output_tokens),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(cost) = config.cost {
            let (input, output) = config.input_price.zip(config.output_price).ok_or("a price is missing")?;
            caps.push(Cap::cost(cost.fine(), input.fine(), output.fine()));
        }
        Ok(Self {
            policy,
            period: config.period,
            scope: config.scope,
            frame: match config.window {
                Window::Rolling => Frame::Rolling(period),
                Window::Fixed => Frame::Fixed(period),
            },
            caps,
            applied_to: config.applied_to.iter().map(|pattern| Pattern::new(pattern)).collect(),
        })
    }

    pub(super) fn applies_to(&self, email: &str) -> bool {
        self.applied_to.iter().any(|pattern| pattern.matches(email))
    }

    pub(super) fn allowance(&self, email: &str) -> Allowance {
        let key = self.scope.key(email);
        Allowance { policy: self.policy, key, frame: self.frame, caps: self.caps.clone() }
    }

    pub(super) fn period(&self) -> &'static str {
        match self.period {
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
        }
    }

    pub(super) fn scope(&self) -> &'static str {
        self.scope.name()
    }
}

impl Period {
    fn counted(self) -> store::Period {
        match self {
            Self::Minute => store::Period::Minute,
            Self::Hour => store::Period::Hour,
            Self::Day => store::Period::Day,
            Self::Month => store::Period::Month,
        }
    }
}

/// The name of the field that limits it.
pub(super) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Requests => "requests",
        Unit::InputTokens => "input_tokens",
        Unit::OutputTokens => "output_tokens",
        Unit::Cost => "cost",
    }
}

/// A cost as it was counted, as a decimal number.
pub(super) fn cost(measured: i128) -> String {
    decimal_of(Price::of_fine(measured))
}
