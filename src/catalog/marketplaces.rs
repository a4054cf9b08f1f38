//! Marketplaces: the owner's accounts on hubs, and where hubs find this space.

use secrecy::{ExposeSecret, SecretString};

use super::{
    Catalog, Page, PageRequest,
    page::{self, Listing},
};
use crate::{
    domain::{
        Credential, Marketplace, MarketplaceDetail, MarketplaceId, NewMarketplace, Tenant,
        rules::{self, Check},
    },
    error::{Error, Resource, Rule, UpstreamError, Violation},
    hub::{HubError, Profile, Registered, Registration},
};

/// An account to be made, as it was asked for: nothing is checked.
pub struct RegistrationDraft {
    pub name: String,
    pub username: String,
    pub email: String,
    pub password: SecretString,
    /// Empty: the configured default.
    pub url: String,
}

/// A proof of an e-mail address, as it came: nothing is checked.
pub struct ProofDraft {
    pub email: String,
    pub password: SecretString,
    pub code: SecretString,
    /// Empty: the configured default.
    pub url: String,
}

/// An account to be entered, as it came: nothing is checked.
pub struct ConnectionDraft {
    pub username: String,
    pub password: SecretString,
    pub api_token: SecretString,
    /// Empty: the configured default.
    pub url: String,
}

impl Catalog {
    /// Makes an account on a hub and connects to it; `None` when its e-mail address has to be proved first.
    ///
    /// # Errors
    /// `Invalid`, `MarketplaceConfigured`, `Hub`, `HubRefused`, `StoreUnavailable`.
    pub async fn register_marketplace(
        &self,
        tenant: &Tenant,
        draft: RegistrationDraft,
    ) -> Result<Option<MarketplaceDetail>, Error> {
        let mut check = Check::default();
        let full_name = check.take(rules::full_name("name", &draft.name));
        let username = check.take(rules::username("username", &draft.username));
        let email = check.take(rules::email("email", &draft.email));
        check.take(rules::new_password("password", draft.password.expose_secret()));
        let url = check.take(self.hub_url(&draft.url));
        let checked = full_name.zip(username).zip(email.zip(url));
        let ((full_name, username), (email, url)) = check.with(checked)?;
        self.refuse_configured(tenant, &url).await?;
        let new = Registration { username, email, full_name, password: draft.password.clone() };
        let Registered::Done(profile) = self.hub.register(&url, &new).await? else { return Ok(None) };
        self.connected(tenant, url, profile, Credential::Password(draft.password)).await.map(Some)
    }

    /// Proves the e-mail address of a new account and connects to it.
    ///
    /// # Errors
    /// `Invalid`, `MarketplaceConfigured`, `Hub`, `HubRefused`, `StoreUnavailable`.
    pub async fn verify_otp(&self, tenant: &Tenant, draft: ProofDraft) -> Result<MarketplaceDetail, Error> {
        let mut check = Check::default();
        let email = check.take(rules::email("email", &draft.email));
        check.take(rules::password("password", draft.password.expose_secret()));
        check.take(rules::code("code", draft.code.expose_secret()));
        let url = check.take(self.hub_url(&draft.url));
        let (email, url) = check.with(email.zip(url))?;
        self.refuse_configured(tenant, &url).await?;
        let profile = self.hub.verify_otp(&url, &email, draft.code.expose_secret()).await?;
        let credential = Credential::Password(draft.password);
        // The hub has looked at the code alone. A wrong password is told now, not when it is first used.
        match self.hub.enter(&url, &profile.username, &credential).await {
            Err(refused) if refused.is_final() => Err(refused.into()),
            _ => self.connected(tenant, url, profile, credential).await,
        }
    }

