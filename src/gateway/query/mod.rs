//! Queries over REST: JSON or, when the body says `stream`, server-sent events.

pub mod answer;
pub mod sse;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::metadata::MetadataMap;

use super::{
    problem::Problem,
    route::{Answer, Call, Route},
};
use crate::{
    domain::defaults,
    proto::{self, query::Messages as Asked, to_struct},
};
use answer::QueryAnswer;

const QUERY_ID: HeaderName = HeaderName::from_static("x-query-id");

/// A question for an endpoint. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct QueryRequest {
    /// A question, or a conversation, oldest message first.
    messages: Messages,
    /// Lowest similarity of a reference.
    #[serde(default)]
    #[schemars(with = "f64", range(min = 0, max = 1), extend("default" = defaults::SIMILARITY_THRESHOLD))]
    similarity_threshold: Option<f64>,
    /// How many references at most; above 1000 counts as 1000.
    #[serde(default)]
    #[schemars(with = "i64", range(min = 1), extend("default" = defaults::LIMIT))]
    limit: Option<i64>,
    /// Whether references carry their metadata.
    #[serde(default)]
    #[schemars(with = "bool", extend("default" = true))]
    include_metadata: Option<bool>,
    /// How many tokens the model may write.
    #[serde(default)]
    #[schemars(with = "i64", range(min = 1), extend("default" = defaults::MAX_TOKENS))]
    max_tokens: Option<i64>,
    /// Sampling temperature.
    #[serde(default)]
    #[schemars(with = "f64", range(min = 0, max = 2), extend("default" = defaults::TEMPERATURE))]
    temperature: Option<f64>,
    /// Where the model stops; an empty list: nowhere.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(max = 16), inner(length(min = 1, max = 256)))]
    #[schemars(extend("default" = ["\n"]))]
    stop_sequences: Option<Vec<String>>,
    /// Whether the answer comes as it is made, as server-sent events.
    #[serde(default)]
    stream: bool,
    /// Penalty on tokens that have occurred.
    #[serde(default)]
    #[schemars(with = "f64", range(min = -2, max = 2), extend("default" = 0.0))]
    presence_penalty: Option<f64>,
    /// Penalty on tokens by how often they have occurred.
    #[serde(default)]
    #[schemars(with = "f64", range(min = -2, max = 2), extend("default" = 0.0))]
    frequency_penalty: Option<f64>,
    /// Options passed through to the model's provider.
    #[serde(default)]
    extras: Map<String, Value>,
    /// Token of the caller's accounting account, for endpoints that charge.
    #[serde(default)]
    transaction_token: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Messages {
    Text(#[schemars(length(min = 1))] String),
    Conversation(
        #[schemars(length(min = 1), extend("contains" = {
            "properties": {"role": {"const": "user"}, "content": {"minLength": 1}}
        }))]
        Vec<ChatMessageRequest>,
    ),
}

/// One message of a conversation.
#[derive(Deserialize, JsonSchema)]
#[schemars(title = "ChatMessageRequest")]
struct ChatMessageRequest {
    role: Role,
    content: String,
}

/// Who speaks.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Role {
    System,
    User,
    Assistant,
}

/// The whole answer, or its events as they come.
enum Answered {
    Whole(Box<QueryAnswer>, MetadataMap),
    Events(Body, MetadataMap),
}

pub(super) fn routes() -> Vec<Route> {
    const FAILURES: &[u16] = &[400, 403, 404, 408, 413, 424, 502];
    vec![
        Route::reading(Method::POST, "/api/v1/endpoints/{slug}/query", query)
            .says("Asks an endpoint; the answer comes whole, or as events when `stream` is true")
            .fails(FAILURES),
        Route::reading(Method::POST, "/api/v1/endpoints/{slug}/preview", preview)
            .says("Asks an endpoint as its owner, published or not, past rate limits and payment")
            .fails(FAILURES),
    ]
}

