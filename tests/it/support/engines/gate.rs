//! A gate before any engine that speaks HTTP: it keeps what passes, and makes trouble.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;

use super::server::{Answer, Asked, Server};

/// What becomes of a request instead of an answer.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Nothing comes.
    Hang,
    /// The connection ends.
    Cut,
    /// The answer, and half of its JSON.
    Half,
    /// Something else under status 200.
    Instead(&'static str),
    /// A refusal without words.
    Status(u16),
    /// Another place to ask.
    Redirect(String),
    /// Everything that was received, quoted in a refusal.
    Echo(u16),
}

/// The gate. Behind it is an engine.
pub struct Gate {
    server: Server,
    state: Arc<State>,
}

struct State {
    behind: String,
    /// A header with a key, without which nothing passes.
    lock: Option<(&'static str, &'static str)>,
    http: reqwest::Client,
    trouble: Mutex<Option<Trouble>>,
    passed: Mutex<Vec<Asked>>,
}

impl Gate {
    /// A gate to the server at this URL.
    pub async fn before(url: &str) -> Self {
        Self::start(url, None).await
    }

    /// One that only lets in who has this key in this header, as the services do that run such servers for others.
    pub async fn locked(url: &str, header: &'static str, key: &'static str) -> Self {
        Self::start(url, Some((header, key))).await
    }

    async fn start(url: &str, lock: Option<(&'static str, &'static str)>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (trouble, passed) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { behind: url.to_owned(), lock, http, trouble, passed });
        let handling = Arc::clone(&state);
        let handler = move |asked| Arc::clone(&handling).answer(asked).boxed();
        Self { server: Server::start(Arc::new(handler)).await, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// From now on.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        *self.state.trouble.lock().unwrap() = trouble;
    }

    /// Nobody listens any more.
    pub async fn die(&self) {
        self.server.die().await;
    }

    /// What has come so far.
    pub fn passed(&self) -> Vec<Asked> {
        self.state.passed.lock().unwrap().clone()
    }
}

impl State {
    async fn answer(self: Arc<Self>, asked: Asked) -> Option<Answer> {
        self.passed.lock().unwrap().push(asked.clone());
        let trouble = self.trouble.lock().unwrap().clone();
        let is_let_in =
            |(header, key): (&str, &str)| asked.headers.get(header).is_some_and(|sent| sent == key);
        if !self.lock.is_none_or(is_let_in) {
            return Some(Answer::json(401, &serde_json::json!({"error": "Unauthorized"})));
        }
        match trouble {
            None => Some(self.pass(asked).await),
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Cut) => None,
            Some(Trouble::Half) => {
                let answer = self.pass(asked).await;
                let cut = answer.body.char_indices().nth(answer.body.chars().count() / 2);
                Some(Answer { body: answer.body[..cut.map_or(0, |(at, _)| at)].to_owned(), ..answer })
            }
            Some(Trouble::Instead(text)) => Some(Answer::text(200, "application/json", text)),
            Some(Trouble::Status(status)) => Some(Answer::text(status, "text/plain", "")),
            Some(Trouble::Redirect(url)) => {
                Some(Answer { status: 307, headers: vec![("location", url)], body: String::new() })
            }
            Some(Trouble::Echo(status)) => {
                let said =
                    format!("{:?} {:?} {}", asked.uri, asked.headers, String::from_utf8_lossy(&asked.body));
                let errors = serde_json::json!({"errors": [{"message": said}], "status": {"error": said}, "error": said});
                Some(Answer::json(status, &errors))
            }
        }
    }

    async fn pass(&self, asked: Asked) -> Answer {
        let url = format!("{}{}", self.behind, asked.uri);
        let mut headers = asked.headers;
        headers.remove("host");
        let request = self.http.request(asked.method, url).headers(headers).body(asked.body);
        let response = request.send().await.unwrap();
        let content_type =
            response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let headers = content_type.map(|value| ("content-type", value)).into_iter().collect();
        Answer { status: response.status().as_u16(), headers, body: response.text().await.unwrap() }
    }
}
