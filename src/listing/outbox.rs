//! The outbox, delivered: what marketplaces should know and do not know yet.

use std::{collections::HashMap, panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Inner, Listings, Trouble};
use crate::{
    domain::{Listing, Marketplace, MarketplaceId},
    error::{Error, UpstreamError},
    hub::Liveness,
    store::Told,
    telemetry::metrics,
};

/// Listings that are told at once.
const AT_ONCE: usize = 16;
/// How many are taken at a time: a slow marketplace cannot take all places.
const BATCH: usize = 4;
/// How often work is looked for that other replicas have left.
const LOOK: Duration = Duration::from_secs(1);
/// How long telling one may take: less than a claim holds (`store::CLAIM`).
const LIMIT: Duration = Duration::from_secs(50);
/// How long what has begun may take at the end.
const GRACE: Duration = Duration::from_secs(5);
/// The longest wait before a marketplace that does not answer is told again.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// When one that refuses is told again, for it may not have meant it.
const AFTER_REFUSAL: Duration = Duration::from_secs(900);

impl Listings {
    /// Tells marketplaces what they should know, until `shutdown`. Any number of replicas may do so.
    pub async fn deliver(&self, shutdown: CancellationToken) {
        let (tasks, mut running, mut busy) = (TaskTracker::new(), FuturesUnordered::new(), Busy::default());
        while !shutdown.is_cancelled() {
            let woken = self.inner.store.outbox();
            let free = AT_ONCE.saturating_sub(running.len());
            let claimed = self.inner.claim(&busy, free).await;
            let is_more = !claimed.is_empty();
            for listing in claimed {
                busy.begin(listing.marketplace_id);
                let inner = self.inner.clone();
                running.push(tasks.spawn(async move {
                    let marketplace = listing.marketplace_id;
                    // Its place is free again, whatever happens.
                    let carried = AssertUnwindSafe(inner.carry_out(listing)).catch_unwind().await;
                    if carried.is_err() {
                        tracing::error!(%marketplace, "telling a marketplace panicked");
                    }
                    marketplace
                }));
            }
            if is_more && running.len() < AT_ONCE {
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = woken => {}
                Some(done) = running.next() => busy.end(done.ok()),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        tasks.close();
        if timeout(GRACE, tasks.wait()).await.is_err() {
            running.iter().for_each(tokio::task::JoinHandle::abort);
            tasks.wait().await;
        }
        // Another replica may go on at once.
        if let Err(error) = self.inner.store.release_listings(self.inner.holder).await {
            tracing::debug!(cause = error.cause(), "claims were not given up");
        }
    }
}

/// How many listings of each marketplace are being told.
#[derive(Default)]
struct Busy(HashMap<MarketplaceId, usize>);

impl Busy {
    fn begin(&mut self, marketplace: MarketplaceId) {
        *self.0.entry(marketplace).or_default() += 1;
    }

    fn end(&mut self, marketplace: Option<MarketplaceId>) {
        let Some(marketplace) = marketplace else { return };
        if let Some(count) = self.0.get_mut(&marketplace) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&marketplace);
            }
        }
    }

    /// Those that have their share.
    fn full(&self) -> Vec<MarketplaceId> {
        self.0.iter().filter(|(_, count)| **count >= BATCH).map(|(id, _)| *id).collect()
    }
}

impl Inner {
    async fn claim(&self, busy: &Busy, free: usize) -> Vec<Listing> {
        let claimed = self.store.claim_listings(self.holder, busy.full(), free.min(BATCH) as u64).await;
        claimed.unwrap_or_else(|error| {
            tracing::warn!(cause = error.cause(), "the outbox cannot be read");
            Vec::new()
        })
    }

