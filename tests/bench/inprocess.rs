//! Role `inprocess`: our own server, whole, around a pipeline whose model is a list of tokens in memory.
//! Callers, keys and query records are in a real database; plans are fixed and without policies.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use syft_endpoints::{
    app,
    catalog::{self, Catalog},
    dataset::{Datasets, local::LocalIndexes},
    domain::{Completion, EndpointId, FinishReason, Health, Usage},
    error::UpstreamError,
    gateway::cors,
    grpc::{self, Api, Door},
    hub::{self, Hub},
    identity::{self, Identity, Satellites},
    listing::{self, Listings},
    model::{ChatEvent, ChatRequest, ChatStream, Model, Models},
    pipeline::{self, Lifetime, Pipeline, Plan, Plans},
    policy::{Policies, PolicySet},
    server::{Server, Stop},
    store::{self, Recorder, RecordsConfig, SecretBox, Store},
    telemetry::Metrics,
    upstream::{self, Upstream},
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    Fault,
    echo::DELTAS,
    process::{ADMIN_KEY, announce, runtime},
    token::token,
};

/// The endpoint whose answer is one token.
pub const UNARY: &str = "unary";
/// The endpoint whose answer is [`DELTAS`] tokens.
pub const STREAMED: &str = "streamed";

/// Says its tokens without waiting for anything.
struct Scripted {
    tokens: usize,
}

pub fn run(folder: &Path) -> Result<(), Fault> {
    runtime()?.block_on(serve(folder))
}

async fn serve(folder: &Path) -> Result<(), Fault> {
    let secrets = SecretBox::parse(SecretBox::generate()?.as_str())?;
    let url = format!("sqlite://{}", folder.join("inprocess.db").display());
    let store = Store::connect(store::Config { url, ..store::Config::default() }, secrets).await?;
    store.migrate().await?;
    let (lifetime, metrics) = (Lifetime::default(), Metrics::default());
    let Lifetime { tasks, shutdown } = lifetime.clone();
    store.follow(RecordsConfig::default(), shutdown.clone());
    let plans = Plans::fixed([(UNARY.to_owned(), plan(1)), (STREAMED.to_owned(), plan(DELTAS))]);
    let recorder = Recorder::start(&store, &RecordsConfig::default());
    let config = pipeline::Config::default();
    let pipeline = Pipeline::new(config, plans, recorder, lifetime, metrics.clone());
    let indexes = LocalIndexes::new(store.clone(), folder.join("indexes"), tasks.clone(), shutdown);
    let models = Models::new(Upstream::new(upstream::Config::default())?);
    let policies = Policies::new(&store, &upstream::Config::default(), Duration::from_secs(300))?;
    let hub = Hub::new(&upstream::Config::default())?;
    let parts = listing::Parts {
        store: store.clone(),
        hub: hub.clone(),
        datasets: Datasets::new(indexes),
        models,
        policies,
        tasks,
        metrics: metrics.clone(),
    };
    let (catalog, listings) = owners(parts);
    let satellites = Satellites::new(store.clone(), hub, hub::Config::default(), TaskTracker::new());
    let admin_key = ADMIN_KEY.to_owned().into();
    let identity = Identity::new(store, identity::Config::default(), admin_key, satellites).await?;
    let config = grpc::Config::default();
    let door = Door::new(identity, &config);
    let api = Api { catalog, listings, pipeline, door, config, metrics: metrics.clone() };
    let (_services, routes, _health) = app::front(api, &cors::Config::default())?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?)?;
    Server { metrics, ..Server::default() }.serve(listener, routes, Stop::default()).await;
    Ok(())
}

fn owners(parts: listing::Parts) -> (Catalog, Listings) {
    let (store, hub) = (parts.store.clone(), parts.hub.clone());
    let types = catalog::Types {
        datasets: parts.datasets.clone(),
        models: parts.models.clone(),
        policies: parts.policies.clone(),
    };
    let listings = Listings::new(parts, listing::Config::default());
    let settings = catalog::Settings::default();
    (Catalog::new(store, types, hub, listings.clone(), settings), listings)
}

fn plan(tokens: usize) -> Plan {
    Plan {
        endpoint: EndpointId::new(),
        published: true,
        dataset: None,
        dataset_id: None,
        dataset_name: String::new(),
        model: Some(Arc::new(Scripted { tokens })),
        policies: PolicySet::new(Vec::new()),
    }
}

#[async_trait]
impl Model for Scripted {
    async fn chat(&self, _request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        let tokens = (0..self.tokens).map(|number| ChatEvent::Delta(token(number, 0)));
        let completion = Completion {
            id: "c1".to_owned(),
            model: "m1".to_owned(),
            finish_reason: FinishReason::Stop,
            usage: Usage { prompt_tokens: 7, completion_tokens: 1, estimated: false },
        };
        Ok(stream::iter(tokens.chain([ChatEvent::Finished(completion)]).map(Ok)).boxed())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}
