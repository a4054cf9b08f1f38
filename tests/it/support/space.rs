//! A whole service on a real port, and clients of it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use syft_endpoints::{
    app::App,
    config::Config,
    grpc::Stack,
    proto::{
        self, CreateDatasetRequest, CreateEndpointRequest, CreateModelRequest, CreatePolicyRequest, Dataset,
        Endpoint, Model, Policy, StopSequences, StreamQueryRequest,
        access_service_client::AccessServiceClient, dataset_service_client::DatasetServiceClient,
        endpoint_service_client::EndpointServiceClient, ingestion_service_client::IngestionServiceClient,
        marketplace_service_client::MarketplaceServiceClient, model_service_client::ModelServiceClient,
        policy_service_client::PolicyServiceClient, query::Messages, to_struct,
        usage_service_client::UsageServiceClient,
    },
    store::Store,
    telemetry::Metrics,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Status, Streaming, metadata::MetadataMap, service::Interceptor, transport::Channel};

use super::database::{Database, SECRET_KEY};

pub const ADMIN_KEY: &str = "test-admin-key-4711";

/// A running service. It stops when it is dropped; the database goes with it.
pub struct Space {
    pub address: SocketAddr,
    pub metrics_address: SocketAddr,
    pub store: Store,
    pub shutdown: CancellationToken,
    pub running: TaskTracker,
    /// The stack without a socket.
    pub routes: Stack,
    pub database: Database,
}

type Intercepted = tonic::service::interceptor::InterceptedService<Channel, As>;

/// Calls as somebody.
#[derive(Clone)]
pub struct As {
    metadata: MetadataMap,
}

#[derive(Clone)]
pub struct Clients {
    pub endpoints: EndpointServiceClient<Intercepted>,
    pub datasets: DatasetServiceClient<Intercepted>,
    pub models: ModelServiceClient<Intercepted>,
    pub policies: PolicyServiceClient<Intercepted>,
    pub access: AccessServiceClient<Intercepted>,
    pub marketplaces: MarketplaceServiceClient<Intercepted>,
    pub usage: UsageServiceClient<Intercepted>,
    pub ingestions: IngestionServiceClient<Intercepted>,
}

impl Space {
    pub async fn start(database: Database) -> Self {
        Self::configured(database, &[]).await
    }

    pub async fn sqlite() -> Self {
        Self::start(Database::sqlite()).await
    }

