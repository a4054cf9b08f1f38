//! A Qdrant: `/readyz`, `/collections/{name}` and `/collections/{name}/points/query`, with the errors of version 1.1x.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Doc, Engine, Filter, KEY, documents,
    gate::Gate,
    server::{Answer, Asked, Handler, Server},
    with, words,
};
use crate::support::embedder::Embedder;

/// A name that a careless client would not get through a path.
pub const FULL: &str = "Full docs & 100% 東京 #1";
const MODEL: &str = "words";

/// How a collection is set up.
#[derive(Clone)]
pub struct Collection {
    pub distance: &'static str,
    /// The name of its vector; none when it has one without a name.
    pub vector: Option<&'static str>,
    pub status: &'static str,
    pub documents: Vec<Doc>,
}

pub struct Qdrant {
    _server: Server,
    gate: Gate,
    embedder: Embedder,
    inference: bool,
}

impl Collection {
    pub fn plain(documents: Vec<Doc>) -> Self {
        Self { distance: "Cosine", vector: None, status: "green", documents }
    }

    fn info(&self) -> Value {
        let vector = json!({"size": words::DIMENSIONS, "distance": self.distance});
        let params = match (self.distance, self.vector) {
            ("sparse", Some(name)) => json!({"vectors": {}, "sparse_vectors": {name: {"modifier": "idf"}}}),
            (_, Some(name)) => json!({"vectors": {name: vector}, "shard_number": 1}),
            (_, None) => json!({"vectors": vector, "shard_number": 1, "on_disk_payload": true}),
        };
        let config = json!({"params": params, "hnsw_config": {"m": 16}, "optimizer_config": {}});
        json!({
            "status": self.status, "optimizer_status": "ok", "points_count": self.documents.len(),
            "segments_count": 2, "config": config, "payload_schema": {},
        })
    }
}

impl Qdrant {
    /// One whose questions the service embeds.
    pub async fn embedded() -> Self {
        Self::with(false, Vec::new()).await
    }

    /// One that embeds them itself.
    pub async fn inferring() -> Self {
        Self::with(true, Vec::new()).await
    }

