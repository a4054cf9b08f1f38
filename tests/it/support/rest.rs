//! A caller over REST.

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::space::{ADMIN_KEY, Space};

/// Calls as somebody, over HTTP/1.1.
#[derive(Clone)]
pub struct Rest {
    http: reqwest::Client,
    base: String,
    headers: Vec<(&'static str, String)>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Rest {
    pub fn admin(space: &Space) -> Self {
        Self::with(space, &[("authorization", &format!("Bearer {ADMIN_KEY}"))])
    }

    pub fn with(space: &Space, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let redirects = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(redirects).build().unwrap();
        Self { http, base: space.url(), headers }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// A call with a body, or without.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method.parse().unwrap(), path);
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    pub async fn query(&self, slug: &str, body: Value) -> Answer {
        self.post(&format!("/api/v1/endpoints/{slug}/query"), body).await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: no JSON: {}", self.status, self.text))
    }

    /// The value of an answer that must have this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A question that any endpoint of the tests answers.
pub fn question() -> Value {
    json!({"messages": "What is the copyright term?", "similarity_threshold": 0.1, "stop_sequences": []})
}
