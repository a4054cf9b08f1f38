//! What an owner says about prices and accounts.

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    money::Price,
    service::{Account, Api},
};
use crate::{
    domain::{self, Configuration, PolicyId, Usage, rules::violation, schema},
    error::{Cause, Rule, Violation},
    policy::{pattern::Pattern, scope::everybody},
};

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "if" = {"properties": {"pricing_mode": {"const": "per_token"}}, "required": ["pricing_mode"]},
    "then" = {"required": ["input_price", "output_price"], "properties": {
        "input_price": {"not": {"type": "null"}}, "output_price": {"not": {"type": "null"}}}},
    "else" = {"required": ["price"], "properties": {"price": {"not": {"type": "null"}}}}
))]
pub(in crate::policy) struct Config {
    /// `per_call`: every answered query costs `price`. `per_token`: every token costs `input_price` or
    /// `output_price`.
    #[serde(default)]
    pricing_mode: PricingMode,
    /// Of a query, in units of the currency. As a text it keeps every digit. 0 is free.
    #[serde(default)]
    price: Option<Price>,
    /// Of a token that the model reads.
    #[serde(default)]
    input_price: Option<Price>,
    /// Of a token that the model writes.
    #[serde(default)]
    output_price: Option<Price>,
    /// With `per_token`, when text leaves. `paid`: once it is paid for, in one piece. `streamed`: as it is
    /// made; a caller who turns out not to be able to pay has read it by then.
    #[serde(default)]
    delivery: Delivery,
    /// What the prices are in.
    #[serde(default = "usd")]
    #[schemars(regex(pattern = r"^[A-Z]{3,8}$"))]
    currency: String,
    /// Who pays, as patterns of e-mail addresses.
    #[serde(default = "everybody")]
    #[schemars(length(max = 10_000))]
    applied_to: Vec<String>,
    /// Where the accounting service is. Without this, `accounting_email` and `accounting_password`, the account
    /// is that of the default marketplace, as it is when the policy is made.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2_000))]
    accounting_url: Option<String>,
    /// The account that is paid into.
    #[serde(default)]
    #[schemars(length(min = 1, max = 320))]
    accounting_email: Option<String>,
    /// Its password.
    #[serde(default)]
    #[schemars(with = "Option<String>", length(min = 1, max = 1_000))]
    accounting_password: Option<SecretString>,
    /// Which paths the service has. `transaction`: `/transaction/create`, `/transaction/confirm`,
    /// `/transaction/cancel`. `transactions`: `/transactions`, `/transactions/{id}/confirm`,
    /// `/transactions/{id}/cancel`.
    #[serde(default)]
    api: Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PricingMode {
    #[default]
    PerCall,
    PerToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Delivery {
    #[default]
    Paid,
    Streamed,
}

/// What names an account and enters it.
pub(super) const ACCOUNT: [&str; 3] = ["accounting_url", "accounting_email", "accounting_password"];

/// One policy, ready to charge.
pub(super) struct Tariff {
    pub(super) policy: PolicyId,
    pub(super) name: String,
    pub(super) pricing: Pricing,
    pub(super) currency: String,
    pub(super) account: Account,
    applied_to: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pricing {
    PerCall(Price),
    PerToken { input: Price, output: Price, is_streamed: bool },
}

impl Config {
    pub(super) fn account(&self) -> Option<Account> {
        Some(Account {
            api: self.api,
            url: self.accounting_url.clone()?,
            email: self.accounting_email.clone()?,
            password: self.accounting_password.clone()?,
        })
    }

    /// Those of the account's fields that are left out.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let given = [
            self.accounting_url.is_some(),
            self.accounting_email.is_some(),
            self.accounting_password.is_some(),
        ];
        ACCOUNT.into_iter().zip(given).filter_map(|(field, given)| (!given).then_some(field)).collect()
    }

    /// The field in which both cannot be paid with one reservation.
    pub(super) fn differs(&self, other: &Self) -> Option<&'static str> {
        [
            ("accounting_url", self.accounting_url == other.accounting_url),
            ("accounting_email", self.accounting_email == other.accounting_email),
            ("api", self.api == other.api),
            ("currency", self.currency == other.currency),
        ]
        .into_iter()
        .find_map(|(field, is_same)| (!is_same).then_some(field))
    }

    fn pricing(&self) -> Option<Pricing> {
        Some(match self.pricing_mode {
            PricingMode::PerCall => Pricing::PerCall(self.price?),
            PricingMode::PerToken => Pricing::PerToken {
                input: self.input_price?,
                output: self.output_price?,
                is_streamed: self.delivery == Delivery::Streamed,
            },
        })
    }
}

impl Tariff {
    pub(super) fn new(policy: PolicyId, name: String, config: Config) -> Result<Self, Cause> {
        Ok(Self {
            policy,
            name,
            pricing: config.pricing().ok_or("a price is missing")?,
            account: config.account().ok_or("an account is missing")?,
            currency: config.currency,
            applied_to: config.applied_to.iter().map(|pattern| Pattern::new(pattern)).collect(),
        })
    }

    pub(super) fn applies_to(&self, email: &str) -> bool {
        self.applied_to.iter().any(|pattern| pattern.matches(email))
    }
}

impl Pricing {
    pub(super) fn is_free(self) -> bool {
        match self {
            Self::PerCall(price) => price.is_zero(),
            Self::PerToken { input, output, .. } => input.is_zero() && output.is_zero(),
        }
    }

    pub(super) fn is_per_token(self) -> bool {
        matches!(self, Self::PerToken { .. })
    }

    /// Whether text waits until it is paid for.
    pub(super) fn is_paid_first(self) -> bool {
        !self.is_free() && matches!(self, Self::PerToken { is_streamed: false, .. })
    }

    /// Of a query that is charged, with the tokens that are.
    pub(super) fn cost(self, tokens: Usage) -> Price {
        match self {
            Self::PerCall(price) => price,
            Self::PerToken { input, output, .. } => {
                input.times(tokens.prompt_tokens).plus(output.times(tokens.completion_tokens))
            }
        }
    }
}

/// What the schema cannot say: an account is left out only where a marketplace can be asked for it.
pub(super) fn check(configuration: &Configuration) -> Vec<Violation> {
    let Ok(config) = schema::read::<Config>(configuration) else { return Vec::new() };
    let missing = config.missing().into_iter();
    missing.map(|field| violation(format!("configuration.{field}"), Rule::Missing, "is required")).collect()
}

/// Whether a configuration leaves it to the marketplace into which account it is paid.
pub fn leaves_account_out(policy_type: &str, configuration: &Configuration) -> bool {
    let is_left_out = |field: &&str| configuration.get(*field).is_none_or(serde_json::Value::is_null);
    policy_type == super::NAME && ACCOUNT.iter().all(is_left_out)
}

/// Why a policy cannot stand beside these others: a caller's token serves once, and for one account.
pub(in crate::policy) fn conflicts(policy: &domain::Policy, others: &[domain::Policy]) -> Vec<Violation> {
    let Ok(config) = schema::read::<Config>(&policy.configuration) else { return Vec::new() };
    let differs = |other: &domain::Policy| {
        let other_config = schema::read::<Config>(&other.configuration).ok()?;
        let field = config.differs(&other_config)?;
        let message =
            format!("must be as in policy '{}': a query is paid in one sum, into one account", other.name);
        Some(violation(format!("configuration.{field}"), Rule::OneOf, message))
    };
    others.iter().find_map(differs).into_iter().collect()
}

fn usd() -> String {
    "USD".to_owned()
}
