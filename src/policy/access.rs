//! `access`: who may ask.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;

use super::{
    Outcome, Phase, Policy, Turn,
    pattern::{Pattern, Specificity},
};
use crate::error::{Error, Refusal};

pub(super) const NAME: &str = "access";
pub(super) const ICON: &str = "🔒";
pub(super) const DESCRIPTION: &str = "Allows or denies callers by their e-mail address. The most specific \
    pattern wins; on a tie, deny wins. A caller whom no pattern matches is allowed only if nobody is allowed by name.";

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
}

/// All `access` policies of one endpoint, as one list of allowed and one of denied patterns: a second
/// policy can narrow or widen the first, and never cancels its denials.
pub(super) struct Access {
    allowed: Vec<Pattern>,
    denied: Vec<Pattern>,
}

impl Access {
    pub(super) fn new(configs: Vec<Config>) -> Self {
        let mut access = Self { allowed: Vec::new(), denied: Vec::new() };
        for config in configs {
            access.allowed.extend(config.allowed_users.iter().map(|pattern| Pattern::new(pattern)));
            access.denied.extend(config.denied_users.iter().map(|pattern| Pattern::new(pattern)));
        }
        access
    }

    fn allows(&self, email: &str) -> bool {
        match (best(&self.allowed, email), best(&self.denied, email)) {
            (None, None) => self.allowed.is_empty(),
            (allowed, denied) => allowed > denied,
        }
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
        if self.allows(turn.caller.email()) {
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
fn best(patterns: &[Pattern], email: &str) -> Option<Specificity> {
    patterns.iter().filter(|pattern| pattern.matches(email)).map(Pattern::specificity).max()
}

#[cfg(test)]
mod tests {
    use super::{Access, Config};

    fn access(lists: &[(&[&str], &[&str])]) -> Access {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let config = |(allowed, denied): &(&[&str], &[&str])| Config {
            allowed_users: texts(allowed),
            denied_users: texts(denied),
        };
        Access::new(lists.iter().map(config).collect())
    }

    #[test]
    fn the_most_specific_pattern_wins_and_deny_wins_ties() {
        let rules = access(&[(&["bob@x.com", "*@y.com"], &["*@x.com", "eve@y.com", "sam@z.com"])]);
        assert!(rules.allows("bob@x.com"));
        assert!(!rules.allows("amy@x.com"));
        assert!(rules.allows("amy@y.com"));
        assert!(!rules.allows("eve@y.com"));
        assert!(!access(&[(&["*"], &["*"])]).allows("a@b.c"));
    }

    #[test]
    fn nobody_matched_is_allowed_only_without_an_allow_list() {
        assert!(access(&[(&[], &["eve@x.com"])]).allows("bob@x.com"));
        assert!(!access(&[(&["amy@x.com"], &[])]).allows("bob@x.com"));
        assert!(access(&[]).allows("bob@x.com"));
    }

    #[test]
    fn a_second_permissive_policy_cancels_no_denial() {
        let rules = access(&[(&[], &["eve@x.com"]), (&[], &[])]);
        assert!(!rules.allows("eve@x.com"));
        assert!(rules.allows("bob@x.com"));
    }
}
