//! What was asked and answered is kept only where the owner wants it: cut, sealed, filtered, never logged.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use syft_endpoints::{
    pipeline,
    proto::{QueryRecord, QueryRecordFilter, QueryRequest, StreamQueryRequest},
};

use super::{listed, only};
use crate::support::{
    database::Database,
    eventually, on_both,
    process::Process,
    rig::{Rig, Tokens, plan},
    space::{Clients, Space, asking},
    upstream::{Upstream, answer_of, delta, head, send},
};

const ON: [(&str, &str); 1] = [("records.text", "true")];

async fn ask(clients: &mut Clients, slug: &str, text: &str) {
    let request = QueryRequest { slug: slug.to_owned(), query: Some(asking(text)), request_id: None };
    // What became of it is in its record.
    let _ = clients.endpoints.query(request).await;
}

async fn streamed(clients: &mut Clients, slug: &str, text: &str) {
    let request = StreamQueryRequest { slug: slug.to_owned(), query: Some(asking(text)), request_id: None };
    let Ok(answer) = clients.endpoints.stream_query(request).await else { return };
    let mut events = answer.into_inner();
    while events.message().await.is_ok_and(|event| event.is_some()) {}
}

async fn newest(clients: &mut Clients, count: usize) -> QueryRecord {
    let mut found = Vec::new();
    eventually("all queries are recorded", async || {
        found = listed(clients, QueryRecordFilter::default(), 0).await;
        found.len() == count
    })
    .await;
    found.remove(0)
}

fn texts(record: &QueryRecord) -> (Option<&str>, Option<&str>) {
    (record.question.as_deref(), record.answer.as_deref())
}

#[tokio::test(start_paused = true)]
async fn of_who_has_gone_what_was_handed_over_is_kept() {
    let model = Tokens { count: 1_000, every: Duration::from_millis(10), ..Tokens::default() };
    let mut rig = Rig::new(pipeline::Config::default(), plan(Some(Arc::new(model)), vec![]));
    let mut events = rig.ask();
    events.next().await.unwrap().unwrap();
    // Ten more wait, and nobody takes them.
    tokio::time::sleep(Duration::from_millis(105)).await;
    drop(events);
    rig.settled().await;
    let record = rig.records.try_recv().unwrap();
    assert_eq!(record.text.question.as_deref(), Some("what?"));
    assert_eq!(record.text.answer.as_deref(), Some("tok "));
}

on_both! {
    async fn no_text_is_kept_unless_it_is_wanted(database: Database) {
        let upstream = Upstream::says(&["a"]).await;
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        ask(&mut owner, "ask", "what?").await;
        assert_eq!(texts(&only(&mut owner).await), (None, None));
    }

    async fn text_is_kept_as_it_went_and_is_cut(database: Database) {
        let long = "é".repeat(2_500);
        let upstream = Upstream::start(vec![
            answer_of(&[&long, &long, "never"]),
            vec![head(), send(&delta("half an ans")), crate::support::upstream::raw("nonsense")],
            vec![head(), send(&delta("half an ans")), crate::support::upstream::raw("nonsense")],
        ]).await;
        let space = Space::configured(database, &ON).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        ask(&mut owner, "ask", &"日".repeat(5_000)).await;
        let record = newest(&mut owner, 1).await;
        assert_eq!(record.question(), "日".repeat(4_000));
        assert_eq!(record.answer(), "é".repeat(4_000));
        // Who waits for all of an answer got nothing of one that broke off; a stream's reader did.
        ask(&mut owner, "ask", "second").await;
        assert_eq!(texts(&newest(&mut owner, 2).await), (Some("second"), None));
        streamed(&mut owner, "ask", "third").await;
        assert_eq!(texts(&newest(&mut owner, 3).await), (Some("third"), Some("half an ans")));
    }

    async fn what_policies_strike_out_is_struck_out(database: Database) {
        let upstream = Upstream::says(&["a ze", "bra runs"]).await;
        let space = Space::configured(database, &ON).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        let redacting = json!({"words": ["zebra"], "mode": "redact", "apply_to": ["question", "answer"]});
        owner.policy("ask", "prompt_filter", redacting).await;
        owner.policy("ask", "rate_limit", json!({"limit": "2/h"})).await;
        ask(&mut owner, "ask", "does a zebra run?").await;
        streamed(&mut owner, "ask", "does a zebra run?").await;
        for count in [2, 2] {
            let record = newest(&mut owner, count).await;
            let (question, answer) = (record.question().to_owned(), record.answer().to_owned());
            assert!(question.starts_with("does a ") && question.ends_with(" run?"), "{question}");
            assert!(answer.starts_with("a ") && answer.ends_with(" runs"), "{answer}");
            assert!(!format!("{question}{answer}").contains("zebra"));
        }
        // The limit refuses before the filter has seen it.
        ask(&mut owner, "ask", "a third zebra").await;
        let refused = newest(&mut owner, 3).await;
        assert_eq!((refused.reason.as_str(), texts(&refused)), ("RATE_LIMITED", (None, None)));
    }

    async fn text_is_sealed_and_is_in_no_log(database: Database) {
        let upstream = Upstream::says(&["canary-answer"]).await;
        let file = database.folder.path().join("config.toml");
        std::fs::write(&file, "[records]\ntext = true\n").unwrap();
        let process = Process::start(&database, &["--log-level", "trace", "--config", file.to_str().unwrap()]);
        let mut owner = process.admin().await;
        owner.asks("ask", upstream.address).await;
        ask(&mut owner, "ask", "canary-question").await;
        let record = only(&mut owner).await;
        assert_eq!(texts(&record), (Some("canary-question"), Some("canary-answer")));
        let raw = database.raw().await;
        let sql = "SELECT question, answer FROM query_records";
        let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap().unwrap();
        for column in ["question", "answer"] {
            let stored: String = row.try_get("", column).unwrap();
            assert!(!stored.is_empty() && !stored.contains("canary"), "{stored}");
        }
        // A copy in another record does not open.
        let copy = "UPDATE query_records SET question = answer";
        raw.execute_unprepared(copy).await.unwrap();
        assert_eq!(texts(&only(&mut owner).await), (None, Some("canary-answer")));
        let log = std::fs::read_to_string(&process.log).unwrap();
        assert!(!log.contains("canary"), "text is in the log");
    }
}

#[test]
fn the_variable_has_a_name_of_its_own() {
    use syft_endpoints::config::Config;

    let variables = [("SYFT_RECORD_QUERIES", "true"), ("SYFT_RECORDS_KEEP_DAYS", "7")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load("", variables.into_iter(), Vec::new()).unwrap();
    assert_eq!((config.records.text, config.records.keep_days), (true, 7));
    let config = Config::load("", std::iter::empty(), Vec::new()).unwrap();
    assert_eq!((config.records.text, config.records.keep_days), (false, 90));
}
