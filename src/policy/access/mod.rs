//! `access`: who may ask, and when.

mod times;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;
use time::OffsetDateTime;

use super::{
    Outcome, Phase, Policy, Turn,
    pattern::{Pattern, Specificity},
};
use crate::{
    domain::{Configuration, rules::violation, schema, schema::TypeSpec},
    error::{Cause, Error, Refusal, Rule as Broken, Violation},
};
use times::{Times, Window};

const NAME: &str = "access";
const ICON: &str = "🔒";
const DESCRIPTION: &str = "Allows or denies callers by their e-mail address. The most specific \
    pattern wins; on a tie, deny wins. A caller whom no pattern matches is allowed only if nobody is allowed by name. \
    Rules can hold for some hours of some days, and expire.";

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[]).checking(check)
}

/// Patterns: `*` any run, `?` one character, `[abc]` one of a set; case does not count.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Config {
    /// Who may ask, such as `*@example.org`.
    #[schemars(length(max = 10_000))]
    allowed_users: Vec<String>,
    /// Who may not.
    #[schemars(length(max = 10_000))]
    denied_users: Vec<String>,
    /// Rules that hold at times, beside the lists that always do.
    #[schemars(length(max = 100))]
    rules: Vec<Rule>,
}

/// Who may ask or may not, for as long as it holds.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Whether these callers may ask, or may not.
    effect: Effect,
    /// Whom it is about: patterns as in `allowed_users`.
    #[schemars(length(min = 1, max = 10_000))]
    users: Vec<String>,
    /// When it holds; always, without any.
    #[serde(default)]
    #[schemars(length(max = 20))]
    windows: Vec<Window>,
    /// Where the hours of its windows are told, such as `+02:00`. Daylight saving is not followed.
    #[serde(default = "utc")]
    utc_offset: String,
    /// From when on it no longer holds, such as `2027-01-31T18:00:00Z`. An endpoint whose last allowing rule
    /// has expired allows nobody.
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Effect {
    Allow,
    Deny,
}

/// All `access` policies of one endpoint, as one list of allowed and one of denied patterns: a second
/// policy can narrow or widen the first, and never cancels its denials.
pub(super) struct Access {
    allowed: Vec<Timed>,
    denied: Vec<Timed>,
}

/// Patterns, and when they count; always, without times.
struct Timed {
    patterns: Vec<Pattern>,
    times: Option<Times>,
}

impl Access {
    /// # Errors
    /// When the times of a rule cannot be read.
    pub(super) fn new(configs: Vec<Config>) -> Result<Self, Cause> {
        let mut access = Self { allowed: Vec::new(), denied: Vec::new() };
        for config in configs {
            access.allowed.push(Timed::new(&config.allowed_users, None));
            access.denied.push(Timed::new(&config.denied_users, None));
            for rule in &config.rules {
                let times = rule.times().map_err(|(field, problem)| format!("{field} {problem}"))?;
                let timed = Timed::new(&rule.users, Some(times));
                match rule.effect {
                    Effect::Allow => access.allowed.push(timed),
                    Effect::Deny => access.denied.push(timed),
                }
            }
        }
        Ok(access)
    }

    fn allows(&self, email: &str, now: OffsetDateTime) -> bool {
        match (best(&self.allowed, email, now), best(&self.denied, email, now)) {
            // Also a rule that does not hold now says that not everybody is meant.
            (None, None) => self.allowed.iter().all(|timed| timed.patterns.is_empty()),
            (allowed, denied) => allowed > denied,
        }
    }
}

/// What the schema cannot say.
fn check(configuration: &Configuration) -> Vec<Violation> {
    let Ok(config) = schema::read::<Config>(configuration) else { return Vec::new() };
    let wrong = config.rules.iter().enumerate().filter_map(|(i, rule)| {
        let (field, problem) = rule.times().err()?;
        Some(violation(format!("configuration.rules.{i}.{field}"), Broken::Pattern, problem))
    });
    wrong.collect()
}

impl Rule {
    fn times(&self) -> Result<Times, (&'static str, &'static str)> {
        Times::new(self.expires_at.as_deref(), &self.utc_offset, &self.windows)
    }
}

