//! `/health`: whether this replica serves.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    problem::Problem,
    route::{Call, Route},
};

/// A replica that serves.
#[derive(Serialize, JsonSchema)]
struct HealthResponse {
    status: &'static str,
    version: &'static str,
}

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/api/v1/health", health).says("Says whether this replica serves")]
}

async fn health(call: Call) -> Result<HealthResponse, Problem> {
    let checked = call.gateway.health().check(call.asks(HealthCheckRequest::default())).await?.into_inner();
    match checked.status() {
        ServingStatus::Serving => {
            Ok(HealthResponse { status: "healthy", version: env!("CARGO_PKG_VERSION") })
        }
        _ => Err(Problem::Refused(StatusCode::SERVICE_UNAVAILABLE, "This replica does not serve now".into())),
    }
}
