//! Embedding endpoints, past datasets.

use serde_json::{Value, json};
use syft_endpoints::{
    dataset::embedding::{Embedder, Embeddings},
    error::UpstreamError,
    upstream::{Config, PrivateAddresses, Upstream},
};

use crate::support::embedder::{self, vector};

fn embeddings() -> Embeddings {
    Embeddings::new(Upstream::new(Config { attempts: 2, ..Config::default() }).unwrap())
}

/// A client of `server`, with some settings changed.
fn open(all: &Embeddings, server: &embedder::Embedder, changes: Value) -> Embedder {
    let mut config = server.config();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    all.open(serde_json::from_value(config).unwrap()).unwrap()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn texts_are_embedded_in_batches_and_come_back_in_order() {
    let server = embedder::Embedder::start().await;
    server.backwards();
    let client = open(&embeddings(), &server, json!({"batch_size": 3, "dimensions": 64}));
    let asked: Vec<String> = (0..7).map(|i| format!("text number w{i}")).collect();
    let expected: Vec<_> = asked.iter().map(|text| vector(text, 64)).collect();
    assert_eq!(client.embed(&asked).await.unwrap(), expected);
    assert_eq!(server.batches(), [3, 3, 1]);
    assert_eq!(server.requests()[0], json!({"model": "words", "input": asked[..3]}));
    // A batch has a limit in bytes too, and a text that is longer goes alone.
    let long = ["a", "b", "c"].map(|word| format!("{word} ").repeat(100_000)).to_vec();
    client.embed(&long).await.unwrap();
    assert_eq!(server.batches()[3..], [1, 1, 1]);
    assert_eq!(client.embed(&[]).await.unwrap(), Vec::<Vec<f32>>::new());
}

#[tokio::test]
async fn no_text_is_embedded_twice_by_one_endpoint_and_key() {
    let (all, server) = (embeddings(), embedder::Embedder::start().await);
    let client = open(&all, &server, json!({}));
    let found = client.embed(&texts(&["one", "two", "one"])).await.unwrap();
    assert_eq!(found[0], found[2]);
    assert_eq!(client.embed(&texts(&["two", "three"])).await.unwrap()[0], found[1]);
    assert_eq!(server.batches(), [2, 1], "duplicates and known texts were sent");
    // Opened again, as after a restart of its plan, it still knows them; another model does not.
    open(&all, &server, json!({})).embed_one("one").await.unwrap();
    assert_eq!(server.batches().len(), 2);
    open(&all, &server, json!({"model": "others"})).embed_one("one").await.unwrap();
    assert_eq!(server.batches().len(), 3);
    let wrong = open(&all, &server, json!({"api_key": "wrong"})).embed_one("one").await.unwrap_err();
    assert!(wrong.to_string().contains("refused the credential"), "{wrong}");
}

#[tokio::test]
async fn both_encodings_are_read() {
    let server = embedder::Embedder::start().await;
    server.base64();
    let client = open(&embeddings(), &server, json!({"dimensions": 64, "shorten": true}));
    assert_eq!(client.embed_one("Größe und Maß").await.unwrap(), vector("Größe und Maß", 64));
    assert_eq!(server.requests()[0]["dimensions"], 64);
    assert_eq!(client.probe().await.unwrap(), 64);
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let answer = |vectors: Value| {
        let vectors = vectors.as_array().unwrap().clone();
        let data: Vec<_> = vectors.into_iter().map(|vector| json!({ "embedding": vector })).collect();
        json!({ "data": data }).to_string()
    };
    let (malformed, incomplete) = ("answer is malformed", "did not answer for every text");
    let cases = [
        (200, "nonsense".to_owned(), malformed),
        (200, "{\"error\":{}}".to_owned(), malformed),
        (200, answer(json!([["a"], ["b"]])), malformed),
        (200, answer(json!([[], []])), malformed),
        (200, answer(json!(["AAA", "AAA"])), malformed),
        (200, answer(json!(["AACAfw==", "AACAfw=="])), malformed),
        (200, answer(json!([[1e300, 1.0], [0.0, 1.0]])), malformed),
        (200, answer(json!([[1.0, 0.0]])), incomplete),
        (200, answer(json!([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), incomplete),
        (
            200,
            r#"{"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]}"#.to_owned(),
            incomplete,
        ),
        (
            200,
            r#"{"data":[{"index":0,"embedding":[1,2]},{"index":7,"embedding":[1,2]}]}"#.to_owned(),
            incomplete,
        ),
        (200, answer(json!([[1.0, 0.0], [1.0]])), "have not the configured dimensions"),
        (401, "{}".to_owned(), "refused the credential"),
        (404, "{}".to_owned(), "does not know the model"),
        (400, "{}".to_owned(), "refused the request"),
        (500, "{}".to_owned(), "endpoint failed"),
    ];
    let server = embedder::Embedder::start().await;
    for (status, body, expected) in cases {
        server.only_answers(status, &body);
        let client = open(&embeddings(), &server, json!({"dimensions": 2}));
        let error = client.embed(&texts(&["secret question", "other"])).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{status} {body}: {error}");
        assert!(!format!("{error:?}").contains("secret question"), "{error:?}");
    }
}

#[tokio::test]
async fn vectors_of_two_lengths_are_no_answer() {
    let server = embedder::Embedder::start().await;
    let client = open(&embeddings(), &server, json!({}));
    client.embed_one("before").await.unwrap();
    server.dimensions(32);
    let error = client.embed(&texts(&["before", "after"])).await.unwrap_err();
    assert!(error.to_string().contains("differ in length"), "{error}");
}

#[tokio::test]
async fn blank_texts_and_forbidden_addresses_cost_no_call() {
    let server = embedder::Embedder::start().await;
    let client = open(&embeddings(), &server, json!({}));
    let error = client.embed(&texts(&["a", " \n"])).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Rejected { reason: "a text to embed is blank", .. }), "{error}");
    let refusing = Config { private_addresses: PrivateAddresses::Refuse, ..Config::default() };
    let refusing = Embeddings::new(Upstream::new(refusing).unwrap());
    let error = open(&refusing, &server, json!({})).embed_one("a").await.unwrap_err();
    assert!(error.to_string().contains("address is not allowed"), "{error}");
    assert_eq!(server.requests(), Vec::<Value>::new());
    let down = json!({"base_url": "http://127.0.0.1:1/v1"});
    let error = open(&embeddings(), &server, down).embed_one("a").await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}
