//! Every query leaves one record, however it ends, whichever way it came.

use serde_json::json;
use syft_endpoints::proto::{
    PreviewQueryRequest, QueryOutcome, QueryRecord, QueryRecordFilter, QueryRequest, StreamQueryRequest,
    SummarizeUsageRequest,
};
use tonic::Request;

use super::{listed, only, summary};
use crate::support::{
    bank::Bank,
    database::Database,
    eventually, on_both,
    rest::{self, Rest},
    space::{ADMIN_KEY, Clients, Space, asking, question},
    upstream::{Step, Upstream, answer_of, status},
};

/// The records, oldest first, once there are so many.
async fn records(clients: &mut Clients, count: usize) -> Vec<QueryRecord> {
    let mut found = Vec::new();
    eventually("all queries are recorded", async || {
        found = listed(clients, QueryRecordFilter::default(), 0).await;
        found.len() == count
    })
    .await;
    found.reverse();
    found
}

on_both! {
    async fn an_answer_is_recorded_with_all_that_it_took(database: Database) {
        let upstream = Upstream::says(&["Seventy", " years"]).await;
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        let dataset = owner.dataset("law").await;
        owner.ingest("law", &[("d", "The copyright term is seventy years.")]).await;
        let configuration = json!({"base_url": format!("http://{}/v1", upstream.address), "model": "m", "api_key": "k"});
        let model = owner.model("gpt", "openai", configuration).await;
        let endpoint = owner.endpoint("ask", Some(&dataset), Some(&model)).await;
        let request_id = uuid::Uuid::now_v7().to_string();
        let message = StreamQueryRequest {
            slug: "ask".to_owned(),
            query: Some(question()),
            request_id: Some(request_id.clone()),
        };
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-correlation-id", "job-7".parse().unwrap());
        let answer = owner.endpoints.stream_query(request).await.unwrap();
        let query_id = answer.metadata().get("x-query-id").unwrap().to_str().unwrap().to_owned();
        let mut events = answer.into_inner();
        while events.message().await.unwrap().is_some() {}

        let record = only(&mut owner).await;
        assert_eq!((record.id.as_str(), record.endpoint_slug.as_str()), (query_id.as_str(), "ask"));
        assert_eq!((record.endpoint_id(), record.dataset_id()), (endpoint.id.as_str(), dataset.id.as_str()));
        assert_eq!((record.request_id(), record.correlation_id()), (request_id.as_str(), "job-7"));
        assert_eq!((record.caller.as_str(), record.preview), ("owner@localhost", false));
        assert_eq!((record.outcome(), record.reason.as_str()), (QueryOutcome::Completed, ""));
        let usage = record.usage.unwrap();
        assert_eq!((record.documents, usage.prompt_tokens, usage.completion_tokens), (1, 11, 5));
        assert_eq!((record.cost, record.question, record.answer), (None, None, None));
        let nanos = |time: Option<prost_types::Duration>| {
            let time = time.unwrap();
            time.seconds * 1_000_000_000 + i64::from(time.nanos)
        };
        let (event, token, whole) =
            (nanos(record.first_event_delay), nanos(record.first_token_delay), nanos(record.duration));
        assert!(0 < event && event <= token && token <= whole, "{event} {token} {whole}");
    }

    async fn every_outcome_is_recorded_and_counted(database: Database) {
        let upstream = Upstream::start(vec![
            answer_of(&["a"]),
            status("401 Unauthorized", "", "{}"),
            answer_of(&["b"]),
            vec![Step::Hang],
        ]).await;
        let endless = Upstream::endless().await;
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        owner.asks("endless", endless.address).await;
        owner.asks("closed", upstream.address).await;
        owner.policy("closed", "access", json!({"denied_users": ["*"]})).await;
        owner.query("ask").await.unwrap();
        owner.query("ask").await.unwrap_err();
        owner.query("nowhere").await.unwrap_err();
        owner.query("closed").await.unwrap_err();
        let preview = PreviewQueryRequest { slug: "ask".to_owned(), query: Some(question()) };
        owner.endpoints.preview_query(preview).await.unwrap();
        let mut late = Request::new(QueryRequest { slug: "ask".to_owned(), query: Some(question()), request_id: None });
        late.set_timeout(std::time::Duration::from_millis(200));
        owner.endpoints.query(late).await.unwrap_err();
        let mut events = owner.stream("endless").await.unwrap();
        events.message().await.unwrap().unwrap();
        drop(events);

        let outcomes: Vec<(QueryOutcome, String, bool)> = records(&mut owner, 7)
            .await
            .into_iter()
            .map(|record| (record.outcome(), record.reason, record.preview))
            .collect();
        let expected = [
            (QueryOutcome::Completed, "", false),
            (QueryOutcome::Failed, "MODEL_REJECTED", false),
            (QueryOutcome::Failed, "ENDPOINT_NOT_FOUND", false),
            (QueryOutcome::Refused, "POLICY_VIOLATION", false),
            (QueryOutcome::Completed, "", true),
            // Which of the two is first heard of depends on tonic's client.
            (outcomes[5].0, outcomes[5].1.as_str(), false),
            (QueryOutcome::ClientGone, "CLIENT_GONE", false),
        ];
        assert!(matches!(outcomes[5].0, QueryOutcome::DeadlineExceeded | QueryOutcome::ClientGone));
        assert_eq!(outcomes, expected.map(|(outcome, reason, preview)| (outcome, reason.to_owned(), preview)));

        let totals = summary(&mut owner, SummarizeUsageRequest::default()).await.totals.unwrap();
        let counts = [totals.queries, totals.completed, totals.refused, totals.failed, totals.cancelled, totals.callers];
        assert_eq!(counts, [6, 1, 1, 2, 2, 1]);
        let with = SummarizeUsageRequest { include_previews: true, ..Default::default() };
        assert_eq!(summary(&mut owner, with).await.totals.unwrap().queries, 7);
    }

    async fn rest_leaves_the_same_record(database: Database) {
        let upstream = Upstream::says(&["a"]).await;
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        let headers = [("authorization", &*format!("Bearer {ADMIN_KEY}")), ("x-correlation-id", "from-rest")];
        let rest = Rest::with(&space, &headers);
        let answer = rest.query("ask", rest::question()).await;
        answer.expect(200);
        let record = only(&mut owner).await;
        assert_eq!(record.id, answer.header("x-query-id"));
        assert_eq!((record.outcome(), record.correlation_id()), (QueryOutcome::Completed, "from-rest"));
        assert_eq!(record.usage.unwrap().completion_tokens, 5);
        let mut streamed = rest::question();
        streamed["stream"] = true.into();
        assert_eq!(rest.query("ask", streamed).await.status, 200);
        assert_eq!(records(&mut owner, 2).await[1].outcome(), QueryOutcome::Completed);
    }

    async fn costs_have_their_currency(database: Database) {
        let (bank, upstream) = (Bank::start().await, Upstream::says(&["a"]).await);
        let payer = "bob@example.org";
        let space = Space::configured(database, &[("identity.owner_email", payer)]).await;
        let mut owner = space.admin().await;
        owner.asks("ask", upstream.address).await;
        owner.policy("ask", "accounting", bank.charging(json!({"price": 1.5}))).await;
        let query = syft_endpoints::proto::Query { transaction_token: Some(bank.token(payer)), ..asking("what?") };
        let request = QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
        owner.endpoints.query(request).await.unwrap();
        let cost = syft_endpoints::proto::Cost { nano_units: 1_500_000_000, currency: "USD".to_owned() };
        assert_eq!(only(&mut owner).await.cost, Some(cost.clone()));
        let summary = summary(&mut owner, SummarizeUsageRequest::default()).await;
        for costs in [summary.totals.unwrap().costs, summary.top_callers[0].costs.clone()] {
            assert_eq!(costs, std::slice::from_ref(&cost));
        }
    }
}
