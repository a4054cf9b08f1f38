//! What servers answer, read with tolerance for everything but a lost end.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    domain::{Completion, FinishReason, Usage},
    error::UpstreamError,
};

/// Characters of one answer; a server that writes more is not answering.
const MAX_ANSWER: usize = 4 << 20;

/// An answer as far as it has come.
pub(super) struct Answer {
    id: String,
    model: String,
    read_chars: usize,
    written_chars: usize,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Content>,
    #[serde(default)]
    message: Option<Content>,
    #[serde(default)]
    finish_reason: Value,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

impl Answer {
    pub(super) fn new(model: &str, read_chars: usize) -> Self {
        Self {
            id: String::new(),
            model: model.to_owned(),
            read_chars,
            written_chars: 0,
            usage: None,
            finish_reason: None,
            done: false,
        }
    }

    /// Reads the next event and returns its text, if it has any.
    ///
    /// # Errors
    /// `Unavailable` for what is not a chunk, reports an error, or goes on for ever.
    pub(super) fn chunk(&mut self, event: &str) -> Result<Option<String>, UpstreamError> {
        let malformed = |e| UpstreamError::unavailable("its answer is malformed").because(Masked::from(e));
        self.read(serde_json::from_str(event).map_err(malformed)?)
    }

    /// Reads an answer that came in one piece.
    ///
    /// # Errors
    /// As [`Answer::chunk`].
    pub(super) fn whole(&mut self, body: &[u8]) -> Result<Option<String>, UpstreamError> {
        let malformed = |e| UpstreamError::unavailable("its answer is malformed").because(Masked::from(e));
        self.read(serde_json::from_slice(body).map_err(malformed)?)
    }

    /// The server's end mark has come.
    pub(super) fn done(&mut self) {
        self.done = true;
    }

    /// The end of the answer.
    ///
    /// # Errors
    /// `Unavailable` when neither a finish reason nor the end mark has come: the answer was cut.
    pub(super) fn finish(self) -> Result<Completion, UpstreamError> {
        let finish_reason = match self.finish_reason {
            Some(reason) => reason,
            None if self.done => FinishReason::Stop,
            None => return Err(UpstreamError::unavailable("its answer broke off")),
        };
        let usage = self.usage.unwrap_or_else(|| Usage::estimate(self.read_chars, self.written_chars));
        Ok(Completion { id: self.id, model: self.model, finish_reason, usage })
    }

    fn read(&mut self, chunk: Chunk) -> Result<Option<String>, UpstreamError> {
        if !chunk.error.is_null() {
            return Err(UpstreamError::unavailable("it reported an error in its answer"));
        }
        if let Some(id) = chunk.id.as_str() {
            id.clone_into(&mut self.id);
        }
        if let Some(model) = chunk.model.as_str().filter(|model| !model.is_empty()) {
            model.clone_into(&mut self.model);
        }
        self.usage = usage(&chunk.usage).or(self.usage);
        // A usage chunk has no choices, and only the first choice is ours.
        let Some(choice) = chunk.choices.into_iter().flatten().next() else { return Ok(None) };
        if let Some(reason) = choice.finish_reason.as_str().filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(finish_reason(reason));
        }
        let text = choice.delta.or(choice.message).and_then(|content| content.content);
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        self.written_chars += text.chars().count();
        if self.written_chars > MAX_ANSWER {
            return Err(UpstreamError::unavailable("its answer is too large"));
        }
        Ok(Some(text))
    }
}

/// Numbers that are no counts are taken as not said.
fn usage(usage: &Value) -> Option<Usage> {
    let count = |name: &str| usage.get(name)?.as_i64().filter(|count| *count >= 0);
    Some(Usage {
        prompt_tokens: count("prompt_tokens")?,
        completion_tokens: count("completion_tokens")?,
        estimated: false,
    })
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "stop" | "eos" | "eos_token" | "stop_sequence" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

/// A JSON error without the text it quotes: that is the model's answer.
#[derive(Debug, thiserror::Error)]
#[error("invalid JSON at line {line} column {column}")]
struct Masked {
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for Masked {
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}
