//! What can go wrong, split by what the caller can do about it.
//!
//! Nothing here names a transport. `Display` is what a caller may read: no SQL, no host, no key, no
//! provider's words. Causes travel as `source` and are logged once, where the error is handled.

use std::{fmt, time::Duration};

/// A cause, kept for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Change the request. Every violation is listed.
    #[error("{}", Listed(.0))]
    Invalid(Vec<Violation>),
    /// Present a credential, or another one.
    #[error("A valid credential is required")]
    Unauthenticated,
    /// Present a credential with this scope.
    #[error("The credential lacks the scope `{0}`")]
    ScopeMissing(&'static str),
    /// Ask for another endpoint.
    #[error("Endpoint '{0}' not found")]
    EndpointNotFound(String),
    /// Wait until the owner publishes it.
    #[error("Endpoint is not published")]
    EndpointNotPublished,
    /// Name something that exists.
    #[error("{0} '{1}' not found")]
    NotFound(Resource, String),
    /// Choose another name.
    #[error("{0} '{1}' already exists")]
    AlreadyExists(Resource, String),
    /// Delete what uses it first.
    #[error("{resource} '{name}' is used by endpoints: {}", .by.join(", "))]
    InUse { resource: Resource, name: String, by: Vec<String> },
    /// A policy refused; if it says how long, wait.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Come back later: too many calls are running.
    #[error("Too many calls are running")]
    Overloaded { retry_after: Duration },
    /// The dataset or model failed.
    #[error("{part} {fault}")]
    Upstream { part: Part, fault: UpstreamError },
    /// The caller's marketplace could not say who it is; or it refuses us, and the owner must act.
    #[error("{}", AtHub(.0))]
    Hub(UpstreamError),
    /// The marketplace refuses, in its own words; the owner must act.
    #[error("The marketplace refuses: {0}")]
    HubRefused(String),
    /// Change the service's configuration instead.
    #[error("Marketplace '{0}' is named by the service's configuration: change it there")]
    MarketplaceConfigured(String),
    /// Sign in at the marketplace.
    #[error("Guests may query only endpoints without policies: sign in at the marketplace")]
    GuestNotAllowed,
    /// The database failed. Try again.
    #[error("The database is unavailable")]
    StoreUnavailable(#[source] Cause),
    /// The query was ended from outside.
    #[error("{0}")]
    Ended(Ended),
    /// The owner must correct a stored configuration.
    #[error("The stored configuration of {0} '{1}' is not valid")]
    ConfigurationInvalid(Resource, String),
    /// The tenant is switched off.
    #[error("Tenant '{0}' is not active")]
    TenantInactive(String),
    /// The space serves one tenant.
    #[error("Multi-tenancy is disabled")]
    MultiTenancyDisabled,
    /// A fault of ours.
    #[error("Internal error")]
    Internal(#[source] Cause),
}

/// One field that breaks one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Path of the field, dotted, such as `query.limit` or `messages.0.role`.
    pub field: String,
    /// The rule, for programs.
    pub rule: Rule,
    /// The rule in words, for people. Never holds the value.
    pub message: String,
}

/// The rules a value can break, each with its bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    Missing,
    TooShort(usize),
    TooLong(usize),
    AtLeast(f64),
    AtMost(f64),
    NotFinite,
    Pattern,
    OneOf,
    Reserved,
    Unknown,
    Immutable,
    Schema,
}

impl Rule {
    /// The rule's name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::TooShort(_) => "TOO_SHORT",
            Self::TooLong(_) => "TOO_LONG",
            Self::AtLeast(_) => "AT_LEAST",
            Self::AtMost(_) => "AT_MOST",
            Self::NotFinite => "NOT_FINITE",
            Self::Pattern => "PATTERN",
            Self::OneOf => "ONE_OF",
            Self::Reserved => "RESERVED",
            Self::Unknown => "UNKNOWN",
            Self::Immutable => "IMMUTABLE",
            Self::Schema => "SCHEMA",
        }
    }
}

/// What a policy says when it refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The policy's type.
    pub policy_type: &'static str,
    /// What kind of decision it was: `access`, `rate_limit`, `transform`, `payment`.
    pub kind: &'static str,
    /// A code for programs, such as `RATE_LIMITED`.
    pub code: &'static str,
    /// The reason in words.
    pub message: String,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
    /// Numbers behind the decision.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// What an upstream call ended with, split by whether repeating it can help.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Unreachable, failing, too slow, or talking nonsense. Try again.
    #[error("is unavailable: {reason}")]
    Unavailable { reason: &'static str, retry_after: Option<Duration>, cause: Option<Cause> },
    /// It refuses this request for good. The owner must act.
    #[error("rejected the request: {reason}")]
    Rejected { reason: &'static str, cause: Option<Cause> },
}

/// Which part of an endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Dataset,
    Model,
}

/// What ended a query from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("The client went away")]
    ClientGone,
    #[error("The deadline has passed")]
    DeadlineExceeded,
    #[error("The service is shutting down")]
    ShuttingDown,
}

/// What a name can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Endpoint,
    Dataset,
    Model,
    Policy,
    ApiKey,
    Marketplace,
    Tenant,
    Request,
    Ingestion,
    File,
}

