//! A question over a real connection: references, tokens, the end; the unary answer is the same.

use syft_endpoints::proto::{FinishReason, stream_query_response::Event};
use tonic::Code;

use crate::support::{
    database::Database,
    eventually, on_both,
    space::{Space, reason},
    upstream::{self, Upstream},
};

on_both! {
    async fn an_answer_comes_as_references_tokens_and_an_end(database: Database) {
        let upstream = Upstream::says(&["Seventy ", "years", "."]).await;
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        let dataset = clients.dataset("law").await;
        clients.ingest("law", &[("d1", "The copyright term is seventy years."), ("d2", "Dogs bark.")]).await;
        let config = serde_json::json!({"base_url": format!("http://{}/v1", upstream.address), "model": "m"});
        let model = clients.model("gpt", "openai", config).await;
        clients.endpoint("legal-qa", Some(&dataset), Some(&model)).await;

        let mut events = clients.stream("legal-qa").await.unwrap();
        let (mut kinds, mut text, mut end) = (Vec::new(), String::new(), None);
        while let Some(message) = events.message().await.unwrap() {
            match message.event.unwrap() {
                Event::References(found) => {
                    kinds.push("references");
                    assert_eq!(found.documents[0].document_id, "d1");
                    assert_eq!(found.search_engine, "local");
                }
                Event::Delta(delta) => {
                    kinds.push("delta");
                    text.push_str(&delta.content);
                }
                Event::Completed(completed) => end = Some(completed),
            }
        }
        assert_eq!(kinds[0], "references");
        assert!(kinds[1..].iter().all(|kind| *kind == "delta"));
        assert_eq!(text, "Seventy years.");
        let completion = end.expect("no end").completion.unwrap();
        assert_eq!(completion.finish_reason(), FinishReason::Stop);
        assert_eq!(completion.usage.unwrap().prompt_tokens, 11);

        let unary = clients.query("legal-qa").await.unwrap();
        let summary = unary.summary.unwrap();
        assert_eq!((summary.content, summary.completion), (text, Some(completion)));
        assert_eq!(unary.references.unwrap().documents.len(), 1);
        // The model was shown what was found, in front of the question.
        let messages = &upstream.body(0)["messages"];
        assert_eq!(messages[0]["role"], "system");
        assert!(messages[0]["content"].as_str().unwrap().contains("\n\n[d1] The copyright term"));
        assert_eq!(messages[1]["content"], "What is the copyright term?");
    }

    async fn every_query_is_recorded(database: Database) {
        let upstream = Upstream::start(vec![
            upstream::answer_of(&["a"]),
            upstream::status("401 Unauthorized", "", "{}"),
        ]).await;
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        clients.query("ask").await.unwrap();
        clients.query("ask").await.unwrap_err();
        clients.query("nowhere").await.unwrap_err();
        let database = space.stop().await;
        // Read after the stop: the drain has flushed them.
        let rows = recorded(&database).await;
        let expected = [
            ("completed", "", 11, 5),
            ("failed", "MODEL_REJECTED", 0, 0),
            ("failed", "ENDPOINT_NOT_FOUND", 0, 0),
        ].map(|(outcome, reason, read, written)| (outcome.to_owned(), reason.to_owned(), read, written));
        assert_eq!(rows, expected);
    }

    async fn a_failure_before_the_first_event_has_no_headers_before_it(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        let dataset = clients.dataset("law").await;
        clients.endpoint("unpublished", Some(&dataset), None).await;
        let change = syft_endpoints::proto::UpdateEndpointRequest {
            endpoint: Some(syft_endpoints::proto::Endpoint { slug: "unpublished".to_owned(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["published".to_owned()] }),
        };
        clients.endpoints.update_endpoint(change).await.unwrap();
        // A stream that had begun would be Ok here and fail at its first message.
        let missing = clients.stream("nowhere").await.unwrap_err();
        assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "ENDPOINT_NOT_FOUND"));
        let hidden = clients.stream("unpublished").await.unwrap_err();
        assert_eq!((hidden.code(), reason(&hidden).as_str()), (Code::PermissionDenied, "ENDPOINT_NOT_PUBLISHED"));
        assert_eq!(hidden.message(), "Endpoint is not published");
        assert!(hidden.metadata().contains_key("x-query-id"));
    }

    async fn a_client_that_goes_closes_the_upstream_connection(database: Database) {
        let upstream = Upstream::endless().await;
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        let mut events = clients.stream("ask").await.unwrap();
        events.message().await.unwrap().unwrap();
        drop(events);
        eventually("the upstream connection is closed", async || upstream.abandoned() == 1).await;
        let database = space.stop().await;
        assert_eq!(recorded(&database).await[0].0, "client_gone");
    }
}

async fn recorded(database: &Database) -> Vec<(String, String, i64, i64)> {
    use sea_orm::ConnectionTrait;

    let raw = database.raw().await;
    let sql = "SELECT outcome, reason, prompt_tokens, completion_tokens FROM query_records ORDER BY id";
    let rows =
        raw.query_all_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_many("", &columns()).unwrap()).collect()
}

fn columns() -> [String; 4] {
    ["outcome", "reason", "prompt_tokens", "completion_tokens"].map(str::to_owned)
}
