//! A query over REST is the same query: same answer, same refusals, in the shapes that SyftHub reads.

use serde_json::json;

use super::{legal, settled};
use crate::support::{
    database::Database,
    eventually, on_both,
    rest::{Rest, question},
    space::Space,
    upstream::{Step, Upstream, delta, head, send},
};

on_both! {
    async fn an_answer_has_the_references_shape(database: Database) {
        let (space, upstream) = legal(database, Upstream::says(&["Seventy ", "years."]).await).await;
        let rest = Rest::admin(&space);
        let answer = rest.query("legal-qa", question()).await;
        insta::assert_json_snapshot!("both", settled(answer.expect(200)));
        assert!(uuid::Uuid::try_parse(answer.header("x-query-id")).is_ok());
        let raw = rest.query("legal-docs", question()).await.expect(200);
        insta::assert_json_snapshot!("raw", settled(raw));
        let summary = rest.query("chat", question()).await.expect(200);
        insta::assert_json_snapshot!("summary", settled(summary));
        // What was said reached the model, and what was not said is the default.
        let asked = upstream.body(0);
        assert_eq!((&asked["max_tokens"], &asked["temperature"]), (&json!(100), &json!(0.7)));
        assert!(asked.get("stop").is_none(), "an empty list of stop sequences is none: {asked}");
    }

    async fn a_policy_says_why_it_refuses(database: Database) {
        let (space, _upstream) = legal(database, Upstream::says(&["a"]).await).await;
        let mut clients = space.admin().await;
        clients.policy("legal-docs", "rate_limit", json!({"limit": "1/m"})).await;
        clients.policy("chat", "access", json!({"denied_users": ["*"]})).await;
        let rest = Rest::admin(&space);
        rest.query("legal-docs", question()).await.expect(200);
        let mut limited = rest.query("legal-docs", question()).await.expect(403);
        limited["policy_metadata"]["entries"][0]["details"]["reset_seconds"] = json!("[seconds]");
        limited["policy_metadata"]["entries"][0]["reason"] = json!("[reason]");
        limited["detail"] = json!(limited["detail"].as_str().unwrap().split(':').next().unwrap());
        insta::assert_json_snapshot!("rate_limited", settled(limited));
        let denied = rest.query("chat", question()).await.expect(403);
        insta::assert_json_snapshot!("access_denied", settled(denied));
    }

    async fn an_owner_previews_what_is_not_published(database: Database) {
        let (space, _upstream) = legal(database, Upstream::says(&["a"]).await).await;
        let rest = Rest::admin(&space);
        rest.call("PATCH", "/api/v1/endpoints/chat", Some(json!({"published": false}))).await.expect(200);
        let refused = rest.query("chat", question()).await.expect(403);
        assert_eq!(refused, json!({"detail": "Endpoint is not published"}));
        let preview = rest.post("/api/v1/endpoints/chat/preview", question()).await.expect(200);
        assert_eq!(preview["summary"]["message"]["content"], "a");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_stops_the_model() {
    let script = vec![head(), send(&delta("a ")), Step::Hang];
    let (space, upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let rest = Rest::admin(&space);
    tokio::select! {
        answer = rest.query("chat", question()) => panic!("an answer: {}", answer.status),
        () = eventually("the model is asked", async || upstream.count() == 1) => {}
    }
    eventually("the model's answer is abandoned", async || upstream.abandoned() == 1).await;
    eventually("no query runs", async || space.metric("syft_running_queries").await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn correlation_ids_come_back() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    let request = rest.request(http::Method::POST, "/api/v1/endpoints/none/query").json(&question());
    let answer = rest.send(request.header("x-correlation-id", "095723e9-5936")).await;
    assert_eq!((answer.status, answer.header("x-correlation-id")), (404, "095723e9-5936"));
    assert_eq!(answer.json(), json!({"detail": "Endpoint 'none' not found"}));
}
