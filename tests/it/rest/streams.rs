//! Server-sent events, by the rules of those who read them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::{legal, settled};
use crate::support::{
    database::Database,
    eventually,
    rest::{Rest, question},
    space::ADMIN_KEY,
    upstream::{Step, Upstream, delta, head, raw, send},
};

/// What SyftHub's aggregator takes from a stream: the text of every piece, in order.
fn read_as_syfthub(body: &str) -> (Vec<String>, Vec<Value>) {
    let (mut tokens, mut others) = (Vec::new(), Vec::new());
    // Python breaks lines at more characters than others do.
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    for line in body.split(ends) {
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else { continue };
        let value: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("not JSON: {data}"));
        let text = ["/summary/message/content", "/choices/0/delta/content", "/content", "/text"]
            .iter()
            .find_map(|path| value.pointer(path));
        match text {
            Some(text) => tokens.push(text.as_str().expect("null becomes the text None").to_owned()),
            None => others.push(value),
        }
    }
    (tokens, others)
}

fn streaming() -> Value {
    let mut question = question();
    question["stream"] = json!(true);
    question
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_streams_and_every_piece_comes_once() {
    let upstream = Upstream::says(&["Seventy ", "ye\nars\u{2028}\u{85}", " \"é\"."]).await;
    let (space, _upstream) = legal(Database::sqlite(), upstream).await;
    let answer = Rest::admin(&space).query("legal-qa", streaming()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert!(uuid::Uuid::try_parse(answer.header("x-query-id")).is_ok());
    let (tokens, others) = read_as_syfthub(&answer.text);
    assert_eq!(tokens.concat(), "Seventy ye\nars\u{2028}\u{85} \"é\".");
    assert_eq!(others.len(), 1, "{others:?}");
    insta::assert_json_snapshot!("last_event", settled(others[0].clone()));
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    let without_model = Rest::admin(&space).query("legal-docs", streaming()).await;
    let (tokens, others) = read_as_syfthub(&without_model.text);
    assert!(tokens.is_empty() && others[0]["references"]["documents"][0]["document_id"] == "d1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_the_body_decides_not_a_header() {
    let (space, _upstream) = legal(Database::sqlite(), Upstream::says(&["a"]).await).await;
    let rest = Rest::admin(&space);
    let path = "/api/v1/endpoints/chat/query";
    let probe =
        rest.request(http::Method::POST, path).header("accept", "text/event-stream").json(&question());
    assert_eq!(rest.send(probe).await.header("content-type"), "application/json");
    let plain =
        rest.request(http::Method::POST, path).header("accept", "application/json").json(&streaming());
    assert_eq!(rest.send(plain).await.header("content-type"), "text/event-stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_come_when_they_are_made() {
    let script = vec![head(), send(&delta("first ")), Step::Hang];
    let (space, upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let rest = Rest::admin(&space);
    let request = rest.request(http::Method::POST, "/api/v1/endpoints/chat/query").json(&streaming());
    let mut body = request.send().await.unwrap().bytes_stream();
    let first = body.next().await.unwrap().unwrap();
    assert_eq!(first, "data: {\"content\":\"first \"}\n\n");
    // And a client that goes away stops the model.
    drop(body);
    eventually("the model's answer is abandoned", async || upstream.abandoned() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_before_the_first_event_is_a_plain_failure() {
    let script = crate::support::upstream::status("401 Unauthorized", "", "the key s3cret is wrong");
    let (space, _upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let refused = Rest::admin(&space).query("chat", streaming()).await;
    assert_eq!(
        refused.expect(424),
        json!({"detail": "The model rejected the request: its credential was refused"})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_middle_is_told_and_breaks_the_body() {
    // The upstream closes its connection in the middle of its answer.
    let script = vec![
        raw("HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        Step::Send(delta("half ").into_bytes()),
    ];
    let (space, _upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let rest = Rest::admin(&space);
    let request = rest.request(http::Method::POST, "/api/v1/endpoints/chat/query").json(&streaming());
    let mut body = request.send().await.unwrap().bytes_stream();
    let (mut text, mut broken) = (String::new(), false);
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            Err(_) => broken = true,
        }
    }
    let (tokens, others) = read_as_syfthub(&text);
    assert_eq!(tokens, ["half "]);
    assert!(broken, "the body ended as if all were well: {text}");
    assert!(text.contains("event: error\ndata: {\"detail\":\"The model is unavailable"), "{text}");
    assert!(others.len() == 1 && !text.contains("[DONE]"), "{text}");
}

/// HTTP/2 resets the stream, and must not lose what was said before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_middle_is_told_over_http_2_too() {
    let script = vec![
        raw("HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        Step::Send(delta("half ").into_bytes()),
    ];
    let (space, _upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let stream = tokio::net::TcpStream::connect(space.address).await.unwrap();
    let (mut calls, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = TaskTracker::new();
    driver.spawn(connection);
    let request = http::Request::post(format!("{}/api/v1/endpoints/chat/query", space.url()))
        .header("authorization", format!("Bearer {ADMIN_KEY}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(streaming().to_string())))
        .unwrap();
    let mut body = calls.send_request(request).await.unwrap().into_body();
    let (mut text, mut broken) = (String::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    assert!(broken && text.contains("event: error\ndata: {\"detail\""), "{text}");
}

/// What waits for a slow reader must reach it, although a reset would throw it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_to_slow_readers_too() {
    let script = vec![
        raw("HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        Step::Send(delta(&"half ".repeat(4000)).into_bytes()),
    ];
    let (space, _upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let stream = tokio::net::TcpStream::connect(space.address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1024);
    let (mut calls, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    TaskTracker::new().spawn(connection);
    let request = http::Request::post(format!("{}/api/v1/endpoints/chat/query", space.url()))
        .header("authorization", format!("Bearer {ADMIN_KEY}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(streaming().to_string())))
        .unwrap();
    let mut body = calls.send_request(request).await.unwrap().into_body();
    eventually("the query has failed", async || space.metric("syft_running_queries").await == 0.0).await;
    // The reader is slow: that is what is tested.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (mut text, mut broken) = (String::new(), false);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            broken = true;
            break;
        };
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    assert!(broken && text.contains("event: error\ndata: {\"detail\""), "{} bytes, {broken}", text.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_slows_the_model_and_is_ended_at_the_deadline() {
    let upstream = Upstream::endless_every(Duration::from_micros(100)).await;
    let settings = [("pipeline.timeout_ms", "1500")];
    let space = crate::support::space::Space::configured(Database::sqlite(), &settings).await;
    space.admin().await.asks("ask", upstream.address).await;
    let rest = Rest::admin(&space);
    let request = rest.request(http::Method::POST, "/api/v1/endpoints/ask/query").json(&streaming());
    let body = Arc::new(request.send().await.unwrap());
    eventually("its place is free", async || space.metric("syft_running_queries").await == 0.0).await;
    drop(body);
}
