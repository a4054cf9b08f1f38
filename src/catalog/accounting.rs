//! The account that answers are paid into, where its owner leaves it to the marketplace.

use serde_json::json;

use super::Catalog;
use crate::{
    domain::{Configuration, Tenant, rules::violation},
    error::{Error, Rule},
    policy::leaves_account_out,
};

/// The field of which it is told that there is no account.
const FIELD: &str = "policy.configuration.accounting_url";

impl Catalog {
    /// A configuration with the accounting account of the tenant's default marketplace, if it has none of its
    /// own and needs one. It is the policy's from then on, and sealed as any other.
    ///
    /// # Errors
    /// `Invalid` when there is no marketplace that could give one, or it has none; `Hub`, `HubRefused`,
    /// `StoreUnavailable`.
    pub(super) async fn with_account(
        &self,
        tenant: &Tenant,
        policy_type: &str,
        mut configuration: Configuration,
    ) -> Result<Configuration, Error> {
        if !leaves_account_out(policy_type, &configuration) {
            return Ok(configuration);
        }
        let missing = |why: &str| {
            let message = format!("is required, and so are accounting_email and accounting_password: {why}");
            Err(Error::Invalid(vec![violation(FIELD, Rule::Missing, message)]))
        };
        let marketplaces = self.store.active_marketplaces(tenant.id).await?;
        let Some(default) = marketplaces.iter().find(|marketplace| marketplace.is_default) else {
            return missing("no marketplace is connected that could give an account");
        };
        let Some(account) = self.hub.accounting(default).await? else {
            return missing("the default marketplace has no accounting account for you");
        };
        for (field, value) in [
            ("accounting_url", account.url),
            ("accounting_email", account.email),
            ("accounting_password", secrecy::ExposeSecret::expose_secret(&account.password).to_owned()),
        ] {
            configuration.insert(field.to_owned(), json!(value));
        }
        Ok(configuration)
    }
}
