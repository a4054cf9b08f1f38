//! `/endpoints`: what owners do with them. Asking them is in `query`, marketplaces are in `publishing`.

use std::{collections::HashMap, mem::take};

use http::Method;
use prost_types::FieldMask;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    body::Violation,
    problem::Problem,
    publishing::Listing,
    resources::{Done, datasets, endpoints, joined, models, moment, object, split},
    route::{Call, Route},
};
use crate::proto;

/// As documents say it; `domain::rules` decides.
pub(super) const SLUG: &str = "^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$";

/// An endpoint to be made. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    {"required": ["dataset_id"], "properties": {
        "dataset_id": {"type": "string"}, "response_type": {"enum": ["raw", "both"]},
    }},
    {"required": ["model_id"], "properties": {
        "model_id": {"type": "string"}, "response_type": {"enum": ["summary", "both"]},
    }},
]))]
struct CreateEndpointRequest {
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// 3 to 64 of a-z, 0-9 and single inner hyphens; upper case is lowered.
    #[schemars(length(min = 3, max = 64), regex(pattern = SLUG), extend("format" = "slug"))]
    slug: String,
    /// The documentation, in Markdown.
    #[serde(default)]
    description: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    dataset_id: Option<Uuid>,
    #[serde(default)]
    model_id: Option<Uuid>,
    #[serde(default)]
    response_type: ResponseType,
    /// Whether queries are answered.
    #[serde(default)]
    published: bool,
    /// Labels, with commas between them.
    #[serde(default)]
    tags: String,
}

/// Which parts of an answer an endpoint gives.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum ResponseType {
    Raw,
    Summary,
    #[default]
    Both,
}

/// New values; null or absent leaves a field as it is.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    {"required": ["name"], "properties": {"name": {"type": "string"}}},
    {"required": ["summary"], "properties": {"summary": {"type": "string"}}},
    {"required": ["description"], "properties": {"description": {"type": "string"}}},
    {"required": ["tags"], "properties": {"tags": {"type": "string"}}},
    {"required": ["published"], "properties": {"published": {"type": "boolean"}}},
]))]
struct UpdateEndpointRequest {
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    description: Option<String>,
    /// Labels, with commas between them.
    #[serde(default)]
    tags: Option<String>,
    #[serde(default)]
    published: Option<bool>,
}

/// What every view of an endpoint shows.
#[derive(Serialize, JsonSchema)]
struct EndpointResponse {
    id: String,
    name: String,
    slug: String,
    description: String,
    summary: String,
    response_type: ResponseType,
    published: bool,
    tags: String,
    created_at: String,
    updated_at: String,
}

/// A new endpoint.
#[derive(Serialize, JsonSchema)]
struct EndpointCreateResponse {
    #[serde(flatten)]
    endpoint: EndpointResponse,
    model_id: Option<String>,
    dataset_id: Option<String>,
}

/// An endpoint and what is attached to it.
#[derive(Serialize, JsonSchema)]
struct EndpointDetailResponse {
    #[serde(flatten)]
    endpoint: EndpointResponse,
    model: Option<AttachedModel>,
    dataset: Option<AttachedDataset>,
    policies: Vec<AttachedPolicy>,
    /// Ids of the marketplaces that list it.
    published_to: Vec<String>,
    /// How things stand with each marketplace that lists it or is to list it.
    listings: Vec<Listing>,
}

/// An endpoint in a list.
#[derive(Serialize, JsonSchema)]
struct EndpointListItem {
    id: String,
    name: String,
    slug: String,
    summary: String,
    response_type: ResponseType,
    published: bool,
    tags: String,
    created_at: String,
    model: Option<AttachedModel>,
    dataset: Option<AttachedDataset>,
}

/// The model of an endpoint. Secrets are struck out.
#[derive(Clone, Serialize, JsonSchema)]
struct AttachedModel {
    id: String,
    name: String,
    dtype: String,
    configuration: Map<String, Value>,
}

/// The dataset of an endpoint. Secrets are struck out.
#[derive(Clone, Serialize, JsonSchema)]
struct AttachedDataset {
    id: String,
    name: String,
    summary: String,
    dtype: String,
    configuration: Map<String, Value>,
}

/// A policy of an endpoint.
#[derive(Serialize, JsonSchema)]
struct AttachedPolicy {
    id: String,
    name: String,
    policy_type: String,
    configuration: Map<String, Value>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::reading(Method::POST, "/api/v1/endpoints/", create)
            .says("Makes an endpoint from a dataset, a model, or both")
            .creates()
            .fails(&[400, 404, 409]),
        Route::new(Method::GET, "/api/v1/endpoints/", list).says("Lists all endpoints, oldest first"),
        Route::new(Method::GET, "/api/v1/endpoints/{slug}", get)
            .says("Shows an endpoint and what is attached to it")
            .fails(&[404]),
        Route::reading(Method::PATCH, "/api/v1/endpoints/{slug}", update)
            .says("Changes an endpoint's name, summary, description, tags or published")
            .fails(&[404]),
        Route::new(Method::DELETE, "/api/v1/endpoints/{slug}", delete)
            .says("Deletes an endpoint and its policies")
            .fails(&[404]),
    ]
}

async fn create(call: Call, new: CreateEndpointRequest) -> Result<EndpointCreateResponse, Problem> {
    let endpoint = proto::Endpoint {
        slug: new.slug,
        name: new.name,
        summary: new.summary,
        description: new.description,
        dataset_id: new.dataset_id.map(|id| id.to_string()),
        model_id: new.model_id.map(|id| id.to_string()),
        response_type: new.response_type.into_proto().into(),
        published: new.published,
        tags: split(&new.tags),
        ..proto::Endpoint::default()
    };
    let request = call.asks(proto::CreateEndpointRequest { endpoint: Some(endpoint) });
    let created = call.gateway.endpoints().create_endpoint(request).await?.into_inner();
    let created = created.endpoint.unwrap_or_default();
    let (model_id, dataset_id) = (created.model_id.clone(), created.dataset_id.clone());
    Ok(EndpointCreateResponse { endpoint: created.into(), model_id, dataset_id })
}

