//! The body of a chat completion.

use serde_json::{Map, Value, json};

use crate::model::ChatRequest;

/// Always streamed, with the usage at the end. `extras` come first, so that nothing of ours can be
/// overridden by them.
pub(super) fn body(
    model: &str,
    system_prompt: &str,
    request: &ChatRequest,
    renamed: bool,
) -> Map<String, Value> {
    let options = &request.options;
    let mut body = options.extras.clone();
    let max_tokens = if renamed { "max_completion_tokens" } else { "max_tokens" };
    let ours = [
        ("model", json!(model)),
        ("messages", Value::Array(messages(system_prompt, request))),
        (max_tokens, json!(options.max_tokens)),
        ("temperature", json!(options.temperature)),
        ("presence_penalty", json!(options.presence_penalty)),
        ("frequency_penalty", json!(options.frequency_penalty)),
        ("stream", json!(true)),
        ("stream_options", json!({"include_usage": true})),
    ];
    body.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    if !options.stop_sequences.is_empty() {
        body.insert("stop".to_owned(), json!(options.stop_sequences));
    }
    body
}

fn messages(system_prompt: &str, request: &ChatRequest) -> Vec<Value> {
    let system = (!system_prompt.is_empty()).then(|| json!({"role": "system", "content": system_prompt}));
    let rest = request
        .messages
        .iter()
        .map(|message| json!({"role": message.role.name(), "content": message.content}));
    system.into_iter().chain(rest).collect()
}
