//! `/keys`: API keys of programs.

use http::Method;
use prost_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    body::Violation,
    problem::Problem,
    resources::{all, moment},
    route::{Call, Route},
};
use crate::proto::{self, ApiKey};

/// A key to be made. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct CreateApiKeyRequest {
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// Whom policies see.
    #[schemars(email, length(max = 254))]
    email: String,
    /// What it is good for.
    #[schemars(length(min = 1))]
    scopes: Vec<Scope>,
    /// When it ends, as RFC 3339 writes it; null: never.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

/// What a key is good for.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Scope {
    Query,
    Manage,
}

/// A key, without its secret.
#[derive(Serialize, JsonSchema)]
struct ApiKeyResponse {
    id: String,
    name: String,
    email: String,
    scopes: Vec<Scope>,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    created_at: String,
}

/// A new key. Its secret is shown only here.
#[derive(Serialize, JsonSchema)]
struct ApiKeyCreateResponse {
    #[serde(flatten)]
    key: ApiKeyResponse,
    /// What goes behind `Authorization: Bearer`.
    secret: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::reading(Method::POST, "/api/v1/keys/", create).says("Makes an API key").creates(),
        Route::new(Method::GET, "/api/v1/keys/", list).says("Lists all keys, oldest first"),
        Route::new(Method::DELETE, "/api/v1/keys/{key_id}", revoke)
            .says("Revokes a key for good")
            .fails(&[404, 422]),
    ]
}

async fn create(call: Call, new: CreateApiKeyRequest) -> Result<ApiKeyCreateResponse, Problem> {
    let expire_time = new.expires_at.as_deref().map(timestamp).transpose()?;
    let scopes = new.scopes.iter().map(|scope| scope.into_proto().into()).collect();
    let api_key = ApiKey { name: new.name, email: new.email, scopes, expire_time, ..ApiKey::default() };
    let request = call.asks(proto::CreateApiKeyRequest { api_key: Some(api_key) });
    let created = call.gateway.access().create_api_key(request).await?.into_inner();
    let key = created.api_key.unwrap_or_default().into();
    Ok(ApiKeyCreateResponse { key, secret: created.secret })
}

async fn list(call: Call) -> Result<Vec<ApiKeyResponse>, Problem> {
    let keys = all!(call, access.list_api_keys(ListApiKeysRequest {}).api_keys);
    Ok(keys.into_iter().map(ApiKeyResponse::from).collect())
}

async fn revoke(call: Call) -> Result<ApiKeyResponse, Problem> {
    let id = call.id("key_id")?.to_string();
    let request = call.asks(proto::RevokeApiKeyRequest { id });
    let revoked = call.gateway.access().revoke_api_key(request).await?.into_inner();
    Ok(revoked.api_key.unwrap_or_default().into())
}

fn timestamp(text: &str) -> Result<Timestamp, Problem> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        let msg = "Input should be a valid datetime, as 2027-01-31T00:00:00Z";
        let loc = vec!["body".into(), "expires_at".into()];
        vec![Violation::new("datetime_parsing", loc, msg).on(&text.into())]
    })?;
    let nanos = i32::try_from(moment.nanosecond()).unwrap_or_default();
    Ok(Timestamp { seconds: moment.unix_timestamp(), nanos })
}

impl Scope {
    fn into_proto(self) -> proto::Scope {
        match self {
            Self::Query => proto::Scope::Query,
            Self::Manage => proto::Scope::Manage,
        }
    }
}

impl From<ApiKey> for ApiKeyResponse {
    fn from(key: ApiKey) -> Self {
        let scopes = key.scopes().filter_map(|scope| match scope {
            proto::Scope::Query => Some(Scope::Query),
            proto::Scope::Manage => Some(Scope::Manage),
            proto::Scope::Unspecified => None,
        });
        Self {
            scopes: scopes.collect(),
            expires_at: key.expire_time.map(|at| moment(Some(at))),
            revoked_at: key.revoke_time.map(|at| moment(Some(at))),
            created_at: moment(key.create_time),
            id: key.id,
            name: key.name,
            email: key.email,
        }
    }
}
