//! `allow_guests`: who has not signed in may ask.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Outcome, Phase, Policy, Turn};
use crate::{domain::schema::TypeSpec, error::Error};

pub(super) const NAME: &str = "allow_guests";
const ICON: &str = "👋";
const DESCRIPTION: &str = "Lets guests of a marketplace ask an endpoint that has policies. The other \
    policies still decide; to them all guests are one caller, with one address and one rate limit.";

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[])
}

/// Nothing to choose.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {}

/// Being there is all it does.
pub(super) struct AllowGuests;

#[async_trait]
impl Policy for AllowGuests {
    fn policy_type(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Access
    }

    async fn pre_hook(&self, _turn: &mut Turn) -> Result<(), Error> {
        Ok(())
    }

    async fn post_hook(&self, _turn: &mut Turn, _outcome: &Outcome) -> Result<(), Error> {
        Ok(())
    }

    fn admits_guests(&self) -> bool {
        true
    }
}