    pub async fn with(inference: bool, more: Vec<(&'static str, Collection)>) -> Self {
        let ours = [(FULL, Collection::plain(documents())), ("Empty", Collection::plain(Vec::new()))];
        let collections: Arc<BTreeMap<_, _>> = Arc::new(ours.into_iter().chain(more).collect());
        let handler: Handler = Arc::new(move |asked| {
            let collections = Arc::clone(&collections);
            async move { Some(answer(&collections, &asked).unwrap_or_else(|refusal| refusal)) }.boxed()
        });
        let server = Server::start(handler).await;
        let gate = Gate::before(&format!("http://{}", server.address)).await;
        Self { _server: server, gate, embedder: Embedder::start().await, inference }
    }

    pub fn of(&self, collection: &str) -> Value {
        let configuration = json!({"url": self.gate.url(), "api_key": KEY, "collection_name": collection, "content_key": "text"});
        let embeds = match self.inference {
            true => json!({"inference": {"model": MODEL, "options": {"language": "none"}}}),
            false => json!({"embedding": self.embedder.config()}),
        };
        with(configuration, embeds)
    }
}

fn answer(collections: &BTreeMap<&'static str, Collection>, asked: &Asked) -> Result<Answer, Answer> {
    let path = asked.path();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if path == ["readyz"] {
        return Ok(Answer::text(200, "text/plain", "all shards are ready"));
    }
    match asked.header("api-key") {
        "" => {
            return Err(Answer::text(
                401,
                "text/plain",
                "Must provide an API key or an Authorization bearer token",
            ));
        }
        key if key == KEY => {}
        _ => return Err(Answer::text(401, "text/plain", "Invalid API key or JWT")),
    }
    let find = |name: &str| {
        collections
            .get(name)
            .ok_or_else(|| refused(404, &format!("Not found: Collection `{name}` doesn't exist!")))
    };
    match (asked.method.as_str(), &path[..]) {
        ("GET", ["collections", name]) => Ok(done(&find(name)?.info())),
        ("POST", ["collections", name, "points", "query"]) => {
            let collection = find(name)?;
            if asked.header("content-type") != "application/json" {
                return Err(refused(400, "Content type error"));
            }
            let body = serde_json::from_slice(&asked.body).ok();
            let body: Map<String, Value> =
                body.ok_or_else(|| refused(400, "Format error in JSON body: expected value"))?;
            Ok(done(&json!({ "points": query(collection, &body).map_err(|why| refused(400, &why))? })))
        }
        _ => Err(Answer::text(404, "text/plain", "")),
    }
}

fn done(result: &Value) -> Answer {
    Answer::json(200, &json!({"result": result, "status": "ok", "time": 0.000_1}))
}

fn refused(status: u16, error: &str) -> Answer {
    Answer::json(status, &json!({"status": {"error": error}, "time": 0.0}))
}

fn query(collection: &Collection, body: &Map<String, Value>) -> Result<Vec<Value>, String> {
    let format = |what: &str| format!("Format error in JSON body: {what}");
    let known = ["query", "using", "filter", "limit", "with_payload"];
    if let Some(field) = body.keys().find(|field| !known.contains(&field.as_str())) {
        return Err(format(&format!("unknown field `{field}`")));
    }
    let using = body.get("using").map(|using| using.as_str().ok_or_else(|| format("using"))).transpose()?;
    if using != collection.vector {
        return Err(format!("Wrong input: Not existing vector name error: {}", using.unwrap_or_default()));
    }
    let limit = body.get("limit").map_or(Some(10), Value::as_u64).filter(|limit| *limit > 0);
    let limit = usize::try_from(limit.ok_or_else(|| format("limit"))?).unwrap();
    let nearest = body.get("query").and_then(|query| query.get("nearest")).ok_or_else(|| format("query"))?;
    let score = scorer(collection, nearest)?;
    let mut found = Vec::new();
    for (n, doc) in collection.documents.iter().enumerate() {
        let payload = doc.properties();
        if body.get("filter").map_or(Ok(true), |filter| keeps(filter, &payload))? {
            // Numbers and UUIDs both are ids.
            let id = if n % 2 == 0 { json!(n) } else { json!(format!("00000000-0000-4000-8000-{n:012}")) };
            found.push((score(doc), json!({"id": id, "version": 3, "payload": payload})));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    if ["Euclid", "Manhattan"].contains(&collection.distance) {
        found.reverse();
    }
    if collection.distance == "sparse" {
        found.retain(|(score, _)| *score > 0.0);
    }
    let scored = |(score, mut point): (f64, Value)| {
        point["score"] = json!(score);
        point
    };
    Ok(found.into_iter().take(limit).map(scored).collect())
}

type Scorer = Box<dyn Fn(&Doc) -> f64>;

fn scorer(collection: &Collection, nearest: &Value) -> Result<Scorer, String> {
    let text = nearest.get("text").and_then(Value::as_str).map(str::to_owned);
    if nearest.is_object() && (text.is_none() || nearest.get("model").and_then(Value::as_str) != Some(MODEL))
    {
        return Err("Wrong input: Unsupported model".to_owned());
    }
    if collection.distance == "sparse" {
        let text = text.ok_or("Wrong input: Sparse vector expected")?;
        let all: Vec<&str> = collection.documents.iter().map(|doc| doc.text).collect();
        return Ok(Box::new(move |doc| words::bm25(&text, doc.text, &all)));
    }
    let vector: Vec<f64> = match text {
        Some(text) => words::vector(&text),
        None => serde_json::from_value(nearest.clone())
            .map_err(|_| "Format error in JSON body: query".to_owned())?,
    };
    if vector.len() != words::DIMENSIONS {
        let (expected, got) = (words::DIMENSIONS, vector.len());
        return Err(format!("Wrong input: Vector dimension error: expected dim: {expected}, got {got}"));
    }
    let distance = collection.distance;
    Ok(Box::new(move |doc| {
        let cosine = words::dot(&vector, &words::vector(doc.text));
        if distance == "Euclid" { (2.0 - 2.0 * cosine).max(0.0).sqrt() } else { cosine }
    }))
}

/// Whether a payload keeps a filter.
fn keeps(filter: &Value, payload: &Map<String, Value>) -> Result<bool, String> {
    let wrong = |what: &str| format!("Format error in JSON body: data did not match any variant: {what}");
    let clauses = filter.as_object().ok_or_else(|| wrong("filter"))?;
    let mut kept = true;
    for (clause, conditions) in clauses {
        let conditions = conditions.as_array().ok_or_else(|| wrong(clause))?;
        let held: Vec<bool> =
            conditions.iter().map(|condition| holds(condition, payload)).collect::<Result<_, _>>()?;
        kept &= match clause.as_str() {
            "must" => held.iter().all(|held| *held),
            "should" => held.is_empty() || held.contains(&true),
            "must_not" => !held.contains(&true),
            _ => return Err(wrong(clause)),
        };
    }
    Ok(kept)
}

fn holds(condition: &Value, payload: &Map<String, Value>) -> Result<bool, String> {
    let wrong =
        || format!("Format error in JSON body: data did not match any variant of Condition: {condition}");
    let at = |place: &Value| {
        place.get("key").and_then(Value::as_str).ok_or_else(wrong).map(|key| payload.get(key))
    };
    if let Some(place) = condition.get("is_empty") {
        return Ok(at(place)?.is_none_or(|value| value.is_null() || *value == json!([])));
    }
    if let Some(place) = condition.get("is_null") {
        return Ok(at(place)?.is_some_and(Value::is_null));
    }
    let values: Vec<Value> = match at(condition)? {
        None => return Ok(false),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    };
    if let Some(wanted) = condition.get("match").and_then(Value::as_object) {
        let (kind, wanted) = wanted.iter().next().filter(|_| wanted.len() == 1).ok_or_else(wrong)?;
        let among = |value: &Value| wanted.as_array().is_some_and(|wanted| wanted.contains(value));
        return match kind.as_str() {
            "value" if !wanted.is_object() && !wanted.is_array() => Ok(values.contains(wanted)),
            "any" => Ok(values.iter().any(among)),
            "except" => Ok(!values.iter().any(among)),
            "text" => Ok(values
                .iter()
                .any(|value| value.as_str().is_some_and(|text| text.contains(wanted.as_str().unwrap())))),
            _ => Err(wrong()),
        };
    }
    let bounds = condition.get("range").and_then(Value::as_object).ok_or_else(wrong)?;
    let within = |value: &Value| {
        bounds.iter().all(|(bound, limit)| match bound.as_str() {
            "gt" => rank(value) > rank(limit),
            "gte" => rank(value) >= rank(limit),
            "lt" => rank(value) < rank(limit),
            "lte" => rank(value) <= rank(limit),
            _ => false,
        })
    };
    Ok(values.iter().any(within))
}

/// Numbers and moments as one number.
#[expect(clippy::cast_precision_loss, reason = "years and prices")]
fn rank(value: &Value) -> f64 {
    let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| at.unix_timestamp() as f64);
    value.as_f64().or_else(|| value.as_str().and_then(moment)).unwrap_or(f64::NAN)
}

#[async_trait]
impl Engine for Qdrant {
    fn dtype(&self) -> &'static str {
        "qdrant"
    }

    fn configuration(&self) -> Value {
        self.of(FULL)
    }

    fn empty(&self) -> Value {
        self.of("Empty")
    }

    fn missing(&self) -> Option<Value> {
        Some(self.of("Nowhere"))
    }

    fn bad_key(&self) -> Option<Value> {
        Some(with(self.of(FULL), json!({"api_key": "another-canary-key-4732"})))
    }

    fn filtered(&self, filter: Filter) -> Option<Value> {
        let filter = match filter {
            Filter::Topic(topic) => json!({"must": [{"key": "topic", "match": {"value": topic}}]}),
            Filter::Recent(year, price) => json!({"must": [
                {"key": "year", "range": {"gte": year}}, {"key": "price", "range": {"lt": price}},
                {"key": "open", "match": {"value": true}},
            ]}),
            Filter::Not(topic, year) => json!({"must_not": [
                {"key": "topic", "match": {"any": [topic]}}, {"key": "year", "range": {"lt": year}},
            ]}),
        };
        Some(with(self.of(FULL), json!({ "filters": filter })))
    }

    fn attacked(&self, text: &str) -> Vec<Value> {
        let full = || self.of(FULL);
        vec![
            self.of(text),
            with(full(), json!({"vector_name": text})),
            with(full(), json!({"filters": {"must": [{"key": text, "match": {"value": "x"}}]}})),
            with(full(), json!({"filters": {"must": [{"key": "topic", "match": {"value": text}}]}})),
            with(full(), json!({"filters": {"must": [{"key": "tags", "match": {"any": [text]}}]}})),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}
