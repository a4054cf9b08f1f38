//! What only `weaviate` has. No Weaviate runs in the tests: they ask the server of `support/engines/weaviate`.

use serde_json::{Value, json};
use syft_endpoints::proto::{GetDatasetRequest, ListDatasetTypesRequest};
use tonic::Code;

use super::{Found, Rig};
use crate::support::{
    engines::{
        Engine, KEY, create, documents,
        gate::Trouble,
        weaviate::{Class, Weaviate},
    },
    rest::Rest,
    space::reason,
};

const TEXT: &str = "the copyright term of books";

fn tweaked(engine: &Weaviate, collection: &str, fields: Value) -> Value {
    let mut configuration = engine.of(collection);
    configuration.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    configuration
}

async fn with_classes(search: &'static str) -> Rig<Weaviate> {
    let plain = || Class::plain(documents());
    let classes = vec![
        ("Dot", Class { distance: "dot", ..plain() }),
        ("Euclid", Class { distance: "l2-squared", ..plain() }),
        ("Bare", Class { vectorizer: "none", ..plain() }),
        ("One", Class { vectors: &["only"], ..plain() }),
        ("Two", Class { vectors: &["first", "second"], ..plain() }),
        ("Tenants", Class { tenants: true, ..plain() }),
    ];
    Rig::start(Weaviate::with(search, classes).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_spaces_name_and_configuration_are_taken() {
    let mut rig = Rig::start(Weaviate::near_text().await).await;
    let url = rig.engine.gate().unwrap().url();
    let configuration = json!({
        "http_url": url, "grpc_url": "http://127.0.0.1:50051", "api_key": KEY, "collection_name": "full",
        "headers": null, "default_similarity_threshold": 0.5, "content_property": "text",
        "metadata_properties": ["topic", "slug"], "filters": null,
    });
    let made = create(&mut rig.clients, "python", "remote_weaviate", configuration.clone()).await.unwrap();
    assert_eq!(made.dtype, "weaviate");
    let rest = Rest::admin(&rig.space);
    let body = json!({"name": "rest", "dtype": "remote_weaviate", "configuration": configuration});
    let made = rest.post("/api/v1/datasets/", body).await.expect(201);
    assert_eq!(
        (&made["dtype"], &made["configuration"]["api_key"]),
        (&json!("weaviate"), &json!("[redacted]"))
    );
    let named = rest.get("/api/v1/datasets/types/remote_weaviate").await.expect(200);
    assert_eq!(named, rest.get("/api/v1/datasets/types/weaviate").await.expect(200));
    rest.get("/api/v1/datasets/types/remote_weaviate/schema").await.expect(200);
    let types =
        rig.clients.datasets.list_dataset_types(ListDatasetTypesRequest {}).await.unwrap().into_inner().types;
    let ours = types.iter().find(|info| info.name == "weaviate").unwrap();
    assert_eq!(ours.aliases, ["remote_weaviate"]);
    assert_eq!(types.iter().filter(|info| info.name.contains("weaviate")).count(), 1);
    for name in ["python", "rest"] {
        let get = GetDatasetRequest { name: name.to_owned() };
        let got = rig.clients.datasets.get_dataset(get).await.unwrap().into_inner().dataset.unwrap();
        assert_eq!(got.dtype, "weaviate");
        let found = rig.search(name, TEXT).await.unwrap();
        let mut keys: Vec<_> = found[0].metadata.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["creation_time", "distance", "slug", "topic"]);
        assert_eq!(found[0].metadata["creation_time"], "2023-06-01T12:00:00Z");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn similarity_is_certainty_or_follows_from_the_distance() {
    let mut rig = with_classes("near_text").await;
    for collection in ["Dot", "Euclid"] {
        rig.add(collection, rig.engine.of(collection)).await.unwrap();
    }
    let distance = |found: &Found| found.metadata["distance"].as_f64().unwrap();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    for found in rig.search("docs", TEXT).await.unwrap() {
        close(found.similarity, 1.0 - distance(&found) / 2.0);
    }
    // Vectors have length 1, as most models make them: every way to compare them comes to the same.
    let cosine = rig.search("docs", TEXT).await.unwrap();
    for collection in ["Dot", "Euclid"] {
        let found = rig.search(collection, TEXT).await.unwrap();
        assert_eq!(found[0].slug, "books");
        for (found, cosine) in found.iter().zip(&cosine) {
            close(found.similarity, cosine.similarity);
        }
        assert_ne!(distance(&found[0]), distance(&cosine[0]), "{collection}");
    }
    // The reference's 0.0 for all would keep nothing here.
    assert!(!rig.search_with("docs", TEXT, 0.5, 5).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyword_scores_are_read_by_the_configured_half() {
    let mut rig = Rig::start(Weaviate::bm25().await).await;
    rig.add("strict", tweaked(&rig.engine, "Full", json!({"bm25_half": 3.0}))).await.unwrap();
    let usual = rig.search("docs", TEXT).await.unwrap();
    let strict = rig.search("strict", TEXT).await.unwrap();
    for (usual, strict) in usual.iter().zip(&strict) {
        let score = usual.similarity / (1.0 - usual.similarity);
        assert!((strict.similarity - score / (score + 3.0)).abs() < 1e-9);
    }
    assert!(usual.len() > 1 && usual.len() == strict.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpha_decides_between_meaning_and_words() {
    let mut rig = with_classes("hybrid").await;
    let mut found = Vec::new();
    for alpha in [0.0, 1.0] {
        let name = format!("alpha-{alpha}");
        rig.add(&name, tweaked(&rig.engine, "Full", json!({"alpha": alpha}))).await.unwrap();
        found.push(rig.search(&name, TEXT).await.unwrap());
    }
    assert_ne!(found[0], found[1]);
    // Words alone: what has none of them is least of all.
    assert_eq!(found[0].last().unwrap().similarity, 0.0);
    let queries = rig.engine.queries();
    assert!(
        queries.iter().any(|query| query.contains("alpha:0.0 fusionType:relativeScoreFusion")),
        "{queries:?}"
    );
    // A collection without a vectorizer takes our vector.
    rig.add("bare", rig.engine.of("Bare")).await.unwrap();
    assert_eq!(reason(&rig.search("bare", TEXT).await.unwrap_err()), "DATASET_REJECTED");
    let embedded = tweaked(&rig.engine, "Bare", json!({"embedding": rig.engine.embedding()}));
    rig.add("embedded", embedded).await.unwrap();
    assert_eq!(rig.search("embedded", TEXT).await.unwrap()[0].slug, "books");
    assert!(rig.health("embedded").await.healthy && !rig.health("bare").await.healthy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_and_tenants_are_chosen_by_name() {
    let mut rig = with_classes("near_text").await;
    for (name, collection, fields) in [
        ("one", "One", json!({})),
        ("first", "Two", json!({"target_vector": "first"})),
        ("ours", "Tenants", json!({"tenant": "ours"})),
    ] {
        rig.add(name, tweaked(&rig.engine, collection, fields)).await.unwrap();
        assert_eq!(rig.search(name, TEXT).await.unwrap()[0].slug, "books", "{name}");
        let health = rig.health(name).await;
        assert!(health.healthy, "{name}: {health:?}");
    }
    for (name, collection, fields, said) in [
        ("several", "Two", json!({}), "target_vector"),
        ("third", "Two", json!({"target_vector": "third"}), "no vector"),
        ("bare", "Bare", json!({}), "vectorizer"),
        ("tenantless", "Tenants", json!({}), "query"),
        ("theirs", "Tenants", json!({"tenant": "theirs"}), "query"),
        ("propertyless", "Full", json!({"content_property": "body"}), "'body'"),
        ("metadataless", "Full", json!({"metadata_properties": ["slug", "page"]}), "'page'"),
    ] {
        rig.add(name, tweaked(&rig.engine, collection, fields)).await.unwrap();
        let failed = rig.search(name, TEXT).await.unwrap_err();
        assert_eq!(
            (failed.code(), reason(&failed).as_str()),
            (Code::FailedPrecondition, "DATASET_REJECTED"),
            "{name}"
        );
        let health = rig.health(name).await;
        assert!(!health.healthy && health.message.contains(said), "{name}: {health:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_under_status_200_are_errors() {
    let mut rig = Rig::start(Weaviate::near_text().await).await;
    rig.clients.query("nothing").await.unwrap_err();
    let dataset = rig.clients.datasets.get_dataset(GetDatasetRequest { name: "docs".to_owned() }).await;
    let dataset = dataset.unwrap().into_inner().dataset.unwrap();
    rig.clients.endpoint("ask", Some(&dataset), None).await;
    rig.clients.query("ask").await.unwrap();
    for (said, expected) in [
        (
            r#"{"data":{"Get":{"Full":null}},"errors":[{"message":"explorer: get class: vectorize params: connection to: OpenAI API failed with status: 500"}]}"#,
            "DATASET_UNAVAILABLE",
        ),
        (
            r#"{"data":{"Get":{"Full":[]}},"errors":[{"message":"shard is read-only"}]}"#,
            "DATASET_UNAVAILABLE",
        ),
        (
            r#"{"data":null,"errors":[{"message":"Cannot query field \"text\" on type \"Full\"."}]}"#,
            "DATASET_REJECTED",
        ),
        (
            r#"{"errors":[{"message":"Unknown argument \"nearText\" on field \"Full\" of type \"GetObjectsObj\"."}]}"#,
            "DATASET_REJECTED",
        ),
        (
            r#"{"data":{"Get":{"Full":[{"text":"a","_additional":{"id":"1","distance":null,"certainty":null,"score":"0"}}]}}}"#,
            "DATASET_UNAVAILABLE",
        ),
        (r#"{"data":{"Get":{"Other":[]}}}"#, "DATASET_UNAVAILABLE"),
    ] {
        rig.engine.gate().unwrap().trouble(Some(Trouble::Instead(said)));
        assert_eq!(reason(&rig.clients.query("ask").await.unwrap_err()), expected, "{said}");
    }
    // As when the server counts nothing wrong.
    let none = Trouble::Instead(r#"{"data":{"Get":{"Full":[]}},"errors":null}"#);
    rig.engine.gate().unwrap().trouble(Some(none));
    assert!(rig.clients.query("ask").await.unwrap().references.unwrap().documents.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_graphql_says_so() {
    let mut rig = Rig::start(Weaviate::near_text().await).await;
    rig.engine.switch_graphql_off();
    let failed = rig.search("docs", TEXT).await.unwrap_err();
    assert_eq!(reason(&failed), "DATASET_REJECTED");
    assert!(failed.message().contains("GraphQL"), "{failed:?}");
    assert!(rig.health("docs").await.message.contains("GraphQL"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_content_property_the_text_is_all_of_them() {
    let mut rig = Rig::start(Weaviate::near_text().await).await;
    rig.add("all", tweaked(&rig.engine, "Full", json!({"content_property": null}))).await.unwrap();
    let found = &rig.search("all", TEXT).await.unwrap()[0];
    let content: Value = serde_json::from_str(&found.content).unwrap();
    assert_eq!((content["slug"].as_str(), content["year"].as_i64()), (Some("books"), Some(2021)));
    // Links and files are not asked for.
    assert!(content.get("hasAuthor").is_none() && content.get("scan").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_that_mean_nothing_are_refused() {
    let mut rig = Rig::start(Weaviate::near_text().await).await;
    let condition = |op: &str, dtype: &str, value: Value| {
        let condition =
            json!({"type": "condition", "property": "year", "op": op, "value_dtype": dtype, "value": value});
        json!({ "filters": condition })
    };
    for fields in [
        condition("gt", "string", json!("a")),
        condition("eq", "numeric", json!("1e5")),
        condition("near", "string", json!("a")),
        json!({"filters": {"type": "group", "op": "and", "operands": []}}),
        json!({"search": "near_vector"}),
        json!({"search": "other"}),
        json!({"alpha": 1.5}),
        json!({"headers": {"Host": "elsewhere"}}),
        json!({"headers": {"X-Key": "a\r\nHost: elsewhere"}}),
        json!({"headers": {"X Key": "a"}}),
        json!({"api_key": "a\nb"}),
        json!({"http_url": "file:///etc/passwd"}),
        json!({"http_url": "http://user@host"}),
        json!({"unknown": 1}),
    ] {
        let refused = rig.add("bad", tweaked(&rig.engine, "Full", fields.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{fields}");
    }
}
