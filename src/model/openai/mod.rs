//! `openai`: any server with OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp, TGI.

mod decode;
mod request;

use std::sync::atomic::{AtomicBool, Ordering};

use async_stream::try_stream;
use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, Response, Url, header::CONTENT_TYPE};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{About, ChatEvent, ChatRequest, ChatStream, Model};
use crate::{
    domain::Health,
    error::{Cause, UpstreamError},
    upstream::{Clocks, Failed, Upstream, parse_base_url, read_body, sse, traced},
};
use decode::Answer;

pub(super) const NAME: &str = "openai";
pub(super) const ICON: &str = "🤖";
pub(super) const DESCRIPTION: &str =
    "Any server with OpenAI's chat completions API: OpenAI, vLLM, Ollama, llama.cpp, TGI.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Sent as the bearer token. Empty for servers that want none.
    #[serde(default)]
    #[schemars(with = "String")]
    api_key: SecretString,
    /// The model, as the server names it.
    #[serde(default = "default_model")]
    #[schemars(length(min = 1))]
    model: String,
    /// Where the server is, up to and without `/chat/completions`.
    #[serde(default = "default_base_url")]
    #[schemars(regex(pattern = r"^https?://[^\s@]+$"))]
    base_url: String,
    /// Put before every conversation.
    #[serde(default)]
    system_prompt: String,
}

/// One configured server and model.
pub(super) struct OpenAi {
    upstream: Upstream,
    config: Config,
    completions: Url,
    models: Url,
    /// The server has refused `max_tokens` and wants `max_completion_tokens`.
    wants_completion_tokens: AtomicBool,
}

impl OpenAi {
    pub(super) fn new(upstream: Upstream, config: Config) -> Result<Self, Cause> {
        let base = config.base_url.trim_end_matches('/').to_owned();
        let url = |path: &str| parse_base_url(&format!("{base}/{path}"));
        Ok(Self {
            completions: url("chat/completions")?,
            models: url("models")?,
            upstream,
            config,
            wants_completion_tokens: AtomicBool::new(false),
        })
    }

    /// Asks, once more under the other name if the server does not know `max_tokens`.
    async fn ask(&self, request: &ChatRequest) -> Result<Response, UpstreamError> {
        let renamed = self.wants_completion_tokens.load(Ordering::Relaxed);
        match self.post(request, renamed).await {
            Err(failed) if !renamed && failed.body.contains("max_completion_tokens") => {
                let response = self.post(request, true).await.map_err(|failed| failed.error)?;
                self.wants_completion_tokens.store(true, Ordering::Relaxed);
                Ok(response)
            }
            response => response.map_err(|failed| failed.error),
        }
    }

    async fn post(&self, request: &ChatRequest, renamed: bool) -> Result<Response, Failed> {
        let Config { model, system_prompt, .. } = &self.config;
        let body = request::Body { model, system_prompt, request, renamed };
        let call = || {
            let call = self.authorized(Method::POST, &self.completions)?;
            Ok(traced(call, &request.trace).json(&body))
        };
        self.upstream.send(call).await
    }

    fn authorized(&self, method: Method, url: &Url) -> Result<reqwest::RequestBuilder, UpstreamError> {
        let request = self.upstream.request(method, url)?;
        let key = self.config.api_key.expose_secret();
        Ok(if key.is_empty() { request } else { request.bearer_auth(key) })
    }
}

#[async_trait]
impl Model for OpenAi {
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        // One clock from the call to the first token, whatever is repeated in between.
        let mut clocks = self.upstream.clocks();
        let response = clocks.wait(self.ask(&request)).await??;
        let read = request.messages.iter().map(|message| message.content.chars().count()).sum();
        let answer = Answer::new(&self.config.model, read);
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|value| value.starts_with("application/json")) {
            return Ok(whole(response, clocks, answer).boxed());
        }
        Ok(streamed(response, clocks, answer).boxed())
    }

    fn prompt_bytes(&self) -> usize {
        self.config.system_prompt.len()
    }

    fn about(&self) -> About<'_> {
        About { provider: NAME, model: &self.config.model }
    }

    async fn health(&self) -> Health {
        let request = || {
            let request = self.authorized(Method::GET, &self.models)?;
            Ok(request.timeout(std::time::Duration::from_secs(5)))
        };
        match self.upstream.send(request).await {
            Ok(_) => Health::healthy(),
            Err(failed) => Health::unhealthy(format!("the model {}", failed.error)),
        }
    }
}

/// A server that ignores `stream`.
fn whole(
    response: Response,
    mut clocks: Clocks,
    mut answer: Answer,
) -> impl Stream<Item = Result<ChatEvent, UpstreamError>> {
    try_stream! {
        let body = read_body(response, &mut clocks).await?;
        if let Some(text) = answer.whole(&body)? {
            yield ChatEvent::Delta(text);
        }
        yield ChatEvent::Finished(answer.finish()?);
    }
}

fn streamed(
    response: Response,
    mut clocks: Clocks,
    mut answer: Answer,
) -> impl Stream<Item = Result<ChatEvent, UpstreamError>> {
    try_stream! {
        let mut events = sse::Decoder::default();
        let mut pieces = response.bytes_stream();
        'read: while let Some(piece) = clocks.wait(pieces.next()).await? {
            let Ok(piece) = piece else { break };
            events.push(&piece);
            while let Some(event) = events.next_event().map_err(malformed)? {
                if event == "[DONE]" {
                    answer.done();
                    break 'read;
                }
                if event.is_empty() {
                    continue;
                }
                if let Some(text) = answer.chunk(event)? {
                    clocks.first_token();
                    yield ChatEvent::Delta(text);
                }
            }
        }
        yield ChatEvent::Finished(answer.finish()?);
    }
}

fn malformed(cause: sse::Malformed) -> UpstreamError {
    UpstreamError::unavailable("its answer is malformed").because(cause)
}

fn default_model() -> String {
    "gpt-4o-mini".to_owned()
}

fn default_base_url() -> String {
    "https://api.openai.com/v1".to_owned()
}
