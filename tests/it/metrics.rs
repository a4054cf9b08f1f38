//! What is counted, and that nobody can make series.

use serde_json::json;
use syft_endpoints::proto::{ApiKey, CreateApiKeyRequest, QueryRequest, Scope};

use crate::support::{
    database::Database,
    eventually,
    rest::{self, Rest},
    space::{Space, question},
    tenants::call_raw,
    upstream::{Upstream, answer_of, status},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_tokens_failures_and_refusals_are_counted() {
    let failing = status("400 Bad Request", "", "");
    let upstream = Upstream::start(vec![answer_of(&["a", "b"]), answer_of(&["c"]), failing]).await;
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    clients.asks("refused", upstream.address).await;
    clients.policy("refused", "access", json!({"denied_users": ["*"]})).await;
    clients.query("ask").await.unwrap();
    let mut events = clients.stream("ask").await.unwrap();
    while events.message().await.unwrap().is_some() {}
    clients.query("ask").await.unwrap_err();
    clients.query("refused").await.unwrap_err();
    clients.query("nowhere").await.unwrap_err();
    eventually("nothing runs", async || space.metric("syft_running_queries").await == 0.0).await;
    for (series, value) in [
        (r#"syft_queries_total{outcome="completed",reason=""}"#, 2.0),
        (r#"syft_queries_total{outcome="failed",reason="MODEL_REJECTED"}"#, 1.0),
        (r#"syft_queries_total{outcome="refused",reason="POLICY_VIOLATION"}"#, 1.0),
        (r#"syft_queries_total{outcome="failed",reason="ENDPOINT_NOT_FOUND"}"#, 1.0),
        (r#"syft_upstream_errors_total{part="model",kind="rejected"}"#, 1.0),
        (r#"syft_policy_refusals_total{policy_type="access"}"#, 1.0),
        ("syft_time_to_first_token_seconds_count", 2.0),
        (r#"syft_query_duration_seconds_count{outcome="completed"}"#, 2.0),
        (r#"syft_tokens_total{direction="input"}"#, 22.0),
        (r#"syft_tokens_total{direction="output"}"#, 10.0),
        (r#"syft_rpcs_total{method="syft.space.v1.EndpointService/StreamQuery",code="OK"}"#, 1.0),
        (r#"syft_rpcs_total{method="syft.space.v1.EndpointService/Query",code="NOT_FOUND"}"#, 1.0),
        (r#"syft_rpc_duration_seconds_count{method="syft.space.v1.EndpointService/Query"}"#, 4.0),
    ] {
        assert_eq!(space.metric(series).await, value, "{series}\n{}", space.metrics().await);
    }
    assert!(space.metrics().await.contains("syft_build_info{version="));
    assert!(space.metric(r#"syft_database_connections{state="idle"}"#).await > 0.0);
    assert!(space.metric("syft_connections").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_is_a_cancelled_call() {
    let upstream = Upstream::endless().await;
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let events = clients.stream("ask").await.unwrap();
    assert_eq!(space.metric("syft_open_streams").await, 1.0);
    assert_eq!(space.metric("syft_running_queries").await, 1.0);
    drop(events);
    let series = r#"syft_rpcs_total{method="syft.space.v1.EndpointService/StreamQuery",code="CANCELLED"}"#;
    eventually("it is counted", async || space.metric(series).await == 1.0).await;
    let gone = r#"syft_queries_total{outcome="client_gone",reason="CLIENT_GONE"}"#;
    eventually("so is the query", async || space.metric(gone).await == 1.0).await;
}

/// Callers choose slugs, methods and addresses; none of it is a label.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_make_no_series() {
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let work = async |round: usize| {
        for n in 0..20 {
            let slug = format!("slug-{round}-{n}");
            let request = QueryRequest { slug: slug.clone(), query: Some(question()), request_id: None };
            clients.clone().endpoints.query(request).await.unwrap_err();
            call_raw(&space, &format!("Nothing/{slug}"), &[]).await;
            let key = ApiKey {
                name: slug.clone(),
                email: format!("{slug}@example.org"),
                scopes: vec![Scope::Query.into()],
                ..ApiKey::default()
            };
            let key = CreateApiKeyRequest { api_key: Some(key) };
            let key = clients.clone().access.create_api_key(key).await.unwrap().into_inner();
            let authorization = format!("Bearer {}", key.secret);
            space.clients(&[("authorization", &authorization)]).await.query("ask").await.unwrap();
        }
    };
    work(0).await;
    let series = |metrics: &str| metrics.lines().filter(|line| !line.starts_with('#')).count();
    let before = series(&space.metrics().await);
    work(1).await;
    let after = space.metrics().await;
    assert_eq!(series(&after), before, "{after}");
    assert!(after.contains(r#"method="other""#) && !after.contains("slug-"), "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_port_serves_metrics_alone() {
    let space = Space::configured(Database::sqlite(), &[]).await;
    let get = async |path: &str| {
        reqwest::get(format!("http://{}{path}", space.metrics_address)).await.unwrap().status().as_u16()
    };
    assert_eq!((get("/metrics").await, get("/").await, get("/metrics/x").await), (200, 404, 404));
    let url = format!("http://{}/metrics", space.metrics_address);
    assert_eq!(reqwest::Client::new().post(url).send().await.unwrap().status().as_u16(), 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_rest_are_counted_by_route() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    rest.query("none", rest::question()).await.expect(404);
    rest.query("none", json!({})).await.expect(422);
    rest.get("/api/v1/datasets").await.expect(200);
    rest.get("/no/such/path-4711").await.expect(404);
    Rest::with(&space, &[]).get("/api/v1/datasets").await.expect(401);
    for (series, value) in [
        (r#"{method="POST",route="/api/v1/endpoints/{slug}/query",status="404"}"#, 1.0),
        (r#"{method="POST",route="/api/v1/endpoints/{slug}/query",status="422"}"#, 1.0),
        (r#"{method="GET",route="/api/v1/datasets/",status="200"}"#, 1.0),
        (r#"{method="other",route="other",status="404"}"#, 1.0),
        (r#"{method="other",route="other",status="401"}"#, 1.0),
    ] {
        let series = format!("syft_rest_requests_total{series}");
        assert_eq!(space.metric(&series).await, value, "{series}\n{}", space.metrics().await);
    }
    assert!(!space.metrics().await.contains("4711"));
}
