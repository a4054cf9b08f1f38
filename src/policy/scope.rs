//! Whom a policy applies to, and whom it counts together.

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    #[default]
    PerUser,
    Global,
}

impl Scope {
    /// Who is counted together with this caller: an e-mail address, or nothing for everybody.
    pub(super) fn key(self, email: &str) -> String {
        match self {
            Self::PerUser => email.to_owned(),
            Self::Global => String::new(),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PerUser => "per_user",
            Self::Global => "global",
        }
    }
}

/// The patterns of a policy that names nobody.
pub(super) fn everybody() -> Vec<String> {
    vec!["*".to_owned()]
}
