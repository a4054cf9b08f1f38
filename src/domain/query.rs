//! A question, checked once and then trusted.

use serde_json::{Map, Value};

use super::rules::{self, Check, MAX_REFERENCES, MAX_STOP_SEQUENCES, RESERVED_EXTRAS};
use crate::error::{Rule, Violation};

/// Elements of one list that are named as bad.
const MAX_EXAMPLES: usize = 3;

/// What a query means that does not say otherwise.
pub mod defaults {
    pub const SIMILARITY_THRESHOLD: f64 = 0.5;
    pub const LIMIT: i32 = 5;
    pub const MAX_TOKENS: i32 = 100;
    pub const TEMPERATURE: f64 = 0.7;
}

/// A question as it came: nothing is checked, and `None` means that nothing was said.
#[derive(Clone, Default)]
pub struct QueryDraft {
    pub messages: Vec<(String, String)>,
    pub similarity_threshold: Option<f64>,
    pub limit: Option<i32>,
    pub include_metadata: Option<bool>,
    pub max_tokens: Option<i32>,
    pub temperature: Option<f64>,
    pub stop_sequences: Option<Vec<String>>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub extras: Map<String, Value>,
    pub transaction_token: Option<String>,
}

/// A question that keeps every rule.
#[derive(Clone, PartialEq)]
pub struct Query {
    messages: Vec<Message>,
    search: SearchOptions,
    chat: ChatOptions,
    transaction_token: Option<String>,
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// Lowest similarity, 0 to 1.
    pub similarity_threshold: f64,
    /// How many references at most, 1 to [`MAX_REFERENCES`].
    pub limit: usize,
    pub include_metadata: bool,
}

/// How to answer.
#[derive(Clone, PartialEq)]
pub struct ChatOptions {
    pub max_tokens: u32,
    pub temperature: f64,
    pub stop_sequences: Vec<String>,
    pub presence_penalty: f64,
    pub frequency_penalty: f64,
    /// Provider options; none of [`RESERVED_EXTRAS`].
    pub extras: Map<String, Value>,
}

impl Query {
    /// Applies the defaults and checks everything.
    ///
    /// # Errors
    /// Every rule that is broken, in field order.
    pub fn parse(draft: QueryDraft) -> Result<Self, Vec<Violation>> {
        let mut check = Check::default();
        let messages = messages(&mut check, draft.messages);
        let threshold = draft.similarity_threshold.unwrap_or(defaults::SIMILARITY_THRESHOLD);
        let threshold = check.take(rules::number("similarity_threshold", threshold, 0.0, 1.0));
        let limit = check.take(rules::count("limit", draft.limit.unwrap_or(defaults::LIMIT)));
        let max_tokens = draft.max_tokens.unwrap_or(defaults::MAX_TOKENS);
        let max_tokens = check.take(rules::count("max_tokens", max_tokens));
        let temperature = draft.temperature.unwrap_or(defaults::TEMPERATURE);
        let temperature = check.take(rules::number("temperature", temperature, 0.0, 2.0));
        let stop_sequences = stop_sequences(&mut check, draft.stop_sequences);
        let mut penalty = |field, value: Option<f64>| {
            check.take(rules::number(field, value.unwrap_or(0.0), -2.0, 2.0)).unwrap_or_default()
        };
        let presence_penalty = penalty("presence_penalty", draft.presence_penalty);
        let frequency_penalty = penalty("frequency_penalty", draft.frequency_penalty);
        for key in RESERVED_EXTRAS.iter().filter(|key| draft.extras.contains_key(**key)) {
            check.fail(format!("extras.{key}"), Rule::Reserved, "belongs to the service");
        }
        if let Some(token) = &draft.transaction_token {
            check.take(rules::optional_text("transaction_token", token, 4096));
        }
        check.finish()?;
        Ok(Self {
            messages,
            search: SearchOptions {
                similarity_threshold: threshold.unwrap_or_default(),
                limit: (limit.unwrap_or_default() as usize).min(MAX_REFERENCES),
                include_metadata: draft.include_metadata.unwrap_or(true),
            },
            chat: ChatOptions {
                max_tokens: max_tokens.unwrap_or_default(),
                temperature: temperature.unwrap_or_default(),
                stop_sequences,
                presence_penalty,
                frequency_penalty,
                extras: draft.extras,
            },
            transaction_token: draft.transaction_token,
        })
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Passes every message's text through `change`. A text that was there must not become empty.
    pub fn rewrite(&mut self, mut change: impl FnMut(&mut String)) {
        self.messages.iter_mut().for_each(|message| change(&mut message.content));
    }

    pub fn search(&self) -> SearchOptions {
        self.search
    }

    pub fn chat(&self) -> &ChatOptions {
        &self.chat
    }

    pub fn transaction_token(&self) -> Option<&str> {
        self.transaction_token.as_deref()
    }

    /// Everything that is asked, in one form: two questions that mean the same have the same, whatever defaults
    /// were spelled out. The token that pays is no part of a question.
    ///
    /// # Errors
    /// Never, as numbers are finite.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let messages: Vec<_> = self.messages.iter().map(|m| (m.role.name(), &m.content)).collect();
        let (search, chat) = (self.search, &self.chat);
        serde_json::to_vec(&(
            messages,
            (search.similarity_threshold, search.limit, search.include_metadata),
            (chat.max_tokens, chat.temperature, &chat.stop_sequences),
            (chat.presence_penalty, chat.frequency_penalty, &chat.extras),
        ))
    }

    /// What to look for: the content of the last `user` message that has any.
    pub fn search_text(&self) -> &str {
        let user =
            self.messages.iter().rev().find(|message| message.role == Role::User && message.has_content());
        user.map_or("", |message| &message.content)
    }
}

impl Message {
    fn has_content(&self) -> bool {
        !self.content.trim().is_empty()
    }
}

impl Role {
    /// The name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant].into_iter().find(|role| role.name() == name)
    }
}

/// Prompts are not for logs.
impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

fn messages(check: &mut Check, drafts: Vec<(String, String)>) -> Vec<Message> {
    let mut messages = Vec::with_capacity(drafts.len());
    let mut unknown = 0;
    for (i, (role, content)) in drafts.into_iter().enumerate() {
        match Role::parse(&role) {
            Some(role) => messages.push(Message { role, content }),
            // A few say it; thousands would crowd everything else out.
            None if unknown >= MAX_EXAMPLES => {}
            None => {
                unknown += 1;
                check.fail(format!("messages.{i}.role"), Rule::OneOf, "must be system, user or assistant");
            }
        }
    }
    if !messages.iter().any(|message| message.role == Role::User && message.has_content()) {
        check.fail("messages", Rule::Missing, "must have a user message with content");
    }
    messages
}

fn stop_sequences(check: &mut Check, values: Option<Vec<String>>) -> Vec<String> {
    let values = values.unwrap_or_else(|| vec!["\n".to_owned()]);
    if values.len() > MAX_STOP_SEQUENCES {
        let message = format!("must be at most {MAX_STOP_SEQUENCES}");
        check.fail("stop_sequences", Rule::TooLong(MAX_STOP_SEQUENCES), message);
    }
    let is_bad = |value: &String| value.is_empty() || value.chars().nth(256).is_some();
    let bad = values.iter().enumerate().filter(|(_, value)| is_bad(value));
    for (i, _) in bad.take(MAX_EXAMPLES) {
        check.fail(format!("stop_sequences.{i}"), Rule::TooLong(256), "must be 1 to 256 characters long");
    }
    values
}