    pub async fn configured(database: Database, settings: &[(&'static str, &str)]) -> Self {
        let config = config(&database, settings);
        let app = App::build(config, Metrics::default()).await.unwrap();
        let (address, store, routes) = (app.local_addr().unwrap(), app.store(), app.routes());
        let metrics_address = app.metrics_addr().unwrap();
        let (shutdown, running) = (CancellationToken::new(), TaskTracker::new());
        running.spawn(app.run(shutdown.clone()));
        running.close();
        Self { address, metrics_address, store, shutdown, running, routes, database }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.metrics_address);
        reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// The value of a series, named as it is written; 0 when there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Clients with the admin key.
    pub async fn admin(&self) -> Clients {
        self.clients(&[("authorization", &format!("Bearer {ADMIN_KEY}"))]).await
    }

    /// Clients whose calls carry this metadata, on a connection of their own.
    pub async fn clients(&self, metadata: &[(&'static str, &str)]) -> Clients {
        let channel = Channel::from_shared(self.url()).unwrap().connect().await.unwrap();
        clients(channel, metadata)
    }

    /// Stops, and waits until it has.
    pub async fn stop(self) -> Database {
        // What is left of the stack would keep the writers waiting for more.
        drop(self.routes);
        self.shutdown.cancel();
        self.running.wait().await;
        self.database
    }
}

pub fn config(database: &Database, settings: &[(&'static str, &str)]) -> Config {
    let defaults = [
        ("data_dir", database.folder.path().join("data").display().to_string()),
        ("store.url", database.url.clone()),
        ("server.listen", "127.0.0.1:0".to_owned()),
        ("metrics.listen", "127.0.0.1:0".to_owned()),
        ("admin_api_key", ADMIN_KEY.to_owned()),
        ("secret_key", SECRET_KEY.to_owned()),
        ("store.poll_interval_ms", "100".to_owned()),
        // Nobody's hub: no test asks one that is not its own.
        ("hub.default_url", "http://127.0.0.1:9".to_owned()),
    ];
    let settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned()));
    Config::load("", std::iter::empty(), defaults.into_iter().chain(settings).collect()).unwrap()
}

pub fn clients(channel: Channel, metadata: &[(&'static str, &str)]) -> Clients {
    let mut map = MetadataMap::new();
    for (name, value) in metadata {
        map.insert(*name, value.parse().unwrap());
    }
    let caller = As { metadata: map };
    Clients {
        endpoints: EndpointServiceClient::with_interceptor(channel.clone(), caller.clone()),
        datasets: DatasetServiceClient::with_interceptor(channel.clone(), caller.clone()),
        models: ModelServiceClient::with_interceptor(channel.clone(), caller.clone()),
        policies: PolicyServiceClient::with_interceptor(channel.clone(), caller.clone()),
        access: AccessServiceClient::with_interceptor(channel.clone(), caller.clone()),
        marketplaces: MarketplaceServiceClient::with_interceptor(channel.clone(), caller.clone()),
        usage: UsageServiceClient::with_interceptor(channel.clone(), caller.clone()),
        ingestions: IngestionServiceClient::with_interceptor(channel, caller),
    }
}

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for pair in self.metadata.iter() {
            if let tonic::metadata::KeyAndValueRef::Ascii(name, value) = pair {
                request.metadata_mut().insert(name.clone(), value.clone());
            }
        }
        Ok(request)
    }
}

impl Clients {
    pub async fn dataset(&mut self, name: &str) -> Dataset {
        let dataset = Dataset { name: name.to_owned(), dtype: "local".to_owned(), ..Dataset::default() };
        let created = self.datasets.create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await;
        created.unwrap().into_inner().dataset.unwrap()
    }

    pub async fn model(&mut self, name: &str, dtype: &str, configuration: Value) -> Model {
        let model = Model {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            configuration: Some(structure(configuration)),
            ..Model::default()
        };
        let created = self.models.create_model(CreateModelRequest { model: Some(model) }).await;
        created.unwrap().into_inner().model.unwrap()
    }

    pub async fn endpoint(
        &mut self,
        slug: &str,
        dataset: Option<&Dataset>,
        model: Option<&Model>,
    ) -> Endpoint {
        let endpoint = Endpoint {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            dataset_id: dataset.map(|dataset| dataset.id.clone()),
            model_id: model.map(|model| model.id.clone()),
            published: true,
            ..Endpoint::default()
        };
        let created =
            self.endpoints.create_endpoint(CreateEndpointRequest { endpoint: Some(endpoint) }).await;
        created.unwrap().into_inner().endpoint.unwrap()
    }

    pub async fn policy(&mut self, slug: &str, policy_type: &str, configuration: Value) -> Policy {
        let policy = Policy {
            name: format!("{policy_type}-{}", uuid::Uuid::now_v7()),
            policy_type: policy_type.to_owned(),
            configuration: Some(structure(configuration)),
            endpoint_slug: slug.to_owned(),
            ..Policy::default()
        };
        let created = self.policies.create_policy(CreatePolicyRequest { policy: Some(policy) }).await;
        created.unwrap().into_inner().policy.unwrap()
    }

    /// An endpoint `slug` that asks an OpenAI-compatible server.
    pub async fn asks(&mut self, slug: &str, server: SocketAddr) -> Endpoint {
        let configuration = json!({"base_url": format!("http://{server}/v1"), "model": "m", "api_key": "k"});
        let model = self.model(slug, "openai", configuration).await;
        self.endpoint(slug, None, Some(&model)).await
    }

    pub async fn ingest(&mut self, dataset: &str, documents: &[(&str, &str)]) {
        let documents = documents.iter().map(|(id, content)| document(id, content)).collect();
        let request = proto::IngestDocumentsRequest { dataset: dataset.to_owned(), documents };
        let mut acknowledged =
            self.datasets.ingest_documents(tokio_stream::once(request)).await.unwrap().into_inner();
        while acknowledged.message().await.unwrap().is_some() {}
    }

    pub async fn stream(&mut self, slug: &str) -> Result<Streaming<proto::StreamQueryResponse>, Status> {
        let request = StreamQueryRequest { slug: slug.to_owned(), query: Some(question()), request_id: None };
        Ok(self.endpoints.stream_query(request).await?.into_inner())
    }

    pub async fn query(&mut self, slug: &str) -> Result<proto::QueryResponse, Status> {
        let request =
            proto::QueryRequest { slug: slug.to_owned(), query: Some(question()), request_id: None };
        Ok(self.endpoints.query(request).await?.into_inner())
    }
}

pub fn question() -> proto::Query {
    asking("What is the copyright term?")
}

pub fn asking(text: &str) -> proto::Query {
    proto::Query {
        messages: Some(Messages::Text(text.to_owned())),
        stop_sequences: Some(StopSequences::default()),
        similarity_threshold: Some(0.1),
        ..proto::Query::default()
    }
}

pub fn document(id: &str, content: &str) -> proto::Document {
    proto::Document { id: id.to_owned(), content: content.to_owned(), metadata: None }
}

pub fn structure(object: Value) -> prost_types::Struct {
    to_struct(object.as_object().unwrap().clone())
}

pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;

    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
