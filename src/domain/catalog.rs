//! What owners manage, as stored.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{ApiKeyId, AttachmentId, EndpointId, Listing, PolicyId, Scope};

/// A type's configuration, as JSON.
pub type Configuration = Map<String, Value>;

/// A dataset, a model and policies under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub slug: String,
    pub name: String,
    pub summary: String,
    pub description: String,
    pub dataset_id: Option<AttachmentId>,
    pub model_id: Option<AttachmentId>,
    pub response_type: ResponseType,
    pub published: bool,
    pub tags: Vec<String>,
    /// How things stand on marketplaces; empty where it does not matter, as in plans.
    pub listings: Vec<Listing>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// An endpoint to be created. Its values have been checked; its attachments have not been looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEndpoint {
    pub slug: String,
    pub name: String,
    pub summary: String,
    pub description: String,
    pub dataset_id: Option<AttachmentId>,
    pub model_id: Option<AttachmentId>,
    pub response_type: ResponseType,
    pub published: bool,
    pub tags: Vec<String>,
}

/// Changes to an endpoint; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EndpointChange {
    pub name: Option<String>,
    pub summary: Option<String>,
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
    pub published: Option<bool>,
}

/// Which parts of an answer an endpoint gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    Raw,
    Summary,
    Both,
}

/// A dataset or a model: a typed configuration under a name.
#[derive(Clone, PartialEq)]
pub struct Attachment {
    pub id: AttachmentId,
    pub name: String,
    pub dtype: String,
    /// With its secrets in clear: never leaves the service before redaction.
    pub configuration: Configuration,
    pub summary: String,
    pub tags: Vec<String>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A dataset or model to be created.
#[derive(Clone, PartialEq)]
pub struct NewAttachment {
    pub name: String,
    pub dtype: String,
    pub configuration: Configuration,
    pub summary: String,
    pub tags: Vec<String>,
}

/// Changes to a dataset or model; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachmentChange {
    pub name: Option<String>,
    pub summary: Option<String>,
    pub tags: Option<Vec<String>>,
}

/// A document of a `local` dataset.
#[derive(Clone, PartialEq)]
pub struct Document {
    pub id: String,
    pub content: String,
    pub metadata: Map<String, Value>,
}

/// A rule attached to an endpoint.
#[derive(Clone, PartialEq)]
pub struct Policy {
    pub id: PolicyId,
    pub endpoint_id: EndpointId,
    pub endpoint_slug: String,
    pub name: String,
    pub policy_type: String,
    /// With its secrets in clear.
    pub configuration: Configuration,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A policy to be attached. Its values have been checked; its endpoint has not been looked up.
#[derive(Clone, PartialEq)]
pub struct NewPolicy {
    pub endpoint: EndpointRef,
    pub name: String,
    pub policy_type: String,
    pub configuration: Configuration,
}

/// How a caller names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointRef {
    Slug(String),
    Id(EndpointId),
}

/// Changes to a policy; `None` leaves a field as it is.
#[derive(Clone, PartialEq, Default)]
pub struct PolicyChange {
    pub name: Option<String>,
    pub configuration: Option<ConfigurationChange>,
}

/// What becomes of a stored configuration.
#[derive(Clone, PartialEq)]
pub enum ConfigurationChange {
    /// This, and nothing of the stored one.
    Replace(Configuration),
    /// The stored one, with these fields over its own.
    Merge(Configuration),
}

/// A credential for programs. The secret itself is not kept.
#[derive(Clone, PartialEq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub email: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
}

/// What can be said of a type.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeInfo {
    pub name: &'static str,
    /// What else it may be called.
    pub aliases: &'static [&'static str],
    pub description: &'static str,
    /// One emoji.
    pub icon: &'static str,
    pub config_schema: Map<String, Value>,
}

/// Whether something outside answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub healthy: bool,
    pub message: String,
}

impl ConfigurationChange {
    /// What is to be stored in place of `stored`.
    pub fn apply(self, mut stored: Configuration) -> Configuration {
        match self {
            Self::Replace(new) => new,
            Self::Merge(new) => {
                stored.extend(new);
                stored
            }
        }
    }
}

impl ResponseType {
    /// The name in stored rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Summary => "summary",
            Self::Both => "both",
        }
    }

    /// The response type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Raw, Self::Summary, Self::Both].into_iter().find(|kind| kind.name() == name)
    }

    pub fn searches(self) -> bool {
        self != Self::Summary
    }

    pub fn chats(self) -> bool {
        self != Self::Raw
    }
}

impl Health {
    pub fn healthy() -> Self {
        Self { healthy: true, message: String::new() }
    }

    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self { healthy: false, message: message.into() }
    }
}
