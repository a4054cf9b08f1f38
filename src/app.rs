//! The process: everything bound together, run, and drained in order.

use std::{fs::DirBuilder, io, net::SocketAddr, os::unix::fs::DirBuilderExt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    catalog::Catalog,
    config::Config,
    dataset::{Datasets, local::LocalIndexes},
    error::{Cause, Error},
    grpc::{self, Api},
    health,
    identity::{self, Identity},
    model::Models,
    pipeline::{Pipeline, Plans, Registries},
    policy::Policies,
    server::{self, Stop},
    store::{Recorder, SecretBox, Store},
    upstream::Upstream,
};

/// How long each step after the grace may take.
const STEP: Duration = Duration::from_secs(15);

/// A service that is ready to serve. It listens already; it answers once it runs.
pub struct App {
    config: Config,
    listener: TcpListener,
    routes: Routes,
    reporter: HealthReporter,
    store: Store,
    queries: TaskTracker,
    background: TaskTracker,
    /// Ends queries that are still running after the grace.
    end_queries: CancellationToken,
    /// Ends what runs beside queries.
    end_background: CancellationToken,
}

impl App {
    /// Binds the port, migrates the database, and makes every part.
    ///
    /// # Errors
    /// When the port is taken, the database cannot be reached, or the data folder cannot be written.
    pub async fn build(config: Config) -> Result<Self, Cause> {
        let listen = config.server.listen;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let store = open_store(&config).await?;
        store.migrate().await.map_err(explained)?;
        let (queries, background) = (TaskTracker::new(), TaskTracker::new());
        let (end_queries, end_background) = (CancellationToken::new(), CancellationToken::new());
        store.follow(end_background.clone());

        let indexes = config.data_dir.join("indexes");
        let indexes = LocalIndexes::new(store.clone(), indexes, background.clone(), end_background.clone());
        let datasets = Datasets::new(indexes);
        let models = Models::new(Upstream::new(config.upstream.clone())?);
        let policies = Policies::new(&store);
        let identity = Identity::new(store.clone(), config.identity.clone(), admin_key(&config)?);
        let identity = identity.await.map_err(explained)?;
        let registries =
            Registries { datasets: datasets.clone(), models: models.clone(), policies: policies.clone() };
        let plans = Plans::new(store.clone(), registries);
        let recorder = Recorder::start(&store);
        let pipeline =
            Pipeline::new(config.pipeline.clone(), plans, recorder, queries.clone(), end_queries.clone());
        let multi_tenancy = config.identity.enable_multi_tenancy;
        let catalog = Catalog::new(store.clone(), datasets, models, policies, multi_tenancy);
        let (routes, reporter) = grpc::routes(Api { catalog, pipeline, identity })?;
        health::set(&reporter, ServingStatus::NotServing).await;
        Ok(Self {
            config,
            listener,
            routes,
            reporter,
            store,
            queries,
            background,
            end_queries,
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

    /// The layered stack, for callers in this process.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// The database.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Serves until `shutdown`, then drains: not serving → wait → no new calls → running calls finish
    /// within the grace → the rest is ended and settled → flush → close. Every step is bounded.
    pub async fn run(self, shutdown: CancellationToken) {
        let stop = Stop::default();
        let served = TaskTracker::new();
        served.spawn(server::serve(self.listener, self.routes, self.config.server.clone(), stop.clone()));
        let reported = health::report(self.store.clone(), self.reporter, shutdown.clone());
        self.background.spawn(reported);
        shutdown.cancelled().await;

        tracing::info!("stopping");
        tokio::time::sleep(Duration::from_millis(self.config.drain_delay_ms)).await;
        stop.gently.cancel();
        served.close();
        self.queries.close();
        let grace = Duration::from_millis(self.config.drain_grace_ms);
        let drained = async { tokio::join!(self.queries.wait(), served.wait()) };
        if timeout(grace, drained).await.is_err() {
            tracing::warn!(running = self.queries.len(), "ending queries that did not finish in time");
        }
        self.end_queries.cancel();
        step("queries", self.queries.wait()).await;
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
