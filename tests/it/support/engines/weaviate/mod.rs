//! A Weaviate: `/v1/.well-known/ready`, `/v1/schema/{class}` and `/v1/graphql`, with the errors of version 1.3x.

mod filters;
mod graphql;
mod queries;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::{Map, Value, json};

use super::{
    Doc, Engine, Filter, KEY, documents,
    gate::Gate,
    server::{Answer, Asked, Handler, Server},
    with,
};
use crate::support::embedder::Embedder;

/// How a class is set up.
#[derive(Clone)]
pub struct Class {
    pub vectorizer: &'static str,
    pub distance: &'static str,
    /// The names of its vectors; none when it has one without a name.
    pub vectors: &'static [&'static str],
    pub tenants: bool,
    pub documents: Vec<Doc>,
}

pub struct Weaviate {
    _server: Server,
    gate: Gate,
    embedder: Embedder,
    search: &'static str,
    /// Whether queries are refused, as on servers that have no GraphQL any more.
    switched_off: Arc<AtomicBool>,
}

/// The types of all properties.
fn types() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("slug", "text"),
        ("text", "text"),
        ("topic", "text"),
        ("year", "int"),
        ("price", "number"),
        ("open", "boolean"),
        ("published", "date"),
        ("tags", "text[]"),
    ])
}

impl Class {
    pub fn plain(documents: Vec<Doc>) -> Self {
        Self {
            vectorizer: "text2vec-transformers",
            distance: "cosine",
            vectors: &[],
            tenants: false,
            documents,
        }
    }

    fn schema(&self, name: &str) -> Value {
        let property =
            |(name, kind): (&str, &str)| json!({"name": name, "dataType": [kind], "tokenization": "word"});
        let mut properties: Vec<_> = types().into_iter().map(property).collect();
        properties.push(json!({"name": "hasAuthor", "dataType": ["Author"]}));
        properties.push(json!({"name": "scan", "dataType": ["blob"]}));
        let index = json!({"distance": self.distance, "efConstruction": 128});
        let mut schema = json!({"class": name, "properties": properties, "invertedIndexConfig": {}});
        let vector = |name: &&str| {
            let vectorizer = json!({self.vectorizer: {"properties": ["text"]}});
            ((*name).to_owned(), json!({"vectorizer": vectorizer, "vectorIndexConfig": index}))
        };
        if self.vectors.is_empty() {
            schema["vectorizer"] = self.vectorizer.into();
            schema["vectorIndexConfig"] = index.clone();
        } else {
            schema["vectorConfig"] = Value::Object(self.vectors.iter().map(vector).collect());
        }
        schema
    }
}

/// An object with every property that it has, and its id.
fn object(n: usize, doc: &Doc) -> (String, Map<String, Value>) {
    (format!("00000000-0000-4000-8000-{n:012}"), doc.properties())
}

impl Weaviate {
    pub async fn near_text() -> Self {
        Self::with("near_text", Vec::new()).await
    }

    pub async fn hybrid() -> Self {
        Self::with("hybrid", Vec::new()).await
    }

    pub async fn bm25() -> Self {
        Self::with("bm25", Vec::new()).await
    }

    pub async fn near_vector() -> Self {
        Self::with("near_vector", Vec::new()).await
    }

    /// One that has other classes too, and is searched in this way.
    pub async fn with(search: &'static str, more: Vec<(&'static str, Class)>) -> Self {
        let ours = [("Full", Class::plain(documents())), ("Empty", Class::plain(Vec::new()))];
        let classes: Arc<BTreeMap<_, _>> = Arc::new(ours.into_iter().chain(more).collect());
        let switched_off = Arc::new(AtomicBool::new(false));
        let is_off = Arc::clone(&switched_off);
        let handler: Handler = Arc::new(move |asked| {
            let (classes, off) = (Arc::clone(&classes), is_off.load(Ordering::SeqCst));
            async move {
                let disabled = off && asked.uri.path() == "/v1/graphql";
                Some(if disabled { disabled_graphql() } else { answer(&classes, &asked) })
            }
            .boxed()
        });
        let server = Server::start(handler).await;
        let gate = Gate::before(&format!("http://{}", server.address)).await;
        Self { _server: server, gate, embedder: Embedder::start().await, search, switched_off }
    }

    /// As on new servers of Weaviate's cloud.
    pub fn switch_graphql_off(&self) {
        self.switched_off.store(true, Ordering::SeqCst);
    }

    /// Nobody listens any more.
    pub async fn kill(&self) {
        self.gate.die().await;
    }

    /// The field `embedding` of a configuration.
    pub fn embedding(&self) -> Value {
        self.embedder.config()
    }

    /// The queries that it was sent.
    pub fn queries(&self) -> Vec<String> {
        let passed = self.gate.passed();
        let queries = passed.iter().filter(|asked| asked.uri.path() == "/v1/graphql");
        let query = |asked: &Asked| {
            serde_json::from_slice::<Value>(&asked.body).unwrap()["query"].as_str().unwrap().to_owned()
        };
        queries.map(query).collect()
    }

    pub fn of(&self, collection: &str) -> Value {
        let configuration = json!({
            "http_url": self.gate.url(), "api_key": KEY, "collection_name": collection,
            "search": self.search, "content_property": "text",
        });
        match self.search {
            "near_vector" => with(configuration, json!({"embedding": self.embedder.config()})),
            _ => configuration,
        }
    }
}

