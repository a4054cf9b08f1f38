//! `pii_filter`: what tells who somebody is.

mod detectors;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::content::{self, ContentFilter, Detectors, Mode, Place, Rule};
use crate::{domain::schema::TypeSpec, error::Cause};

const NAME: &str = "pii_filter";
const ICON: &str = "🙈";
const DESCRIPTION: &str = "Replaces e-mail addresses, phone numbers, credit card numbers, IBANs and IP \
    addresses in the question, the references and the answer, or refuses queries that hold them. Detectors go by \
    form and checksum; names and addresses of people are not found.";

/// The type.
pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, &[]).publishing(&[
        "email",
        "phone",
        "credit_card",
        "iban",
        "ip_address",
        "mode",
        "apply_to",
    ])
}

/// What to look for, where, and what to do with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// E-mail addresses.
    #[serde(default = "on")]
    email: bool,
    /// Phone numbers: international ones, and national ones of at least nine digits.
    #[serde(default = "on")]
    phone: bool,
    /// Numbers of credit cards, checked by their last digit.
    #[serde(default = "on")]
    credit_card: bool,
    /// IBANs, checked by their checksum.
    #[serde(default = "on")]
    iban: bool,
    /// IP addresses, of both versions.
    #[serde(default = "on")]
    ip_address: bool,
    /// `redact` replaces what was found; `block` refuses the query.
    #[serde(default = "redact")]
    mode: Mode,
    /// Where to look.
    #[serde(default = "content::everywhere")]
    #[schemars(length(min = 1, max = 3))]
    apply_to: Vec<Place>,
    /// What stands in the place of what was found. After 1 MiB of it in one query, nothing does.
    #[serde(default = "content::redacted")]
    #[schemars(length(min = 1, max = 100))]
    replacement: String,
}

/// All `pii_filter` policies of one endpoint.
///
/// # Errors
/// When a detector cannot be compiled: a fault of ours.
pub(super) fn filter(configs: Vec<Config>) -> Result<ContentFilter, Cause> {
    let rules = configs.into_iter().map(|config| {
        let switches = [config.email, config.phone, config.credit_card, config.iban, config.ip_address];
        Ok(Rule {
            detectors: Arc::new(Detectors::new(detectors::chosen(switches)?)),
            mode: config.mode,
            places: config.apply_to,
            replacement: config.replacement.into(),
        })
    });
    Ok(ContentFilter::new(NAME, rules.collect::<Result<_, Cause>>()?))
}

fn on() -> bool {
    true
}

fn redact() -> Mode {
    Mode::Redact
}
