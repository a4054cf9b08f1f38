//! What only `qdrant` has. No Qdrant runs in the tests: they ask the server of `support/engines/qdrant.rs`.

use serde_json::{Value, json};
use tonic::Code;

use super::Rig;
use crate::support::{
    embedder::Embedder,
    engines::{
        Engine, documents,
        qdrant::{Collection, FULL, Qdrant},
    },
    space::reason,
};

const TEXT: &str = "the copyright term of books";

fn tweaked(engine: &Qdrant, collection: &str, fields: Value) -> Value {
    let mut configuration = engine.of(collection);
    configuration.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    configuration
}

async fn with_collections(inference: bool) -> Rig<Qdrant> {
    let plain = || Collection::plain(documents());
    let collections = vec![
        ("named", Collection { vector: Some("text"), ..plain() }),
        ("dot", Collection { distance: "Dot", ..plain() }),
        ("euclid", Collection { distance: "Euclid", vector: Some("text"), ..plain() }),
        ("sparse", Collection { distance: "sparse", vector: Some("words"), ..plain() }),
        ("red", Collection { status: "red", ..plain() }),
    ];
    Rig::start(Qdrant::with(inference, collections).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scores_are_read_by_the_collections_distance() {
    let mut rig = with_collections(true).await;
    for (name, vector) in [("dot", None), ("euclid", Some("text")), ("sparse", Some("words"))] {
        rig.add(name, tweaked(&rig.engine, name, json!({"vector_name": vector}))).await.unwrap();
        assert!(rig.health(name).await.healthy, "{name}");
    }
    let cosine = rig.search("docs", TEXT).await.unwrap();
    // Vectors have length 1, as most models make them: every way to compare them comes to the same.
    for name in ["dot", "euclid"] {
        let found = rig.search(name, TEXT).await.unwrap();
        assert_eq!(found.len(), cosine.len());
        for (a, b) in found.iter().zip(&cosine) {
            assert!((a.similarity - b.similarity).abs() < 1e-9, "{name}: {a:?} {b:?}");
        }
    }
    let sparse = rig.search("sparse", TEXT).await.unwrap();
    assert!(
        sparse[0].slug == "books" && sparse[0].similarity > 0.5 && sparse.len() < cosine.len(),
        "{sparse:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_told() {
    let mut rig = with_collections(false).await;
    let short = Embedder::start().await;
    short.dimensions(8);
    rig.add("named", tweaked(&rig.engine, "named", json!({"vector_name": "text"}))).await.unwrap();
    assert_eq!(rig.search("named", TEXT).await.unwrap()[0].slug, "books");
    for (name, collection, fields, said, fails) in [
        ("nameless", "named", json!({}), "vector_name", true),
        ("misnamed", "named", json!({"vector_name": "image"}), "no vector", true),
        ("short", FULL, json!({"embedding": short.config()}), "64 numbers", true),
        ("sparse", "sparse", json!({"vector_name": "words"}), "inference", true),
        ("red", "red", json!({}), "red", false),
    ] {
        rig.add(name, tweaked(&rig.engine, collection, fields)).await.unwrap();
        let health = rig.health(name).await;
        assert!(!health.healthy && health.message.contains(said), "{name}: {health:?}");
        match rig.search(name, TEXT).await {
            Ok(_) => assert!(!fails, "{name}"),
            Err(failed) => assert_eq!(
                (fails, reason(&failed).as_str()),
                (true, "DATASET_REJECTED"),
                "{name}: {failed:?}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedding_endpoint_is_part_of_the_dataset() {
    let mut rig = Rig::start(Qdrant::embedded().await).await;
    let embedder = Embedder::start().await;
    embedder.only_answers(401, "{}");
    rig.add("locked", tweaked(&rig.engine, FULL, json!({"embedding": embedder.config()}))).await.unwrap();
    let failed = rig.search("locked", TEXT).await.unwrap_err();
    assert!(failed.message().contains("embedding endpoint"), "{failed:?}");
    assert!(rig.health("locked").await.message.contains("embedding endpoint"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_and_metadata_are_chosen_by_key() {
    let mut rig = Rig::start(Qdrant::embedded().await).await;
    rig.add("some", tweaked(&rig.engine, FULL, json!({"metadata_keys": ["slug", "nowhere"]}))).await.unwrap();
    let found = &rig.search("some", TEXT).await.unwrap()[0];
    assert_eq!(Value::Object(found.metadata.clone()), json!({"slug": "books"}));
    rig.add("all", tweaked(&rig.engine, FULL, json!({"content_key": null}))).await.unwrap();
    let found = &rig.search("all", TEXT).await.unwrap()[0];
    assert_eq!(serde_json::from_str::<Value>(&found.content).unwrap()["slug"], "books");
    rig.add("none", tweaked(&rig.engine, FULL, json!({"content_key": "){x"}))).await.unwrap();
    assert_eq!(rig.search("none", TEXT).await.unwrap()[0].content, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_that_mean_nothing_are_refused() {
    let mut rig = Rig::start(Qdrant::embedded().await).await;
    let inference = json!({"model": "words"});
    for fields in [
        json!({"embedding": null}),
        json!({"inference": inference}),
        json!({"collection_name": ".."}),
        json!({"collection_name": "a/b"}),
        json!({"collection_name": ""}),
        json!({"api_key": "a\nb"}),
        json!({"url": "ftp://host"}),
        json!({"filters": {"must": [{"has_id": [1]}]}}),
        json!({"filters": {"must": [{"key": "a", "match": {"value": {}}}]}}),
        json!({"filters": {"any": []}}),
        json!({"unknown": 1}),
    ] {
        let refused = rig.add("bad", tweaked(&rig.engine, FULL, fields.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{fields}");
    }
    let gate = rig.engine.gate().unwrap();
    assert!(gate.passed().is_empty(), "a server was asked about a configuration that cannot be");
}
