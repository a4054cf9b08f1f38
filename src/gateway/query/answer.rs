//! Answers to queries in the shapes that clients of the Python Space and SyftHub read.
//!
//! SyftHub fails on a `null` for a document's content, score or metadata: none of them can be one.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::proto::{self, FinishReason, from_struct};

/// The whole answer of an endpoint.
#[derive(Serialize, JsonSchema)]
pub struct QueryAnswer {
    /// What the model answered; null when the endpoint asks none.
    pub summary: Option<Summary>,
    /// What the search found; null when the endpoint does not search.
    pub references: Option<References>,
    /// What the query cost in all; null when the endpoint does not charge.
    pub cost: Option<f64>,
    pub currency: Option<String>,
    pub policy_metadata: PolicyMetadata,
}

/// A model's answer.
#[derive(Serialize, JsonSchema)]
pub struct Summary {
    id: String,
    model: String,
    message: Message,
    finish_reason: &'static str,
    usage: Usage,
    logprobs: Option<Value>,
    cost: f64,
    provider_info: ProviderInfo,
}

#[derive(Serialize, JsonSchema)]
struct Message {
    role: &'static str,
    content: String,
    tokens: i64,
}

/// Tokens read and written.
#[derive(Serialize, JsonSchema)]
pub struct Usage {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: i64,
}

/// What a search found.
#[derive(Serialize, JsonSchema)]
pub struct References {
    documents: Vec<Document>,
    provider_info: ProviderInfo,
    cost: f64,
}

#[derive(Serialize, JsonSchema)]
struct Document {
    document_id: String,
    content: String,
    metadata: Map<String, Value>,
    similarity_score: f64,
}

#[derive(Serialize, JsonSchema)]
struct ProviderInfo {
    api_version: Option<&'static str>,
    response_time_ms: Option<f64>,
    search_engine: Option<String>,
}

/// What policies did with a query.
#[derive(Serialize, JsonSchema)]
pub struct PolicyMetadata {
    /// `success` or `access_denied`.
    outcome: String,
    entries: Vec<PolicyEntry>,
}

#[derive(Serialize, JsonSchema)]
struct PolicyEntry {
    policy_type: String,
    kind: String,
    status: String,
    amount: Option<f64>,
    currency: Option<String>,
    recipient: Option<Map<String, Value>>,
    transaction: Option<Transaction>,
    reason_code: Option<String>,
    reason: Option<String>,
    details: Map<String, Value>,
}

/// A movement of money.
#[derive(Serialize, JsonSchema)]
struct Transaction {
    rail: String,
    id: String,
    reference: String,
}

/// How an answer was made: the last event of a stream. It has none of the keys that readers of streams
/// take for text: `content`, `text`, `choices`, `summary`.
#[derive(Serialize)]
pub(super) struct Completed {
    references: Option<References>,
    id: Option<String>,
    model: Option<String>,
    finish_reason: Option<&'static str>,
    usage: Option<Usage>,
    cost: Option<f64>,
    currency: Option<String>,
    policy_metadata: PolicyMetadata,
}

impl From<proto::QueryResponse> for QueryAnswer {
    fn from(answer: proto::QueryResponse) -> Self {
        let (cost, currency) = price(answer.cost);
        // The parts have shown the price since there was only one part; the total stands above them.
        let part = cost.unwrap_or_default();
        let of_references = if answer.summary.is_some() { 0.0 } else { part };
        Self {
            summary: answer.summary.map(|made| summary(made, part, &answer.query_id)),
            references: answer.references.map(|found| references(found, of_references)),
            cost,
            currency,
            policy_metadata: policy_metadata(answer.policy_metadata.unwrap_or_default()),
        }
    }
}

impl Completed {
    pub(super) fn new(end: proto::Completed, found: Option<proto::References>) -> Self {
        let (cost, currency) = price(end.cost);
        let completion = end.completion;
        Self {
            references: found.map(References::from),
            finish_reason: completion.as_ref().map(|made| finish_reason(made.finish_reason())),
            usage: completion.as_ref().map(|made| usage(made.usage.unwrap_or_default())),
            model: completion.as_ref().map(|made| made.model.clone()),
            id: completion.map(|made| if made.id.is_empty() { end.query_id } else { made.id }),
            cost,
            currency,
            policy_metadata: policy_metadata(end.policy_metadata.unwrap_or_default()),
        }
    }
}

/// A model that names no answers has the query's id for it.
fn summary(summary: proto::Summary, cost: f64, query_id: &str) -> Summary {
    let completion = summary.completion.unwrap_or_default();
    let used = completion.usage.unwrap_or_default();
    Summary {
        message: Message { role: "assistant", content: summary.content, tokens: used.completion_tokens },
        finish_reason: finish_reason(completion.finish_reason()),
        usage: usage(used),
        id: Some(completion.id).filter(|id| !id.is_empty()).unwrap_or_else(|| query_id.to_owned()),
        model: completion.model,
        logprobs: None,
        cost,
        provider_info: ProviderInfo { api_version: Some("v1"), response_time_ms: None, search_engine: None },
    }
}

impl From<proto::References> for References {
    /// What cost nothing.
    fn from(found: proto::References) -> Self {
        references(found, 0.0)
    }
}

fn references(found: proto::References, cost: f64) -> References {
    let search_engine = Some(found.search_engine);
    References {
        documents: found.documents.into_iter().map(document).collect(),
        provider_info: ProviderInfo { api_version: None, response_time_ms: None, search_engine },
        cost,
    }
}

fn document(found: proto::Reference) -> Document {
    Document {
        document_id: found.document_id,
        content: found.content,
        metadata: found.metadata.and_then(from_struct).unwrap_or_default(),
        similarity_score: found.similarity_score,
    }
}

fn usage(usage: proto::Usage) -> Usage {
    Usage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
    }
}

/// As OpenAI writes it.
fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Unspecified | FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other => "other",
    }
}

/// The one place where money is no whole number: JSON has no other, and the reference writes it so.
#[expect(clippy::cast_precision_loss, reason = "shown, not counted with")]
fn price(cost: Option<proto::Cost>) -> (Option<f64>, Option<String>) {
    cost.map(|cost| (cost.nano_units as f64 / 1e9, cost.currency)).unzip()
}

pub fn policy_metadata(metadata: proto::PolicyMetadata) -> PolicyMetadata {
    PolicyMetadata { outcome: metadata.outcome, entries: metadata.entries.into_iter().map(entry).collect() }
}

fn entry(entry: proto::PolicyEntry) -> PolicyEntry {
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    let (amount, currency) = price(entry.cost);
    let transaction =
        entry.transaction.map(|made| Transaction { rail: made.rail, id: made.id, reference: made.reference });
    PolicyEntry {
        policy_type: entry.policy_type,
        kind: entry.kind,
        status: entry.status,
        amount,
        currency,
        recipient: None,
        transaction,
        reason_code: said(entry.reason_code),
        reason: said(entry.reason),
        details: entry.details.and_then(from_struct).unwrap_or_default(),
    }
}
