//! Where this space is: told to a hub before anything is published there, and again when it changes.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::{Inner, Listings, Trouble};
use crate::domain::{Marketplace, MarketplaceId, Tenant, TenantId};

/// How long the one who tells a hub keeps others from doing so too: longer than its three calls take.
const TERM: Duration = Duration::from_secs(40);
/// How often the others look whether it is done.
const LOOK: Duration = Duration::from_millis(100);
/// How long who connects a marketplace waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Listings {
    /// Tells a hub that has just been connected where the space is, if that is known. Whatever is published
    /// there will try again.
    pub async fn introduce(&self, tenant: &Tenant, marketplace: Marketplace) {
        let introduced = async {
            let Some(url) = self.inner.public_url(tenant.id).await? else { return Ok(()) };
            self.inner.announce(tenant.id, marketplace, &url).await.map(|_| ())
        };
        // What the hub says is for the owner alone.
        if !matches!(timeout(PATIENCE, introduced).await, Ok(Ok(()))) {
            tracing::warn!("a marketplace was not told where this space is");
        }
    }
}

impl Inner {
    /// Makes sure that a hub knows where the space is, and returns the marketplace as it is then. One
    /// replica tells it: of two, newer hubs would know two spaces. Waits for another that does so.
    ///
    /// # Errors
    /// What the hub says; the database's.
    pub(super) async fn announce(
        &self,
        tenant: TenantId,
        marketplace: Marketplace,
        url: &str,
    ) -> Result<Marketplace, Trouble> {
        if knows(&marketplace, url) {
            return Ok(marketplace);
        }
        let (lease, holder) = (format!("announce/{}", marketplace.id), Uuid::now_v7());
        while self.store.acquire_lease(&lease, holder, TERM).await?.is_none() {
            tokio::time::sleep(LOOK).await;
        }
        let announced = self.tell_url(tenant, marketplace.id, url).await;
        self.store.release_lease(&lease, holder).await?;
        announced
    }

    async fn tell_url(&self, tenant: TenantId, id: MarketplaceId, url: &str) -> Result<Marketplace, Trouble> {
        let marketplace = self.store.marketplace(tenant, id).await?;
        // Somebody may have done it meanwhile.
        if knows(&marketplace, url) {
            return Ok(marketplace);
        }
        let satellite_id = self.hub.announce(&marketplace, url).await?;
        self.store.announced(tenant, marketplace.id, satellite_id.clone(), url.to_owned()).await?;
        Ok(Marketplace { satellite_id, announced_url: Some(url.to_owned()), ..marketplace })
    }
}

fn knows(marketplace: &Marketplace, url: &str) -> bool {
    marketplace.announced_url.as_deref() == Some(url)
}
