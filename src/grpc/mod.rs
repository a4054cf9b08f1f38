//! The gRPC services: one file each, over one layered stack that sockets and the REST gateway share.

mod access_service;
mod arrival;
mod auth;
mod convert;
mod dataset_service;
mod deadline;
mod endpoint_service;
mod ingest;
mod ingestion_service;
mod marketplace_service;
mod model_service;
mod observe;
mod padding;
mod policy_service;
mod status;
mod usage_service;

use http::Method;
use serde::{Deserialize, Serialize};
use tonic::{Request, Status, service::Routes};
use tonic_health::server::HealthReporter;

pub use auth::{Auth, Door};
pub use observe::Observe;
pub use padding::Pad;

use crate::{
    catalog::Catalog,
    domain::{Access, Caller, Scope, Tenant},
    error::{Cause, Error},
    ingestion::Ingestions,
    listing::Listings,
    pipeline::Pipeline,
    proto::{
        self, access_service_server::AccessServiceServer, dataset_service_server::DatasetServiceServer,
        endpoint_service_server::EndpointServiceServer, ingestion_service_server::IngestionServiceServer,
        marketplace_service_server::MarketplaceServiceServer, model_service_server::ModelServiceServer,
        policy_service_server::PolicyServiceServer, usage_service_server::UsageServiceServer,
    },
    telemetry::Metrics,
};

/// What one call may take, and how many there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of one message in.
    pub max_request_bytes: usize,
    /// Bytes of one message out.
    pub max_response_bytes: usize,
    /// Calls at once whose answer has not begun; one more is refused. Queries that are answering count
    /// in `pipeline.max_running`.
    pub max_waiting: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_request_bytes: 4 << 20, max_response_bytes: 16 << 20, max_waiting: 4096 }
    }
}

/// Everything the services need. Clones share it.
#[derive(Clone)]
pub struct Api {
    pub catalog: Catalog,
    pub listings: Listings,
    pub ingestions: Ingestions,
    pub pipeline: Pipeline,
    pub door: Door,
    pub config: Config,
    pub metrics: Metrics,
}

/// Every service, and what each call passes on its way there. What a socket serves is padded besides.
pub type Stack = Observe<Auth<Routes>>;

/// Every service, behind authentication: what a transport may reach, and all of it.
///
/// # Errors
/// When our own descriptors do not decode.
pub fn routes(api: Api) -> Result<(Stack, HealthReporter), Cause> {
    macro_rules! limited {
        ($server:ident) => {
            $server::new(api.clone())
                .max_decoding_message_size(api.config.max_request_bytes)
                .max_encoding_message_size(api.config.max_response_bytes)
        };
    }
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut services = Routes::builder();
    services
        .add_service(limited!(EndpointServiceServer))
        .add_service(limited!(DatasetServiceServer))
        .add_service(limited!(ModelServiceServer))
        .add_service(limited!(PolicyServiceServer))
        .add_service(limited!(AccessServiceServer))
        .add_service(limited!(MarketplaceServiceServer))
        .add_service(limited!(UsageServiceServer))
        .add_service(limited!(IngestionServiceServer))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // What grpcurl asks for up to its version 1.8.
        .add_service(reflection().build_v1alpha()?);
    let authenticated = api.door.before(services.routes().prepare(), needs);
    Ok((Observe::new(authenticated, api.metrics)?, health_reporter))
}

/// What a method needs; health and reflection need nothing. A method that is not named here needs
/// `manage`.
fn needs(_method: &Method, path: &str) -> Option<Access> {
    let method = path.strip_prefix("/syft.space.v1.")?;
    let scope = match method {
        "EndpointService/Query" | "EndpointService/StreamQuery" => Scope::Query,
        "AccessService/CreateTenant" | "AccessService/GetTenant" | "AccessService/ListTenants" => {
            Scope::Admin
        }
        _ => Scope::Manage,
    };
    let sends_stream = matches!(method, "DatasetService/IngestDocuments" | "IngestionService/UploadFile");
    Some(Access { scope, is_query: method.ends_with("Query"), sends_stream })
}

/// The caller that the layer has found. A stack without the layer serves nobody.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| status::status(Error::Unauthenticated))
}

fn tenant<T>(request: &Request<T>) -> Result<Tenant, Status> {
    Ok(caller(request)?.tenant().clone())
}
