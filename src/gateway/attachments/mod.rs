//! `/datasets` and `/models`: the same routes for both.

mod datasets;
mod models;
mod search;

use http::Method;
use prost_types::FieldMask;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::Status;

use super::{
    body::Violation,
    problem::Problem,
    resources::{ConnectedEndpoint, Done, TypeInfo, connected},
    route::{Answer, Call, Route},
};
use crate::proto::{self, Endpoint, to_struct};

/// Datasets or models.
trait Kind: 'static {
    /// The name in sentences.
    const NAME: &'static str;
    /// One, as it is shown after a change or alone.
    type Shown: Answer + From<(Attachment, Vec<ConnectedEndpoint>)>;
    /// One, as it is shown in a list.
    type Listed: Send + From<(Attachment, Vec<ConnectedEndpoint>)>;
    /// Whether one can be used.
    type Health: Answer + From<proto::Health>;

    /// Which one an endpoint uses.
    fn of(endpoint: &Endpoint) -> Option<&String>;
    fn types(call: &Call) -> impl Future<Output = Result<Vec<proto::TypeInfo>, Status>> + Send;
    fn create(call: &Call, new: Attachment) -> impl Future<Output = Result<Attachment, Status>> + Send;
    fn get(call: &Call, name: String) -> impl Future<Output = Result<Attachment, Status>> + Send;
    fn all(call: &Call) -> impl Future<Output = Result<Vec<Attachment>, Problem>> + Send;
    fn update(call: &Call, change: Change) -> impl Future<Output = Result<Attachment, Status>> + Send;
    fn delete(call: &Call, name: String) -> impl Future<Output = Result<(), Status>> + Send;
    fn health(call: &Call, name: String) -> impl Future<Output = Result<proto::Health, Status>> + Send;
}

/// What datasets and models have in common.
struct Attachment {
    id: String,
    name: String,
    dtype: String,
    configuration: Option<prost_types::Struct>,
    summary: String,
    tags: Vec<String>,
    create_time: Option<prost_types::Timestamp>,
    update_time: Option<prost_types::Timestamp>,
}

/// New values of what is named in the mask.
struct Change {
    name: String,
    new_name: String,
    summary: String,
    tags: Vec<String>,
    mask: FieldMask,
}

/// A dataset or a model to be made. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct CreateAttachmentRequest {
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    name: String,
    /// One of the types.
    dtype: String,
    /// As the type's schema says.
    configuration: Map<String, Value>,
    #[serde(default)]
    summary: String,
    /// Labels, with commas between them.
    #[serde(default)]
    tags: String,
}

/// New values; null or absent leaves a field as it is.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    {"required": ["name"], "properties": {"name": {"type": "string"}}},
    {"required": ["summary"], "properties": {"summary": {"type": "string"}}},
    {"required": ["tags"], "properties": {"tags": {"type": "string"}}},
]))]
struct UpdateAttachmentRequest {
    #[serde(default)]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    name: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    /// Labels, with commas between them.
    #[serde(default)]
    tags: Option<String>,
}

pub(super) fn dataset_routes() -> Vec<Route> {
    const PATHS: [&str; 6] = [
        "/api/v1/datasets/types/",
        "/api/v1/datasets/types/{name}",
        "/api/v1/datasets/types/{name}/schema",
        "/api/v1/datasets/",
        "/api/v1/datasets/{name}",
        "/api/v1/datasets/{name}/health",
    ];
    routes::<datasets::Datasets>(PATHS).into_iter().chain([search::route()]).collect()
}

pub(super) fn model_routes() -> Vec<Route> {
    const PATHS: [&str; 6] = [
        "/api/v1/models/types/",
        "/api/v1/models/types/{name}",
        "/api/v1/models/types/{name}/schema",
        "/api/v1/models/",
        "/api/v1/models/{name}",
        "/api/v1/models/{name}/health",
    ];
    routes::<models::Models>(PATHS)
}

