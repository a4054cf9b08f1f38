//! The dataset `local` with an embedding endpoint: vectors in its rows, searched beside words.

use sea_orm::ConnectionTrait;
use serde_json::{Map, Value, json};
use syft_endpoints::proto::{
    CheckDatasetHealthRequest, DeleteDocumentsRequest, Health, IngestDocumentsRequest, QueryRequest,
    Reference, SearchDatasetRequest, from_struct,
};
use tonic::{Code, Status};

use crate::support::{
    database::Database,
    embedder::{Embedder, vector},
    engines::create,
    eventually, eventually_within, on_both,
    space::{ADMIN_KEY, Clients, Space, asking, document, reason},
};

/// Fails at once: nothing is asked twice.
const SETTINGS: [(&str, &str); 1] = [("upstream.attempts", "1")];
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const DOCUMENTS: [(&str, &str); 4] = [
    ("car", "automobile repair"),
    ("term", "copyright term of books"),
    ("soup", "fish soup with saffron"),
    ("both", "repair of books"),
];

/// To which a car is an automobile, and mending is repair.
async fn embedder() -> Embedder {
    let embedder = Embedder::start().await;
    // So many that no two words here have one place.
    embedder.dimensions(1024);
    embedder.model(|text, dimensions| {
        vector(&text.replace("cars", "automobile").replace("mending", "repair"), dimensions)
    });
    embedder
}

async fn start(database: Database) -> (Space, Clients) {
    let space = Space::configured(database, &SETTINGS).await;
    let clients = space.admin().await;
    (space, clients)
}

async fn hybrid(clients: &mut Clients, embedder: &Embedder, more: Value) {
    let mut configuration = json!({"embedding": embedder.config()});
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    create(clients, "docs", "local", configuration).await.unwrap();
}

async fn found(clients: &mut Clients, text: &str, threshold: f64) -> Result<Vec<Reference>, Status> {
    let request = SearchDatasetRequest {
        name: "docs".to_owned(),
        text: text.to_owned(),
        similarity_threshold: Some(threshold),
        limit: Some(100),
        include_metadata: None,
    };
    Ok(clients.datasets.search_dataset(request).await?.into_inner().references.unwrap().documents)
}

async fn search(clients: &mut Clients, text: &str, threshold: f64) -> Vec<(String, f64)> {
    let found = found(clients, text, threshold).await.unwrap();
    found.into_iter().map(|found| (found.document_id, found.similarity_score)).collect()
}

fn ids(found: &[(String, f64)]) -> Vec<&str> {
    found.iter().map(|(id, _)| id.as_str()).collect()
}

async fn health(clients: &mut Clients) -> Health {
    let request = CheckDatasetHealthRequest { name: "docs".to_owned() };
    clients.datasets.check_dataset_health(request).await.unwrap().into_inner().health.unwrap()
}

async fn ingest(clients: &mut Clients, documents: &[(&str, &str)]) -> Result<i64, Status> {
    let documents = documents.iter().map(|(id, content)| document(id, content)).collect();
    let request = IngestDocumentsRequest { dataset: "docs".to_owned(), documents };
    let mut answers = clients.datasets.ingest_documents(tokio_stream::once(request)).await?.into_inner();
    let mut acknowledged = 0;
    while let Some(batch) = answers.message().await? {
        acknowledged = batch.acknowledged;
    }
    Ok(acknowledged)
}

/// As the owner's configuration would be after an edit: no call edits it.
async fn reconfigure(database: &Database, configuration: &Value) {
    let raw = database.raw().await;
    raw.execute_unprepared(&format!("UPDATE datasets SET configuration = '{configuration}'")).await.unwrap();
    raw.close().await.unwrap();
}

