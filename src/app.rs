//! The process: everything bound together, run, and drained in order.

use std::{
    fs::DirBuilder, io, net::SocketAddr, os::unix::fs::DirBuilderExt, sync::atomic::Ordering, time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    catalog::{self, Catalog},
    config::Config,
    dataset::{Datasets, local::LocalIndexes},
    error::{Cause, Error},
    gateway::{self, Front, Gateway, Rpcs, cors},
    grpc::{self, Api, Auth, Door, Pad, Stack},
    health,
    hub::Hub,
    identity::{self, Identity, Satellites},
    ingestion::{self, Ingestions},
    listing::{self, Listings},
    model::Models,
    pipeline::{Lifetime, Pipeline, Plans, Registries},
    policy::Policies,
    server::{self, Server, Stop, Tls, metrics::Listen},
    store::{Recorder, Repeats, SecretBox, Store},
    telemetry::{Metrics, logs, metrics::State},
    upstream::Upstream,
};

/// What answers a connection's calls.
pub type Served = Front<Pad<Stack>, Auth<axum::Router>>;

/// How long each step after the grace may take.
const STEP: Duration = Duration::from_secs(15);

/// A service that is ready to serve. It listens already; it answers once it runs.
pub struct App {
    config: Config,
    listener: TcpListener,
    /// For Prometheus; `None` when it is off.
    metrics_listener: Option<TcpListener>,
    server: Server,
    routes: Stack,
    front: Served,
    reporter: HealthReporter,
    listings: Listings,
    ingestions: Ingestions,
    store: Store,
    /// Queries, and what ends those that are still running after the grace.
    queries: Lifetime,
    background: TaskTracker,
    /// Ends what runs beside queries.
    end_background: CancellationToken,
}

impl App {
    /// Binds the port, migrates the database, and makes every part.
    ///
    /// # Errors
    /// When a port is taken, a certificate cannot be used, the database cannot be reached, or the data
    /// folder cannot be written.
    pub async fn build(config: Config, metrics: Metrics) -> Result<Self, Cause> {
        let tls = Tls::load(&config.tls)?;
        let listener = listen(config.server.listen).await?;
        let metrics_listener = match config.metrics.listen {
            Listen::Off => None,
            Listen::At(address) => Some(listen(address).await?),
        };
        let store = open_store(&config).await?;
        store.migrate().await.map_err(explained)?;
        let (queries, background, end_background) =
            (Lifetime::default(), TaskTracker::new(), CancellationToken::new());
        store.follow(config.records.clone(), end_background.clone());
        let registries = registries(&config, &store, &background, &end_background)?;
        let api = api(&config, &store, registries, queries.clone(), metrics.clone()).await?;
        let (identity, until) = (api.door.identity(), end_background.clone());
        background.spawn(async move { until.run_until_cancelled(identity.learn_owner()).await });
        let (listings, ingestions) = (api.listings.clone(), api.ingestions.clone());
        let (routes, front, reporter) = front(api, &config.cors)?;
        // The database is there and up to date. Who reads that we listen finds us serving.
        health::set(&reporter, ServingStatus::Serving).await;
        let server = Server { config: config.server.clone(), tls, metrics };
        Ok(Self {
            config,
            listener,
            metrics_listener,
            server,
            routes,
            front,
            reporter,
            listings,
            ingestions,
            store,
            queries,
            background,
            end_background,
        })
    }

    /// Where the service listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where metrics are read; `None` when they are off.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The layered stack, for callers in this process.
    pub fn routes(&self) -> Stack {
        self.routes.clone()
    }

    /// The database.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Serves until `shutdown`, then drains: not serving → wait → no new calls → running calls finish
    /// within the grace → the rest is ended and settled → flush → close. Every step is bounded.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (stop, served) = (Stop::default(), TaskTracker::new());
        self.observe();
        // What is left of it would keep the writers waiting for more.
        drop(self.routes);
        served.spawn(self.server.clone().serve(self.listener, self.front, stop.clone()));
        let reported = health::report(self.store.clone(), self.reporter, shutdown.clone());
        self.background.spawn(reported);
        let (listings, until) = (self.listings.clone(), shutdown.clone());
        self.background.spawn(async move { listings.report(until).await });
        let (listings, until) = (self.listings, self.end_background.clone());
        self.background.spawn(async move { listings.deliver(until).await });
        let (ingestions, until) = (self.ingestions, shutdown.clone());
        self.background.spawn(async move { ingestions.run(until).await });
        shutdown.cancelled().await;

