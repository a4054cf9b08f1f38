//! Queries and answers.

use std::sync::Arc;

use super::object;
use crate::{
    domain::{
        Answer, Completion, FinishReason, PolicyEntry, Query, QueryDraft, QueryEvent, Reference, References,
        rules::{Check, violation},
    },
    error::{Error, Rule},
    proto::{self, query::Messages, stream_query_response::Event, to_struct},
};

/// Checks a query. Violations name fields below `query`.
pub(in crate::grpc) fn parse_query(query: Option<proto::Query>) -> Result<Query, Error> {
    let Some(query) = query else {
        return Err(Error::Invalid(vec![violation("query", Rule::Missing, "is required")]));
    };
    let mut check = Check::default();
    let extras = check.take(object("query.extras", query.extras));
    let messages = match query.messages {
        None => Vec::new(),
        Some(Messages::Text(text)) => vec![("user".to_owned(), text)],
        Some(Messages::Conversation(conversation)) => {
            conversation.messages.into_iter().map(|message| (message.role, message.content)).collect()
        }
    };
    let draft = QueryDraft {
        messages,
        similarity_threshold: query.similarity_threshold,
        limit: query.limit,
        include_metadata: query.include_metadata,
        max_tokens: query.max_tokens,
        temperature: query.temperature,
        stop_sequences: query.stop_sequences.map(|stop| stop.values),
        presence_penalty: query.presence_penalty,
        frequency_penalty: query.frequency_penalty,
        extras: extras.unwrap_or_default(),
        transaction_token: query.transaction_token,
    };
    let parsed = Query::parse(draft).map_err(|violations| check.absorb("query", violations)).ok();
    check.with(parsed)
}

/// An answer for a caller that waited for all of it.
pub(in crate::grpc) fn answer(answer: Answer) -> proto::QueryResponse {
    let policy_metadata = Some(success(&answer.entries));
    let text = answer.text;
    proto::QueryResponse {
        query_id: answer.query_id.to_string(),
        references: answer.references.map(|found| references(Arc::unwrap_or_clone(found))),
        summary: answer
            .completion
            .map(|made| proto::Summary { content: text, completion: Some(completion(made)) }),
        cost: answer.cost.map(cost),
        policy_metadata,
    }
}

/// One event of a stream.
pub(in crate::grpc) fn event(event: QueryEvent) -> proto::StreamQueryResponse {
    let event = match event {
        QueryEvent::References(found) => Event::References(references(Arc::unwrap_or_clone(found))),
        QueryEvent::Delta(content) => Event::Delta(proto::Delta { content }),
        QueryEvent::Completed(end) => Event::Completed(proto::Completed {
            query_id: end.query_id.to_string(),
            policy_metadata: Some(success(&end.entries)),
            completion: end.completion.map(completion),
            cost: end.cost.map(cost),
        }),
    };
    proto::StreamQueryResponse { event: Some(event) }
}

pub(in crate::grpc) fn references(references: References) -> proto::References {
    proto::References {
        documents: references.documents.into_iter().map(reference).collect(),
        search_engine: references.search_engine,
    }
}

/// What policies say of a query that failed with `error`.
pub(in crate::grpc) fn policy_metadata(entries: &[PolicyEntry], error: &Error) -> proto::PolicyMetadata {
    proto::PolicyMetadata {
        outcome: crate::grpc::status::outcome(error).to_owned(),
        entries: entries.iter().map(entry).collect(),
    }
}

fn success(entries: &[PolicyEntry]) -> proto::PolicyMetadata {
    proto::PolicyMetadata { outcome: "success".to_owned(), entries: entries.iter().map(entry).collect() }
}

fn reference(reference: Reference) -> proto::Reference {
    proto::Reference {
        document_id: reference.document_id,
        content: reference.content,
        similarity_score: reference.similarity_score,
        metadata: reference.metadata.map(to_struct),
    }
}

fn completion(completion: Completion) -> proto::Completion {
    let finish_reason = match completion.finish_reason {
        FinishReason::Stop => proto::FinishReason::Stop,
        FinishReason::Length => proto::FinishReason::Length,
        FinishReason::ContentFilter => proto::FinishReason::ContentFilter,
        FinishReason::Other => proto::FinishReason::Other,
    };
    proto::Completion {
        id: completion.id,
        model: completion.model,
        finish_reason: finish_reason.into(),
        usage: Some(proto::Usage {
            prompt_tokens: completion.usage.prompt_tokens,
            completion_tokens: completion.usage.completion_tokens,
            estimated: completion.usage.estimated,
        }),
    }
}

pub(super) fn cost(cost: crate::domain::Cost) -> proto::Cost {
    proto::Cost { nano_units: cost.nano_units, currency: cost.currency }
}

fn entry(entry: &PolicyEntry) -> proto::PolicyEntry {
    proto::PolicyEntry {
        policy_type: entry.policy_type.to_owned(),
        kind: entry.kind.to_owned(),
        status: entry.status.to_owned(),
        reason_code: entry.reason_code.unwrap_or_default().to_owned(),
        reason: entry.reason.clone().unwrap_or_default(),
        details: Some(to_struct(entry.details.clone())),
        cost: entry.cost.clone().map(cost),
        transaction: entry.transaction.clone().map(|made| proto::Transaction {
            rail: made.rail.to_owned(),
            id: made.id,
            reference: made.reference,
        }),
    }
}
