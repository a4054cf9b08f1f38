//! `/marketplaces`: the owner's accounts on SyftHubs.

use axum::{Json, response::IntoResponse};
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    problem::Problem,
    resources::{Done, all, moment},
    route::{Answer, Call, Route},
};
use crate::proto::{self, Marketplace};

/// An account to be made on a SyftHub. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct RegisterRequest {
    /// The owner's full name.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    #[schemars(length(min = 3, max = 50), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    username: String,
    #[schemars(email, length(max = 254))]
    email: String,
    /// With a letter and a digit.
    #[schemars(length(min = 8, max = 1024))]
    password: String,
    /// Where the hub is; null: the configured default.
    #[serde(default)]
    #[schemars(length(max = 500))]
    url: Option<String>,
}

/// A code that proves an e-mail address. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct VerifyOtpRequest {
    #[schemars(email, length(max = 254))]
    email: String,
    /// The account's password.
    #[schemars(length(min = 1, max = 1024))]
    password: String,
    #[schemars(regex(pattern = "^[0-9]{6}$"))]
    code: String,
    /// Where the hub is; null: the configured default.
    #[serde(default)]
    #[schemars(length(max = 500))]
    url: Option<String>,
}

/// Whom to send another code. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct ResendOtpRequest {
    #[schemars(email, length(max = 254))]
    email: String,
    /// Where the hub is; null: the configured default.
    #[serde(default)]
    #[schemars(length(max = 500))]
    url: Option<String>,
}

/// An account that exists, and what enters it: a password, or an API token alone. Unknown fields are passed
/// over.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    {"required": ["username", "password"], "properties": {
        "username": {"type": "string", "minLength": 1}, "password": {"type": "string", "minLength": 1},
        "api_token": {"enum": [null, ""]},
    }},
    {"required": ["api_token"], "properties": {
        "api_token": {"type": "string", "minLength": 1},
        "username": {"enum": [null, ""]}, "password": {"enum": [null, ""]},
    }},
]))]
struct ConnectRequest {
    /// The account's name or e-mail address.
    #[serde(default)]
    #[schemars(length(max = 254))]
    username: Option<String>,
    #[serde(default)]
    #[schemars(length(max = 1024))]
    password: Option<String>,
    #[serde(default)]
    #[schemars(length(max = 4096), regex(pattern = "^[!-~]*$"))]
    api_token: Option<String>,
    /// Where the hub is; null: the configured default.
    #[serde(default)]
    #[schemars(length(max = 500))]
    url: Option<String>,
}

/// A marketplace. Its credential is never shown.
#[derive(Serialize, JsonSchema)]
struct MarketplaceResponse {
    id: String,
    name: String,
    username: String,
    url: String,
    email: String,
    is_default: bool,
    is_active: bool,
    /// Whether the service's configuration names it.
    is_configured: bool,
    created_at: String,
    updated_at: String,
}

/// A marketplace in a list, and how it stands with the endpoints there.
#[derive(Serialize, JsonSchema)]
struct MarketplaceListItem {
    id: String,
    name: String,
    username: String,
    email: String,
    url: String,
    is_default: bool,
    is_active: bool,
    is_configured: bool,
    /// How many endpoints it lists.
    published: i32,
    /// How many it has not been told of yet.
    pending: i32,
    /// How many it refuses for good.
    failed: i32,
    /// When it was last told that endpoints are alive.
    reported_at: Option<String>,
    /// Why it could not be told so the last time.
    report_error: Option<String>,
}

/// What is left to do: the hub has sent a code.
#[derive(Serialize, JsonSchema)]
struct VerificationRequired {
    /// `EMAIL_VERIFICATION_REQUIRED`.
    code: &'static str,
    message: &'static str,
    email: String,
    url: Option<String>,
}

/// The marketplace, or what is left to do.
enum Registered {
    Connected(MarketplaceResponse),
    Unproved(VerificationRequired),
}

impl Answer for Registered {
    fn response(self, status: StatusCode) -> axum::response::Response {
        match self {
            Self::Connected(marketplace) => (status, Json(marketplace)).into_response(),
            Self::Unproved(what) => (StatusCode::ACCEPTED, Json(what)).into_response(),
        }
    }

    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        MarketplaceResponse::schemas(generator)
    }
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::reading(Method::POST, "/api/v1/marketplaces/register", register)
            .says("Makes an account on a SyftHub and connects to it, or has its e-mail address proved first")
            .creates()
            .or::<VerificationRequired>(StatusCode::ACCEPTED),
        Route::reading(Method::POST, "/api/v1/marketplaces/verify-otp", verify_otp)
            .says("Proves the e-mail address of a new account and connects to it")
            .creates(),
        Route::reading(Method::POST, "/api/v1/marketplaces/resend-otp", resend_otp)
            .says("Has another code sent; does not say whether there is such an account"),
        Route::reading(Method::POST, "/api/v1/marketplaces/connect", connect)
            .says("Connects to an account that exists, by its password or an API token")
            .creates(),
        Route::new(Method::GET, "/api/v1/marketplaces/check-username/{username}", check_username)
            .says("Says whether a user name is free on a SyftHub")
            .queries(&[("url", "Where the hub is; without it: the configured default")])
            .fails(&[422]),
        Route::new(Method::GET, "/api/v1/marketplaces/", list).says("Lists all marketplaces, oldest first"),
        Route::new(Method::GET, "/api/v1/marketplaces/{marketplace_id}", get)
            .says("Shows a marketplace")
            .fails(&[404, 422]),
        Route::new(Method::DELETE, "/api/v1/marketplaces/{marketplace_id}", delete)
            .says("Disconnects a marketplace")
            .fails(&[400, 404, 422]),
    ]
}

