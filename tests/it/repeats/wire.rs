//! Over gRPC and REST, with real processes.

use reqwest::{Method, StatusCode};
use serde_json::json;
use syft_endpoints::proto::{Query, QueryRequest, StreamQueryRequest};
use tonic::{Code, Request};
use uuid::Uuid;

use super::time_passes;
use crate::support::{
    bank::{Bank, Fault::Held},
    database::Database,
    on_both,
    process::Process,
    rest::Rest,
    space::{Space, asking, reason},
    upstream::{Upstream, answer_of, head, send},
};

fn correlated<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-correlation-id", id.parse().unwrap());
    request
}

fn unary(id: Option<Uuid>, text: &str) -> QueryRequest {
    QueryRequest {
        slug: "ask".to_owned(),
        query: Some(asking(text)),
        request_id: id.map(|id| id.to_string()),
    }
}

on_both! {
    async fn what_syfthub_repeats_counts_once(database: Database) {
        let space = Space::start(database).await;
        // One that fails, and is repeated; then a probe, and the stream that follows it.
        let nonsense = vec![head(), send("data: nonsense\n\n")];
        let upstream = Upstream::start(vec![nonsense, answer_of(&["hi"]), answer_of(&["hi"])]).await;
        let (mut clients, rest) = (space.admin().await, Rest::admin(&space));
        clients.asks("ask", upstream.address).await;
        clients.policy("ask", "rate_limit", json!({"limit": "1/h"})).await;
        let ask = async |stream: bool| {
            let body = json!({"messages": "what?", "stream": stream});
            let request = rest.request(Method::POST, "/api/v1/endpoints/ask/query").json(&body);
            request.header("x-correlation-id", "c1").send().await.unwrap()
        };
        assert_eq!(ask(false).await.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(ask(false).await.status(), StatusCode::OK);
        let streamed = ask(true).await;
        assert_eq!(streamed.status(), StatusCode::OK);
        let events = streamed.text().await.unwrap();
        assert!(events.contains("\"status\":\"skipped\"") && events.contains("REPEATED"), "{events}");
        let other = clients.endpoints.query(unary(None, "what?")).await.unwrap_err();
        assert_eq!(reason(&other), "RATE_LIMITED");
    }

    async fn a_request_id_with_another_question_is_a_conflict(database: Database) {
        let space = Space::start(database).await;
        let upstream = Upstream::start(vec![answer_of(&["hi"]), answer_of(&["hi"])]).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        let id = Some(Uuid::now_v7());
        clients.endpoints.query(unary(id, "what?")).await.unwrap();
        let conflict = clients.endpoints.query(unary(id, "where?")).await.unwrap_err();
        assert_eq!((conflict.code(), reason(&conflict).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));
        // The id says more than the correlation id.
        let stream = StreamQueryRequest {
            slug: "ask".to_owned(),
            query: Some(asking("where?")),
            request_id: id.map(|id| id.to_string()),
        };
        let conflict = clients.endpoints.stream_query(correlated(stream, "c2")).await.unwrap_err();
        assert_eq!(conflict.code(), Code::AlreadyExists);
        clients.endpoints.query(unary(id, "what?")).await.unwrap();
    }

    async fn who_was_charged_by_a_process_that_died_is_not_charged_again(database: Database) {
        let bank = Bank::start().await;
        let file = database.folder.path().join("config.toml");
        std::fs::write(&file, "[identity]\nowner_email = \"bob@example.org\"\n").unwrap();
        let arguments = ["--config", file.to_str().unwrap()];
        let mut process = Process::start(&database, &arguments);
        let upstream = Upstream::start(vec![answer_of(&["a"]), answer_of(&["a"]), answer_of(&["a"])]).await;
        let mut clients = process.admin().await;
        clients.asks("ask", upstream.address).await;
        clients.policy("ask", "accounting", bank.charging(json!({"price": 1}))).await;
        let paying = || QueryRequest {
            query: Some(Query { transaction_token: Some(bank.token("bob@example.org")), ..asking("what?") }),
            ..unary(None, "")
        };
        // Decided, and dead before the bank or the client has heard of it.
        bank.fault("confirm", Held);
        tokio::select! {
            () = bank.holds() => {}
            answer = clients.endpoints.query(correlated(paying(), "c1")) => panic!("{answer:?}"),
        }
        process.kill();
        time_passes(&database, 1).await;
        process = Process::start(&database, &arguments);
        let mut clients = process.admin().await;
        let answer = clients.endpoints.query(correlated(paying(), "c1")).await.unwrap().into_inner();
        let entries = answer.policy_metadata.unwrap().entries;
        assert_eq!(entries.iter().map(|entry| entry.status.as_str()).collect::<Vec<_>>(), ["skipped"]);
        assert_eq!(bank.calls("create"), 1);
        process.signal("-TERM");
        assert!(process.ended().await.success());
    }
}
