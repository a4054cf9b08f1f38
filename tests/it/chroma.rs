//! Datasets of type `chroma`, on a real server; what a real one cannot be made to do, on a scripted one.

use serde_json::json;
use syft_endpoints::proto::{self, QueryRequest, from_struct};
use tonic::Code;

use crate::{
    canary::everything_stored,
    support::{
        database::Database,
        embedder::{self, Embedder},
        engines::real::{Chroma, DOCUMENTS, assert_alike, expected, with},
        on_both,
        space::{Space, asking, reason},
        upstream::{Upstream, status},
    },
};

const QUESTION: &str = "the copyright of photographs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_have_one_similarity_in_every_space() {
    let (space, embedder) = (Space::sqlite().await, Embedder::start().await);
    let mut clients = space.admin().await;
    for name in ["cosine", "ip", "l2"] {
        let chroma = Chroma::full(name).await;
        clients.dataset_of(name, "chroma", chroma.config(&embedder)).await.unwrap();
        let found = clients.find(name, QUESTION, (0.0, 100)).await.unwrap();
        assert_alike(&found, &expected(QUESTION, 0.0));
        assert_eq!((found[0].document_id.as_str(), found[0].content.as_str()), ("b", DOCUMENTS[1].1));
        let metadata = from_struct(found[0].metadata.clone().unwrap()).unwrap();
        assert_eq!(serde_json::Value::Object(metadata), json!({"kind": "law"}));
        let similar = expected(QUESTION, 0.55);
        assert!(!similar.is_empty() && similar.len() < DOCUMENTS.len());
        assert_alike(&clients.find(name, QUESTION, (0.55, 100)).await.unwrap(), &similar);
        assert_alike(&clients.find(name, QUESTION, (0.0, 2)).await.unwrap(), &expected(QUESTION, 0.0)[..2]);
        let found = clients.find(name, "Größe", (0.6, 5)).await.unwrap();
        assert_eq!(found[0].content, DOCUMENTS[3].1);
    }
    assert_eq!(embedder.batches(), [1, 1], "the same question was embedded again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_search_it_with_and_without_metadata() {
    let (space, embedder, chroma) =
        (Space::sqlite().await, Embedder::start().await, Chroma::full("cosine").await);
    let mut clients = space.admin().await;
    let dataset = clients.dataset_of("docs", "chroma", chroma.config(&embedder)).await.unwrap();
    clients.endpoint("ask", Some(&dataset), None).await;
    for wanted in [true, false] {
        let query = proto::Query { include_metadata: Some(wanted), ..asking(QUESTION) };
        let request = QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
        let found = clients.endpoints.query(request).await.unwrap().into_inner().references.unwrap();
        assert_eq!(found.search_engine, "chroma");
        assert!(found.documents.iter().all(|document| document.metadata.is_some() == wanted), "{found:?}");
        assert_alike(&found.documents, &expected(QUESTION, 0.1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_leaves_out_what_does_not_fit() {
    let (space, embedder, chroma) =
        (Space::sqlite().await, Embedder::start().await, Chroma::full("l2").await);
    let mut clients = space.admin().await;
    let config = with(chroma.config(&embedder), json!({"where": {"kind": {"$in": ["pets", "gardens"]}}}));
    clients.dataset_of("docs", "chroma", config).await.unwrap();
    let found = clients.find("docs", QUESTION, (0.0, 100)).await.unwrap();
    let mut ids: Vec<_> = found.iter().map(|document| document.document_id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["c", "d", "e"]);
    let config = with(chroma.config(&embedder), json!({"where": {"kind": {"$bogus": 1}}}));
    assert!(clients.examined("chroma", config).await.contains("does not understand `where`"));
}

/// A plan keeps its dataset, and that the collection's id, until the catalog changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_was_made_again_is_found_again() {
    let (space, embedder, chroma) =
        (Space::sqlite().await, Embedder::start().await, Chroma::empty("cosine").await);
    let mut clients = space.admin().await;
    let dataset = clients.dataset_of("docs", "chroma", chroma.config(&embedder)).await.unwrap();
    clients.endpoint("ask", Some(&dataset), None).await;
    let empty = clients.query("ask").await.unwrap().references.unwrap();
    assert_eq!(empty.documents, vec![], "an empty collection is no failure");
    chroma.delete().await;
    let gone = clients.query("ask").await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::FailedPrecondition, "DATASET_REJECTED"));
    chroma.create("l2").await;
    chroma.fill().await;
    let found = clients.query("ask").await.unwrap().references.unwrap().documents;
    assert_alike(&found, &expected("What is the copyright term?", 0.1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_what_is_wrong() {
    let (space, embedder, chroma) =
        (Space::sqlite().await, Embedder::start().await, Chroma::full("cosine").await);
    let mut clients = space.admin().await;
    let config = chroma.config(&embedder);
    assert_eq!(clients.examined("chroma", config.clone()).await, "");
    let refusing = Upstream::start(vec![status("403 Forbidden", "", "{\"error\":\"secret words\"}")]).await;
    let wrong_key = json!({"base_url": embedder.config()["base_url"], "model": "words", "api_key": "x"});
    let cases = [
        (json!({"http_url": "http://127.0.0.1:1"}), "it cannot be reached"),
        (json!({"http_url": "http://169.254.169.254"}), "its address is not allowed"),
        (json!({"http_url": format!("http://{}", refusing.address)}), "its token was refused"),
        (json!({"tenant": "nobody"}), "it has no such tenant"),
        (json!({"database": "nowhere"}), "it has no such database"),
        (json!({"collection_name": "nothing"}), "it has no such collection"),
        (json!({"embedding": wrong_key}), "its embedding endpoint refused the credential"),
    ];
    for (change, expected) in cases {
        let message = clients.examined("chroma", with(config.clone(), change)).await;
        assert!(message.contains(expected) && !message.contains("secret words"), "{message}: {expected}");
    }
    embedder.dimensions(32);
    let message = clients.examined("chroma", config).await;
    assert!(message.contains("other dimensions"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_failures_and_never_empty() {
    let space = Space::configured(Database::sqlite(), &[("upstream.attempts", "1")]).await;
    let (mut clients, embedder) = (space.admin().await, Embedder::start().await);
    let described = |space: &str| {
        let id = "205030f6-66ba-4eab-ac9d-cf25b269b10d";
        status("200 OK", "", &json!({"id": id, "configuration_json": {"hnsw": {"space": space}}}).to_string())
    };
    let ok = |body: &str| status("200 OK", "content-type: application/json\r\n", body);
    let (unavailable, rejected) = (Code::Unavailable, Code::FailedPrecondition);
    let cases = [
        (vec![status("401 Unauthorized", "", "")], rejected),
        (vec![status("404 Not Found", "", "")], rejected),
        (vec![status("503 Service Unavailable", "", "")], unavailable),
        (vec![ok("nonsense")], unavailable),
        (vec![ok("{\"id\":\"../../../etc\"}")], unavailable),
        (vec![described("odd")], rejected),
        (vec![described("l2"), ok("nonsense")], unavailable),
        (vec![described("l2"), ok("{\"ids\":[[\"a\"]],\"distances\":[[]]}")], unavailable),
        (vec![described("l2"), status("500 Oops", "", "")], unavailable),
        (vec![described("l2"), status("302 Found", "location: http://127.0.0.1:1/\r\n", "")], rejected),
    ];
    for (i, (scripts, code)) in cases.into_iter().enumerate() {
        let engine = Upstream::start(scripts).await;
        let config = json!({
            "http_url": format!("http://{}/", engine.address), "collection_name": "docs",
            "auth_token": "t0ken", "auth_header": "authorization", "embedding": embedder.config(),
        });
        let name = format!("docs-{i}");
        clients.dataset_of(&name, "chroma", config).await.unwrap();
        let failed = clients.find(&name, QUESTION, (0.0, 5)).await.unwrap_err();
        assert_eq!(failed.code(), code, "{i}: {failed:?}");
        assert_eq!(engine.header(0, "authorization").as_deref(), Some("bearer t0ken"), "{i}");
        let heads = engine.heads.lock().unwrap();
        let asked = "get /api/v2/tenants/default_tenant/databases/default_database/collections/docs ";
        assert!(heads[0].starts_with(asked), "{}", heads[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_can_be_another_path() {
    let (space, embedder) = (Space::sqlite().await, Embedder::start().await);
    let mut clients = space.admin().await;
    let config =
        json!({"http_url": "http://127.0.0.1:1", "collection_name": "docs", "embedding": embedder.config()});
    let bad = ["", "..", "a/b", "../x", "a b", "x?y=z", "x#y", "x%2F..", "ab\u{0}c", "/x"];
    for name in bad {
        let changed = with(config.clone(), json!({ "collection_name": name }));
        let refused = clients.dataset_of("docs", "chroma", changed).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
    for (field, name) in [("tenant", ".."), ("tenant", "a/b"), ("database", "."), ("database", "a\\b")] {
        let changed = with(config.clone(), json!({ field: name }));
        assert!(clients.dataset_of("docs", "chroma", changed).await.is_err(), "{field} {name}");
    }
    let sealed = with(config, json!({"where": {"$sealed": "x"}}));
    let refused = clients.dataset_of("docs", "chroma", sealed).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "what looks sealed would never be read again");
}

on_both! {
    /// The key of the embedding endpoint stands in an object: it is sealed there, and struck out.
    async fn nested_secrets_are_sealed_and_struck_out(database: Database) {
        let (space, embedder) = (Space::start(database).await, Embedder::start().await);
        let mut clients = space.admin().await;
        let chroma = Chroma::full("cosine").await;
        let config = with(chroma.config(&embedder), json!({"auth_token": "chroma-token-4719"}));
        let dataset = clients.dataset_of("docs", "chroma", config).await.unwrap();
        let shown = format!("{dataset:?}");
        assert_eq!(shown.matches("[redacted]").count(), 2, "{shown}");
        // It works with what was sealed, also in another process.
        assert!(!clients.find("docs", QUESTION, (0.0, 5)).await.unwrap().is_empty());
        let database = space.stop().await;
        let stored = everything_stored(&database).await;
        for secret in [embedder::KEY, "chroma-token-4719"] {
            assert!(!shown.contains(secret) && !stored.contains(secret), "{secret}");
        }
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        assert!(!clients.find("docs", QUESTION, (0.0, 5)).await.unwrap().is_empty());
        let schema = clients.datasets.list_dataset_types(proto::ListDatasetTypesRequest::default()).await.unwrap();
        let chroma = schema.into_inner().types.into_iter().find(|spec| spec.name == "chroma").unwrap();
        let schema = serde_json::Value::Object(from_struct(chroma.config_schema.unwrap()).unwrap());
        let secret = &schema["properties"]["embedding"]["properties"]["api_key"]["secret"];
        assert_eq!(*secret, true, "{schema}");
    }
}
