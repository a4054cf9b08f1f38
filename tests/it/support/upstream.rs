//! Servers on loopback that answer as a script says, byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One thing a server does.
#[derive(Clone)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Sends nothing more, and keeps the connection open until the client closes it.
    Hang,
    /// Sends these bytes again and again, at this interval, until the client closes the connection.
    Drip(Vec<u8>, Duration),
}

/// A server. It answers its n-th request with the n-th script, and with the last from then on.
pub struct Upstream {
    pub address: SocketAddr,
    /// Bodies of the requests.
    pub requests: Arc<Mutex<Vec<String>>>,
    /// Their request lines and headers, in lower case.
    pub heads: Arc<Mutex<Vec<String>>>,
    /// Connections that the client closed before the script's end.
    pub abandoned: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// What its tasks write to.
#[derive(Clone)]
struct Seen {
    requests: Arc<Mutex<Vec<String>>>,
    heads: Arc<Mutex<Vec<String>>>,
    abandoned: Arc<AtomicUsize>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Upstream {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, abandoned) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let server = Self { address, requests, heads, abandoned, stop };
        let (seen, stopped, spawner) = (server.seen(), server.stop.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (seen, scripts, stopped) = (seen.clone(), scripts.clone(), stopped.clone());
                spawner.spawn(async move {
                    stopped.run_until_cancelled(answer(stream, &scripts, &seen)).await;
                });
            }
        });
        server
    }

    fn seen(&self) -> Seen {
        let (requests, heads) = (Arc::clone(&self.requests), Arc::clone(&self.heads));
        Seen { requests, heads, abandoned: Arc::clone(&self.abandoned) }
    }

    /// A header of the n-th request.
    pub fn header(&self, n: usize, name: &str) -> Option<String> {
        let heads = self.heads.lock().unwrap();
        let mut lines = heads[n].lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    }

    /// A server that streams these tokens and ends as it should.
    pub async fn says(tokens: &[&str]) -> Self {
        Self::start(vec![answer_of(tokens)]).await
    }

    /// A server that streams a token every 10 ms for ever.
    pub async fn endless() -> Self {
        Self::endless_every(Duration::from_millis(10)).await
    }

    pub async fn endless_every(interval: Duration) -> Self {
        Self::start(vec![vec![head(), Step::Drip(chunked(&delta("tok ")), interval)]]).await
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub fn body(&self, n: usize) -> serde_json::Value {
        serde_json::from_str(&self.requests.lock().unwrap()[n]).unwrap()
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }
}

/// A whole good answer.
pub fn answer_of(tokens: &[&str]) -> Vec<Step> {
    let mut steps = vec![head()];
    steps.extend(tokens.iter().map(|token| send(&delta(token))));
    steps.push(send(&finish()));
    steps.push(send("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":5}}\n\n"));
    steps.push(send("data: [DONE]\n\n"));
    steps.push(end());
    steps
}

pub fn head() -> Step {
    raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
}

pub fn delta(text: &str) -> String {
    let chunk =
        serde_json::json!({"id": "c1", "model": "m1", "choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

pub fn finish() -> String {
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned()
}

/// A piece of a chunked body.
pub fn send(text: &str) -> Step {
    Step::Send(chunked(text))
}

/// The end of a chunked body.
pub fn end() -> Step {
    raw("0\r\n\r\n")
}

pub fn raw(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

pub fn status(line: &str, headers: &str, body: &str) -> Vec<Step> {
    vec![raw(&format!("HTTP/1.1 {line}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))]
}

pub fn chunked(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

async fn answer(mut stream: TcpStream, scripts: &[Vec<Step>], seen: &Seen) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let n = {
            let mut requests = seen.requests.lock().unwrap();
            seen.heads.lock().unwrap().push(head);
            requests.push(body);
            requests.len() - 1
        };
        let script = &scripts[n.min(scripts.len() - 1)];
        let (mut reader, mut writer) = stream.split();
        let mut byte = [0; 1];
        let played = tokio::select! {
            played = play(script, &mut writer) => played,
            // Nothing comes from a client that waits, except its end.
            _ = reader.read(&mut byte) => false,
        };
        if !played {
            seen.abandoned.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if script.iter().any(|step| matches!(step, Step::Send(bytes) if bytes.starts_with(b"HTTP/1.0"))) {
            return;
        }
    }
}

async fn play(script: &[Step], writer: &mut (impl AsyncWriteExt + Unpin)) -> bool {
    for step in script {
        match step {
            Step::Send(bytes) if bytes.is_empty() => return true,
            Step::Send(bytes) => {
                if writer.write_all(bytes).await.is_err() {
                    return false;
                }
            }
            Step::Pause(time) => tokio::time::sleep(*time).await,
            Step::Hang => std::future::pending().await,
            Step::Drip(bytes, every) => loop {
                if writer.write_all(bytes).await.is_err() {
                    return false;
                }
                tokio::time::sleep(*every).await;
            },
        }
    }
    true
}

/// Head and body of the next request; `None` when the client is done.
async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some((head.to_lowercase(), body.to_owned()));
        }
    }
}
