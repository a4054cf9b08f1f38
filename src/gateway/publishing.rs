//! `/endpoints`, on marketplaces: listed, taken off, brought in line, and whether a slug is free there.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    problem::Problem,
    resources::{all, moment},
    route::{Call, Route},
};
use crate::proto::{self, ListingState};

/// Where to list an endpoint: at least one of the two.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    {"required": ["publish_to_all_marketplaces"], "properties": {"publish_to_all_marketplaces": {"enum": [true]}}},
    {"required": ["marketplace_ids"], "properties": {"marketplace_ids": {"type": "array", "minItems": 1}}},
]))]
struct PublishEndpointRequest {
    #[serde(default)]
    marketplace_ids: Option<Vec<Uuid>>,
    /// On all active ones, whatever `marketplace_ids` says.
    #[serde(default)]
    publish_to_all_marketplaces: bool,
}

/// An endpoint that marketplaces have been told of.
#[derive(Serialize, JsonSchema)]
struct PublishEndpointResponse {
    endpoint_slug: String,
    results: Vec<MarketplaceResult>,
}

/// What became of a call on one marketplace. What it could not be told is told again in the background; the
/// endpoint's `listings` say how that stands.
#[derive(Serialize, JsonSchema)]
struct MarketplaceResult {
    marketplace_id: String,
    marketplace_name: String,
    success: bool,
    /// What has been done.
    message: Option<String>,
    /// What went wrong.
    error: Option<String>,
}

/// A slug, taken as it is.
#[derive(Deserialize, JsonSchema)]
struct SlugAvailabilityRequest {
    slug: String,
    /// Marketplaces to ask too.
    #[serde(default)]
    marketplace_ids: Option<Vec<Uuid>>,
    /// Whether to ask all active ones, whatever `marketplace_ids` says.
    #[serde(default)]
    check_all_marketplaces: bool,
}

/// Whether a slug is free.
#[derive(Serialize, JsonSchema)]
struct SlugAvailabilityResponse {
    slug: String,
    /// Whether no endpoint here has it.
    local_available: bool,
    /// What marketplaces say of the slug as an endpoint would have it, lower-cased; null when none was to be
    /// asked.
    marketplaces: Option<Vec<MarketplaceAvailability>>,
}

/// Whether a slug is free on a marketplace, among the endpoints of the owner's account.
#[derive(Serialize, JsonSchema)]
struct MarketplaceAvailability {
    marketplace_id: String,
    /// Null when it is not known.
    available: Option<bool>,
    /// Why it is not known.
    error: Option<String>,
}

/// What to bring in line.
#[derive(Deserialize, JsonSchema)]
struct SyncEndpointsRequest {
    /// Which marketplaces; all active ones when it is null, absent or empty.
    #[serde(default)]
    marketplace_ids: Option<Vec<Uuid>>,
    /// DESTRUCTIVE. Replaces everything that the account lists there, what other spaces have published
    /// included, by what this space publishes. The hub forgets stars and health of all of it.
    #[serde(default)]
    replace_all: bool,
}

/// Marketplaces that have been brought in line, or not.
#[derive(Serialize, JsonSchema)]
struct SyncEndpointsResponse {
    results: Vec<SyncResult>,
}

/// What became of one marketplace.
#[derive(Serialize, JsonSchema)]
struct SyncResult {
    marketplace_id: String,
    marketplace_name: String,
    /// Whether it lists what it should.
    success: bool,
    /// Slugs of this space's endpoints that it lists now.
    slugs: Vec<String>,
    /// Those that were missing there, or differed.
    published: Vec<String>,
    /// Slugs that were removed there.
    removed: Vec<String>,
    error: Option<String>,
}

/// How things stand with an endpoint on one marketplace.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listing {
    marketplace_id: String,
    marketplace_name: String,
    state: State,
    /// What went wrong the last time it was told; empty when nothing did.
    last_error: String,
    /// Whether it is to be taken away there, rather than to be listed.
    is_removal: bool,
    /// When it was last told what the endpoint is like.
    publish_time: Option<String>,
    /// When it was last told whether the endpoint is alive.
    report_time: Option<String>,
    /// What it was told then.
    healthy: bool,
}