fn answer(classes: &BTreeMap<&'static str, Class>, asked: &Asked) -> Answer {
    let path = asked.path();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if path == ["v1", ".well-known", "ready"] {
        return Answer::text(200, "text/plain", "");
    }
    match asked.header("authorization") {
        "" => {
            return refused(401, "anonymous access not enabled, please provide an auth scheme such as OIDC");
        }
        key if key == format!("Bearer {KEY}") => {}
        _ => return refused(401, "unauthorized: invalid api key"),
    }
    match (asked.method.as_str(), &path[..]) {
        ("GET", ["v1", "schema", name]) => match classes.get(name) {
            Some(class) => Answer::json(200, &class.schema(name)),
            None => Answer::text(404, "application/json", ""),
        },
        ("POST", ["v1", "graphql"]) if asked.header("content-type") == "application/json" => {
            let Ok(Value::Object(body)) = serde_json::from_slice(&asked.body) else {
                return refused(400, "parsing body failed");
            };
            let Some(query) = body.get("query").and_then(Value::as_str) else {
                return refused(422, "query is required");
            };
            Answer::json(200, &queries::answer(classes, query))
        }
        ("POST", ["v1", "graphql"]) => refused(415, "unsupported media type"),
        _ => refused(404, "path was not found"),
    }
}

fn disabled_graphql() -> Answer {
    Answer::json(422, &json!({"error": [{"message": "graphql api is disabled"}]}))
}

fn refused(code: u16, message: &str) -> Answer {
    Answer::json(code, &json!({ "code": code, "message": message }))
}

fn condition(property: &str, op: &str, dtype: &str, value: Value) -> Value {
    json!({"type": "condition", "property": property, "op": op, "value_dtype": dtype, "value": value})
}

#[async_trait]
impl Engine for Weaviate {
    fn dtype(&self) -> &'static str {
        "weaviate"
    }

    fn configuration(&self) -> Value {
        self.of("Full")
    }

    fn empty(&self) -> Value {
        self.of("Empty")
    }

    fn missing(&self) -> Option<Value> {
        Some(self.of("Nowhere"))
    }

    fn bad_key(&self) -> Option<Value> {
        Some(with(self.of("Full"), json!({"api_key": "another-canary-key-4732"})))
    }

    fn filtered(&self, filter: Filter) -> Option<Value> {
        let group = |op, operands: Vec<Value>| json!({"type": "group", "op": op, "operands": operands});
        let filter = match filter {
            Filter::Topic(topic) => condition("topic", "eq", "string", json!(topic)),
            Filter::Recent(year, price) => group(
                "and",
                vec![
                    condition("year", "gte", "numeric", json!(year)),
                    condition("price", "lt", "numeric", json!(price)),
                    condition("open", "eq", "boolean", json!(true)),
                ],
            ),
            Filter::Not(topic, year) => group(
                "and",
                vec![
                    group("not", vec![condition("topic", "eq", "string", json!(topic))]),
                    group("not", vec![condition("year", "lt", "numeric", json!(year.to_string()))]),
                ],
            ),
        };
        Some(with(self.of("Full"), json!({ "filters": filter })))
    }

    fn attacked(&self, text: &str) -> Vec<Value> {
        let full = || self.of("Full");
        vec![
            self.of(text),
            with(full(), json!({"content_property": text})),
            with(full(), json!({"metadata_properties": [text]})),
            with(full(), json!({"target_vector": text})),
            with(full(), json!({"tenant": text})),
            with(full(), json!({"filters": condition(text, "eq", "string", json!("x"))})),
            with(full(), json!({"filters": condition("topic", "eq", "string", json!(text))})),
            with(full(), json!({"filters": condition("tags", "contains_any", "string", json!([text]))})),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}