    /// Has a hub send another code. Says nothing of whether there is such an account.
    ///
    /// # Errors
    /// `Invalid`, `Hub` when the hub cannot be asked.
    pub async fn resend_otp(&self, email: &str, url: &str) -> Result<(), Error> {
        let mut check = Check::default();
        let (email, url) = (check.take(rules::email("email", email)), check.take(self.hub_url(url)));
        let (email, url) = check.with(email.zip(url))?;
        match self.hub.resend_otp(&url, &email).await {
            Err(error) if !is_answer(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Connects to an account that exists.
    ///
    /// # Errors
    /// `Invalid`, `MarketplaceConfigured`, `Hub`, `HubRefused` also for a wrong credential,
    /// `StoreUnavailable`.
    pub async fn connect_marketplace(
        &self,
        tenant: &Tenant,
        draft: ConnectionDraft,
    ) -> Result<MarketplaceDetail, Error> {
        let mut check = Check::default();
        let url = check.take(self.hub_url(&draft.url));
        let username = draft.username.clone();
        let credential = credential(&mut check, draft);
        let (url, credential) = check.with(url.zip(credential))?;
        self.refuse_configured(tenant, &url).await?;
        let profile = self.hub.enter(&url, &username, &credential).await?;
        self.connected(tenant, url, profile, credential).await
    }

    /// A marketplace.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `StoreUnavailable`.
    pub async fn marketplace(&self, tenant: &Tenant, id: &str) -> Result<MarketplaceDetail, Error> {
        self.detail(tenant, marketplace_id(id)?).await
    }

    /// A page of the tenant's marketplaces.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn marketplaces(
        &self,
        tenant: &Tenant,
        request: &PageRequest,
    ) -> Result<Page<MarketplaceDetail>, Error> {
        let listing = Listing::new(&self.store, tenant.id, "marketplaces", request)?;
        let tallies = self.store.tallies(tenant.id).await?;
        let detail = |marketplace: Marketplace| {
            let tally = tallies.get(&marketplace.id).copied().unwrap_or_default();
            MarketplaceDetail { marketplace, tally }
        };
        let next = async |after, limit| {
            let found = self.store.marketplaces(tenant.id, page::id(after), limit).await?;
            Ok(found.into_iter().map(detail).collect())
        };
        listing.read(next).await
    }

    /// Disconnects a marketplace.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `MarketplaceConfigured`, `StoreUnavailable`.
    pub async fn delete_marketplace(&self, tenant: &Tenant, id: &str) -> Result<(), Error> {
        self.store.disconnect_marketplace(tenant.id, marketplace_id(id)?).await
    }

    /// Whether an account of a hub could have this name.
    ///
    /// # Errors
    /// `Invalid`, `Hub`, `HubRefused`.
    pub async fn is_username_free(&self, username: &str, url: &str) -> Result<bool, Error> {
        let mut check = Check::default();
        let username = check.take(rules::username("username", username));
        let url = check.take(self.hub_url(url));
        let (username, url) = check.with(username.zip(url))?;
        Ok(self.hub.is_username_free(&url, &username).await?)
    }

    /// Where marketplaces' users reach this space; `None` when nobody has said.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn public_url(&self, tenant: &Tenant) -> Result<Option<String>, Error> {
        self.listings.public_url(tenant.id).await
    }

    /// Says it, or, when it is empty, leaves it to the configuration. Returns what counts now.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn set_public_url(&self, tenant: &Tenant, url: &str) -> Result<Option<String>, Error> {
        let url = match url {
            "" => None,
            url => Some(rules::origin("public_url", url).map_err(|violation| vec![violation])?),
        };
        self.store.set_public_url(tenant.id, url).await?;
        self.public_url(tenant).await
    }

    /// Where a hub is.
    fn hub_url(&self, url: &str) -> Result<String, Violation> {
        rules::base_url("url", if url.is_empty() { &self.settings.hub.default_url } else { url })
    }

    /// Refuses before a hub hears of it what would be refused after that.
    async fn refuse_configured(&self, tenant: &Tenant, url: &str) -> Result<(), Error> {
        let active = self.store.active_marketplaces(tenant.id).await?;
        match active.iter().any(|known| known.is_configured && known.url == url) {
            true => Err(Error::MarketplaceConfigured(url.to_owned())),
            false => Ok(()),
        }
    }

    /// Stores an account that can be entered, and tells its hub where this space is.
    async fn connected(
        &self,
        tenant: &Tenant,
        url: String,
        profile: Profile,
        credential: Credential,
    ) -> Result<MarketplaceDetail, Error> {
        let username = profile.username.to_lowercase();
        if username.is_empty() || !rules::can_be_stored(&username, 100) {
            return Err(Error::Hub(UpstreamError::unavailable("it says no name of the account")));
        }
        let new = NewMarketplace {
            name: host(&url),
            username,
            url,
            issuers: self.settings.hub.issuers.clone(),
            email: rules::email("email", &profile.email).unwrap_or_default(),
            credential,
        };
        let stored = self.store.connect_marketplace(tenant.id, new).await?;
        let id = stored.id;
        self.listings.introduce(tenant, stored).await;
        self.detail(tenant, id).await
    }

    async fn detail(&self, tenant: &Tenant, id: MarketplaceId) -> Result<MarketplaceDetail, Error> {
        let marketplace = self.store.marketplace(tenant.id, id).await?;
        let tally = self.store.tallies(tenant.id).await?.remove(&id).unwrap_or_default();
        Ok(MarketplaceDetail { marketplace, tally })
    }
}

/// How an account is to be entered; in one way.
fn credential(check: &mut Check, draft: ConnectionDraft) -> Option<Credential> {
    let (password, api_token) = (draft.password.expose_secret(), draft.api_token.expose_secret());
    if api_token.is_empty() {
        check.take(rules::text("username", &draft.username, 254));
        check.take(rules::password("password", password));
        return Some(Credential::Password(draft.password));
    }
    if !draft.username.is_empty() || !password.is_empty() {
        check.fail("api_token", Rule::OneOf, "cannot be given together with username or password");
    }
    check.take(rules::api_token("api_token", api_token));
    Some(Credential::ApiToken(draft.api_token))
}

/// Whether the hub has answered, and with that said something of the account.
fn is_answer(error: &HubError) -> bool {
    error.is_final() && matches!(error.status, Some(400..=499))
}

/// What people call a hub.
fn host(url: &str) -> String {
    let name = url.split_once("://").map_or(url, |(_, name)| name);
    name.to_owned()
}

/// What is no UUID names no marketplace.
fn marketplace_id(text: &str) -> Result<MarketplaceId, Error> {
    rules::named("id", text).map_err(|violation| vec![violation])?;
    let parsed = text.parse().map(MarketplaceId);
    parsed.map_err(|_| Error::NotFound(Resource::Marketplace, text.to_owned()))
}