    /// Tells a marketplace of one listing, and records how it ended.
    async fn carry_out(&self, listing: Listing) {
        let told = match timeout(LIMIT, self.tell(&listing)).await {
            Ok(Ok(told)) => told,
            Ok(Err((trouble, marketplace))) => failed(&listing, &trouble, marketplace.as_ref()),
            Err(_) => {
                let late = UpstreamError::unavailable("it did not answer in time");
                failed(&listing, &late.into(), None)
            }
        };
        let outcome = match told {
            Told::Listed { .. } | Told::Gone => "told",
            Told::Later { .. } => "later",
            Told::Refused { .. } => "refused",
        };
        self.metrics.marketplace_calls.get_or_create(&metrics::Told { what: "listing", outcome }).inc();
        if outcome != "told" {
            let (slug, marketplace) = (&listing.slug, listing.marketplace_id);
            tracing::warn!(slug, %marketplace, "a marketplace could not be told of an endpoint");
        }
        let was_last = told == Told::Gone;
        if let Err(error) = self.store.settle_listing(self.holder, &listing, told).await {
            tracing::warn!(cause = error.cause(), "what a marketplace was told is not recorded");
        }
        if was_last && let Err(error) = self.store.forget_marketplaces().await {
            tracing::warn!(cause = error.cause(), "a marketplace is not forgotten");
        }
        self.told.send_modify(|count| *count += 1);
    }

    async fn tell(&self, listing: &Listing) -> Result<Told, (Trouble, Option<Marketplace>)> {
        let marketplace = self.store.marketplace_of(listing).await.map_err(|e| (e.into(), None))?;
        let told = match (listing.is_removal, marketplace.is_active) {
            (true, _) => self.tell_removal(listing, &marketplace).await,
            (false, true) => self.tell_endpoint(listing, marketplace.clone()).await,
            (false, false) => Err(Trouble::Inactive),
        };
        told.map_err(|trouble| (trouble, Some(marketplace)))
    }

    async fn tell_removal(&self, listing: &Listing, marketplace: &Marketplace) -> Result<Told, Trouble> {
        self.hub.unpublish(marketplace, &listing.slug).await?;
        Ok(Told::Gone)
    }

    /// The endpoint as it is now, then that it is alive.
    async fn tell_endpoint(&self, listing: &Listing, marketplace: Marketplace) -> Result<Told, Trouble> {
        let tenant = self.store.tenant_by_id(listing.tenant_id).await?;
        let plan = self.store.plan(tenant.id, &listing.slug).await?;
        let publication = self.publication(&tenant, &plan)?;
        let url = self.url(tenant.id).await?;
        let marketplace = self.announce(tenant.id, marketplace, &url).await?;
        self.hub.publish(&marketplace, &publication).await?;
        // It is listed: whatever happens now, the reports will tell.
        let alive = self.health.is_alive(&tenant, &plan.endpoint).await?;
        let liveness = [Liveness { slug: listing.slug.clone(), healthy: alive }];
        let is_reported = self.report_now(&marketplace, &url, &liveness).await;
        Ok(Told::Listed { alive: is_reported.then_some(alive) })
    }
}

fn failed(listing: &Listing, trouble: &Trouble, marketplace: Option<&Marketplace>) -> Told {
    let error = trouble.words(marketplace);
    match trouble {
        Trouble::Hub(fault) if fault.is_final() => Told::Refused { error, after: Some(AFTER_REFUSAL) },
        Trouble::Hub(fault) => Told::Later { error, after: wait(listing, fault.retry_after()) },
        // It may come with the configuration, of which nobody hears.
        Trouble::NoPublicUrl => Told::Refused { error, after: Some(AFTER_REFUSAL) },
        Trouble::Limits(_) | Trouble::Inactive => Told::Refused { error, after: None },
        // Deleted a moment ago: what is wanted now says so.
        Trouble::Store(Error::EndpointNotFound(_)) => Told::Refused { error, after: None },
        Trouble::Store(_) => Told::Later { error, after: wait(listing, None) },
    }
}

/// Twice as long each time, and not the same for all.
fn wait(listing: &Listing, asked: Option<Duration>) -> Duration {
    let doublings = u32::try_from(listing.attempts.clamp(0, 16)).unwrap_or(16);
    let wait = Duration::from_secs(1).saturating_mul(1 << doublings).min(MAX_WAIT);
    let spread = u32::from(listing.id.0.as_bytes()[15]) % 32;
    (wait + wait * spread / 100).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_marketplace_are_given_back() {
        let (mut busy, id) = (Busy::default(), MarketplaceId::new());
        (0..BATCH).for_each(|_| busy.begin(id));
        assert_eq!(busy.full(), [id]);
        (0..BATCH).for_each(|_| busy.end(Some(id)));
        assert!(busy.full().is_empty() && busy.0.is_empty());
    }
}
