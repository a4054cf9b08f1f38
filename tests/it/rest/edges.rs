//! What odd clients send, and what proxies do to it.

use serde_json::{Value, json};

use super::legal;
use crate::support::{
    database::Database,
    raw_http::RawHttp,
    rest::{Answer, Rest, question},
    space::{ADMIN_KEY, Space},
    upstream::Upstream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_parameters_of_paths_name_nothing() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    for (method, path) in [
        ("POST", "/api/v1/endpoints//query"),
        ("POST", "/api/v1/endpoints//preview/"),
        ("GET", "/api/v1/endpoints//"),
        ("PATCH", "/api/v1/policies//"),
        ("GET", "/api/v1/policies//"),
        ("GET", "/api/v1/policies/types//"),
        ("GET", "/api/v1/policies/types//schema"),
        ("GET", "/api/v1/datasets//health"),
        ("DELETE", "/api/v1/models//"),
        ("DELETE", "/api/v1/keys//"),
        ("GET", "/api/v1//endpoints"),
    ] {
        let answer = rest.call(method, path, Some(question())).await;
        assert_eq!(answer.expect(404), json!({"detail": "Not Found"}), "{method} {path}");
    }
    assert_eq!(rest.get("/api/v1/endpoints//query").await.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_in_places_of_numbers_are_not_repeated() {
    let space = Space::sqlite().await;
    let wrong = json!({
        "messages": 4711, "max_tokens": "s3cret", "limit": "s3cret 2", "temperature": "s3cret",
        "stream": "s3cret", "include_metadata": "s3cret", "transaction_token": 4711, "extras": 4711,
        "stop_sequences": [4711],
    });
    let told = Rest::admin(&space).query("ask", wrong).await;
    let details = told.expect(422)["detail"].as_array().unwrap().clone();
    assert!(details.len() >= 8, "{details:?}");
    assert!(!told.text.contains("s3cret") && !told.text.contains("4711"), "{}", told.text);
}

fn correlation(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.header("x-correlation-id"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_at_the_door_name_the_request_too() {
    let space = Space::sqlite().await;
    let admin = Rest::admin(&space);
    let new = json!({"name": "q", "email": "q@example.org", "scopes": ["query"]});
    let secret = admin.post("/api/v1/keys", new).await.expect(201)["secret"].clone();
    let bearer = format!("Bearer {}", secret.as_str().unwrap());
    let as_anybody = [("x-correlation-id", "c-1")];
    let as_asker = [("x-correlation-id", "c-1"), ("authorization", bearer.as_str())];
    for (headers, path, status) in [
        (&as_anybody[..], "/api/v1/endpoints", 401),
        (&as_asker[..], "/api/v1/endpoints", 403),
        (&as_anybody[..], "/api/v1/health", 200),
        (&as_anybody[..], "/nowhere", 404),
    ] {
        let answer = Rest::with(&space, headers).get(path).await;
        assert_eq!(correlation(&answer), (status, "c-1"), "{path}");
    }
    let long = "c".repeat(129);
    let answer = Rest::with(&space, &[("x-correlation-id", &long)]).get("/api/v1/health").await;
    assert_eq!(correlation(&answer), (200, ""));
}

fn post(version: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} {version}\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_http_1_0_are_refused() {
    let (space, _upstream) = legal(Database::sqlite(), Upstream::says(&["a"]).await).await;
    let ask = async |version: &str, stream: bool| -> (u16, Value) {
        let mut asked = question();
        asked["stream"] = json!(stream);
        let headers = format!(
            "authorization: Bearer {ADMIN_KEY}\r\nconnection: keep-alive\r\ncontent-type: application/json\r\n"
        );
        let request = post(version, "/api/v1/endpoints/chat/query", &headers, &asked.to_string());
        let answer = RawHttp::connect(space.address).await.exchange(request.as_bytes()).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
    };
    let told =
        json!({"detail": "A streamed answer needs HTTP/1.1 or later: over HTTP/1.0 nobody sees it break"});
    assert_eq!(ask("HTTP/1.0", true).await, (400, told));
    assert_eq!(ask("HTTP/1.0", false).await.0, 200);
    assert_eq!(ask("HTTP/1.1", true).await.0, 200);
}
