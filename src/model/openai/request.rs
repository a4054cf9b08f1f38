//! The body of a chat completion, written straight from what is asked.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::{domain::Message, model::ChatRequest};

/// Always streamed, with the usage at the end. Nothing of ours can be overridden by `extras`.
pub(super) struct Body<'a> {
    pub(super) model: &'a str,
    pub(super) system_prompt: &'a str,
    pub(super) request: &'a ChatRequest,
    /// The server knows `max_tokens` as `max_completion_tokens`.
    pub(super) renamed: bool,
}

/// What we write; of `extras` these are left out.
const OURS: [&str; 10] = [
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "presence_penalty",
    "frequency_penalty",
    "stream",
    "stream_options",
    "stop",
];

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = &self.request.options;
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("model", self.model)?;
        body.serialize_entry("messages", &Messages(self))?;
        let max_tokens = if self.renamed { "max_completion_tokens" } else { "max_tokens" };
        body.serialize_entry(max_tokens, &options.max_tokens)?;
        body.serialize_entry("temperature", &options.temperature)?;
        body.serialize_entry("presence_penalty", &options.presence_penalty)?;
        body.serialize_entry("frequency_penalty", &options.frequency_penalty)?;
        body.serialize_entry("stream", &true)?;
        body.serialize_entry("stream_options", &StreamOptions { include_usage: true })?;
        if !options.stop_sequences.is_empty() {
            body.serialize_entry("stop", &options.stop_sequences)?;
        }
        for (name, value) in options.extras.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
            body.serialize_entry(name, value)?;
        }
        body.end()
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

struct Messages<'a>(&'a Body<'a>);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Body { system_prompt, request, .. } = self.0;
        let mut messages = serializer.serialize_seq(None)?;
        if !system_prompt.is_empty() {
            messages.serialize_element(&Written { role: "system", content: system_prompt })?;
        }
        for Message { role, content } in &request.messages {
            messages.serialize_element(&Written { role: role.name(), content })?;
        }
        messages.end()
    }
}

#[derive(Serialize)]
struct Written<'a> {
    role: &'a str,
    content: &'a str,
}
