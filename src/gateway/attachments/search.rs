//! Searches of datasets, past endpoints and policies.

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    domain::defaults,
    gateway::{
        problem::Problem,
        query::answer::References,
        route::{Call, Route},
    },
    proto::SearchDatasetRequest,
};

/// What to look for. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct SearchRequest {
    #[schemars(length(min = 1))]
    text: String,
    /// Lowest similarity of a reference; without one, everything that matches at all is found.
    #[serde(default)]
    #[schemars(with = "f64", range(min = 0, max = 1), extend("default" = 0.0))]
    similarity_threshold: Option<f64>,
    /// How many references at most; above 1000 counts as 1000.
    #[serde(default)]
    #[schemars(with = "i64", range(min = 1), extend("default" = defaults::LIMIT))]
    limit: Option<i64>,
    /// Whether references carry their metadata.
    #[serde(default)]
    #[schemars(with = "bool", extend("default" = true))]
    include_metadata: Option<bool>,
}

pub(super) fn route() -> Route {
    Route::reading(Method::POST, "/api/v1/datasets/{name}/search", search)
        .says("Searches one, with scores, past endpoints and policies")
        .fails(&[404, 424, 502])
}

async fn search(call: Call, asked: SearchRequest) -> Result<References, Problem> {
    let request = SearchDatasetRequest {
        name: call.param("name"),
        text: asked.text,
        similarity_threshold: asked.similarity_threshold,
        // As many as are ever given.
        limit: asked.limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
        include_metadata: asked.include_metadata,
    };
    let found = call.gateway.datasets().search_dataset(call.asks(request)).await?.into_inner();
    Ok(found.references.unwrap_or_default().into())
}