/// Whether a marketplace knows what it should: it does, not yet, or it refuses.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum State {
    Published,
    Pending,
    Failed,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::reading(Method::POST, "/api/v1/endpoints/validate-slug", validate_slug)
            .says("Says whether a slug is free, here and on marketplaces"),
        Route::reading(Method::POST, "/api/v1/endpoints/sync", sync)
            .says(
                "Brings marketplaces in line with this space; with `replace_all`, replaces EVERYTHING that the \
                 account lists, what other spaces have published included",
            )
            .fails(&[404]),
        Route::reading(Method::POST, "/api/v1/endpoints/{slug}/publish", publish)
            .says("Lists an endpoint on marketplaces, or tells them what it is like now")
            .fails(&[404]),
        Route::new(Method::DELETE, "/api/v1/endpoints/{slug}/unpublish", unpublish)
            .says("Takes an endpoint off all marketplaces; it answers queries as before")
            .fails(&[400, 404]),
    ]
}

async fn validate_slug(
    call: Call,
    asked: SlugAvailabilityRequest,
) -> Result<SlugAvailabilityResponse, Problem> {
    let request = call.asks(proto::GetEndpointRequest { slug: asked.slug.clone() });
    // The slug is taken as it is: what could not be one is free, and no endpoint has it.
    let local_available = match call.gateway.endpoints().get_endpoint(request).await {
        Ok(_) => false,
        Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => true,
        Err(status) => return Err(status.into()),
    };
    let is_to_be_asked = asked.check_all_marketplaces || asked.marketplace_ids.iter().flatten().count() > 0;
    let marketplaces = if is_to_be_asked { Some(on_marketplaces(&call, &asked).await?) } else { None };
    Ok(SlugAvailabilityResponse { slug: asked.slug, local_available, marketplaces })
}

async fn sync(call: Call, asked: SyncEndpointsRequest) -> Result<SyncEndpointsResponse, Problem> {
    let request = proto::SyncEndpointsRequest {
        marketplace_ids: ids(asked.marketplace_ids),
        replace_all: asked.replace_all,
    };
    let synced = call.gateway.endpoints().sync_endpoints(call.asks(request)).await.map_err(failed)?;
    let results = synced.into_inner().results.into_iter().map(Into::into).collect();
    Ok(SyncEndpointsResponse { results })
}

async fn publish(call: Call, asked: PublishEndpointRequest) -> Result<PublishEndpointResponse, Problem> {
    let (slug, marketplace_ids) = (call.param("slug"), ids(asked.marketplace_ids));
    let all_marketplaces = asked.publish_to_all_marketplaces;
    if marketplace_ids.is_empty() && !all_marketplaces {
        let detail = "Either marketplace_ids or publish_to_all_marketplaces must be provided";
        return Err(Problem::Refused(StatusCode::BAD_REQUEST, detail.into()));
    }
    let request = proto::PublishEndpointRequest { slug: slug.clone(), marketplace_ids, all_marketplaces };
    let published = call.gateway.endpoints().publish_endpoint(call.asks(request)).await.map_err(failed)?;
    let results = published.into_inner().results.into_iter().map(Into::into).collect();
    Ok(PublishEndpointResponse { endpoint_slug: slug, results })
}

async fn unpublish(call: Call) -> Result<Vec<MarketplaceResult>, Problem> {
    let request = proto::UnpublishEndpointRequest { slug: call.param("slug"), marketplace_ids: Vec::new() };
    let unpublished = call.gateway.endpoints().unpublish_endpoint(call.asks(request)).await?;
    let results = unpublished.into_inner().results;
    if results.is_empty() {
        return Err(Problem::Refused(StatusCode::BAD_REQUEST, "Endpoint is not published".into()));
    }
    Ok(results.into_iter().map(Into::into).collect())
}

