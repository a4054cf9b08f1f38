//! 422 says everything that is wrong, as FastAPI does.

use http::Method;
use serde_json::{Value, json};

use crate::support::{rest::Rest, space::Space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_violation_is_listed_in_the_order_of_the_fields() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    let query = json!({
        "messages": [{"role": "user"}, 3],
        "similarity_threshold": 1.5, "limit": 0, "include_metadata": "perhaps", "max_tokens": 3.5,
        "temperature": "hot", "stop_sequences": "\n", "stream": null, "presence_penalty": -3,
        "frequency_penalty": 3, "extras": [], "transaction_token": 7, "user_email": "ignored",
    });
    let told = rest.query("none", query).await.expect(422);
    insta::assert_json_snapshot!("query", told);
    let endpoint = json!({"slug": "X", "dataset_id": "x", "response_type": "nonsense", "published": "maybe"});
    let told = rest.post("/api/v1/endpoints", endpoint).await.expect(422);
    insta::assert_json_snapshot!("endpoint", told);
    let told = rest.get("/api/v1/policies/not-an-id").await.expect(422);
    insta::assert_json_snapshot!("path", told);
    let told = rest.get("/api/v1/policies?endpoint_id=x").await.expect(422);
    insta::assert_json_snapshot!("query_string", told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_only_the_service_knows_are_told_alike() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    let query = json!({"messages": [{"role": "tool", "content": "x"}], "extras": {"model": "other"}});
    insta::assert_json_snapshot!("service_query", rest.query("none", query).await.expect(422));
    let endpoint = json!({"slug": "abc", "name": " ", "tags": format!("a,{}", "x".repeat(60)), "response_type": "raw",
        "model_id": "0197b9e4-0000-7000-8000-000000000000"});
    insta::assert_json_snapshot!(
        "service_endpoint",
        rest.post("/api/v1/endpoints", endpoint).await.expect(422)
    );
    let neither = rest.post("/api/v1/endpoints", json!({"slug": "abc", "name": "a"})).await.expect(400);
    assert_eq!(neither, json!({"detail": "At least one of dataset_id or model_id must be provided"}));
    let nothing = json!({"published": null});
    insta::assert_json_snapshot!(
        "nothing",
        rest.call("PATCH", "/api/v1/endpoints/x", Some(nothing)).await.expect(422)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_json_is_told_as_such() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    let sent = async |body: &'static str, kind: &str| -> Value {
        let request = rest.request(Method::POST, "/api/v1/endpoints/x/query").header("content-type", kind);
        rest.send(request.body(body)).await.expect(422)["detail"].clone()
    };
    let told = [
        sent("{\"messages\": \"x\",}", "application/json").await,
        sent("", "application/json").await,
        sent("messages=x", "application/x-www-form-urlencoded").await,
        sent("[]", "application/json").await,
        sent("\"x\"", "application/json; charset=utf-8").await,
        sent("{\"messages\": \"x\", \"limit\": 1e999}", "application/json").await,
    ];
    insta::assert_json_snapshot!(told);
    let deep = "[".repeat(200_000);
    let request =
        rest.request(Method::POST, "/api/v1/endpoints/x/query").header("content-type", "application/json");
    assert_eq!(rest.send(request.body(deep)).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_taken_as_they_are_meant() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    let dataset = clients.dataset("law").await;
    clients.ingest("law", &[("d1", "dogs bark"), ("d2", "dogs bark loudly")]).await;
    clients.endpoint("docs", Some(&dataset), None).await;
    let rest = Rest::admin(&space);
    let query = json!({"messages": "dogs", "limit": "1", "similarity_threshold": "0", "include_metadata": "yes",
        "stream": 0, "max_tokens": 7.0, "unknown": [1]});
    let found = rest.query("docs", query).await.expect(200);
    assert_eq!(found["references"]["documents"].as_array().unwrap().len(), 1);
    let marked = "\u{feff}{\"messages\": \"dogs\"}";
    let request =
        rest.request(Method::POST, "/api/v1/endpoints/docs/query").header("content-type", "application/json");
    rest.send(request.body(marked)).await.expect(200);
    // There is no upper bound on what one may ask for.
    let all = json!({"messages": "dogs", "limit": 1e15, "similarity_threshold": 0});
    assert_eq!(
        rest.query("docs", all).await.expect(200)["references"]["documents"].as_array().unwrap().len(),
        2
    );
}