on_both! {
    async fn words_and_meaning_are_searched_together(database: Database) {
        let embedder = embedder().await;
        let (_space, mut clients) = start(database).await;
        hybrid(&mut clients, &embedder, json!({})).await;
        ingest(&mut clients, &DOCUMENTS).await.unwrap();
        assert_eq!(embedder.batches(), [4], "one batch, one call");
        // No word in common, and found at the threshold that callers have by default.
        let by_meaning = search(&mut clients, "mending cars", 0.5).await;
        assert_eq!(ids(&by_meaning), ["car", "both"], "{by_meaning:?}");
        // A cosine of 1 and no word: four fifths of 1, and nothing.
        assert!((by_meaning[0].1 - 0.8).abs() < 1e-6, "{by_meaning:?}");
        let by_both = search(&mut clients, "automobile repair", 0.5).await;
        assert!(by_both[0].0 == "car" && by_both[0].1 > by_meaning[0].1, "{by_both:?}");
        // Nothing in common is a cosine of 0, which is half of the way.
        let all = search(&mut clients, "mending cars", 0.0).await;
        let soup = all.iter().find(|(id, _)| id == "soup").unwrap();
        assert!((soup.1 - 0.4).abs() < 1e-6, "{all:?}");
        let delete = DeleteDocumentsRequest { dataset: "docs".to_owned(), ids: vec!["car".to_owned()] };
        clients.datasets.delete_documents(delete).await.unwrap();
        assert_eq!(ids(&search(&mut clients, "mending cars", 0.5).await), ["both"]);
        ingest(&mut clients, &[("both", "something else")]).await.unwrap();
        assert_eq!(search(&mut clients, "mending cars", 0.5).await, []);
    }

    async fn replicas_restarts_and_lost_indexes_change_no_score(database: Database) {
        let embedder = embedder().await;
        let (space, mut here) = start(database).await;
        let twin = Database { url: space.database.url.clone(), folder: tempfile::tempdir().unwrap() };
        let (replica, mut there) = start(twin).await;
        hybrid(&mut here, &embedder, json!({})).await;
        for round in 0..4 {
            let texts: Vec<(String, String)> = (0..40)
                .map(|i| (format!("d{i}"), format!("word{} shared round{round} {}", i % 7, "filler ".repeat(i))))
                .collect();
            let texts: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
            ingest(&mut here, &texts).await.unwrap();
        }
        let before = search(&mut here, "word3 shared round3", 0.0).await;
        assert_eq!(before.len(), 40);
        eventually("replicas agree", async || search(&mut there, "word3 shared round3", 0.0).await == before).await;
        replica.stop().await;
        let embedded = embedder.batches().len();
        let database = space.stop().await;
        let (space, mut clients) = start(database).await;
        assert_eq!(search(&mut clients, "word3 shared round3", 0.0).await, before);
        let database = space.stop().await;
        std::fs::remove_dir_all(database.folder.path().join("data/indexes")).unwrap();
        let (_space, mut clients) = start(database).await;
        assert_eq!(search(&mut clients, "word3 shared round3", 0.0).await, before);
        // The question anew, in each process; no document.
        assert!(embedder.requests()[embedded..].iter().all(|body| body["input"] == json!(["word3 shared round3"])));
    }

    async fn documents_without_a_vector_get_one_and_have_their_words_till_then(database: Database) {
        let embedder = embedder().await;
        let (space, mut clients) = start(database).await;
        create(&mut clients, "docs", "local", json!({})).await.unwrap();
        ingest(&mut clients, &DOCUMENTS).await.unwrap();
        let by_words = search(&mut clients, "automobile", 0.0).await;
        let database = space.stop().await;
        reconfigure(&database, &json!({"embedding": embedder.config()})).await;
        // The question is answered, a document is not.
        embedder.refuses("repair");
        let (space, mut clients) = start(database).await;
        eventually("two have theirs", async || search(&mut clients, "fish", 0.0).await.len() == 2).await;
        assert_eq!(search(&mut clients, "automobile", 0.0).await[0], by_words[0], "of those that are refused, the words count");
        embedder.refuses("nothing of it");
        let database = space.stop().await;
        let (space, mut clients) = start(database).await;
        eventually("the others too", async || ids(&search(&mut clients, "mending cars", 0.5).await) == ["car", "both"]).await;

        // Another model: its vectors are others, even of another length.
        let database = space.stop().await;
        embedder.dimensions(512);
        let mut other = embedder.config();
        other["model"] = json!("other");
        reconfigure(&database, &json!({"embedding": other})).await;
        let (space, mut clients) = start(database).await;
        eventually("all are embedded anew", async || ids(&search(&mut clients, "mending cars", 0.5).await) == ["car", "both"]).await;
        let texts = |body: &Value| body["input"].as_array().unwrap().len();
        let anew: usize = embedder.requests().iter().filter(|body| body["model"] == "other").map(texts).filter(|n| *n > 1).sum();
        assert_eq!(anew, DOCUMENTS.len());
        // Once it is done it stays done.
        let requests = embedder.requests().len();
        let database = space.stop().await;
        let (_space, mut clients) = start(database).await;
        assert_eq!(ids(&search(&mut clients, "mending cars", 0.5).await), ["car", "both"]);
        assert_eq!(embedder.requests().len(), requests + 1);
    }

    async fn of_two_replicas_one_embeds_what_has_no_vector(database: Database) {
        let embedder = embedder().await;
        let (space, mut clients) = start(database).await;
        create(&mut clients, "docs", "local", json!({})).await.unwrap();
        let texts: Vec<(String, String)> = (0..300).map(|i| (format!("d{i:03}"), format!("word{i} cars"))).collect();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        ingest(&mut clients, &texts).await.unwrap();
        let database = space.stop().await;
        reconfigure(&database, &json!({"embedding": embedder.config()})).await;
        let twin = Database { url: database.url.clone(), folder: tempfile::tempdir().unwrap() };
        let ((_space, mut here), (_replica, mut there)) = tokio::join!(start(database), start(twin));
        // No word in common: without vectors nothing is found. Both open their indexes at once.
        let all = async |clients: &mut Clients| {
            let request = SearchDatasetRequest { name: "docs".to_owned(), text: "automobile".to_owned(), limit: Some(1000), ..Default::default() };
            let found = clients.datasets.search_dataset(request).await.unwrap().into_inner();
            found.references.unwrap().documents.len() == 300
        };
        let (mut one, mut other) = (here.clone(), there.clone());
        tokio::join!(
            // Who has not got the lease looks again after five seconds.
            eventually_within(PATIENCE, "one finds by vectors", async || all(&mut one).await),
            eventually_within(PATIENCE, "and the other", async || all(&mut other).await),
        );
        let texts = |body: Value| body["input"].as_array().unwrap().iter().filter(|text| *text != "automobile").count();
        assert_eq!(embedder.requests().into_iter().map(texts).sum::<usize>(), 300);
        assert_eq!(search(&mut here, "automobile", 0.0).await, search(&mut there, "automobile", 0.0).await);
    }

    async fn what_was_acknowledged_stays_when_the_embedder_fails(database: Database) {
        let embedder = embedder().await;
        let (space, mut clients) = start(database).await;
        hybrid(&mut clients, &embedder, json!({})).await;
        let (sender, messages) = tokio::sync::mpsc::channel(4);
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let mut answers = clients.datasets.ingest_documents(messages).await.unwrap().into_inner();
        let message = |from: usize| IngestDocumentsRequest {
            dataset: "docs".to_owned(),
            documents: (from..from + 256).map(|i| document(&format!("d{i:04}"), &format!("text w{i}"))).collect(),
        };
        sender.send(message(0)).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().acknowledged, 256);
        embedder.only_answers(503, "");
        sender.send(message(256)).await.unwrap();
        let failed = answers.message().await.unwrap_err();
        assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "DATASET_UNAVAILABLE"), "{failed:?}");
        assert!(failed.message().contains("embedding endpoint"), "{failed:?}");
        embedder.answers();
        assert_eq!(search(&mut clients, "text", 0.0).await.len(), 100);
        let raw = space.database.raw().await;
        for (sql, expected) in [("", 256_i64), (" WHERE embedding IS NULL OR embedded_by IS NULL", 0)] {
            let row = sea_orm::Statement::from_string(raw.get_database_backend(), format!("SELECT count(*) AS n FROM documents{sql}"));
            let count: i64 = raw.query_one_raw(row).await.unwrap().unwrap().try_get("", "n").unwrap();
            assert_eq!(count, expected, "{sql}");
        }
        // The whole may be sent again.
        assert_eq!(ingest(&mut clients, &[("d0300", "text w300")]).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_embedder_is_a_fault_and_never_a_worse_answer() {
    let embedder = embedder().await;
    let (_space, mut clients) = start(Database::sqlite()).await;
    hybrid(&mut clients, &embedder, json!({})).await;
    ingest(&mut clients, &DOCUMENTS).await.unwrap();
    assert!(health(&mut clients).await.healthy);
    let known = search(&mut clients, "copyright", 0.0).await;
    embedder.only_answers(503, "");
    let failed = found(&mut clients, "books", 0.0).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "DATASET_UNAVAILABLE"));
    let health_now = health(&mut clients).await;
    assert!(
        !health_now.healthy && health_now.message.contains("embedding endpoint failed"),
        "{health_now:?}"
    );
    assert_eq!(search(&mut clients, "copyright", 0.0).await, known, "its vector is known");
    // Another model behind the same name.
    embedder.answers();
    embedder.dimensions(512);
    let failed = found(&mut clients, "books", 0.0).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::FailedPrecondition, "DATASET_REJECTED"));
    let health_now = health(&mut clients).await;
    assert!(!health_now.healthy && health_now.message.contains("other dimensions"), "{health_now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_decide_between_words_and_meaning() {
    let embedder = embedder().await;
    for (weight, first, count) in [(0.0, "car", 1), (1.0, "soup", 4)] {
        let (_space, mut clients) = start(Database::sqlite()).await;
        hybrid(&mut clients, &embedder, json!({"vector_weight": weight})).await;
        ingest(&mut clients, &DOCUMENTS).await.unwrap();
        // To the model the first word is many.
        embedder.model(|text, dimensions| {
            vector(&text.replace("automobiles", "fish soup with saffron"), dimensions)
        });
        let found = search(&mut clients, "automobiles", 0.0).await;
        assert_eq!((found[0].0.as_str(), found.len()), (first, count), "{found:?}");
    }
    let (_space, mut clients) = start(Database::sqlite()).await;
    for bad in [
        json!({"vector_weight": 1.5}),
        json!({"vector_weight": "much"}),
        json!({"embedding": {"model": "m"}}),
    ] {
        let refused = create(&mut clients, "bad", "local", bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_the_embedding_endpoint_is_sealed_and_redacted() {
    let embedder = embedder().await;
    let (space, mut clients) = start(Database::sqlite()).await;
    hybrid(&mut clients, &embedder, json!({})).await;
    let shown = clients
        .datasets
        .get_dataset(syft_endpoints::proto::GetDatasetRequest { name: "docs".to_owned() })
        .await
        .unwrap();
    assert!(!format!("{shown:?}").contains(crate::support::embedder::KEY));
    let raw = space.database.raw().await;
    let all = sea_orm::Statement::from_string(
        raw.get_database_backend(),
        "SELECT configuration AS c FROM datasets",
    );
    let kept: Value = raw.query_one_raw(all).await.unwrap().unwrap().try_get("", "c").unwrap();
    assert!(!kept.to_string().contains(crate::support::embedder::KEY), "{kept}");
    assert_ne!(crate::support::embedder::KEY, ADMIN_KEY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn highlights_are_where_words_of_the_question_stand() {
    let (_space, mut clients) = start(Database::sqlite()).await;
    let dataset = create(&mut clients, "docs", "local", json!({"highlights": true})).await.unwrap();
    let text = "Über die Übersetzung: copyrights of books have terms.";
    ingest(&mut clients, &[("a", text), ("b", "A secret term, and another term.")]).await.unwrap();
    let found = found(&mut clients, "the copyright term", 0.0).await.unwrap();
    let metadata = |found: &Reference| found.metadata.clone().and_then(from_struct).unwrap();
    let marked = |found: &Reference, metadata: &Map<String, Value>| -> Vec<String> {
        let ranges = metadata["highlights"].as_array().unwrap().iter();
        let place = |range: &Value, end: &str| range[end].as_f64().unwrap() as usize;
        ranges.map(|range| found.content[place(range, "start")..place(range, "end")].to_owned()).collect()
    };
    assert_eq!(marked(&found[0], &metadata(&found[0])), ["copyrights of books have terms"]);
    assert_eq!(marked(&found[1], &metadata(&found[1])), ["term, and another term"]);

    // Where a policy has changed the text, they say nothing any more.
    clients.endpoint("ask", Some(&dataset), None).await;
    let filter = json!({"words": ["secret"], "mode": "redact", "apply_to": ["references"]});
    clients.policy("ask", "prompt_filter", filter).await;
    let query = Some(asking("the copyright term"));
    let request = QueryRequest { slug: "ask".to_owned(), query, request_id: None };
    let answer = clients.endpoints.query(request).await.unwrap().into_inner();
    let left = answer.references.unwrap().documents;
    let highlights: Vec<bool> = left.iter().map(|found| metadata(found).contains_key("highlights")).collect();
    assert_eq!(highlights, [true, false]);
}
