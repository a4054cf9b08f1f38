//! The hub's own sync: everything that an account lists, replaced. Only on request: it takes away what other
//! spaces have published under the same account.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::{Inner, Listings, Synced, Trouble, sync::failed};
use crate::{
    domain::{Listing, Marketplace, Tenant},
    error::UpstreamError,
    hub::{Liveness, Publication},
    store::Told,
};

/// How long it may take: less than a claim holds.
const LIMIT: Duration = Duration::from_secs(50);
/// How often it is looked whether what others tell the marketplace has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What an account is to list.
struct Everything {
    wanted: Vec<(Listing, Publication, bool)>,
    unwanted: Vec<Listing>,
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
            let replaced = timeout(LIMIT, inner.replace(&tenant, &marketplace, holder)).await;
            // What was not settled is told one by one.
            inner.store.release_listings(holder).await?;
            replaced.unwrap_or_else(|_| Err(late.into()))
        });
        replaced.await.map_err(crate::error::Error::internal)?
    }
}

impl Inner {
    async fn replace(
        &self,
        tenant: &Tenant,
        marketplace: &Marketplace,
        holder: Uuid,
    ) -> Result<Synced, Trouble> {
        let claimed = loop {
            match self.store.claim_marketplace(tenant.id, marketplace.id, holder).await? {
                Some(claimed) => break claimed,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        let all = self.everything(tenant, claimed).await?;
        let (count, limit) = (all.wanted.len(), self.config.max_sync_endpoints);
        if count > limit {
            let words = format!("{count} endpoints are more than the {limit} that one call replaces");
            return Ok(failed(marketplace, words));
        }
        let is_reported = self.tell_everything(tenant, marketplace.clone(), &all).await?;
        for (listing, _, alive) in &all.wanted {
            let told = Told::Listed { alive: is_reported.then_some(*alive) };
            self.store.settle_listing(holder, listing, told).await?;
        }
        for listing in &all.unwanted {
            self.store.settle_listing(holder, listing, Told::Gone).await?;
        }
        let slugs: Vec<String> = all.wanted.iter().map(|(listing, ..)| listing.slug.clone()).collect();
        let removed = all.unwanted.iter().map(|listing| listing.slug.clone()).collect();
        Ok(Synced {
            published: slugs.clone(),
            slugs,
            removed,
            error: None,
            ..failed(marketplace, String::new())
        })
    }

    /// Says whether the hub knows which of them are alive: it forgets that when everything is replaced.
    async fn tell_everything(
        &self,
        tenant: &Tenant,
        marketplace: Marketplace,
        all: &Everything,
    ) -> Result<bool, Trouble> {
        let url = self.url(tenant.id).await?;
        let marketplace = self.announce(tenant.id, marketplace, &url).await?;
        let publications: Vec<Publication> = all.wanted.iter().map(|(_, new, _)| new.clone()).collect();
        self.hub.replace_all(&marketplace, &publications).await?;
        let alive = |(listing, _, healthy): &(Listing, Publication, bool)| Liveness {
            slug: listing.slug.clone(),
            healthy: *healthy,
        };
        let alive: Vec<Liveness> = all.wanted.iter().map(alive).collect();
        Ok(alive.is_empty() || self.hub.report(&marketplace, &url, &alive, self.ttl_s()).await.is_ok())
    }

    async fn everything(&self, tenant: &Tenant, claimed: Vec<Listing>) -> Result<Everything, Trouble> {
        let (unwanted, rest) = claimed.into_iter().partition(|listing| listing.is_removal);
        let mut all = Everything { wanted: Vec::new(), unwanted };
        let mut violations = Vec::new();
        for listing in rest {
            let plan = self.store.plan(tenant.id, &listing.slug).await?;
            let alive = self.health.is_alive(tenant, &plan.endpoint).await?;
            match self.publication(tenant, &plan) {
                Ok(publication) => all.wanted.push((listing, publication, alive)),
                Err(Trouble::Limits(found)) => {
                    violations.extend(found.into_iter().map(|mut one| {
                        one.field = format!("{}: {}", listing.slug, one.field);
                        one
                    }));
                }
                Err(trouble) => return Err(trouble),
            }
        }
        if violations.is_empty() { Ok(all) } else { Err(Trouble::Limits(violations)) }
    }
}
