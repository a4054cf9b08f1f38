//! The hub's own sync: everything that an account lists, replaced. Only on request: it takes away what other
//! spaces have published under the same account.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::{Inner, Listings, Synced, Trouble, sync::failed};
use crate::{
    domain::{Listing, Marketplace, Tenant, rules::violation},
    error::{Error, Rule, UpstreamError, Violation},
    hub::{Liveness, Publication},
    store::Told,
};

/// How long it may take before it is sent: a claim holds for as long as two calls of a hub longer.
const LIMIT: Duration = Duration::from_secs(40);
/// How often it is looked whether what others tell the marketplace has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What an account is to list.
struct Everything {
    marketplace: Marketplace,
    /// Where the space is.
    url: String,
    wanted: Vec<Wanted>,
    unwanted: Vec<Listing>,
}

/// One of them.
struct Wanted {
    listing: Listing,
    publication: Publication,
    alive: bool,
}

impl Listings {
    /// Runs on even if the caller goes away: half of it would be worse.
    pub(super) async fn replace(
        &self,
        tenant: &Tenant,
        marketplace: &Marketplace,
    ) -> Result<Synced, Trouble> {
        let (inner, tenant, marketplace) = (self.inner.clone(), tenant.clone(), marketplace.clone());
        let replaced = self.inner.tasks.spawn(async move {
            let (holder, late) = (Uuid::now_v7(), UpstreamError::unavailable("it did not answer in time"));
            let replaced = match timeout(LIMIT, inner.everything(&tenant, marketplace, holder)).await {
                Ok(Ok(all)) => inner.replace(all, holder).await,
                Ok(Err(trouble)) => Err(trouble),
                Err(_) => Err(late.into()),
            };
            inner.store.release_listings(holder).await?;
            replaced
        });
        replaced.await.map_err(Error::internal)?
    }
}

impl Inner {
    /// Claims all that concerns a marketplace, and tells it where the space is.
    async fn everything(
        &self,
        tenant: &Tenant,
        marketplace: Marketplace,
        holder: Uuid,
    ) -> Result<Everything, Trouble> {
        let claimed = loop {
            match self.store.claim_marketplace(tenant.id, marketplace.id, holder).await? {
                Some(claimed) => break claimed,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        let (unwanted, wanted): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|listing| listing.is_removal);
        let wanted = self.wanted(tenant, wanted).await?;
        let url = self.url(tenant.id).await?;
        let marketplace = self.announce(tenant.id, marketplace, &url).await?;
        Ok(Everything { marketplace, url, wanted, unwanted })
    }

    async fn wanted(&self, tenant: &Tenant, listings: Vec<Listing>) -> Result<Vec<Wanted>, Trouble> {
        let (count, limit) = (listings.len(), self.config.max_sync_endpoints);
        if count > limit {
            let message = format!("are {count}, and one call replaces {limit} at most");
            return Err(Trouble::Limits(vec![violation("endpoints", Rule::TooLong(limit), message)]));
        }
        let (mut publications, mut endpoints, mut violations) = (Vec::new(), Vec::new(), Vec::new());
        for listing in &listings {
            let plan = self.store.plan(tenant.id, &listing.slug).await?;
            match self.publication(tenant, &plan) {
                Ok(publication) => publications.push(publication),
                Err(Trouble::Limits(found)) => {
                    let named = |one: Violation| Violation {
                        field: format!("{}: {}", listing.slug, one.field),
                        ..one
                    };
                    violations.extend(found.into_iter().map(named));
                }
                Err(trouble) => return Err(trouble),
            }
            endpoints.push(plan.endpoint);
        }
        if !violations.is_empty() {
            return Err(Trouble::Limits(violations));
        }
        let alive = self.health.are_alive(tenant, endpoints).await?;
        let all = listings.into_iter().zip(publications).zip(alive);
        Ok(all.map(|((listing, publication), alive)| Wanted { listing, publication, alive }).collect())
    }

    async fn replace(&self, all: Everything, holder: Uuid) -> Result<Synced, Trouble> {
        let is_reported = self.tell_everything(&all, holder).await?;
        for Wanted { listing, alive, .. } in &all.wanted {
            let told = Told::Listed { alive: is_reported.then_some(*alive) };
            self.store.settle_listing(holder, listing, told).await?;
        }
        for listing in &all.unwanted {
            self.store.settle_listing(holder, listing, Told::Gone).await?;
        }
        let slugs: Vec<String> = all.wanted.iter().map(|one| one.listing.slug.clone()).collect();
        let removed = all.unwanted.iter().map(|listing| listing.slug.clone()).collect();
        let nothing = failed(&all.marketplace, String::new());
        Ok(Synced { published: slugs.clone(), slugs, removed, error: None, ..nothing })
    }

    /// Says whether the hub knows which of them are alive: it forgets that when everything is replaced.
    async fn tell_everything(&self, all: &Everything, holder: Uuid) -> Result<bool, Trouble> {
        let publications: Vec<Publication> = all.wanted.iter().map(|one| one.publication.clone()).collect();
        let replaced = self.hub.replace_all(&all.marketplace, &publications).await;
        // What has been published meanwhile may have been replaced too, also by a call that failed.
        self.store.tell_others_again(all.marketplace.id, holder).await?;
        replaced?;
        let liveness = |one: &Wanted| Liveness { slug: one.listing.slug.clone(), healthy: one.alive };
        let liveness: Vec<Liveness> = all.wanted.iter().map(liveness).collect();
        Ok(self.report_now(&all.marketplace, &all.url, &liveness).await)
    }
}
