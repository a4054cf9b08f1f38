//! Beyond what the service can do at once, callers are told so at once, and one tenant does not take
//! another's room.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use syft_endpoints::proto::{CreateTenantRequest, ListEndpointsRequest, Tenant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    database::Database,
    eventually,
    space::{ADMIN_KEY, Space, reason},
    upstream::{Step, Upstream},
};

fn assert_overloaded(refused: &Status) {
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    let retry = refused.get_details_retry_info().expect("it does not say when to come again");
    assert!(retry.retry_delay.is_some_and(|wait| wait > Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_query_too_many_is_refused_at_once() {
    let upstream = Upstream::endless().await;
    let space = Space::configured(Database::sqlite(), &[("pipeline.max_running", "5")]).await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(clients.stream("ask").await.unwrap());
    }
    let asked = Instant::now();
    assert_overloaded(&clients.stream("ask").await.unwrap_err());
    assert!(asked.elapsed() < Duration::from_secs(1), "it waited: {:?}", asked.elapsed());
    assert_eq!(space.metric("syft_queries_refused_overload_total").await, 1.0);
    running.pop();
    eventually("there is room again", async || clients.clone().stream("ask").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_calls_are_bounded_too() {
    let upstream = Upstream::start(vec![vec![Step::Hang]]).await;
    let space = Space::configured(Database::sqlite(), &[("grpc.max_waiting", "3")]).await;
    let mut admin = space.admin().await;
    admin.asks("ask", upstream.address).await;
    let waiting = join_all((0..3).map(|_| {
        let mut clients = admin.clone();
        async move { clients.query("ask").await }
    }));
    let refused = async {
        eventually("three wait for the model", async || upstream.count() == 3).await;
        assert_overloaded(&admin.clone().query("ask").await.unwrap_err());
        let listed = admin.clone().endpoints.list_endpoints(ListEndpointsRequest::default()).await;
        assert_overloaded(&listed.unwrap_err());
        // Health is not ours to refuse.
        let channel = tonic::transport::Channel::from_shared(space.url()).unwrap().connect().await.unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    };
    tokio::select! {
        _ = waiting => panic!("a model that hangs has answered"),
        () = refused => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_wants_everything_leaves_room() {
    let upstream = Upstream::endless().await;
    let settings = [("pipeline.max_running", "20"), ("identity.enable_multi_tenancy", "true")];
    let allowed = ("upstream.private_addresses", "allow");
    let space = Space::configured(Database::sqlite(), &[settings[0], settings[1], allowed]).await;
    let authorization = format!("Bearer {ADMIN_KEY}");
    let mut tenants = Vec::new();
    for name in ["greedy", "modest", "late"] {
        let request =
            CreateTenantRequest { tenant: Some(Tenant { name: name.to_owned(), ..Tenant::default() }) };
        space.admin().await.access.create_tenant(request).await.unwrap();
        let metadata = [("authorization", authorization.as_str()), ("x-tenant-name", name)];
        let mut clients = space.clients(&metadata).await;
        clients.asks("ask", upstream.address).await;
        tenants.push(clients);
    }
    let [mut greedy, mut modest, mut late] = tenants.try_into().ok().unwrap();
    // Another has asked before: the service knows that there are two.
    drop(modest.stream("ask").await.unwrap());
    eventually("that is over", async || space.metric("syft_running_queries").await == 0.0).await;
    let mut taken = Vec::new();
    let refused = loop {
        match greedy.stream("ask").await {
            Ok(events) => taken.push(events),
            Err(refused) => break refused,
        }
    };
    assert_overloaded(&refused);
    assert_eq!(taken.len(), 14, "two thirds");
    let _modest = (modest.stream("ask").await.unwrap(), modest.stream("ask").await.unwrap());
    let _late = late.stream("ask").await.unwrap();
}