impl UpstreamError {
    /// A fault that repeating the call may cure.
    pub fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable { reason, retry_after: None, cause: None }
    }

    /// A refusal that repeating the call cannot cure.
    pub fn rejected(reason: &'static str) -> Self {
        Self::Rejected { reason, cause: None }
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, why: impl Into<Cause>) -> Self {
        match &mut self {
            Self::Unavailable { cause, .. } | Self::Rejected { cause, .. } => *cause = Some(why.into()),
        }
        self
    }

    /// `unavailable` or `rejected`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// Why, in words that a caller may read.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { reason, .. } | Self::Rejected { reason, .. } => reason,
        }
    }

    /// The same fault, for another who waited for the same call.
    #[must_use]
    pub fn shared(&self) -> Self {
        let cause = || self.cause().map(|cause| cause.to_string().into());
        match *self {
            Self::Unavailable { reason, retry_after, .. } => {
                Self::Unavailable { reason, retry_after, cause: cause() }
            }
            Self::Rejected { reason, .. } => Self::Rejected { reason, cause: cause() },
        }
    }

    fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Unavailable { cause, .. } | Self::Rejected { cause, .. } => cause.as_ref(),
        }
    }

    /// Says which part of the endpoint it was.
    pub fn of(self, part: Part) -> Error {
        Error::Upstream { part, fault: self }
    }
}

impl Error {
    /// A fault of ours, with its cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// The reason, for programs: the name in `error_reason.proto` without its prefix.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::ScopeMissing(_) => "SCOPE_MISSING",
            Self::EndpointNotFound(_) => "ENDPOINT_NOT_FOUND",
            Self::EndpointNotPublished => "ENDPOINT_NOT_PUBLISHED",
            Self::NotFound(..) => "RESOURCE_NOT_FOUND",
            Self::AlreadyExists(..) => "ALREADY_EXISTS",
            Self::InUse { .. } => "RESOURCE_IN_USE",
            Self::Refused(refusal) if refusal.retry_after.is_some() => "RATE_LIMITED",
            Self::Refused(_) => "POLICY_VIOLATION",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::Upstream { part, fault } => match (part, fault) {
                (Part::Dataset, UpstreamError::Unavailable { .. }) => "DATASET_UNAVAILABLE",
                (Part::Dataset, UpstreamError::Rejected { .. }) => "DATASET_REJECTED",
                (Part::Model, UpstreamError::Unavailable { .. }) => "MODEL_UNAVAILABLE",
                (Part::Model, UpstreamError::Rejected { .. }) => "MODEL_REJECTED",
            },
            Self::Hub(UpstreamError::Unavailable { .. }) => "HUB_UNAVAILABLE",
            Self::Hub(UpstreamError::Rejected { .. }) => "HUB_REJECTED",
            Self::HubRefused(_) => "HUB_REJECTED",
            Self::MarketplaceConfigured(_) => "MARKETPLACE_CONFIGURED",
            Self::GuestNotAllowed => "GUEST_NOT_ALLOWED",
            Self::StoreUnavailable(_) => "STORE_UNAVAILABLE",
            Self::Ended(Ended::DeadlineExceeded) => "DEADLINE_EXCEEDED",
            Self::Ended(Ended::ClientGone) => "CLIENT_GONE",
            Self::Ended(Ended::ShuttingDown) => "SHUTTING_DOWN",
            Self::ConfigurationInvalid(..) => "CONFIGURATION_INVALID",
            Self::TenantInactive(_) => "TENANT_INACTIVE",
            Self::MultiTenancyDisabled => "MULTI_TENANCY_DISABLED",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// The cause to log, outermost first; `None` when the caller was told everything.
    pub fn cause(&self) -> Option<String> {
        let cause = match self {
            Self::StoreUnavailable(cause) | Self::Internal(cause) => cause,
            Self::Upstream { fault, .. } | Self::Hub(fault) => fault.cause()?,
            _ => return None,
        };
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(cause) = next {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            next = cause.source();
        }
        Some(chain)
    }
}

impl From<Vec<Violation>> for Error {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy '{}' blocked request: {}", self.policy_type, self.message)
    }
}

impl Part {
    /// `dataset` or `model`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dataset => "The dataset",
            Self::Model => "The model",
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoint => "Endpoint",
            Self::Dataset => "Dataset",
            Self::Model => "Model",
            Self::Policy => "Policy",
            Self::ApiKey => "API key",
            Self::Marketplace => "Marketplace",
            Self::Tenant => "Tenant",
            Self::Request => "A query with the request id",
            Self::Ingestion => "Ingestion",
            Self::File => "File",
        })
    }
}

/// Violations as one sentence.
struct Listed<'a>(&'a [Violation]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalid request")?;
        for (i, violation) in self.0.iter().enumerate() {
            let separator = if i == 0 { ": " } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.message)?;
        }
        Ok(())
    }
}

/// A marketplace's fault in words. "It" that is refused is the space.
struct AtHub<'a>(&'a UpstreamError);

impl fmt::Display for AtHub<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            fault @ UpstreamError::Unavailable { .. } => write!(f, "The marketplace {fault}"),
            UpstreamError::Rejected { reason, .. } => {
                write!(f, "The marketplace refuses this space: {reason}")
            }
        }
    }
}
