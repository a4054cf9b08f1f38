//! `grpc.health.v1`: serving while the database answers and the service is not stopping. Dead
//! upstreams do not make it unready: other endpoints serve.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(2);
/// The whole server, and each of its services.
const SERVICES: [&str; 9] = [
    "",
    "syft.space.v1.EndpointService",
    "syft.space.v1.DatasetService",
    "syft.space.v1.ModelService",
    "syft.space.v1.PolicyService",
    "syft.space.v1.AccessService",
    "syft.space.v1.MarketplaceService",
    "syft.space.v1.UsageService",
    "syft.space.v1.IngestionService",
];

/// Reports until `stop`, and NOT_SERVING then.
pub async fn report(store: Store, reporter: HealthReporter, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let status = match stop.run_until_cancelled(tokio::time::timeout(INTERVAL, store.ping())).await {
            Some(Ok(Ok(()))) => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
            None => break,
        };
        set(&reporter, status).await;
        stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
    }
    set(&reporter, ServingStatus::NotServing).await;
}

/// Sets the status of every service.
pub async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