fn routes<K: Kind>([types, type_info, schema, all, one, health]: [&'static str; 6]) -> Vec<Route>
where
    Vec<K::Listed>: Answer,
{
    vec![
        Route::new(Method::GET, types, self::types::<K>).says("Lists the types that there are"),
        Route::new(Method::GET, type_info, self::type_info::<K>).says("Shows a type").fails(&[404]),
        Route::new(Method::GET, schema, self::schema::<K>)
            .says("Shows the JSON Schema of a type's configuration")
            .fails(&[404]),
        Route::reading(Method::POST, all, create::<K>)
            .says("Makes one, after checking its configuration")
            .creates()
            .fails(&[400, 409]),
        Route::new(Method::GET, all, list::<K>).says("Lists all, oldest first"),
        Route::new(Method::GET, one, get::<K>).says("Shows one").fails(&[404]),
        Route::reading(Method::PATCH, one, update::<K>)
            .says("Changes name, summary or tags")
            .fails(&[404, 409]),
        Route::new(Method::DELETE, one, delete::<K>)
            .says("Deletes one, unless endpoints use it")
            .fails(&[404, 409]),
        Route::new(Method::GET, health, self::health::<K>)
            .says("Says whether a query could use it now")
            .fails(&[404]),
    ]
}

async fn types<K: Kind>(call: Call) -> Result<Vec<TypeInfo>, Problem> {
    Ok(K::types(&call).await?.into_iter().map(TypeInfo::from).collect())
}

async fn type_info<K: Kind>(call: Call) -> Result<TypeInfo, Problem> {
    TypeInfo::named(K::types(&call).await?, &call.param("name"), K::NAME)
}

async fn schema<K: Kind>(call: Call) -> Result<Map<String, Value>, Problem> {
    Ok(type_info::<K>(call).await?.config_schema())
}

async fn create<K: Kind>(call: Call, new: CreateAttachmentRequest) -> Result<K::Shown, Problem> {
    let new = Attachment {
        id: String::new(),
        name: new.name,
        dtype: new.dtype,
        configuration: Some(to_struct(new.configuration)),
        summary: new.summary,
        tags: super::resources::split(&new.tags),
        create_time: None,
        update_time: None,
    };
    Ok((K::create(&call, new).await?, Vec::new()).into())
}

async fn list<K: Kind>(call: Call) -> Result<Vec<K::Listed>, Problem> {
    let mut connected = connected(&call, K::of).await?;
    let listed = |found: Attachment| {
        let connected = connected.remove(&found.id).unwrap_or_default();
        (found, connected).into()
    };
    Ok(K::all(&call).await?.into_iter().map(listed).collect())
}

async fn get<K: Kind>(call: Call) -> Result<K::Shown, Problem> {
    let found = K::get(&call, call.param("name")).await?;
    shown::<K>(&call, found).await
}

async fn update<K: Kind>(call: Call, new: UpdateAttachmentRequest) -> Result<K::Shown, Problem> {
    let named =
        [("name", new.name.is_some()), ("summary", new.summary.is_some()), ("tags", new.tags.is_some())];
    let paths: Vec<String> =
        named.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect();
    if paths.is_empty() {
        let msg = "At least one field (name, summary, or tags) must be provided";
        return Err(vec![Violation::rule(vec!["body".into()], msg).on(&Value::Object(Map::new()))].into());
    }
    let change = Change {
        name: call.param("name"),
        new_name: new.name.unwrap_or_default(),
        summary: new.summary.unwrap_or_default(),
        tags: super::resources::split(&new.tags.unwrap_or_default()),
        mask: FieldMask { paths },
    };
    let updated = K::update(&call, change).await?;
    shown::<K>(&call, updated).await
}

async fn delete<K: Kind>(call: Call) -> Result<Done, Problem> {
    let name = call.param("name");
    K::delete(&call, name.clone()).await?;
    Ok(Done { message: format!("Successfully deleted {} '{name}'", K::NAME) })
}

async fn health<K: Kind>(call: Call) -> Result<K::Health, Problem> {
    Ok(K::health(&call, call.param("name")).await?.into())
}

async fn shown<K: Kind>(call: &Call, found: Attachment) -> Result<K::Shown, Problem> {
    let connected = connected(call, K::of).await?.remove(&found.id).unwrap_or_default();
    Ok((found, connected).into())
}
