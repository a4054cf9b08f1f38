//! What servers answer, read with tolerance for everything but a lost end.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    domain::{Completion, FinishReason, Usage},
    error::UpstreamError,
};

/// Characters of one answer; a server that writes more is not answering.
const MAX_ANSWER: usize = 4 << 20;

/// An answer as far as it has come.
pub(super) struct Answer {
    id: Repeated,
    model: Repeated,
    read_chars: usize,
    written_chars: usize,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    done: bool,
}

/// One chunk, as little of it as is needed. What is not needed, or is not what it should be, is kept as
/// it is written and passed over.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<First<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    delta: Option<Content>,
    #[serde(default)]
    message: Option<Content>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

/// The first element of a list; the others are of the same shape and are not kept.
struct First<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T>, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<T>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

impl Answer {
    pub(super) fn new(model: &str, read_chars: usize) -> Self {
        Self {
            id: Repeated::default(),
            model: Repeated { text: model.to_owned(), ..Repeated::default() },
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
        Ok(Completion { id: self.id.text, model: self.model.text, finish_reason, usage })
    }

    fn read(&mut self, chunk: Chunk<'_>) -> Result<Option<String>, UpstreamError> {
        if chunk.error.is_some() {
            return Err(UpstreamError::unavailable("it reported an error in its answer"));
        }
        self.id.note(chunk.id);
        self.model.note(chunk.model);
        self.usage = chunk.usage.and_then(usage).or(self.usage);
        // A usage chunk has no choices, and only the first choice is ours.
        let Some(choice) = chunk.choices.and_then(|choices| choices.0) else { return Ok(None) };
        let reason =
            choice.finish_reason.and_then(|reason| serde_json::from_str::<String>(reason.get()).ok());
        if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(finish_reason(&reason));
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

/// A text that every chunk repeats.
#[derive(Default)]
struct Repeated {
    written: String,
    text: String,
}

impl Repeated {
    /// Takes it over when it has changed; what is no text, or an empty one, says nothing.
    fn note(&mut self, raw: Option<&RawValue>) {
        let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != self.written) else { return };
        raw.clone_into(&mut self.written);
        if let Some(text) = serde_json::from_str::<String>(raw).ok().filter(|text| !text.is_empty()) {
            self.text = text;
        }
    }
}

/// Numbers that are no counts are taken as not said.
fn usage(raw: &RawValue) -> Option<Usage> {
    let usage: Value = serde_json::from_str(raw.get()).ok()?;
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