async fn register(call: Call, new: RegisterRequest) -> Result<Registered, Problem> {
    let (email, url) = (new.email.clone(), new.url.clone());
    let request = call.asks(proto::RegisterMarketplaceRequest {
        name: new.name,
        username: new.username,
        email: new.email,
        password: new.password,
        url: new.url.unwrap_or_default(),
    });
    let registered = call.gateway.marketplaces().register_marketplace(request).await?.into_inner();
    if registered.verification_required {
        return Ok(Registered::Unproved(VerificationRequired {
            code: "EMAIL_VERIFICATION_REQUIRED",
            message: "The marketplace has sent a code to the e-mail address: prove it with verify-otp",
            email,
            url,
        }));
    }
    Ok(Registered::Connected(registered.marketplace.unwrap_or_default().into()))
}

async fn verify_otp(call: Call, proof: VerifyOtpRequest) -> Result<MarketplaceResponse, Problem> {
    let request = call.asks(proto::VerifyOtpRequest {
        email: proof.email,
        password: proof.password,
        code: proof.code,
        url: proof.url.unwrap_or_default(),
    });
    let connected = call.gateway.marketplaces().verify_otp(request).await?.into_inner();
    Ok(connected.marketplace.unwrap_or_default().into())
}

async fn resend_otp(call: Call, to: ResendOtpRequest) -> Result<Done, Problem> {
    let request = call.asks(proto::ResendOtpRequest { email: to.email, url: to.url.unwrap_or_default() });
    call.gateway.marketplaces().resend_otp(request).await?;
    Ok(Done { message: "If the account waits for one, a code has been sent".to_owned() })
}

async fn connect(call: Call, to: ConnectRequest) -> Result<MarketplaceResponse, Problem> {
    let request = call.asks(proto::ConnectMarketplaceRequest {
        username: to.username.unwrap_or_default(),
        password: to.password.unwrap_or_default(),
        api_token: to.api_token.unwrap_or_default(),
        url: to.url.unwrap_or_default(),
    });
    let connected = call.gateway.marketplaces().connect_marketplace(request).await?.into_inner();
    Ok(connected.marketplace.unwrap_or_default().into())
}

async fn check_username(call: Call) -> Result<bool, Problem> {
    let url = call.query_text("url").unwrap_or_default();
    let request = call.asks(proto::CheckUsernameRequest { username: call.param("username"), url });
    Ok(call.gateway.marketplaces().check_username(request).await?.into_inner().available)
}

async fn list(call: Call) -> Result<Vec<MarketplaceListItem>, Problem> {
    let found = all!(call, marketplaces.list_marketplaces(ListMarketplacesRequest {}).marketplaces);
    Ok(found.into_iter().map(MarketplaceListItem::from).collect())
}

async fn get(call: Call) -> Result<MarketplaceResponse, Problem> {
    let id = call.id("marketplace_id")?.to_string();
    let request = call.asks(proto::GetMarketplaceRequest { id });
    let found = call.gateway.marketplaces().get_marketplace(request).await?.into_inner();
    Ok(found.marketplace.unwrap_or_default().into())
}

async fn delete(call: Call) -> Result<Done, Problem> {
    let id = call.id("marketplace_id")?.to_string();
    let request = call.asks(proto::DeleteMarketplaceRequest { id: id.clone() });
    call.gateway.marketplaces().delete_marketplace(request).await?;
    Ok(Done { message: format!("Successfully deleted marketplace '{id}'") })
}

impl From<Marketplace> for MarketplaceResponse {
    fn from(found: Marketplace) -> Self {
        Self {
            id: found.id,
            name: found.name,
            username: found.username,
            url: found.url,
            email: found.email,
            is_default: found.is_default,
            is_active: found.is_active,
            is_configured: found.is_configured,
            created_at: moment(found.create_time),
            updated_at: moment(found.update_time),
        }
    }
}

impl From<Marketplace> for MarketplaceListItem {
    fn from(found: Marketplace) -> Self {
        Self {
            id: found.id,
            name: found.name,
            username: found.username,
            email: found.email,
            url: found.url,
            is_default: found.is_default,
            is_active: found.is_active,
            is_configured: found.is_configured,
            published: found.published,
            pending: found.pending,
            failed: found.failed,
            reported_at: found.report_time.map(|at| moment(Some(at))),
            report_error: Some(found.report_error).filter(|error| !error.is_empty()),
        }
    }
}
