//! Keys, headers, questions and documents are found nowhere: not in logs at TRACE, not in errors or answers, not in
//! the database.

use serde_json::{Value, json};
use syft_endpoints::proto::{self, GetDatasetRequest, ListDatasetsRequest, SearchDatasetRequest};

use crate::{
    canary::everything_stored,
    support::{
        database::Database,
        embedder,
        engines::{Engine, KEY, create, gate::Trouble, qdrant::Qdrant, weaviate::Weaviate},
        on_both,
        process::Process,
    },
};

const HEADER: &str = "canary-vectorizer-key-4741";
const QUESTION: &str = "canary-question-4742";

/// Searches well and badly; returns everything that callers were shown.
async fn exercise(engine: &dyn Engine, configuration: Value, database: &Database) -> (String, String) {
    let mut process = Process::start(database, &["--log-level", "trace"]);
    let mut clients = process.admin().await;
    let made = create(&mut clients, "docs", engine.dtype(), configuration.clone()).await.unwrap();
    let mut seen = format!("{made:?}");
    clients.endpoint("ask", Some(&made), None).await;
    let gate = engine.gate().unwrap();
    let troubles = [
        Trouble::Echo(400),
        Trouble::Echo(500),
        Trouble::Echo(200),
        Trouble::Instead(QUESTION),
        Trouble::Cut,
    ];
    for trouble in std::iter::once(None).chain(troubles.into_iter().map(Some)) {
        gate.trouble(trouble);
        let search = SearchDatasetRequest {
            name: "docs".to_owned(),
            text: QUESTION.to_owned(),
            limit: Some(1),
            ..SearchDatasetRequest::default()
        };
        seen.push_str(&format!("{:?}", clients.datasets.search_dataset(search).await.map(drop)));
        let query = crate::support::space::asking(QUESTION);
        let query = proto::QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
        seen.push_str(&format!("{:?}", clients.endpoints.query(query).await.map(drop)));
        let health = proto::CheckDatasetHealthRequest { name: "docs".to_owned() };
        seen.push_str(&format!("{:?}", clients.datasets.check_dataset_health(health).await));
    }
    gate.trouble(None);
    seen.push_str(&format!("{:?}", clients.datasets.list_datasets(ListDatasetsRequest::default()).await));
    let get = GetDatasetRequest { name: "docs".to_owned() };
    seen.push_str(&format!("{:?}", clients.datasets.get_dataset(get).await));
    let mut wrong = configuration;
    wrong["filters"] = json!(HEADER);
    let refused = create(&mut clients, "wrong", engine.dtype(), wrong).await;
    seen.push_str(&format!("{:?}", refused.unwrap_err()));
    process.signal("-TERM");
    assert!(process.ended().await.success());
    (seen, std::fs::read_to_string(&process.log).unwrap())
}

async fn check(database: &Database, seen: &str, log: &str) {
    assert!(seen.contains("[redacted]"), "no configuration is shown at all: the check sees nothing");
    assert!(log.contains("query failed"), "nothing was logged: the check sees nothing");
    let stored = everything_stored(database).await;
    assert!(stored.contains("DATASET_REJECTED"), "no query was recorded: the check sees nothing");
    for (what, text) in [("an answer or error", seen), ("the log", log), ("the database", &stored)] {
        for secret in [KEY, HEADER, QUESTION, embedder::KEY] {
            assert!(!text.contains(secret), "{secret} is in {what}");
        }
    }
}

on_both! {
async fn of_weaviate(database: Database) {
    let engine = Weaviate::near_vector().await;
    let mut configuration = engine.configuration();
    configuration["headers"] = json!({"X-OpenAI-Api-Key": HEADER});
    let (seen, log) = exercise(&engine, configuration, &database).await;
    check(&database, &seen, &log).await;
    let sent = engine.gate().unwrap().passed();
    assert!(sent.iter().any(|asked| asked.header("x-openai-api-key") == HEADER));
}

async fn of_qdrant(database: Database) {
    let engine = Qdrant::embedded().await;
    let (seen, log) = exercise(&engine, engine.configuration(), &database).await;
    check(&database, &seen, &log).await;
}
}
