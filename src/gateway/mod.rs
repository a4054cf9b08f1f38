//! REST, for SyftHub and for clients of the Python Space: every route parses a request, calls an RPC of
//! this service in the same process, and renders its answer. It knows no service: what a caller may do,
//! what a value must be and what went wrong is decided behind the RPC, as for every other client.

mod analytics;
mod attachments;
pub mod body;
pub mod cors;
mod docs;
mod endpoints;
mod evaluation;
mod front;
mod health;
mod ingestions;
mod keys;
mod marketplaces;
mod openapi;
mod policies;
mod problem;
mod publishing;
mod query;
mod resources;
mod route;
mod settings;
mod tenants;
mod usage;

use std::collections::HashSet;

use axum::{
    Router,
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
    routing::{MethodFilter, MethodRouter, on},
};
use http::{Method, Response, StatusCode};
use tonic::body::Body;
use tonic_health::pb::health_client::HealthClient;
use tower::util::BoxCloneSyncService;

pub use front::Front;

use crate::{
    domain::{Access, Scope},
    proto::{
        access_service_client::AccessServiceClient, dataset_service_client::DatasetServiceClient,
        endpoint_service_client::EndpointServiceClient, ingestion_service_client::IngestionServiceClient,
        marketplace_service_client::MarketplaceServiceClient, model_service_client::ModelServiceClient,
        policy_service_client::PolicyServiceClient, usage_service_client::UsageServiceClient,
    },
};
use problem::{Origin, Problem};
use route::Route;

/// Where every resource is.
const BASE: &str = "/api/v1";

/// Parameters of a path, by name.
type Params = Vec<(String, String)>;

/// The service's RPCs, without a socket.
pub type Rpcs = BoxCloneSyncService<http::Request<Body>, Response<Body>, std::convert::Infallible>;

/// A client of the service in its own process.
#[derive(Clone)]
pub struct Gateway {
    rpcs: Rpcs,
    /// Bytes of a request's body.
    pub max_request_bytes: usize,
    /// Bytes of an RPC's answer.
    pub max_response_bytes: usize,
}

macro_rules! clients {
    ($($name:ident: $client:ident),+) => {$(
        fn $name(&self) -> $client<Rpcs> {
            $client::new(self.rpcs.clone())
                .max_decoding_message_size(self.max_response_bytes)
                .max_encoding_message_size(self.max_request_bytes)
        }
    )+};
}

impl Gateway {
    pub fn new(rpcs: Rpcs, max_request_bytes: usize, max_response_bytes: usize) -> Self {
        Self { rpcs, max_request_bytes, max_response_bytes }
    }

    clients! {
        endpoints: EndpointServiceClient,
        datasets: DatasetServiceClient,
        models: ModelServiceClient,
        policies: PolicyServiceClient,
        access: AccessServiceClient,
        marketplaces: MarketplaceServiceClient,
        usage: UsageServiceClient,
        ingestions: IngestionServiceClient
    }

    fn health(&self) -> HealthClient<Rpcs> {
        HealthClient::new(self.rpcs.clone())
    }