        tracing::info!("stopping");
        tokio::time::sleep(Duration::from_millis(self.config.drain_delay_ms)).await;
        stop.gently.cancel();
        served.close();
        let Lifetime { tasks: queries, shutdown: end_queries } = self.queries;
        queries.close();
        let grace = Duration::from_millis(self.config.drain_grace_ms);
        let drained = async { tokio::join!(queries.wait(), served.wait()) };
        if timeout(grace, drained).await.is_err() {
            tracing::warn!(running = queries.len(), "ending queries that did not finish in time");
        }
        end_queries.cancel();
        step("queries", queries.wait()).await;
        // A moment for the last words to reach their clients.
        let _ = timeout(Duration::from_secs(1), served.wait()).await;
        stop.now.cancel();
        step("connections", served.wait()).await;
        self.end_background.cancel();
        self.background.close();
        step("background work", self.background.wait()).await;
        step("the database", self.store.close()).await;
        tracing::info!("stopped");
    }

    /// Starts what looks at the service from beside.
    fn observe(&mut self) {
        let (metrics, stop) = (self.server.metrics.clone(), self.end_background.clone());
        if let Some(tls) = self.server.tls.clone() {
            self.background.spawn(tls.follow(stop.clone()));
        }
        let repeats = logs::report_suppressed(metrics.clone());
        let until = stop.clone();
        self.background.spawn(async move { until.run_until_cancelled(repeats).await });
        if let Some(listener) = self.metrics_listener.take() {
            let refresh = refresh(self.store.clone(), metrics.clone());
            self.background.spawn(server::metrics::serve(listener, metrics, refresh, stop));
        }
    }
}

/// The types that the service knows, and what they work with.
fn registries(
    config: &Config,
    store: &Store,
    background: &TaskTracker,
    until: &CancellationToken,
) -> Result<(Registries, Upstream), Cause> {
    let indexes = config.data_dir.join("indexes");
    let indexes = LocalIndexes::new(store.clone(), indexes, background.clone(), until.clone());
    let longest = Duration::from_millis(config.pipeline.timeout_ms);
    let policies = Policies::new(store, &config.upstream, longest)?;
    background.spawn(policies.clone().recover_charges(until.clone()));
    let upstream = Upstream::new(config.upstream.clone())?;
    let datasets = Datasets::new(indexes, upstream.clone());
    Ok((Registries { datasets, models: Models::new(upstream.clone()), policies }, upstream))
}

/// Everything that the services need.
async fn api(
    config: &Config,
    store: &Store,
    (registries, upstream): (Registries, Upstream),
    queries: Lifetime,
    metrics: Metrics,
) -> Result<Api, Cause> {
    let (hub, tasks) = (Hub::new(&config.upstream)?, queries.tasks.clone());
    let satellites = Satellites::new(store.clone(), hub.clone(), config.hub.clone(), tasks.clone());
    let identity = Identity::new(store.clone(), config.identity.clone(), admin_key(config)?, satellites);
    let identity = identity.await.map_err(explained)?;
    let Registries { datasets, models, policies } = registries.clone();
    let plans = Plans::new(store.clone(), registries);
    let recorder = Recorder::start(store, &config.records);
    let pipeline = Pipeline::new(config.pipeline.clone(), plans, recorder, queries, metrics.clone())
        .knowing(Repeats::start(store));
    let parts = listing::Parts {
        store: store.clone(),
        hub: hub.clone(),
        datasets: datasets.clone(),
        models: models.clone(),
        policies: policies.clone(),
        tasks: tasks.clone(),
        metrics: metrics.clone(),
    };
    let listings = Listings::new(parts, listing_config(config));
    let (multi_tenancy, types) =
        (config.identity.enable_multi_tenancy, catalog::Types { datasets, models, policies });
    let settings = catalog::Settings { multi_tenancy, hub: config.hub.clone() };
    let catalog = Catalog::new(store.clone(), types, hub, listings.clone(), settings);
    let parts = ingestion::Parts {
        store: store.clone(),
        catalog: catalog.clone(),
        upstream,
        tasks,
        metrics: metrics.clone(),
        multi_tenancy,
    };
    let ingestions = Ingestions::new(parts, config.ingestion.clone());
    let door = Door::new(identity, &config.grpc);
    Ok(Api { catalog, listings, ingestions, pipeline, door, config: config.grpc.clone(), metrics })
}

