//! What it takes to know the bearer of a SyftHub's token, inside the service: with a token that came
//! before, and with a new one, whose bearer only the hub can name.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use syft_endpoints::{
    hub::{self, Hub},
    identity::{self, Credentials, Identity, Satellites},
    store::{self, RecordsConfig, SecretBox, Store},
    upstream::{self, PrivateAddresses},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Bench, Fault,
    hub::AUDIENCE,
    process::{ADMIN_KEY, Process},
    report::Findings,
    stats::{median, percentile, percentile_ms},
};

/// New tokens of a round.
const COLD: usize = 300;
/// How often each of them comes again.
const AGAIN: usize = 100;
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);

/// What one round saw, in nanoseconds.
struct Round {
    warm: Vec<u64>,
    /// For each new token, less what the hub itself took for it.
    cold: Vec<u64>,
    /// That.
    hub: Vec<u64>,
}

/// The part of the service that knows callers, and the hub that it asks.
struct Space {
    store: Store,
    identity: Identity,
    hub: Process,
    http: reqwest::Client,
    shutdown: CancellationToken,
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(&bench.folder("satellite")?).await?;
    // Fetches the hub's key, and warms up.
    space.round(bench.count(COLD)).await?;
    let (mut warm, mut cold, mut hub, mut slow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let round = space.round(bench.count(COLD)).await?;
        warm.push(percentile(&round.warm, 0.5) as f64 / 1e3);
        cold.push(percentile_ms(&round.cold, 0.5));
        slow.push(percentile_ms(&round.cold, 0.99));
        hub.push(percentile(&round.hub, 0.5) as f64 / 1e3);
    }
    space.stop().await;
    let mut findings = Findings::default();
    findings.note("the hub's own time for a new token, us", median(&hub));
    findings.note("a new token, p99 ms", median(&slow));
    findings.rounds("token_warm_us", warm);
    findings.rounds("token_cold_ms", cold);
    Ok(findings)
}

impl Space {
    async fn start(folder: &Path) -> Result<Self, Fault> {
        let hub = Process::role("hub", folder)?;
        let secrets = SecretBox::parse(SecretBox::generate()?.as_str())?;
        let url = format!("sqlite://{}", folder.join("satellite.db").display());
        let store = Store::connect(store::Config { url, ..store::Config::default() }, secrets).await?;
        store.migrate().await?;
        let shutdown = CancellationToken::new();
        store.follow(RecordsConfig::default(), shutdown.clone());
        let upstream =
            upstream::Config { private_addresses: PrivateAddresses::Allow, ..upstream::Config::default() };
        let account = hub::Config {
            url: hub.url(),
            username: AUDIENCE.to_owned(),
            api_token: "syft_pat_bench".to_owned().into(),
            ..hub::Config::default()
        };
        let satellites = Satellites::new(store.clone(), Hub::new(&upstream)?, account, TaskTracker::new());
        let admin_key = ADMIN_KEY.to_owned().into();
        let identity =
            Identity::new(store.clone(), identity::Config::default(), admin_key, satellites).await?;
        followed(&store).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { store, identity, hub, http, shutdown })
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.store.close().await;
    }

    /// Each of `count` new tokens comes once, then all come again and again.
    async fn round(&self, count: usize) -> Result<Round, Fault> {
        let tokens = self.told(&format!("/tokens/{count}")).await?;
        let tokens: Vec<&str> = tokens.lines().collect();
        let (mut times, mut warm) = (Vec::with_capacity(count), Vec::with_capacity(count * AGAIN));
        for token in &tokens {
            times.push(self.identify(token).await?);
        }
        let hub = self.verified().await?;
        for _ in 0..AGAIN {
            for token in &tokens {
                warm.push(self.identify(token).await?);
            }
        }
        let asked = (hub.len(), self.verified().await?.len());
        if asked != (count, 0) {
            return Err(format!("for {count} new tokens the hub was asked {asked:?} times").into());
        }
        let cold = times.iter().zip(&hub).map(|(took, hub)| took.saturating_sub(*hub)).collect();
        Ok(Round { warm, cold, hub })
    }

    /// Nanoseconds until the bearer is known.
    async fn identify(&self, token: &str) -> Result<u64, Fault> {
        let credentials = Credentials { token: Some(token), peer: None, tenant: None, tenant_scoped: true };
        let begun = Instant::now();
        let caller = self.identity.identify(credentials).await?;
        let took = begun.elapsed();
        if !caller.email().ends_with("@example.org") {
            return Err("a token's bearer is not the one whom the hub named".into());
        }
        Ok(u64::try_from(took.as_nanos())?)
    }

    /// What the hub itself has taken for each token it was asked about since the last time.
    async fn verified(&self) -> Result<Vec<u64>, Fault> {
        let told = self.told("/verified").await?;
        Ok(told.lines().map(str::parse).collect::<Result<_, _>>()?)
    }

    async fn told(&self, path: &str) -> Result<String, Fault> {
        let told = self.http.get(format!("{}{path}", self.hub.url())).send().await?;
        Ok(told.error_for_status()?.text().await?)
    }
}

/// Returns once the change feed has been read: from then on marketplaces are remembered.
async fn followed(store: &Store) -> Result<(), Fault> {
    let limit = Instant::now() + FOLLOWED_WITHIN;
    while store.feed().catalog_revision().is_none() {
        if Instant::now() > limit {
            return Err("the change feed is not read".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
