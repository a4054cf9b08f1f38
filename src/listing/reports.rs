//! Reports: hubs switch an endpoint off of which nobody says that it is alive.
//!
//! One replica reports, the holder of a lease; another follows within an interval when it dies. When each
//! listing was last reported is in the database, so whoever reports keeps the rhythm. A report that fails is
//! repeated soon, then ever less often, and at once in the old rhythm when it succeeds.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Inner, Listings, Trouble};
use crate::{
    domain::{Endpoint, Listing, Marketplace, MarketplaceId},
    error::Error,
    hub::Liveness,
    telemetry::metrics,
};

/// Who reports.
const REPORTER: &str = "hub-reports";
/// What the leases of replicas begin with that are there.
const REPLICA: &str = "replica/";
/// The longest wait after reports that failed.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Marketplaces that are told at once.
const AT_ONCE: usize = 8;
/// Endpoints whose health is checked at once.
const CHECKS: usize = 16;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A replica that may be the one that reports.
struct Reporter<'a> {
    inner: &'a Inner,
    replica: String,
    failing: HashMap<MarketplaceId, Failing>,
}

/// A marketplace that could not be told.
struct Failing {
    attempts: u32,
    until: Instant,
}

impl Listings {
    /// Tells marketplaces which endpoints are alive, until `shutdown`. The last replica that stops says that
    /// none is.
    pub async fn report(&self, shutdown: CancellationToken) {
        let replica = format!("{REPLICA}{}", self.inner.holder);
        let mut reporter = Reporter { inner: &self.inner, replica, failing: HashMap::new() };
        while !shutdown.is_cancelled() {
            let turn = shutdown.run_until_cancelled(reporter.turn()).await;
            if let Some(Err(error)) = turn {
                tracing::warn!(cause = error.cause(), "nobody can be told that endpoints are alive");
            }
            shutdown.run_until_cancelled(tokio::time::sleep(reporter.tick())).await;
        }
        match timeout(LAST_WORDS, reporter.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(cause = error.cause(), "marketplaces do not know that we stop"),
            Err(_) => tracing::warn!("marketplaces do not know that we stop"),
        }
    }
}

impl Reporter<'_> {
    /// How often it is looked what is to be done: a lease is renewed at a third of its term.
    fn tick(&self) -> Duration {
        self.inner.config.report_interval / 6
    }

    /// How long a lease holds that is not renewed.
    fn term(&self) -> Duration {
        self.inner.config.report_interval / 2
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let (inner, term) = (self.inner, self.term());
        if !inner.store.is_anything_listed().await? {
            return Ok(());
        }
        inner.store.acquire_lease(&self.replica, inner.holder, term).await?;
        if inner.store.acquire_lease(REPORTER, inner.holder, term).await?.is_none() {
            return Ok(());
        }
        let due = inner.store.due_for_report(inner.config.report_interval).await?;
        let now = Instant::now();
        let due = due.into_iter().filter(|(_, id)| self.failing.get(id).is_none_or(|one| one.until <= now));
        let due: Vec<_> = due.collect();
        if due.is_empty() {
            return Ok(());
        }
        let told = stream::iter(due)
            .map(|(tenant, id)| async move { (id, inner.report_on(tenant, id, None).await) });
        let told = told.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let told = tokio::select! {
            told = told => told,
            // Another replica reports now.
            () = self.lose() => return Ok(()),
        };
        for (id, told) in told {
            self.note(id, told).await?;
        }
        Ok(())
    }

    /// Ends when the lease is lost; keeps it until then.
    async fn lose(&self) {
        loop {
            tokio::time::sleep(self.tick()).await;
            let (store, holder, term) = (&self.inner.store, self.inner.holder, self.term());
            // That others know of us matters less.
            let _ = store.acquire_lease(&self.replica, holder, term).await;
            if !matches!(store.acquire_lease(REPORTER, holder, term).await, Ok(Some(_))) {
                return;
            }
        }
    }

    async fn note(&mut self, id: MarketplaceId, told: Result<(), Told>) -> Result<(), Error> {
        let (store, outcome) = (&self.inner.store, if told.is_ok() { "told" } else { "later" });
        self.inner.metrics.marketplace_calls.get_or_create(&metrics::Told { what: "report", outcome }).inc();
        let Err(Told { words, asked }) = told else {
            self.failing.remove(&id);
            return store.set_report_error(id, String::new()).await;
        };
        let attempts = self.failing.get(&id).map_or(0, |failing| failing.attempts);
        let wait = self.tick().saturating_mul(1 << attempts.min(16)).min(MAX_WAIT);
        let until = Instant::now() + wait.max(asked.unwrap_or_default());
        self.failing.insert(id, Failing { attempts: attempts + 1, until });
        tracing::warn!(marketplace = %id, "a marketplace could not be told which endpoints are alive");
        store.set_report_error(id, words).await
    }

    /// Lets another replica report at once; without one, nothing is alive from now on.
    async fn stop(&self) -> Result<(), Error> {
        let (store, holder) = (&self.inner.store, self.inner.holder);
        if !store.is_anything_listed().await? {
            return Ok(());
        }
        store.release_lease(REPORTER, holder).await?;
        store.release_lease(&self.replica, holder).await?;
        if store.live_leases(REPLICA).await? > 0 {
            return Ok(());
        }
        let all = store.due_for_report(Duration::ZERO).await?;
        let told = all.into_iter().map(|(tenant, id)| self.inner.report_on(tenant, id, Some(false)));
        for told in futures_util::future::join_all(told).await {
            if let Err(Told { .. }) = told {
                tracing::warn!("a marketplace does not know that we stop");
            }
        }
        // Whoever starts next says at once what is alive.
        store.forget_reports().await
    }
}

