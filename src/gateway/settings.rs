//! `/settings`.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    problem::Problem,
    route::{Call, Route},
};
use crate::proto;

/// Where marketplaces' users reach this space.
#[derive(Deserialize, JsonSchema)]
struct UpdatePublicUrlRequest {
    /// Scheme, host, and port if it is not the scheme's; null: what the configuration says.
    #[schemars(length(max = 500))]
    public_url: Option<String>,
}

/// Where marketplaces' users reach this space.
#[derive(Serialize, JsonSchema)]
struct PublicUrlResponse {
    /// Null: nobody has said.
    public_url: Option<String>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/api/v1/settings/public-url", get)
            .says("Shows the URL at which marketplaces' users reach this space"),
        Route::reading(Method::PATCH, "/api/v1/settings/public-url", update)
            .says("Sets that URL; marketplaces are told in the background"),
    ]
}

async fn get(call: Call) -> Result<PublicUrlResponse, Problem> {
    let request = call.asks(proto::GetPublicUrlRequest {});
    Ok(PublicUrlResponse::of(
        call.gateway.marketplaces().get_public_url(request).await?.into_inner().public_url,
    ))
}

async fn update(call: Call, new: UpdatePublicUrlRequest) -> Result<PublicUrlResponse, Problem> {
    let request = call.asks(proto::SetPublicUrlRequest { public_url: new.public_url.unwrap_or_default() });
    Ok(PublicUrlResponse::of(
        call.gateway.marketplaces().set_public_url(request).await?.into_inner().public_url,
    ))
}

impl PublicUrlResponse {
    fn of(url: String) -> Self {
        Self { public_url: Some(url).filter(|url| !url.is_empty()) }
    }
}
