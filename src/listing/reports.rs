//! Reports: hubs switch an endpoint off of which nobody says that it is alive.
//!
//! One replica reports, the holder of a lease; another follows within an interval when it dies. When each
//! listing was last reported is in the database, so whoever reports keeps the rhythm. A report that fails is
//! repeated soon, then less often, and at once in the old rhythm when it succeeds. No hub waits for another.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{self, BoxFuture},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{Inner, Listings, Trouble};
use crate::{
    domain::{Endpoint, Listing, Marketplace, MarketplaceId, TenantId},
    error::Error,
    hub::Liveness,
    telemetry::metrics,
};

/// Who reports.
const REPORTER: &str = "hub-reports";
/// What the leases of replicas begin with that are there.
const REPLICA: &str = "replica/";
/// The longest wait that a marketplace can ask for: it switches off what is not reported.
const MAX_ASKED: Duration = Duration::from_secs(300);
/// Marketplaces that are told at once, and how many of these may be those that could not be told before.
const AT_ONCE: usize = 16;
const FAILING_AT_ONCE: usize = 8;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A replica that may be the one that reports.
struct Reporter<'a> {
    inner: &'a Inner,
    replica: String,
    running: FuturesUnordered<BoxFuture<'a, Report>>,
    /// The marketplaces that are being told.
    busy: HashSet<MarketplaceId>,
    failing: HashMap<MarketplaceId, Failing>,
}

/// What became of telling a marketplace.
type Report = (MarketplaceId, Result<(), Told>);

/// A marketplace that could not be told.
struct Failing {
    attempts: u32,
    until: Instant,
}

impl Listings {
    /// Tells marketplaces which endpoints are alive, until `shutdown`. The last replica that stops says that
    /// none is.
    pub async fn report(&self, shutdown: CancellationToken) {
        let mut reporter = Reporter::new(&self.inner);
        let mut ticks = tokio::time::interval(reporter.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !shutdown.is_cancelled() {
            let done = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(report) = reporter.running.next() => reporter.note(report).await,
                // To its end: a lease that is taken after it was given up would keep the others waiting.
                _ = ticks.tick() => reporter.turn().await,
            };
            if let Err(error) = done {
                tracing::warn!(cause = error.cause(), "reports that endpoints are alive are in trouble");
            }
        }
        reporter.end();
        self.inner.stopping.cancel();
        match timeout(LAST_WORDS, reporter.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(cause = error.cause(), "marketplaces do not know that we stop"),
            Err(_) => tracing::warn!("marketplaces do not know that we stop"),
        }
    }
}

impl<'a> Reporter<'a> {
    fn new(inner: &'a Inner) -> Self {
        Self {
            inner,
            replica: format!("{REPLICA}{}", inner.holder),
            running: FuturesUnordered::new(),
            busy: HashSet::new(),
            failing: HashMap::new(),
        }
    }

    /// How often it is looked what is to be done: a lease is renewed at a third of its term.
    fn tick(&self) -> Duration {
        self.inner.config.report_interval / 6
    }

    /// How long a lease holds that is not renewed.
    fn term(&self) -> Duration {
        self.inner.config.report_interval / 2
    }

    /// Begins the reports that are due, if they are this replica's.
    async fn turn(&mut self) -> Result<(), Error> {
        let (inner, term) = (self.inner, self.term());
        if !inner.store.is_anything_listed().await? {
            return Ok(());
        }
        inner.store.acquire_lease(&self.replica, inner.holder, term).await?;
        if inner.store.acquire_lease(REPORTER, inner.holder, term).await?.is_none() {
            // Another replica reports now.
            self.end();
            return Ok(());
        }
        let due = inner.store.due_for_report(inner.config.report_interval).await?;
        for (tenant, id) in self.ready(due) {
            let places = if self.failing.contains_key(&id) { FAILING_AT_ONCE } else { AT_ONCE };
            if self.running.len() < places {
                self.busy.insert(id);
                self.running.push(Box::pin(async move { (id, inner.report_on(tenant, id).await) }));
            }
        }
        Ok(())
    }

    /// Those that can be told now, those that could be told before first.
    fn ready(&self, mut due: Vec<(TenantId, MarketplaceId)>) -> Vec<(TenantId, MarketplaceId)> {
        let now = Instant::now();
        let waits = |id: &MarketplaceId| self.failing.get(id).is_some_and(|failing| failing.until > now);
        due.retain(|(_, id)| !self.busy.contains(id) && !waits(id));
        due.sort_by_key(|(_, id)| self.failing.get(id).map_or(0, |failing| failing.attempts));
        due
    }