    /// Serves every route. Requests must have been let in, by what [`needs`] says.
    pub fn router(self) -> Router {
        let (mut router, routes) = (Router::new(), routes());
        let whole = routes.iter().map(|route| (route.path, route, Vec::new()));
        for (path, route, named) in whole.chain(hidden(&routes)) {
            let served = self.clone().served(route, named);
            router = router.route(path, served.clone());
            if let Some(other) = other_form(path) {
                router = router.route(&other, served);
            }
        }
        let not_found = || refused(StatusCode::NOT_FOUND, "Not Found");
        let not_allowed = || refused(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        docs::routes(router, &routes).fallback(not_found).method_not_allowed_fallback(not_allowed)
    }

    /// `named` are parameters that the path does not show.
    fn served(self, route: &Route, named: Params) -> MethodRouter {
        // A method that axum does not know is never allowed; a test sees that no route has one.
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { return MethodRouter::new() };
        let route = route.clone();
        on(
            filter,
            move |params: Result<RawPathParams, RawPathParamsRejection>, request: Request| async move {
                // Nothing has a name that is no text, or none.
                let Ok(params) = params else { return refused(StatusCode::NOT_FOUND, "Not Found").await };
                let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                let params: Params = params.chain(named).collect();
                if params.iter().any(|(_, value)| value.is_empty()) {
                    return refused(StatusCode::NOT_FOUND, "Not Found").await;
                }
                route.serve(self, params, request).await
            },
        )
    }
}

/// What a request needs; documents and health need nothing. An unknown path under the base needs a
/// credential too: who has none learns nothing.
pub fn needs(method: &Method, path: &str) -> Option<Access> {
    let path = path.strip_prefix(BASE)?.trim_end_matches('/');
    let is_query = *method == Method::POST && path.starts_with("/endpoints/");
    let scope = match path {
        "/health" => return None,
        _ if is_query && path.ends_with("/query") => Scope::Query,
        _ if path == "/tenants" || path.starts_with("/tenants/") => Scope::Admin,
        _ => Scope::Manage,
    };
    // A file may take its time to come, and its documents to be stored.
    let is_upload =
        *method == Method::POST && path.starts_with("/ingestion/datasets/") && path.ends_with("/files");
    let is_query = is_upload || is_query && (path.ends_with("/query") || path.ends_with("/preview"));
    Some(Access { scope, is_query, sends_stream: is_upload })
}

/// Everything that is served, as it is documented.
fn routes() -> Vec<Route> {
    let parts = [
        endpoints::routes(),
        publishing::routes(),
        query::routes(),
        attachments::dataset_routes(),
        attachments::model_routes(),
        policies::routes(),
        evaluation::routes(),
        marketplaces::routes(),
        settings::routes(),
        tenants::routes(),
        keys::routes(),
        usage::routes(),
        analytics::routes(),
        ingestions::routes(),
        health::routes(),
    ];
    parts.into_iter().flatten().collect()
}

/// Routes that a fixed path keeps requests from, each with that path and what it makes of the parameters: an
/// endpoint may be called `sync`. Datasets and models called `types` stay hidden, as in the Python Space.
fn hidden(routes: &[Route]) -> impl Iterator<Item = (&'static str, &Route, Params)> {
    let served: HashSet<(&Method, &str)> =
        routes.iter().map(|route| (&route.method, bare(route.path))).collect();
    let mut fixed: Vec<&'static str> =
        routes.iter().map(|route| route.path).filter(|path| is_fixed(path)).collect();
    fixed.sort_unstable();
    fixed.dedup();
    let pairs = fixed.into_iter().flat_map(|path| routes.iter().map(move |route| (path, route)));
    pairs.filter_map(move |(path, route)| {
        let params = params(route.path, path).filter(|params| !params.is_empty())?;
        (!served.contains(&(&route.method, bare(path)))).then_some((path, route, params))
    })
}

fn is_fixed(path: &str) -> bool {
    path.starts_with("/api/v1/endpoints/") && !path.contains('{')
}

/// What a path makes of the parameters of another, if it is one of that form.
fn params(form: &str, path: &str) -> Option<Params> {
    let (mut form, mut path, mut params) = (bare(form).split('/'), bare(path).split('/'), Params::new());
    loop {
        match (form.next(), path.next()) {
            (None, None) => return Some(params),
            (Some(wanted), Some(part)) if wanted == part => {}
            (Some(wanted), Some(part)) => {
                let name = wanted.strip_prefix('{')?.strip_suffix('}')?;
                params.push((name.to_owned(), part.to_owned()));
            }
            _ => return None,
        }
    }
}

fn bare(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// The same path with a slash at its end, or without: both are answered directly.
fn other_form(path: &str) -> Option<String> {
    let within = path.strip_prefix(BASE)?;
    Some(match within.strip_suffix('/') {
        Some(bare) => format!("{BASE}{bare}"),
        None => format!("{path}/"),
    })
}

async fn refused(status: StatusCode, detail: &'static str) -> axum::response::Response {
    Problem::Refused(status, detail.into()).response(&Origin::default())
}

#[cfg(test)]
mod tests {
    use axum::routing::MethodFilter;

    #[test]
    fn every_route_has_a_method_that_can_be_served() {
        for route in super::routes() {
            let filter = MethodFilter::try_from(route.method.clone());
            assert!(filter.is_ok() && route.method_name() != "other", "{} {}", route.method, route.path);
        }
    }
}
