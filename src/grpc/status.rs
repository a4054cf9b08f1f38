//! The only maker of `Status`: a code, and details that programs can act on.

use std::collections::HashMap;

use prost::Message;
use tonic::{
    Code, Status,
    metadata::{BinaryMetadataValue, MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use super::convert;
use crate::{
    domain::QueryId,
    error::{Ended, Error, UpstreamError, Violation},
    pipeline::Failure,
    proto::POLICY_METADATA,
};

/// Domain of every `ErrorInfo`.
const DOMAIN: &str = "space.syft";
/// Characters of one text in a status.
const MAX_TEXT: usize = 300;
/// Things named in one status: clients take 8 KiB of it, and the first of so many are enough to go on.
const MAX_NAMED: usize = 25;

/// The status for an error. Its cause has been or is now logged, and is not sent.
pub(super) fn status(error: Error) -> Status {
    if let Some(cause) = error.cause() {
        tracing::warn!(reason = error.reason(), cause, "call failed");
    }
    plain(&error)
}

/// The status for a query that failed; it has been logged where it ended.
pub(super) fn failed(query_id: QueryId, failure: &Failure) -> Status {
    let mut status = plain(&failure.error);
    if let Error::Internal(_) = failure.error {
        status = with_details(
            Code::Internal,
            &format!("Internal error in query {query_id}"),
            details(&failure.error),
        );
    }
    name_query(status.metadata_mut(), query_id);
    if !failure.entries.is_empty() {
        let metadata = convert::policy_metadata(&failure.entries, &failure.error);
        status
            .metadata_mut()
            .insert_bin(POLICY_METADATA, BinaryMetadataValue::from_bytes(&metadata.encode_to_vec()));
    }
    status
}

/// Puts the query's id where every answer has it.
pub(super) fn name_query(metadata: &mut MetadataMap, query_id: QueryId) {
    if let Ok(value) = MetadataValue::try_from(query_id.to_string()) {
        metadata.insert("x-query-id", value);
    }
}

/// The status for a message that tonic could not read: it says INTERNAL or OUT_OF_RANGE, without
/// details, of what is the caller's mistake. `None` for any other status.
pub(super) fn unreadable(found: &Status) -> Option<Status> {
    let message = match found.code() {
        _ if !found.details().is_empty() => return None,
        // tonic says how large it is and what the limit is.
        Code::OutOfRange => found.message(),
        Code::Internal => "The request is not one valid protobuf message of the method's request type",
        _ => return None,
    };
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_REQUEST", DOMAIN, HashMap::<String, String>::new());
    Some(with_details(Code::InvalidArgument, message, details))
}

fn plain(error: &Error) -> Status {
    with_details(code(error), &short(&error.to_string()), details(error))
}

/// A status travels in headers, and what callers send can be megabytes.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn with_details(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}

fn code(error: &Error) -> Code {
    match error {
        Error::Invalid(_) => Code::InvalidArgument,
        Error::Unauthenticated => Code::Unauthenticated,
        Error::ScopeMissing(_)
        | Error::EndpointNotPublished
        | Error::TenantInactive(_)
        | Error::GuestNotAllowed => Code::PermissionDenied,
        Error::EndpointNotFound(_) | Error::NotFound(..) => Code::NotFound,
        Error::AlreadyExists(..) => Code::AlreadyExists,
        Error::InUse { .. }
        | Error::ConfigurationInvalid(..)
        | Error::MultiTenancyDisabled
        | Error::HubRefused(_)
        | Error::MarketplaceConfigured(_) => Code::FailedPrecondition,
        Error::Refused(refusal) if refusal.retry_after.is_some() => Code::ResourceExhausted,
        Error::Refused(_) => Code::PermissionDenied,
        Error::Overloaded { .. } => Code::ResourceExhausted,
        Error::Upstream { fault: UpstreamError::Rejected { .. }, .. }
        | Error::Hub(UpstreamError::Rejected { .. }) => Code::FailedPrecondition,
        Error::Upstream { .. }
        | Error::Hub(_)
        | Error::StoreUnavailable(_)
        | Error::Ended(Ended::ShuttingDown) => Code::Unavailable,
        Error::Ended(Ended::DeadlineExceeded) => Code::DeadlineExceeded,
        Error::Ended(Ended::ClientGone) => Code::Cancelled,
        Error::Internal(_) => Code::Internal,
    }
}

fn details(error: &Error) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    match error {
        Error::Invalid(violations) => {
            let named = violations.iter().take(MAX_NAMED);
            details.set_bad_request(named.map(field_violation).collect::<Vec<_>>());
        }
        Error::Refused(refusal) if refusal.retry_after.is_some() => {
            details.set_retry_info(refusal.retry_after);
        }
        Error::Overloaded { retry_after } => {
            details.set_retry_info(Some(*retry_after));
        }
        Error::Upstream { fault: UpstreamError::Unavailable { retry_after: Some(wait), .. }, .. }
        | Error::Hub(UpstreamError::Unavailable { retry_after: Some(wait), .. }) => {
            details.set_retry_info(Some(*wait));
        }
        Error::InUse { by, name, .. } => {
            let uses = by
                .iter()
                .take(MAX_NAMED)
                .map(|slug| PreconditionViolation::new("ENDPOINT", slug, format!("uses '{name}'")));
            details.set_precondition_failure(uses.collect::<Vec<_>>());
        }
        Error::NotFound(resource, name) | Error::AlreadyExists(resource, name) => {
            details.set_resource_info(resource.to_string(), short(name), "", "");
        }
        Error::EndpointNotFound(slug) => {
            details.set_resource_info("Endpoint", short(slug), "", "");
        }
        _ => {}
    }
    details.set_error_info(error.reason(), DOMAIN, variables(error));
    details
}

fn field_violation(violation: &Violation) -> FieldViolation {
    let mut field = FieldViolation::new(short(&violation.field), short(&violation.message));
    violation.rule.name().clone_into(&mut field.reason);
    field
}

/// What the message says in words, for programs.
fn variables(error: &Error) -> HashMap<String, String> {
    let variables = match error {
        Error::Refused(refusal) => vec![("policy_type", refusal.policy_type), ("reason_code", refusal.code)],
        Error::ScopeMissing(scope) => vec![("scope", *scope)],
        _ => Vec::new(),
    };
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A refusal's outcome, as SyftHub knows it.
pub(super) fn outcome(error: &Error) -> &'static str {
    match error {
        Error::Refused(_) => "access_denied",
        _ => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::plain;
    use crate::{
        error::{Ended, Error, Part, Refusal, Resource, UpstreamError},
        proto::ErrorReason,
    };

    fn all() -> Vec<Error> {
        let name = || "x".to_owned();
        let refusal = |retry_after| Refusal {
            policy_type: "p",
            kind: "access",
            code: "C",
            message: name(),
            retry_after,
            details: serde_json::Map::new(),
        };
        let mut all = vec![
            Error::Invalid(vec![]),
            Error::Unauthenticated,
            Error::ScopeMissing("query"),
            Error::EndpointNotFound(name()),
            Error::EndpointNotPublished,
            Error::NotFound(Resource::Model, name()),
            Error::AlreadyExists(Resource::Model, name()),
            Error::InUse { resource: Resource::Model, name: name(), by: vec![] },
            refusal(None).into(),
            refusal(Some(Duration::from_secs(1))).into(),
            Error::Overloaded { retry_after: Duration::from_secs(1) },
            Error::StoreUnavailable("secret".into()),
            Error::ConfigurationInvalid(Resource::Model, name()),
            Error::TenantInactive(name()),
            Error::MultiTenancyDisabled,
            Error::Hub(UpstreamError::unavailable("is gone").because("secret")),
            Error::Hub(UpstreamError::rejected("says no").because("secret")),
            Error::HubRefused(name()),
            Error::MarketplaceConfigured(name()),
            Error::GuestNotAllowed,
            Error::internal("secret"),
        ];
        all.extend([Ended::ClientGone, Ended::DeadlineExceeded, Ended::ShuttingDown].map(Error::Ended));
        for part in [Part::Dataset, Part::Model] {
            all.push(UpstreamError::unavailable("is gone").because("secret").of(part));
            all.push(UpstreamError::rejected("says no").because("secret").of(part));
        }
        all
    }

    #[test]
    fn every_error_has_a_reason_of_the_proto_and_shows_no_cause() {
        let mut reasons = std::collections::BTreeSet::new();
        for error in all() {
            let name = format!("ERROR_REASON_{}", error.reason());
            assert!(ErrorReason::from_str_name(&name).is_some(), "{name} is not in error_reason.proto");
            reasons.insert(name);
            let status = plain(&error);
            assert_ne!(status.code(), tonic::Code::Unknown);
            assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        }
        assert_eq!(reasons.len(), 27, "a reason of the proto is never sent");
    }
}
