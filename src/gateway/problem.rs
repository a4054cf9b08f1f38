//! What went wrong, as HTTP says it: a status, and `{"detail": …}` as FastAPI writes it.
//!
//! The status is a function of the error's reason; the gRPC code decides only for statuses that tonic makes
//! itself, which have none.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use prost::Message;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt};

use super::{
    body::Violation,
    query::answer::{PolicyMetadata, policy_metadata},
};
use crate::proto::{self, ErrorReason};

/// Why a request failed.
#[derive(Debug)]
pub enum Problem {
    /// Values that break rules: 422.
    Invalid(Vec<Violation>),
    /// What is refused before any RPC.
    Refused(StatusCode, Cow<'static, str>),
    /// An RPC failed. Boxed, for it is large.
    Failed(Box<Status>),
}

/// The body of every failure but 422.
#[derive(Serialize, JsonSchema)]
pub struct Failure {
    /// What is wrong, in words.
    detail: String,
    /// What policies did, when one of them refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_metadata: Option<PolicyMetadata>,
}

/// The body of 422.
#[derive(Serialize, JsonSchema)]
pub struct ValidationFailure {
    /// Every violation, in the order of the fields.
    detail: Vec<Detail>,
}

/// One violation.
#[derive(Serialize, JsonSchema)]
struct Detail {
    /// The rule, such as `missing` or `greater_than_equal`.
    r#type: String,
    /// Where: `body`, `path`, `query` or `header`, then names and places.
    loc: Vec<Place>,
    /// The rule in words.
    msg: String,
    /// What was sent, as far as it is shown.
    input: Value,
    /// The rule's bound.
    ctx: Option<serde_json::Map<String, Value>>,
}

/// A part of a path.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "documents what stands in `Detail::loc`")]
enum Place {
    Name(String),
    Number(u64),
}

/// What a request was made of: where a violation's value came from.
#[derive(Default)]
pub struct Origin<'a> {
    /// Names of the path's parameters.
    pub params: &'a [(String, String)],
    pub body: &'a [u8],
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self::Failed(Box::new(status))
    }
}

impl From<Vec<Violation>> for Problem {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid(violations)
    }
}

impl Problem {
    /// The answer to the request.
    pub fn response(self, origin: &Origin<'_>) -> Response {
        match self {
            Self::Invalid(violations) => invalid(&violations),
            Self::Refused(status, detail) => plain(status, detail.into_owned()),
            Self::Failed(status) => failed(&status, origin),
        }
    }
}

/// The body for a failure that is told in the middle of an answer.
pub fn body(status: &Status) -> Failure {
    let metadata = status.metadata().get_bin(proto::POLICY_METADATA).and_then(|value| value.to_bytes().ok());
    let metadata = metadata.and_then(|bytes| proto::PolicyMetadata::decode(bytes).ok());
    Failure { detail: status.message().to_owned(), policy_metadata: metadata.map(policy_metadata) }
}

fn failed(status: &Status, origin: &Origin<'_>) -> Response {
    let reason = reason(status);
    let code = http_status(reason, status.code());
    let mut response = match (reason, status.get_details_bad_request()) {
        (ErrorReason::InvalidRequest, Some(bad)) => rules(&bad.field_violations, origin),
        // Its values were found right before: it has outgrown the RPC's request.
        (ErrorReason::InvalidRequest, None) => {
            let detail = "The values of the body are larger than one request may be";
            plain(StatusCode::PAYLOAD_TOO_LARGE, detail.to_owned())
        }
        // What is too large to be told is ours: what came in was read before any RPC.
        (ErrorReason::Unspecified, _) if status.code() == Code::OutOfRange => {
            plain(code, "The answer is larger than this service may give".to_owned())
        }
        _ => (code, Json(body(status))).into_response(),
    };
    let headers = response.headers_mut();
    if code == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        headers.insert(header::RETRY_AFTER, seconds(wait).into());
    }
    if let Some(id) =
        status.metadata().get("x-query-id").and_then(|id| HeaderValue::try_from(id.as_bytes()).ok())
    {
        headers.insert("x-query-id", id);
    }
    response
}

/// Who waits less asks in vain.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Violations that only the service knows of. What concerns a type and its configuration is 400 and one
/// sentence, as clients of the reference expect; anything else is a list.
fn rules(found: &[FieldViolation], origin: &Origin<'_>) -> Response {
    if found.iter().any(|violation| violation.field == "x-tenant-name" && violation.reason == "MISSING") {
        let words = "X-Tenant-Name header is required for this endpoint when multi-tenancy is enabled";
        return plain(StatusCode::BAD_REQUEST, words.to_owned());
    }
    if found.iter().all(|violation| is_about_type(&violation.field)) {
        let sentences: Vec<String> = found.iter().map(sentence).collect();
        return plain(StatusCode::BAD_REQUEST, sentences.join("; "));
    }
    let body = serde_json::from_slice(origin.body).unwrap_or(Value::Null);
    let violations = found.iter().map(|violation| {
        let loc = loc(&violation.field, origin);
        let input = loc.iter().skip(1).try_fold(&body, |value, part| match part {
            Value::String(name) => value.get(name),
            place => place.as_u64().and_then(|place| value.get(usize::try_from(place).ok()?)),
        });
        Violation::rule(loc.clone(), &violation.description).on(input.unwrap_or(&Value::Null))
    });
    invalid(&violations.collect::<Vec<_>>())
}

