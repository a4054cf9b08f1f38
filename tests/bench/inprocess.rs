//! Role `inprocess`: our own server, whole, around a pipeline whose model is a list of tokens in memory.
//! Callers, keys and query records are in a real database: a SQLite file, or the one whose URL lies in the
//! folder. Plans are fixed, and without policies where their name does not say otherwise.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use syft_endpoints::{
    app,
    catalog::{self, Catalog},
    dataset::{Datasets, local::LocalIndexes},
    domain::{self, Completion, EndpointId, FinishReason, Health, PolicyId, Usage},
    error::UpstreamError,
    gateway::cors,
    grpc::{self, Api, Door},
    hub::{self, Hub},
    identity::{self, Identity, Satellites},
    ingestion::{self, Ingestions},
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

/// As [`UNARY`], with a limit for each caller that nobody reaches.
pub const LIMITED: &str = "limited";
/// As [`UNARY`], with 100 policies that keep nothing.
pub const HUNDRED: &str = "hundred";
/// As [`STREAMED`], through a filter of words and one of personal data.
pub const FILTERED: &str = "filtered";
/// The file with the URL of the database, if it is not to be SQLite.
pub const DATABASE: &str = "database.url";

/// Says its tokens without waiting for anything.
struct Scripted {
    tokens: usize,
}

pub fn run(folder: &Path) -> Result<(), Fault> {
    runtime()?.block_on(serve(folder))
}

async fn serve(folder: &Path) -> Result<(), Fault> {
    let secrets = SecretBox::parse(SecretBox::generate()?.as_str())?;
    let url = fs::read_to_string(folder.join(DATABASE))
        .unwrap_or_else(|_| format!("sqlite://{}", folder.join("inprocess.db").display()));
    let store = Store::connect(store::Config { url, ..store::Config::default() }, secrets).await?;
    store.migrate().await?;
    let (lifetime, metrics) = (Lifetime::default(), Metrics::default());
    let Lifetime { tasks, shutdown } = lifetime.clone();
    store.follow(RecordsConfig::default(), shutdown.clone());
    let policies = Policies::new(&store, &upstream::Config::default(), Duration::from_secs(300))?;
    let plans = Plans::fixed(plans(&policies)?);
    let recorder = Recorder::start(&store, &RecordsConfig::default());
    let config = pipeline::Config::default();
    let pipeline = Pipeline::new(config, plans, recorder, lifetime, metrics.clone());
    let indexes = LocalIndexes::new(store.clone(), folder.join("indexes"), tasks.clone(), shutdown);
    let upstream = Upstream::new(upstream::Config::default())?;
    let models = Models::new(upstream.clone());
    let hub = Hub::new(&upstream::Config::default())?;
    let parts = listing::Parts {
        store: store.clone(),
        hub: hub.clone(),
        datasets: Datasets::new(indexes, upstream.clone()),
        models,
        policies,
        tasks,
        metrics: metrics.clone(),
    };
    let (catalog, listings, ingestions) = owners(parts, upstream);
    let satellites = Satellites::new(store.clone(), hub, hub::Config::default(), TaskTracker::new());
    let admin_key = ADMIN_KEY.to_owned().into();
    let identity = Identity::new(store, identity::Config::default(), admin_key, satellites).await?;
    let config = grpc::Config::default();
    let door = Door::new(identity, &config);
    let api = Api { catalog, listings, ingestions, pipeline, door, config, metrics: metrics.clone() };
    let (_services, routes, _health) = app::front(api, &cors::Config::default())?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?)?;
    Server { metrics, ..Server::default() }.serve(listener, routes, Stop::default()).await;
    Ok(())
}

fn owners(parts: listing::Parts, upstream: Upstream) -> (Catalog, Listings, Ingestions) {
    let (store, hub) = (parts.store.clone(), parts.hub.clone());
    let types = catalog::Types {
        datasets: parts.datasets.clone(),
        models: parts.models.clone(),
        policies: parts.policies.clone(),
    };
    let (tasks, metrics) = (parts.tasks.clone(), parts.metrics.clone());
    let listings = Listings::new(parts, listing::Config::default());
    let settings = catalog::Settings::default();
    let catalog = Catalog::new(store.clone(), types, hub, listings.clone(), settings);
    let parts =
        ingestion::Parts { store, catalog: catalog.clone(), upstream, tasks, metrics, multi_tenancy: false };
    (catalog, listings, Ingestions::new(parts, ingestion::Config::default()))
}

fn plans(policies: &Policies) -> Result<Vec<(String, Plan)>, Fault> {
    // More than anybody here can ask in a minute: nobody is refused, everybody is counted.
    let limit = vec![policy("rate_limit", json!({"limit": "6000/m", "scope": "per_user"}))];
    let filter = json!({"words": ["zebra", "okapi"], "patterns": ["secret-[0-9]+"], "mode": "redact"});
    let filters = vec![policy("prompt_filter", filter), policy("pii_filter", json!({}))];
    Ok(vec![
        (UNARY.to_owned(), plan(1, policies.build(&[])?)),
        (STREAMED.to_owned(), plan(DELTAS, policies.build(&[])?)),
        (LIMITED.to_owned(), plan(1, policies.build(&limit)?)),
        (HUNDRED.to_owned(), plan(1, policies.build(&hundred())?)),
        (FILTERED.to_owned(), plan(DELTAS, policies.build(&filters)?)),
    ])
}

/// Who may ask, and what may be asked and answered.
fn hundred() -> Vec<domain::Policy> {
    (0..100)
        .map(|number| match number % 4 {
            0 => policy("access", json!({"allowed_users": ["*@example.org"]})),
            1 => policy("access", json!({"denied_users": [format!("eve{number}@*")]})),
            2 => policy("prompt_filter", json!({"words": [format!("zebra{number}")], "mode": "redact"})),
            _ => policy("pii_filter", json!({})),
        })
        .collect()
}

fn policy(policy_type: &str, configuration: Value) -> domain::Policy {
    let at = time::OffsetDateTime::UNIX_EPOCH;
    domain::Policy {
        id: PolicyId::new(),
        endpoint_id: EndpointId::new(),
        endpoint_slug: String::new(),
        name: policy_type.to_owned(),
        policy_type: policy_type.to_owned(),
        configuration: configuration.as_object().cloned().unwrap_or_default(),
        created_at: at,
        updated_at: at,
    }
}

fn plan(tokens: usize, policies: PolicySet) -> Plan {
    Plan {
        endpoint: EndpointId::new(),
        published: true,
        dataset: None,
        dataset_id: None,
        dataset_name: String::new(),
        model: Some(Arc::new(Scripted { tokens })),
        policies,
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
