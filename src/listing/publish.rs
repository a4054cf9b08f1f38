//! What owners do: list an endpoint on marketplaces, and take it off them.

use std::time::Duration;

use futures_util::future;
use tokio::time::{Instant, timeout_at};

use super::{Listings, Trouble};
use crate::{
    domain::{Listing, ListingState, Marketplace, MarketplaceId, Tenant, rules, rules::violation},
    error::{Error, Resource, Rule},
};

/// How long a call waits for marketplaces. What takes longer goes on in the background.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often it looks for what other replicas have told them.
const LOOK: Duration = Duration::from_millis(250);

/// Which marketplaces a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// All active ones.
    All,
    These(Vec<MarketplaceId>),
}

/// What became of a call on one marketplace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub marketplace_id: MarketplaceId,
    pub marketplace_name: String,
    /// What has been done, or what went wrong, for the owner.
    pub words: Result<String, String>,
    /// Whether it is tried again in the background.
    pub is_pending: bool,
}

/// Whether a slug is free on one marketplace, or why that is not known.
pub type Availability = (MarketplaceId, Result<bool, String>);

impl Listings {
    /// Lists an endpoint on marketplaces, or tells them what it is like now. May be repeated. Waits for them
    /// for 40 s at most. The caller may go away: what has been begun goes on.
    ///
    /// # Errors
    /// `EndpointNotFound`; `NotFound` for a marketplace; `Invalid` when none is named, and when all are and
    /// there is none; `StoreUnavailable`. What goes wrong on one marketplace is in its outcome.
    pub async fn publish(&self, tenant: &Tenant, slug: &str, on: Chosen) -> Result<Vec<Outcome>, Error> {
        let store = &self.inner.store;
        let plan = store.plan(tenant.id, slug).await?;
        let marketplaces = self.chosen(tenant, on).await?;
        let stopper = match self.inner.publication(tenant, &plan) {
            Err(trouble) => Some(trouble),
            Ok(_) => self.inner.url(tenant.id).await.err(),
        };
        let stopper = match stopper {
            Some(Trouble::Store(error)) => return Err(error),
            stopper => stopper.map(|trouble| trouble.words(None)),
        };
        let refusal = |one: &Marketplace| unusable(one).or_else(|| stopper.clone());
        let (refused, ready): (Vec<_>, Vec<_>) =
            marketplaces.into_iter().map(|one| (refusal(&one), one)).partition(|(why, _)| why.is_some());
        let ready: Vec<MarketplaceId> = ready.into_iter().map(|(_, one)| one.id).collect();
        let mut outcomes: Vec<Outcome> = refused.into_iter().map(|(why, one)| refused_by(one, why)).collect();
        if !ready.is_empty() {
            let wanted = store.want_listed(tenant.id, slug, ready).await?;
            let open =
                if plan.endpoint.published { "" } else { "; it answers no query until `published` is set" };
            let done =
                |listing: &Listing| format!("Published successfully to {}{open}", listing.marketplace_name);
            outcomes.extend(self.outcomes(tenant, wanted, done).await?);
        }
        Ok(outcomes)
    }

