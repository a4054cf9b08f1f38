//! `rate_limit`: how often.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, json};

use super::{
    Foresight, Outcome, Phase, Policy, Repeat, Turn,
    pattern::Pattern,
    scope::{Scope, everybody},
};
use crate::{
    domain::{PolicyId, schema::TypeSpec},
    error::{Cause, Error, Refusal},
    store::{Admission, RateCounters, Slot, Window},
};

const NAME: &str = "rate_limit";
const ICON: &str = "⏳";
const DESCRIPTION: &str = "Limits queries per sliding second, minute or hour, for each caller or \
    for all together. Exact over all replicas; counted when a query is admitted.";

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[]).publishing(&["limit", "scope"])
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// `N/s`, `N/m` or `N/h`: N queries per sliding second, minute or hour. N is 1 to 999999.
    #[schemars(regex(pattern = r"^0*[1-9][0-9]{0,5}/[smh]$"))]
    limit: String,
    /// Whether each caller has a limit of its own or all share one.
    #[serde(default)]
    scope: Scope,
    /// Whom it applies to, as patterns of e-mail addresses.
    #[serde(default = "everybody")]
    #[schemars(length(max = 10_000))]
    applied_to: Vec<String>,
}

/// All `rate_limit` policies of one endpoint: a query needs room in each that applies to its caller,
/// and takes a slot in all of them or in none.
pub(super) struct RateLimit {
    limits: Vec<Limit>,
    counters: RateCounters,
}

struct Limit {
    policy: PolicyId,
    text: String,
    count: u32,
    window: Duration,
    scope: Scope,
    applied_to: Vec<Pattern>,
}

/// Slots taken for one query.
struct Taken(Vec<Slot>);

impl RateLimit {
    pub(super) fn new(configs: Vec<(PolicyId, Config)>, counters: RateCounters) -> Result<Self, Cause> {
        let limits = configs.into_iter().map(|(policy, config)| Limit::new(policy, config));
        Ok(Self { limits: limits.collect::<Result<_, _>>()?, counters })
    }
}

#[async_trait]
impl Policy for RateLimit {
    fn policy_type(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::RateLimit
    }

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        let email = turn.caller.email();
        let limits: Vec<&Limit> = self.limits.iter().filter(|limit| limit.applies_to(email)).collect();
        if limits.is_empty() || turn.repeat == Repeat::Counted {
            return Ok(());
        }
        let windows = limits.iter().map(|limit| limit.window(email)).collect();
        match self.counters.admit(windows).await? {
            Admission::Granted(slots) => {
                turn.keep(Taken(slots));
                Ok(())
            }
            Admission::Refused { window, retry_after } => Err(limits[window].refusal(retry_after).into()),
        }
    }

    async fn foresee(&self, turn: &mut Turn) -> Result<Foresight, Error> {
        let email = turn.caller.email();
        let limits: Vec<&Limit> = self.limits.iter().filter(|limit| limit.applies_to(email)).collect();
        let full = self.counters.foresee(limits.iter().map(|limit| limit.window(email)).collect()).await?;
        Ok(full.map_or(Foresight::Admits, |(window, wait)| limits[window].refusal(wait).into()))
    }

    /// A slot returns only when a later policy refused: whatever else became of the query, it ran.
    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        if let Some(Taken(slots)) = turn.take()
            && *outcome == Outcome::Refused
            && !turn.admitted()
        {
            self.counters.give_back(slots).await;
        }
        Ok(())
    }
}

impl Limit {
    fn new(policy: PolicyId, config: Config) -> Result<Self, Cause> {
        let (count, unit) = config.limit.split_once('/').ok_or("a limit has no unit")?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err("a limit's unit is not s, m or h".into()),
        };
        Ok(Self {
            policy,
            count: count.parse()?,
            window: Duration::from_secs(seconds),
            text: config.limit,
            scope: config.scope,
            applied_to: config.applied_to.iter().map(|pattern| Pattern::new(pattern)).collect(),
        })
    }

    fn applies_to(&self, email: &str) -> bool {
        self.applied_to.iter().any(|pattern| pattern.matches(email))
    }

    fn window(&self, email: &str) -> Window {
        let key = self.scope.key(email);
        Window { policy: self.policy, key, limit: self.count, length: self.window }
    }

    fn refusal(&self, retry_after: Duration) -> Refusal {
        // Rounded up: who waits that long is let in.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        let details = [
            ("limit", json!(self.text)),
            ("current_count", json!(self.count)),
            ("remaining", json!(0)),
            ("reset_seconds", json!(seconds)),
            ("scope", json!(self.scope.name())),
        ];
        Refusal {
            policy_type: NAME,
            kind: "rate_limit",
            code: "RATE_LIMITED",
            message: format!("Rate limit of {} exceeded. Try again in {seconds}s.", self.text),
            retry_after: Some(retry_after),
            details: Map::from_iter(details.map(|(name, value)| (name.to_owned(), value))),
        }
    }
}
