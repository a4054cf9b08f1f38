//! What comes back from a query.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::QueryId;

/// One event of an answer, in the order References, Delta…, Completed.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryEvent {
    References(Arc<References>),
    Delta(String),
    Completed(Box<Answer>),
}

/// What is known once a query has completed. A unary caller gets it whole; a streaming one has
/// received `references` and `text` before.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub query_id: QueryId,
    pub references: Option<Arc<References>>,
    pub text: String,
    pub completion: Option<Completion>,
    pub cost: Option<Cost>,
    pub entries: Vec<PolicyEntry>,
}

/// What a search found, most similar first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct References {
    pub documents: Vec<Reference>,
    /// The dataset's type.
    pub search_engine: String,
}

/// The field of a reference's metadata that says where in its content words of the question stand.
pub const HIGHLIGHTS: &str = "highlights";

/// One document that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub document_id: String,
    pub content: String,
    /// 0 to 1.
    pub similarity_score: f64,
    /// `None` when the caller did not want it.
    pub metadata: Option<Map<String, Value>>,
}

/// How a model's answer was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub id: String,
    pub model: String,
    pub finish_reason: FinishReason,
    pub usage: Usage,
}

/// Why a model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ContentFilter,
    Other,
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    /// The provider reported nothing; both numbers are ours.
    pub estimated: bool,
}

/// An amount of money in billionths of the currency's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    pub nano_units: i64,
    pub currency: String,
}

/// A movement of money, as those who moved it know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The way that the money took.
    pub rail: &'static str,
    /// What the other side calls it.
    pub id: String,
    /// What we call it.
    pub reference: String,
}

/// What one policy did with a query.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyEntry {
    pub policy_type: &'static str,
    pub kind: &'static str,
    pub status: &'static str,
    /// What it took, gave back or asked for.
    pub cost: Option<Cost>,
    pub transaction: Option<Transaction>,
    pub reason_code: Option<&'static str>,
    pub reason: Option<String>,
    pub details: Map<String, Value>,
}

impl References {
    /// Keeps whole documents from the front, as long as their text and metadata fit into `bytes`.
    pub fn cut(&mut self, bytes: usize) {
        let mut room = bytes;
        let fit = self.documents.iter().take_while(|document| {
            let metadata =
                document.metadata.as_ref().and_then(|metadata| serde_json::to_string(metadata).ok());
            let size = document.content.len() + metadata.map_or(0, |metadata| metadata.len());
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        let fit = fit.count();
        self.documents.truncate(fit);
    }
}

impl Usage {
    /// Four characters a token: what English text comes to, within a quarter either way.
    pub fn estimate(prompt_chars: usize, answer_chars: usize) -> Self {
        let tokens = |chars: usize| i64::try_from(chars.div_ceil(4)).unwrap_or(i64::MAX);
        Self { prompt_tokens: tokens(prompt_chars), completion_tokens: tokens(answer_chars), estimated: true }
    }
}