    /// Takes an endpoint off marketplaces, or off all. Where it is not, nothing happens. May be repeated.
    /// Waits as [`Listings::publish`] does.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn unpublish(
        &self,
        tenant: &Tenant,
        slug: &str,
        from: Vec<MarketplaceId>,
    ) -> Result<Vec<Outcome>, Error> {
        let unwanted = self.inner.store.want_removed(tenant.id, slug, from).await?;
        let done = |listing: &Listing| format!("Unpublished successfully from {}", listing.marketplace_name);
        self.outcomes(tenant, unwanted, done).await
    }

    /// Whether a slug is free on marketplaces, among the endpoints of the owner's accounts.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn availability(
        &self,
        tenant: &Tenant,
        slug: &str,
        on: Chosen,
    ) -> Result<Vec<Availability>, Error> {
        let mut missing = Vec::new();
        let found = match on {
            Chosen::All => self.inner.store.active_marketplaces(tenant.id).await?,
            Chosen::These(ids) => {
                let mut found = Vec::new();
                for id in ids {
                    match self.inner.store.marketplace(tenant.id, id).await {
                        Ok(marketplace) => found.push(marketplace),
                        Err(Error::NotFound(..)) => {
                            missing.push((id, Err("Marketplace not found".to_owned())))
                        }
                        Err(error) => return Err(error),
                    }
                }
                found
            }
        };
        let asked = found.iter().map(async |one| {
            let free = match unusable(one) {
                Some(why) => Err(why),
                None => {
                    self.inner.hub.is_listed(one, slug).await.map(|listed| !listed).map_err(|e| e.words())
                }
            };
            (one.id, free)
        });
        missing.extend(future::join_all(asked).await);
        Ok(missing)
    }

    /// The marketplaces that a call names.
    pub(super) async fn chosen(&self, tenant: &Tenant, chosen: Chosen) -> Result<Vec<Marketplace>, Error> {
        let store = &self.inner.store;
        match chosen {
            Chosen::All => {
                let active = store.active_marketplaces(tenant.id).await?;
                let none =
                    || vec![violation("all_marketplaces", Rule::Unknown, "No active marketplaces found")];
                if active.is_empty() { Err(none().into()) } else { Ok(active) }
            }
            Chosen::These(ids) if ids.is_empty() => {
                let message = "Either marketplace_ids or all_marketplaces must be provided";
                Err(vec![violation("marketplace_ids", Rule::Missing, message)].into())
            }
            Chosen::These(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                let found = future::join_all(ids.iter().map(|id| store.marketplace(tenant.id, *id))).await;
                let missing = |(id, found): (&MarketplaceId, &Result<_, Error>)| {
                    matches!(found, Err(Error::NotFound(..))).then(|| id.to_string())
                };
                let missing: Vec<String> = ids.iter().zip(&found).filter_map(missing).collect();
                if missing.is_empty() {
                    return found.into_iter().collect();
                }
                Err(Error::NotFound(Resource::Marketplace, missing.join(", ")))
            }
        }
    }

    /// Waits until marketplaces have been told of listings, and says how it went.
    async fn outcomes(
        &self,
        tenant: &Tenant,
        begun: Vec<Listing>,
        done: impl Fn(&Listing) -> String,
    ) -> Result<Vec<Outcome>, Error> {
        let ended = self.wait_for(tenant, &begun).await?;
        let outcome = |listing: Listing| {
            let now = ended.iter().find(|one| one.id == listing.id);
            let is_done = now.is_none_or(|now| now.state == ListingState::Published);
            let error = || match now {
                Some(now) if !now.last_error.is_empty() => now.last_error.clone(),
                _ => format!("{} has not answered yet", listing.marketplace_name),
            };
            Outcome {
                marketplace_id: listing.marketplace_id,
                words: if is_done { Ok(done(&listing)) } else { Err(error()) },
                is_pending: now.is_some_and(|now| now.state == ListingState::Pending),
                marketplace_name: listing.marketplace_name,
            }
        };
        Ok(begun.into_iter().map(outcome).collect())
    }

    /// What has become of listings once marketplaces have been told of them, well or badly.
    pub(super) async fn wait_for(&self, tenant: &Tenant, begun: &[Listing]) -> Result<Vec<Listing>, Error> {
        let ids: Vec<_> = begun.iter().map(|listing| listing.id).collect();
        let (deadline, mut told) = (Instant::now() + PATIENCE, self.inner.told.subscribe());
        loop {
            told.mark_unchanged();
            let now = self.inner.store.listings(tenant.id, &ids).await?;
            let is_open = |listing: &Listing| listing.state == ListingState::Pending && listing.attempts == 0;
            if !now.iter().any(is_open) || Instant::now() >= deadline {
                return Ok(now);
            }
            let look = (Instant::now() + LOOK).min(deadline);
            // Another replica may have told them: then nothing wakes us here.
            let _ = timeout_at(look, told.changed()).await;
        }
    }
}

fn refused_by(marketplace: Marketplace, why: Option<String>) -> Outcome {
    Outcome {
        marketplace_id: marketplace.id,
        marketplace_name: marketplace.name,
        words: Err(why.unwrap_or_default()),
        is_pending: false,
    }
}

/// Why nothing can be told a marketplace.
pub(super) fn unusable(marketplace: &Marketplace) -> Option<String> {
    if !marketplace.is_active {
        return Some(Trouble::Inactive.words(None));
    }
    marketplace.credential.is_none().then(|| "Marketplace credentials not configured".to_owned())
}

/// The ids that a caller names.
///
/// # Errors
/// Those that are none.
pub fn marketplace_ids(texts: &[String]) -> Result<Vec<MarketplaceId>, Error> {
    let mut check = rules::Check::default();
    let ids = texts.iter().enumerate().map(|(place, text)| {
        let id = text.parse().map(MarketplaceId);
        check.take(
            id.map_err(|_| violation(format!("marketplace_ids.{place}"), Rule::Pattern, "must be a UUID")),
        )
    });
    let ids: Option<Vec<_>> = ids.collect::<Vec<_>>().into_iter().collect();
    check.with(ids)
}
