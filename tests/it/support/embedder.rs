//! An embedding endpoint whose vectors are the words of a text, hashed: alike texts have alike vectors,
//! the same on every machine, so that what a search finds can be judged.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Numbers of a vector, unless the server is told otherwise.
pub const DIMENSIONS: usize = 64;
pub const KEY: &str = "embedder-key-4712";

/// A server on loopback. It stops when it is dropped.
pub struct Embedder {
    pub address: SocketAddr,
    state: Shared,
    stop: CancellationToken,
}

type Shared = Arc<Mutex<Settings>>;
/// Makes the vector of a text.
type Model = Box<dyn Fn(&str, usize) -> Vec<f32> + Send>;

struct Settings {
    model: Model,
    /// What no text may hold.
    refused: Option<String>,
    dimensions: usize,
    base64: bool,
    backwards: bool,
    /// The status and body of every answer.
    instead: Option<(u16, String)>,
    requests: Vec<Value>,
}

impl Drop for Embedder {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Embedder {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Settings {
            model: Box::new(vector),
            refused: None,
            dimensions: DIMENSIONS,
            base64: false,
            backwards: false,
            instead: None,
            requests: Vec::new(),
        };
        let (state, stop) = (Arc::new(Mutex::new(settings)), CancellationToken::new());
        let routes = Router::new().route("/v1/embeddings", post(answer)).with_state(Arc::clone(&state));
        let until = stop.clone();
        TaskTracker::new().spawn(async move {
            until.run_until_cancelled(async { axum::serve(listener, routes).await }).await;
        });
        Self { address, state, stop }
    }

    /// The field `embedding` of a configuration.
    pub fn config(&self) -> Value {
        json!({"base_url": format!("http://{}/v1", self.address), "model": "words", "api_key": KEY})
    }

    /// From now on it has another model.
    pub fn model(&self, model: impl Fn(&str, usize) -> Vec<f32> + Send + 'static) {
        self.state.lock().unwrap().model = Box::new(model);
    }

    /// From now on it refuses texts that hold this, and what comes with them.
    pub fn refuses(&self, text: &str) {
        self.state.lock().unwrap().refused = Some(text.to_owned());
    }

    /// From now on vectors have so many numbers.
    pub fn dimensions(&self, dimensions: usize) {
        self.state.lock().unwrap().dimensions = dimensions;
    }

    /// From now on vectors are the base64 of their bytes.
    pub fn base64(&self) {
        self.state.lock().unwrap().base64 = true;
    }

    /// From now on the last text's vector comes first.
    pub fn backwards(&self) {
        self.state.lock().unwrap().backwards = true;
    }

    /// From now on this is all that it answers.
    pub fn only_answers(&self, status: u16, body: &str) {
        self.state.lock().unwrap().instead = Some((status, body.to_owned()));
    }

    /// From now on it answers again.
    pub fn answers(&self) {
        self.state.lock().unwrap().instead = None;
    }

    /// The bodies that it was sent.
    pub fn requests(&self) -> Vec<Value> {
        self.state.lock().unwrap().requests.clone()
    }

    /// How many texts it was sent, call by call.
    pub fn batches(&self) -> Vec<usize> {
        self.requests().iter().map(|body| body["input"].as_array().unwrap().len()).collect()
    }
}

/// The vector of a text: a count for each of its words, at a place that its hash names; of length 1.
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words.map(str::to_lowercase) {
        // FNV-1a: the same on every machine.
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        vector[(hash % dimensions as u64) as usize] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

async fn answer(State(state): State<Shared>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let mut state = state.lock().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    state.requests.push(body.clone());
    if let Some((status, body)) = &state.instead {
        return (StatusCode::from_u16(*status).unwrap(), body.clone());
    }
    let presented = headers.get("authorization").map(|value| value.to_str().unwrap());
    if presented != Some(&format!("Bearer {KEY}")) {
        return (StatusCode::UNAUTHORIZED, "{}".to_owned());
    }
    let texts = body["input"].as_array().unwrap();
    let refused =
        |text: &Value| state.refused.as_ref().is_some_and(|refused| text.as_str().unwrap().contains(refused));
    if texts.iter().any(refused) {
        return (StatusCode::BAD_REQUEST, "{}".to_owned());
    }
    let encoded = |text: &Value| {
        let vector = (state.model)(text.as_str().unwrap(), state.dimensions);
        if !state.base64 {
            return json!(vector);
        }
        json!(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
    };
    let item = |(index, text)| json!({"object": "embedding", "index": index, "embedding": encoded(text)});
    let mut data: Vec<Value> = texts.iter().enumerate().map(item).collect();
    if state.backwards {
        data.reverse();
    }
    (StatusCode::OK, json!({"object": "list", "data": data, "model": "words"}).to_string())
}