fn is_about_type(field: &str) -> bool {
    let parts = within_body(field);
    // One policy of several has a type too.
    let parts = if parts.first() == Some(&"policies") { parts.get(2..).unwrap_or_default() } else { &parts };
    let first = parts.first().copied().unwrap_or_default();
    ["", "dtype", "policy_type", "configuration", "endpoint", "endpoint_slug"].contains(&first)
}

fn sentence(violation: &FieldViolation) -> String {
    match violation.field.as_str() {
        // A rule of the whole, which needs no name.
        "" | "endpoint" => violation.description.clone(),
        field => format!("{} {}", within_body(field).join("."), violation.description),
    }
}

/// Where a field of an RPC's request stood in ours.
fn loc(field: &str, origin: &Origin<'_>) -> Vec<Value> {
    match field {
        "x-tenant-name" => return vec!["header".into(), "X-Tenant-Name".into()],
        "grpc-timeout" => return vec!["header".into(), field.into()],
        _ => {}
    }
    if origin.params.iter().any(|(name, _)| name == field) {
        return vec!["path".into(), field.into()];
    }
    if origin.body.is_empty() {
        return vec!["query".into(), field.trim_start_matches("filter.").into()];
    }
    let mut parts = within_body(field);
    if let Some(part) = parts.first_mut().filter(|part| **part == "expire_time") {
        *part = "expires_at";
    }
    if parts.first() == Some(&"tags") {
        // One text here, a list there.
        parts.truncate(1);
    }
    let part = |part: &str| part.parse::<u64>().map_or_else(|_| Value::from(part), Value::from);
    std::iter::once("body".into()).chain(parts.into_iter().map(part)).collect()
}

/// The parts of a field's name without the message that holds it: that is the body. One of several in a list
/// is the body's own.
fn within_body(field: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = field.split('.').collect();
    if parts.get(1).is_some_and(|part| part.parse::<u64>().is_err()) {
        parts.remove(0);
    }
    parts
}

fn invalid(violations: &[Violation]) -> Response {
    let body = serde_json::json!({ "detail": violations });
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

fn plain(status: StatusCode, detail: String) -> Response {
    (status, Json(Failure { detail, policy_metadata: None })).into_response()
}

fn reason(status: &Status) -> ErrorReason {
    let info = status.get_details_error_info();
    let name = info.map(|info| format!("ERROR_REASON_{}", info.reason));
    name.and_then(|name| ErrorReason::from_str_name(&name)).unwrap_or_default()
}

fn http_status(reason: ErrorReason, code: Code) -> StatusCode {
    use ErrorReason as Reason;

    match reason {
        Reason::Unspecified => by_code(code),
        Reason::InvalidRequest => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
        // A rate limit too: SyftHub reads refusals from 403 only.
        Reason::ScopeMissing
        | Reason::EndpointNotPublished
        | Reason::PolicyViolation
        | Reason::RateLimited
        | Reason::TenantInactive
        | Reason::GuestNotAllowed
        | Reason::MultiTenancyDisabled => StatusCode::FORBIDDEN,
        Reason::EndpointNotFound | Reason::ResourceNotFound => StatusCode::NOT_FOUND,
        Reason::AlreadyExists | Reason::ResourceInUse => StatusCode::CONFLICT,
        // SyftHub repeats a 5xx, which would make it worse.
        Reason::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Reason::DatasetUnavailable | Reason::ModelUnavailable => StatusCode::BAD_GATEWAY,
        Reason::DatasetRejected
        | Reason::ModelRejected
        | Reason::HubRejected
        | Reason::ConfigurationInvalid => StatusCode::FAILED_DEPENDENCY,
        Reason::StoreUnavailable | Reason::HubUnavailable | Reason::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Reason::ClientGone => StatusCode::REQUEST_TIMEOUT,
        Reason::MarketplaceConfigured => StatusCode::BAD_REQUEST,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// For what tonic says itself.
fn by_code(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::FailedPrecondition => StatusCode::FAILED_DEPENDENCY,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Origin, is_about_type, loc};

    #[test]
    fn fields_are_found_in_the_body() {
        let origin = Origin { params: &[], body: b"{}" };
        for (field, expected) in [
            ("name", json!(["body", "name"])),
            ("query.messages.0.role", json!(["body", "messages", 0, "role"])),
            ("policies.0.policy_type", json!(["body", "policies", 0, "policy_type"])),
            ("endpoint.tags.1", json!(["body", "tags"])),
        ] {
            assert_eq!(json!(loc(field, &origin)), expected, "{field}");
        }
    }

    #[test]
    fn a_type_may_be_that_of_one_of_several() {
        for field in
            ["", "endpoint", "dataset.dtype", "policy.configuration.limit", "policies.0.configuration.a"]
        {
            assert!(is_about_type(field), "{field}");
        }
        for field in ["name", "policy.name", "query.messages", "policies.0.name"] {
            assert!(!is_about_type(field), "{field}");
        }
    }
}
