//! What a person or a script reads.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};
use syft_endpoints::{
    error::Cause,
    proto::{Completed, Reference, References, from_struct, stream_query_response::Event},
};
use tonic::Status;
use tonic_types::StatusExt;

/// Prints an answer as it comes: for people, or one JSON object per event.
pub(super) struct Answer {
    json: bool,
    color: bool,
}

impl Answer {
    pub(super) fn new(json: bool) -> Self {
        Self { json, color: !json && io::stdout().is_terminal() }
    }

    pub(super) fn print(&self, event: Event) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match event {
            event if self.json => writeln!(out, "{}", as_json(event))?,
            Event::References(found) => self.references(&mut out, &found)?,
            Event::Delta(delta) => out.write_all(visible(&delta.content).as_bytes())?,
            Event::Completed(end) => writeln!(out, "\n{}", self.dim(&summary(&end)))?,
        }
        out.flush()
    }

    fn references(&self, out: &mut impl Write, found: &References) -> io::Result<()> {
        if found.documents.is_empty() {
            return writeln!(out, "{}", self.dim("no references above the threshold"));
        }
        for document in &found.documents {
            let line = format!(
                "{:.2}  {}  {}",
                document.similarity_score,
                plain(&document.document_id),
                excerpt(document)
            );
            writeln!(out, "{}", self.dim(&line))?;
        }
        writeln!(out)
    }

    fn dim(&self, text: &str) -> String {
        if self.color { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A failed call, with everything the server said about it.
pub(super) fn failure(status: &Status) -> Cause {
    let details = status.get_error_details();
    let reason = details.error_info().map_or_else(|| status.code().to_string(), |info| info.reason.clone());
    let mut text = format!("{reason}: {}", status.message());
    // A rate limit says it in words already.
    let wait = details.retry_info().and_then(|retry| retry.retry_delay).filter(|_| reason != "RATE_LIMITED");
    if let Some(wait) = wait {
        text.push_str(&format!(" (try again in {:.1}s)", wait.as_secs_f64()));
    }
    if let Some(query_id) = status.metadata().get("x-query-id").and_then(|id| id.to_str().ok()) {
        text.push_str(&format!(" [query {query_id}]"));
    }
    text.into()
}

/// The beginning of a document's text, on one line, without anything a terminal would obey.
fn excerpt(document: &Reference) -> String {
    let text = plain(&document.content);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A text without anything that a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As [`plain`], with line breaks and tabs.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn summary(end: &Completed) -> String {
    let Some(completion) = &end.completion else { return format!("query {}", end.query_id) };
    let usage = completion.usage.unwrap_or_default();
    let about = if usage.estimated { "about " } else { "" };
    format!(
        "{} · {about}{} tokens read, {about}{} written · query {}",
        completion.model, usage.prompt_tokens, usage.completion_tokens, end.query_id
    )
}

fn as_json(event: Event) -> Value {
    match event {
        Event::References(found) => {
            let documents = found.documents.iter().map(|document| {
                json!({
                    "document_id": document.document_id,
                    "content": document.content,
                    "similarity_score": document.similarity_score,
                    "metadata": document.metadata.clone().and_then(from_struct),
                })
            });
            json!({"references": documents.collect::<Vec<_>>()})
        }
        Event::Delta(delta) => json!({"delta": delta.content}),
        Event::Completed(end) => {
            let cost = end.cost.map(|cost| json!({"nano_units": cost.nano_units, "currency": cost.currency}));
            let completion = end.completion.unwrap_or_default();
            let finish_reason =
                completion.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_").to_lowercase();
            let usage = completion.usage.unwrap_or_default();
            json!({"completed": {
                "query_id": end.query_id,
                "model": completion.model,
                "finish_reason": finish_reason,
                "cost": cost,
                "usage": {
                    "prompt_tokens": usage.prompt_tokens,
                    "completion_tokens": usage.completion_tokens,
                    "estimated": usage.estimated,
                },
            }})
        }
    }
}