    async fn note(&mut self, (id, told): Report) -> Result<(), Error> {
        self.busy.remove(&id);
        let (store, outcome) = (&self.inner.store, if told.is_ok() { "told" } else { "later" });
        self.inner.metrics.marketplace_calls.get_or_create(&metrics::Told { what: "report", outcome }).inc();
        let Err(Told { words, asked }) = told else {
            self.failing.remove(&id);
            return store.set_report_error(id, String::new()).await;
        };
        let attempts = self.failing.get(&id).map_or(0, |failing| failing.attempts);
        // Not less often than in the usual rhythm: that is what it is made for.
        let wait = self.tick().saturating_mul(1 << attempts.min(16)).min(self.inner.config.report_interval);
        let until = Instant::now() + wait.max(asked.unwrap_or_default().min(MAX_ASKED));
        self.failing.insert(id, Failing { attempts: attempts.saturating_add(1), until });
        tracing::warn!(marketplace = %id, "a marketplace could not be told which endpoints are alive");
        store.set_report_error(id, words).await
    }

    /// Ends what is being told.
    fn end(&mut self) {
        self.running.clear();
        self.busy.clear();
    }

    /// Lets another replica report at once; without one, nothing is alive from now on.
    async fn stop(&mut self) -> Result<(), Error> {
        let (store, holder) = (&self.inner.store, self.inner.holder);
        if !store.is_anything_listed().await? {
            return Ok(());
        }
        store.release_lease(REPORTER, holder).await?;
        store.release_lease(&self.replica, holder).await?;
        if store.live_leases(REPLICA).await? > 0 {
            return Ok(());
        }
        // Whoever starts next says at once what is alive, also where it takes too long to say that nothing is.
        store.forget_reports().await?;
        let all = store.due_for_report(Duration::ZERO).await?;
        let told = future::join_all(all.into_iter().map(|(tenant, id)| self.inner.say_goodbye(tenant, id)));
        if told.await.iter().any(Result::is_err) {
            tracing::warn!("a marketplace does not know that we stop");
        }
        Ok(())
    }
}

/// Why a marketplace could not be told, and when it wants to be.
struct Told {
    words: String,
    asked: Option<Duration>,
}

impl Inner {
    /// Tells a marketplace which of the endpoints that it lists are alive.
    async fn report_on(&self, tenant: TenantId, id: MarketplaceId) -> Result<(), Told> {
        let store_fault = |error: Error| Told { words: error.to_string(), asked: None };
        let marketplace = self.store.marketplace(tenant, id).await.map_err(store_fault)?;
        self.try_report(&marketplace, tenant).await.map_err(|trouble| {
            let asked = match &trouble {
                Trouble::Hub(fault) => fault.retry_after(),
                _ => None,
            };
            Told { words: trouble.words(Some(&marketplace)), asked }
        })
    }

    async fn try_report(&self, marketplace: &Marketplace, tenant: TenantId) -> Result<(), Trouble> {
        let url = self.url(tenant).await?;
        let marketplace = self.announce(tenant, marketplace.clone(), &url).await?;
        let tenant = self.store.tenant_by_id(tenant).await?;
        let listed = self.store.listed_on(tenant.id, marketplace.id).await?;
        let (listings, endpoints): (Vec<Listing>, Vec<Endpoint>) = listed.into_iter().unzip();
        let alive = self.health.are_alive(&tenant, endpoints).await?;
        let liveness = listings.iter().zip(&alive);
        let liveness: Vec<Liveness> = liveness
            .map(|(listing, alive)| Liveness { slug: listing.slug.clone(), healthy: *alive })
            .collect();
        if !liveness.is_empty() {
            self.hub.report(&marketplace, &url, &liveness, self.ttl_s()).await?;
        }
        let reported = listings.iter().map(|listing| listing.id).zip(alive).collect();
        Ok(self.store.reported(reported).await?)
    }

    /// Tells a marketplace of what it has just begun to list, and says whether it knows. Not once this replica
    /// stops: its last words count.
    pub(super) async fn report_now(
        &self,
        marketplace: &Marketplace,
        url: &str,
        liveness: &[Liveness],
    ) -> bool {
        let report = self.hub.report(marketplace, url, liveness, self.ttl_s());
        matches!(self.stopping.run_until_cancelled(report).await, Some(Ok(())))
    }

    /// Tells a marketplace that none is.
    async fn say_goodbye(&self, tenant: TenantId, id: MarketplaceId) -> Result<(), Trouble> {
        let (url, marketplace) = (self.url(tenant).await?, self.store.marketplace(tenant, id).await?);
        let listed = self.store.listed_on(tenant, id).await?.into_iter();
        let gone = listed.map(|(listing, _)| Liveness { slug: listing.slug, healthy: false });
        Ok(self.hub.report(&marketplace, &url, &gone.collect::<Vec<_>>(), self.ttl_s()).await?)
    }
}