async fn list(call: Call) -> Result<Vec<EndpointListItem>, Problem> {
    let datasets = datasets(&call).await?.into_iter().map(|found| (found.id.clone(), found.into()));
    let datasets: HashMap<String, AttachedDataset> = datasets.collect();
    let models = models(&call).await?.into_iter().map(|found| (found.id.clone(), found.into()));
    let models: HashMap<String, AttachedModel> = models.collect();
    let item = |endpoint: proto::Endpoint| EndpointListItem {
        response_type: ResponseType::of(&endpoint),
        tags: joined(&endpoint.tags),
        created_at: moment(endpoint.create_time),
        model: endpoint.model_id.and_then(|id| models.get(&id).cloned()),
        dataset: endpoint.dataset_id.and_then(|id| datasets.get(&id).cloned()),
        id: endpoint.id,
        name: endpoint.name,
        slug: endpoint.slug,
        summary: endpoint.summary,
        published: endpoint.published,
    };
    endpoints(&call, item).await
}

async fn get(call: Call) -> Result<EndpointDetailResponse, Problem> {
    detail(&call, call.param("slug")).await
}

async fn update(call: Call, new: UpdateEndpointRequest) -> Result<EndpointDetailResponse, Problem> {
    let named = [
        ("name", new.name.is_some()),
        ("summary", new.summary.is_some()),
        ("description", new.description.is_some()),
        ("tags", new.tags.is_some()),
        ("published", new.published.is_some()),
    ];
    let paths: Vec<String> =
        named.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect();
    if paths.is_empty() {
        let msg = "At least one field (name, summary, or description) must be provided";
        return Err(vec![Violation::rule(vec!["body".into()], msg).on(&Value::Object(Map::new()))].into());
    }
    let endpoint = proto::Endpoint {
        slug: call.param("slug"),
        name: new.name.unwrap_or_default(),
        summary: new.summary.unwrap_or_default(),
        description: new.description.unwrap_or_default(),
        tags: split(&new.tags.unwrap_or_default()),
        published: new.published.unwrap_or_default(),
        ..proto::Endpoint::default()
    };
    let update_mask = Some(FieldMask { paths });
    let request = call.asks(proto::UpdateEndpointRequest { endpoint: Some(endpoint), update_mask });
    call.gateway.endpoints().update_endpoint(request).await?;
    detail(&call, call.param("slug")).await
}

async fn delete(call: Call) -> Result<Done, Problem> {
    let slug = call.param("slug");
    let request = call.asks(proto::DeleteEndpointRequest { slug: slug.clone() });
    call.gateway.endpoints().delete_endpoint(request).await?;
    Ok(Done { message: format!("Successfully deleted endpoint '{slug}'") })
}

async fn detail(call: &Call, slug: String) -> Result<EndpointDetailResponse, Problem> {
    let request = call.asks(proto::GetEndpointRequest { slug });
    let found = call.gateway.endpoints().get_endpoint(request).await?.into_inner();
    let mut endpoint = found.endpoint.unwrap_or_default();
    let (published_to, listings) = (take(&mut endpoint.published_to), take(&mut endpoint.listings));
    Ok(EndpointDetailResponse {
        endpoint: endpoint.into(),
        model: found.model.map(Into::into),
        dataset: found.dataset.map(Into::into),
        policies: found.policies.into_iter().map(Into::into).collect(),
        published_to,
        listings: listings.into_iter().map(Into::into).collect(),
    })
}

impl ResponseType {
    fn of(endpoint: &proto::Endpoint) -> Self {
        match endpoint.response_type() {
            proto::ResponseType::Raw => Self::Raw,
            proto::ResponseType::Summary => Self::Summary,
            proto::ResponseType::Both | proto::ResponseType::Unspecified => Self::Both,
        }
    }

    fn into_proto(self) -> proto::ResponseType {
        match self {
            Self::Raw => proto::ResponseType::Raw,
            Self::Summary => proto::ResponseType::Summary,
            Self::Both => proto::ResponseType::Both,
        }
    }
}

impl From<proto::Endpoint> for EndpointResponse {
    fn from(endpoint: proto::Endpoint) -> Self {
        Self {
            response_type: ResponseType::of(&endpoint),
            tags: joined(&endpoint.tags),
            created_at: moment(endpoint.create_time),
            updated_at: moment(endpoint.update_time),
            id: endpoint.id,
            name: endpoint.name,
            slug: endpoint.slug,
            description: endpoint.description,
            summary: endpoint.summary,
            published: endpoint.published,
        }
    }
}

impl From<proto::Model> for AttachedModel {
    fn from(model: proto::Model) -> Self {
        Self {
            id: model.id,
            name: model.name,
            dtype: model.dtype,
            configuration: object(model.configuration),
        }
    }
}

impl From<proto::Dataset> for AttachedDataset {
    fn from(dataset: proto::Dataset) -> Self {
        Self {
            id: dataset.id,
            name: dataset.name,
            summary: dataset.summary,
            dtype: dataset.dtype,
            configuration: object(dataset.configuration),
        }
    }
}

impl From<proto::Policy> for AttachedPolicy {
    fn from(policy: proto::Policy) -> Self {
        Self {
            id: policy.id,
            name: policy.name,
            policy_type: policy.policy_type,
            configuration: object(policy.configuration),
        }
    }
}
