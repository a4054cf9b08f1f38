//! Marketplaces: SyftHubs on which an owner has an account.

use secrecy::SecretString;
use time::OffsetDateTime;

use super::MarketplaceId;

/// An account on a SyftHub. The hub issues tokens for whoever wants to query the account's endpoints.
#[derive(Debug, Clone)]
pub struct Marketplace {
    pub id: MarketplaceId,
    pub name: String,
    /// The account's name, lower-cased: the audience of tokens for its endpoints.
    pub username: String,
    /// Where the hub is, without a slash at the end.
    pub url: String,
    /// What newer hubs call this space; an audience too.
    pub satellite_id: Option<String>,
    /// What the hub's tokens call their issuer, besides its URL.
    pub issuers: Vec<String>,
    /// The account's e-mail address; empty until the hub has said.
    pub email: String,
    /// How the account is entered; `None` when what is stored does not open with our keys.
    pub credential: Option<Credential>,
    /// Where the hub was last told that this space is.
    pub announced_url: Option<String>,
    /// Why it could not be told the last time that endpoints are alive; empty when it could.
    pub report_error: String,
    /// Whether it speaks for the owner. One of a tenant's marketplaces at most.
    pub is_default: bool,
    pub is_active: bool,
    /// Whether the service's configuration names it.
    pub is_configured: bool,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A marketplace, and how it stands with the endpoints there.
#[derive(Debug, Clone)]
pub struct MarketplaceDetail {
    pub marketplace: Marketplace,
    pub tally: Tally,
}

/// How many endpoints a marketplace knows of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many it lists.
    pub published: i64,
    /// How many it has yet to be told of.
    pub pending: i64,
    /// How many it refuses for good.
    pub failed: i64,
    /// When it was last told that one is alive, or is not.
    pub reported_at: Option<OffsetDateTime>,
}

/// How an account is entered.
#[derive(Debug, Clone)]
pub enum Credential {
    ApiToken(SecretString),
    Password(SecretString),
}

/// A marketplace to be stored.
#[derive(Debug, Clone)]
pub struct NewMarketplace {
    pub name: String,
    pub username: String,
    pub url: String,
    pub issuers: Vec<String>,
    /// Empty when it is not known.
    pub email: String,
    pub credential: Credential,
}

impl Marketplace {
    /// Whether a token for this audience is for the account.
    pub fn is_audience(&self, audience: &str) -> bool {
        self.username == audience || self.satellite_id.as_deref() == Some(audience)
    }

    /// Whether the hub's tokens name this issuer.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|known| known == issuer)
            || issuer.strip_suffix('/').unwrap_or(issuer) == self.url
    }
}