/// What marketplaces say of a slug. One that no endpoint can have is not asked for.
async fn on_marketplaces(
    call: &Call,
    asked: &SlugAvailabilityRequest,
) -> Result<Vec<MarketplaceAvailability>, Problem> {
    let request = proto::CheckSlugRequest {
        slug: asked.slug.clone(),
        marketplace_ids: ids(asked.marketplace_ids.clone()),
        all_marketplaces: asked.check_all_marketplaces,
    };
    match call.gateway.endpoints().check_slug(call.asks(request)).await {
        Ok(checked) => Ok(checked.into_inner().marketplaces.into_iter().map(Into::into).collect()),
        Err(status) => match violation(&status, "slug") {
            Some(why) => unasked(call, asked, &format!("Slug {why}")).await,
            None => Err(status.into()),
        },
    }
}

/// Why the marketplaces were not asked that should have been.
async fn unasked(
    call: &Call,
    asked: &SlugAvailabilityRequest,
    why: &str,
) -> Result<Vec<MarketplaceAvailability>, Problem> {
    let known = all!(call, marketplaces.list_marketplaces(ListMarketplacesRequest {}).marketplaces);
    let answer = |id: String, error: &str| MarketplaceAvailability {
        marketplace_id: id,
        available: None,
        error: Some(error.to_owned()),
    };
    if asked.check_all_marketplaces {
        return Ok(known.into_iter().filter(|one| one.is_active).map(|one| answer(one.id, why)).collect());
    }
    let named = ids(asked.marketplace_ids.clone()).into_iter();
    let error = |id: &String| match known.iter().find(|one| one.id == *id) {
        None => "Marketplace not found",
        Some(one) if !one.is_active => "Marketplace is not active",
        Some(_) => why,
    };
    Ok(named.map(|id| answer(id.clone(), error(&id))).collect())
}

fn ids(ids: Option<Vec<Uuid>>) -> Vec<String> {
    ids.into_iter().flatten().map(|id| id.to_string()).collect()
}

/// A failure in the words that clients of the Python Space know, where it has some.
fn failed(status: Status) -> Problem {
    if let Some(why) = violation(&status, "all_marketplaces") {
        return Problem::Refused(StatusCode::BAD_REQUEST, why.into());
    }
    let missing = status.get_details_resource_info().filter(|info| info.resource_type == "Marketplace");
    match missing {
        Some(info) if status.code() == Code::NotFound => {
            let names: Vec<String> = info.resource_name.split(", ").map(|id| format!("'{id}'")).collect();
            let detail = format!("Marketplaces not found: [{}]", names.join(", "));
            Problem::Refused(StatusCode::NOT_FOUND, detail.into())
        }
        _ => status.into(),
    }
}

/// What is wrong with a field of an RPC's request.
fn violation(status: &Status, field: &str) -> Option<String> {
    let violations = status.get_details_bad_request()?.field_violations;
    violations.into_iter().find(|one| one.field == field).map(|one| one.description)
}

/// Protobuf's texts are empty where JSON's are null.
fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<proto::MarketplaceResult> for MarketplaceResult {
    fn from(result: proto::MarketplaceResult) -> Self {
        Self {
            marketplace_id: result.marketplace_id,
            marketplace_name: result.marketplace_name,
            success: result.success,
            message: filled(result.message),
            error: filled(result.error),
        }
    }
}

impl From<proto::SlugAvailability> for MarketplaceAvailability {
    fn from(found: proto::SlugAvailability) -> Self {
        Self { marketplace_id: found.marketplace_id, available: found.available, error: filled(found.error) }
    }
}

impl From<proto::SyncResult> for SyncResult {
    fn from(result: proto::SyncResult) -> Self {
        Self {
            marketplace_id: result.marketplace_id,
            marketplace_name: result.marketplace_name,
            success: result.success,
            slugs: result.slugs,
            published: result.published,
            removed: result.removed,
            error: filled(result.error),
        }
    }
}

impl From<proto::Listing> for Listing {
    fn from(listing: proto::Listing) -> Self {
        Self {
            state: match listing.state() {
                ListingState::Published => State::Published,
                ListingState::Pending | ListingState::Unspecified => State::Pending,
                ListingState::Failed => State::Failed,
            },
            marketplace_id: listing.marketplace_id,
            marketplace_name: listing.marketplace_name,
            last_error: listing.last_error,
            is_removal: listing.is_removal,
            publish_time: listing.publish_time.map(|at| moment(Some(at))),
            report_time: listing.report_time.map(|at| moment(Some(at))),
            healthy: listing.healthy,
        }
    }
}
