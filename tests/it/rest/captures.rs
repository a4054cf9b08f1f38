//! Requests that a real SyftHub sent are answered as its aggregator needs it.

use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::{
    database::Database,
    hub::{self, Hub},
    on_both,
    raw_http::{RawAnswer, RawHttp},
    rest::Rest,
    space::Space,
    upstream::{Upstream, status},
};

/// A request of the collection.
struct Capture {
    name: String,
    slug: String,
    /// With the token in its place.
    bytes: Vec<u8>,
    body: Value,
    authorized: bool,
}

/// Schemas of the document that the space serves.
struct Schemas {
    request: Validator,
    answer: Validator,
    failure: Validator,
}

fn captures(token: &str) -> Vec<Capture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captured");
    let files =
        walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| entry.unwrap().into_path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "http"));
    let captures: Vec<Capture> = files
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            Capture {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                slug: head.split('/').nth(4).unwrap().to_owned(),
                bytes: text.replacen("SATELLITE_TOKEN", token, 1).into_bytes(),
                body: serde_json::from_str(body.trim_end()).unwrap(),
                authorized: text.contains("SATELLITE_TOKEN"),
            }
        })
        .collect();
    assert!(captures.len() >= 50, "{}", captures.len());
    captures
}

impl Schemas {
    async fn of(space: &Space) -> Self {
        let document = Rest::with(space, &[]).get("/openapi.json").await.expect(200);
        let named = |name: &str| {
            let reference = format!("#/components/schemas/{name}");
            let schema = json!({"$ref": reference, "components": document["components"].clone()});
            jsonschema::validator_for(&schema).unwrap()
        };
        Self { request: named("QueryRequest"), answer: named("QueryAnswer"), failure: named("Failure") }
    }
}

/// A space with every endpoint that the requests name.
async fn space(database: Database, hub: &Hub, good: &Upstream, bad: &Upstream) -> Space {
    let url = hub.url();
    let settings = [
        ("hub.url", url.as_str()),
        ("hub.username", hub::OWNER),
        ("hub.api_token", hub::API_TOKEN),
        ("upstream.attempts", "1"),
    ];
    let space = Space::configured(database, &settings).await;
    let mut owner = space.admin().await;
    let dataset = owner.dataset("law").await;
    let text = "What are the copyright terms? The copyright term is seventy years.";
    owner.ingest("law", &[("d1", text), ("d2", "Dogs bark.")]).await;
    let config =
        |upstream: &Upstream| json!({"base_url": format!("http://{}/v1", upstream.address), "model": "m"});
    let model = owner.model("good", "openai", config(good)).await;
    let broken = owner.model("bad", "openai", config(bad)).await;
    for slug in ["raw-docs", "rest-empty"] {
        owner.endpoint(slug, Some(&dataset), None).await;
    }
    for slug in ["llm-chat", "sse-1"] {
        owner.endpoint(slug, None, Some(&model)).await;
    }
    for slug in [
        "both-rag",
        "charged-1",
        "denied-1",
        "limited-1",
        "plain403-1",
        "pay-1",
        "e429-1",
        "bare-1",
        "slow-35",
    ] {
        owner.endpoint(slug, Some(&dataset), Some(&model)).await;
    }
    owner.endpoint("e500-1", Some(&dataset), Some(&broken)).await;
    owner.policy("denied-1", "access", json!({"denied_users": ["*@example.com"]})).await;
    owner.policy("limited-1", "rate_limit", json!({"limit": "1/h", "scope": "global"})).await;
    owner.query("limited-1").await.unwrap();
    let rest = Rest::admin(&space);
    let unpublished = Some(json!({"published": false}));
    rest.call("PATCH", "/api/v1/endpoints/plain403-1", unpublished).await.expect(200);
    space
}

on_both! {
    async fn every_recorded_request_gets_the_answer_that_its_sender_needs(database: Database) {
        let hub = Hub::start().await;
        let good = Upstream::says(&["Seventy ", "years."]).await;
        let bad = Upstream::start(vec![status("500 Broken", "", "s3cret")]).await;
        let space = space(database, &hub, &good, &bad).await;
        let schemas = Schemas::of(&space).await;
        let token = hub::token("2");
        // One connection, kept, as the aggregator's client does it.
        let mut connection = RawHttp::connect(space.address).await;
        for capture in captures(&token) {
            let answer = connection.exchange(&capture.bytes).await;
            check(&capture, &answer, &schemas);
        }
        assert_eq!(hub.verifications(), 1, "one token, one question");
    }
}

fn check(capture: &Capture, answer: &RawAnswer, schemas: &Schemas) {
    let told = format!("{}: {} {}", capture.name, answer.status, answer.body);
    let expected = match capture.slug.as_str() {
        _ if !capture.authorized => 401,
        "denied-1" | "limited-1" | "plain403-1" => 403,
        "e500-1" => 502,
        _ => 200,
    };
    assert_eq!(answer.status, expected, "{told}");
    assert!(schemas.request.is_valid(&capture.body), "{told}");
    let correlation = std::str::from_utf8(&capture.bytes)
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("X-Correlation-ID: "));
    if capture.authorized {
        assert_eq!(answer.header("x-correlation-id"), correlation, "{told}");
    }
    if capture.body["stream"] == json!(true) && expected == 200 {
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{told}");
        // What is ready together comes together.
        assert!(answer.body.starts_with("data: {\"content\":\"Seventy "), "{told}");
        assert!(answer.body.ends_with("data: [DONE]\n\n"), "{told}");
        return;
    }
    assert_eq!(answer.header("content-type"), Some("application/json"), "{told}");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    if expected == 200 {
        assert!(schemas.answer.is_valid(&body), "{told}");
        return read_as_aggregator(capture, &body, &told);
    }
    assert!(schemas.failure.is_valid(&body), "{told}");
    assert!(body["detail"].is_string(), "{told}");
    match capture.slug.as_str() {
        "denied-1" | "limited-1" => assert_eq!(body["policy_metadata"]["outcome"], "access_denied", "{told}"),
        _ => assert!(body.get("policy_metadata").is_none(), "{told}"),
    }
}

/// Everything that the aggregator reads, and fails on when it is otherwise.
fn read_as_aggregator(capture: &Capture, body: &Value, told: &str) {
    let searches = !matches!(capture.slug.as_str(), "llm-chat" | "sse-1");
    let chats = !matches!(capture.slug.as_str(), "raw-docs" | "rest-empty");
    assert_eq!((body["references"].is_object(), body["summary"].is_object()), (searches, chats), "{told}");
    for document in body["references"]["documents"].as_array().into_iter().flatten() {
        assert!(document["content"].is_string() && document["document_id"].is_string(), "{told}");
        assert!(document["similarity_score"].is_f64() && document["metadata"].is_object(), "{told}");
    }
    if chats {
        assert_eq!(body["summary"]["message"]["content"], "Seventy years.", "{told}");
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert!(body["summary"]["usage"][count].is_u64(), "{told}");
        }
    }
    assert_eq!(body["policy_metadata"]["outcome"], "success", "{told}");
}