async fn query(call: Call, asked: QueryRequest) -> Result<Answered, Problem> {
    let (slug, stream) = (call.param("slug"), asked.stream);
    let query = Some(asked.into_proto());
    let mut endpoints = call.gateway.endpoints();
    if stream && call.version < Version::HTTP_11 {
        let detail = "A streamed answer needs HTTP/1.1 or later: over HTTP/1.0 nobody sees it break";
        return Err(Problem::Refused(StatusCode::BAD_REQUEST, detail.into()));
    }
    if stream {
        let request = call.asks(proto::StreamQueryRequest { slug, query, request_id: None });
        let (metadata, events, _) = endpoints.stream_query(request).await?.into_parts();
        return Ok(Answered::Events(Body::from_stream(sse::Events::new(events)), metadata));
    }
    let request = call.asks(proto::QueryRequest { slug, query, request_id: None });
    let (metadata, answer, _) = endpoints.query(request).await?.into_parts();
    Ok(Answered::Whole(Box::new(answer.into()), metadata))
}

async fn preview(call: Call, asked: QueryRequest) -> Result<Answered, Problem> {
    let request = proto::PreviewQueryRequest { slug: call.param("slug"), query: Some(asked.into_proto()) };
    let answer = call.gateway.endpoints().preview_query(call.asks(request)).await?;
    let (metadata, answer, _) = answer.into_parts();
    let answer = proto::QueryResponse {
        query_id: answer.query_id,
        references: answer.references,
        summary: answer.summary,
        cost: None,
        policy_metadata: answer.policy_metadata,
    };
    Ok(Answered::Whole(Box::new(answer.into()), metadata))
}

impl QueryRequest {
    /// What was not said stays unsaid: defaults are applied behind the RPC.
    fn into_proto(self) -> proto::Query {
        let messages = match self.messages {
            Messages::Text(text) => Asked::Text(text),
            Messages::Conversation(messages) => Asked::Conversation(proto::Conversation {
                messages: messages.into_iter().map(ChatMessageRequest::into_proto).collect(),
            }),
        };
        // Beyond what the RPC can say there is no difference any more.
        let count = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
        proto::Query {
            messages: Some(messages),
            similarity_threshold: self.similarity_threshold,
            limit: self.limit.map(count),
            include_metadata: self.include_metadata,
            max_tokens: self.max_tokens.map(count),
            temperature: self.temperature,
            stop_sequences: self.stop_sequences.map(|values| proto::StopSequences { values }),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            extras: (!self.extras.is_empty()).then(|| to_struct(self.extras)),
            transaction_token: self.transaction_token,
        }
    }
}

impl ChatMessageRequest {
    fn into_proto(self) -> proto::Message {
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        proto::Message { role: role.to_owned(), content: self.content }
    }
}

impl Answer for Answered {
    fn response(self, status: StatusCode) -> Response {
        let (mut response, metadata) = match self {
            Self::Whole(answer, metadata) => ((status, Json(answer)).into_response(), metadata),
            Self::Events(body, metadata) => {
                let headers = [
                    (header::CONTENT_TYPE, "text/event-stream"),
                    (header::CACHE_CONTROL, "no-cache"),
                    // nginx would collect the answer before it passes it on.
                    (HeaderName::from_static("x-accel-buffering"), "no"),
                ];
                ((status, headers, body).into_response(), metadata)
            }
        };
        let id = metadata.get(QUERY_ID.as_str()).and_then(|id| HeaderValue::try_from(id.as_bytes()).ok());
        if let Some(id) = id {
            response.headers_mut().insert(QUERY_ID, id);
        }
        response
    }

    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        // Of one event: that is how documents before OpenAPI 3.2 describe a stream.
        let events = json_schema!({
            "type": "object",
            "description": "`data` is `{\"content\": \"…\"}`, each to be appended to those before; then once \
                an object with references, usage and policy_metadata; then `[DONE]`. A failure on the way is \
                an event `error` with `detail`, and a body that breaks off.",
            "properties": {
                "event": {"type": "string", "enum": ["message", "error"]},
                "data": {"type": "string"},
            },
            "required": ["data"],
        });
        vec![("application/json", generator.subschema_for::<QueryAnswer>()), ("text/event-stream", events)]
    }
}