impl Timed {
    fn new(patterns: &[String], times: Option<Times>) -> Self {
        Self { patterns: patterns.iter().map(|pattern| Pattern::new(pattern)).collect(), times }
    }
}

#[async_trait]
impl Policy for Access {
    fn policy_type(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Access
    }

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        if self.allows(turn.caller.email(), OffsetDateTime::now_utc()) {
            return Ok(());
        }
        // Which pattern it was is the owner's business.
        Err(Error::from(Refusal {
            policy_type: NAME,
            kind: "access",
            code: "ACCESS_DENIED",
            message: "Access denied".to_owned(),
            retry_after: None,
            details: Map::new(),
        }))
    }

    async fn post_hook(&self, _turn: &mut Turn, _outcome: &Outcome) -> Result<(), Error> {
        Ok(())
    }
}

/// `None`, nobody matched, is less than any match.
fn best(rules: &[Timed], email: &str, now: OffsetDateTime) -> Option<Specificity> {
    let holding = rules.iter().filter(|timed| timed.times.as_ref().is_none_or(|times| times.hold(now)));
    let patterns = holding.flat_map(|timed| &timed.patterns);
    patterns.filter(|pattern| pattern.matches(email)).map(Pattern::specificity).max()
}

fn utc() -> String {
    "Z".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;

    use super::{Access, Config};

    fn access(lists: &[(&[&str], &[&str])]) -> Access {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let config = |(allowed, denied): &(&[&str], &[&str])| Config {
            allowed_users: texts(allowed),
            denied_users: texts(denied),
            rules: Vec::new(),
        };
        Access::new(lists.iter().map(config).collect()).unwrap()
    }

    impl Access {
        fn admits(&self, email: &str) -> bool {
            self.allows(email, OffsetDateTime::UNIX_EPOCH)
        }
    }

    #[test]
    fn the_most_specific_pattern_wins_and_deny_wins_ties() {
        let rules = access(&[(&["bob@x.com", "*@y.com"], &["*@x.com", "eve@y.com", "sam@z.com"])]);
        assert!(rules.admits("bob@x.com"));
        assert!(!rules.admits("amy@x.com"));
        assert!(rules.admits("amy@y.com"));
        assert!(!rules.admits("eve@y.com"));
        assert!(!access(&[(&["*"], &["*"])]).admits("a@b.c"));
    }

    #[test]
    fn nobody_matched_is_allowed_only_without_an_allow_list() {
        assert!(access(&[(&[], &["eve@x.com"])]).admits("bob@x.com"));
        assert!(!access(&[(&["amy@x.com"], &[])]).admits("bob@x.com"));
        assert!(access(&[]).admits("bob@x.com"));
    }

    #[test]
    fn a_second_permissive_policy_cancels_no_denial() {
        let rules = access(&[(&[], &["eve@x.com"]), (&[], &[])]);
        assert!(!rules.admits("eve@x.com"));
        assert!(rules.admits("bob@x.com"));
    }

    #[test]
    fn rules_hold_at_their_times_beside_the_lists() {
        // 1970-01-01 was a Thursday.
        let config = json!({
            "denied_users": ["eve@x.com"],
            "rules": [
                {"effect": "allow", "users": ["*@x.com"], "windows": [{"days": ["thu"]}], "expires_at": "1970-01-08T12:00:00Z"},
                {"effect": "deny", "users": ["bob@x.com"], "windows": [{"from": "12:00", "to": "13:00"}], "utc_offset": "+01:00"},
            ],
        });
        let rules = Access::new(vec![serde_json::from_value(config).unwrap()]).unwrap();
        let at = |email: &str, hours: i64| {
            rules.allows(email, OffsetDateTime::UNIX_EPOCH + time::Duration::hours(hours))
        };
        assert!(at("amy@x.com", 0) && at("bob@x.com", 0) && !at("eve@x.com", 0));
        assert!(at("amy@x.com", 11) && !at("bob@x.com", 11));
        assert!(!at("amy@x.com", 24), "a Friday");
        assert!(at("amy@x.com", 7 * 24 + 11) && !at("amy@x.com", 7 * 24 + 12), "it has expired");
        // Nobody is let in because the rule that let some in is over.
        assert!(!at("sam@z.com", 0) && !at("sam@z.com", 1000));
    }
}