/// Why a marketplace could not be told, and when it wants to be.
struct Told {
    words: String,
    asked: Option<Duration>,
}

impl Inner {
    /// Tells a marketplace which of the endpoints that it lists are alive, or that all are, or none.
    async fn report_on(
        &self,
        tenant: crate::domain::TenantId,
        id: MarketplaceId,
        alive: Option<bool>,
    ) -> Result<(), Told> {
        let store_fault = |error: Error| Told { words: error.to_string(), asked: None };
        let marketplace = self.store.marketplace(tenant, id).await.map_err(store_fault)?;
        self.try_report(&marketplace, tenant, alive).await.map_err(|trouble| {
            let asked = match &trouble {
                Trouble::Hub(fault) => fault.retry_after(),
                _ => None,
            };
            Told { words: trouble.words(Some(&marketplace)), asked }
        })
    }

    async fn try_report(
        &self,
        marketplace: &Marketplace,
        tenant: crate::domain::TenantId,
        alive: Option<bool>,
    ) -> Result<(), Trouble> {
        let url = self.url(tenant).await?;
        let marketplace = self.announce(tenant, marketplace.clone(), &url).await?;
        let tenant = self.store.tenant_by_id(tenant).await?;
        let listed = self.store.listed_on(tenant.id, marketplace.id).await?;
        let tenant = &tenant;
        let checks = stream::iter(listed).map(|(listing, endpoint): (Listing, Endpoint)| async move {
            let alive = match alive {
                Some(alive) => alive,
                None => self.health.is_alive(tenant, &endpoint).await?,
            };
            Ok::<_, Error>((listing, alive))
        });
        let checked: Vec<_> = checks.buffer_unordered(CHECKS).collect().await;
        let checked: Vec<(Listing, bool)> = checked.into_iter().collect::<Result<_, _>>()?;
        let liveness = checked
            .iter()
            .map(|(listing, healthy)| Liveness { slug: listing.slug.clone(), healthy: *healthy });
        let liveness: Vec<Liveness> = liveness.collect();
        if !liveness.is_empty() {
            self.hub.report(&marketplace, &url, &liveness, self.ttl_s()).await?;
        }
        let reported = checked.into_iter().map(|(listing, healthy)| (listing.id, healthy)).collect();
        Ok(self.store.reported(reported).await?)
    }
}