fn listing_config(config: &Config) -> listing::Config {
    listing::Config {
        public_url: config.public_url.clone(),
        report_interval: Duration::from_millis(config.hub.report_interval_ms),
        max_sync_endpoints: config.hub.max_sync_endpoints,
        multi_tenancy: config.identity.enable_multi_tenancy,
    }
}

/// What is served on one port: gRPC, gRPC-Web, and REST, which calls the same services in this process.
/// The services alone come with it, and what reports their health.
///
/// # Errors
/// When our own descriptors do not decode.
pub fn front(api: Api, cors: &cors::Config) -> Result<(Stack, Served, HealthReporter), Cause> {
    let (door, config, metrics) = (api.door.clone(), api.config.clone(), api.metrics.clone());
    let (services, reporter) = grpc::routes(api)?;
    let rpcs = Rpcs::new(services.clone());
    let gateway = Gateway::new(rpcs, config.max_request_bytes, config.max_response_bytes);
    let rest = door.before(gateway.router(), gateway::needs);
    Ok((services.clone(), Front::new(Pad::new(services), rest, &cors.layer(), metrics), reporter))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Cause> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// Sets the series that the store knows.
fn refresh(store: Store, metrics: Metrics) -> impl Fn() + Send + Sync {
    move || {
        let pool = store.pool_status();
        for (state, count) in [("idle", pool.idle), ("used", pool.used)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            metrics.database_connections.get_or_create(&State { state }).set(count);
        }
        grow(&metrics.database_pool_rebuilds, store.pool_rebuilds());
        grow(&metrics.query_records_lost, store.records_lost());
        grow(&metrics.charges_lost, store.charges_lost());
    }
}

/// Brings a counter up to what was counted elsewhere.
fn grow(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

/// Connects to the database that a configuration names.
///
/// # Errors
/// When it cannot be reached, or the data folder cannot be written.
pub async fn open_store(config: &Config) -> Result<Store, Cause> {
    let folder = &config.data_dir;
    // Documents and keys are nobody else's business.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("cannot make the data folder {}: {error}", folder.display()))?;
    let keys = match config.secret_key.expose_secret() {
        "" => {
            let fresh = SecretBox::generate()?;
            identity::read_or_create(&config.data_dir, "secret.key", &fresh)?.key
        }
        keys => SecretString::from(keys.to_owned()),
    };
    let secrets = SecretBox::parse(keys.expose_secret())?;
    Store::connect(config.store.clone(), secrets).await.map_err(explained)
}

/// The configured key, or the one in the data folder.
///
/// # Errors
/// When the data folder cannot be written.
pub fn admin_key(config: &Config) -> Result<SecretString, Cause> {
    if !config.admin_api_key.expose_secret().is_empty() {
        return Ok(config.admin_api_key.clone());
    }
    let fresh = identity::new_api_key()?;
    let fresh = fresh.expose_secret().replace(identity::API_KEY_PREFIX, "syft_admin_");
    let file = identity::read_or_create(&config.data_dir, "admin.key", &fresh)?;
    tracing::info!(path = %file.path.display(), "the admin key is in this file");
    Ok(file.key)
}

/// An error with its cause, for the operator who starts the service.
fn explained(error: Error) -> Cause {
    match error.cause() {
        Some(cause) => format!("{error}: {cause}").into(),
        None => error.into(),
    }
}

async fn step(what: &str, work: impl Future<Output = ()>) {
    if timeout(STEP, work).await.is_err() {
        tracing::warn!(what, "did not stop in time");
    }
}
