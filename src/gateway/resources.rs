//! Values that several resources show, and lists that the RPCs give in pages.

use std::collections::HashMap;

use http::StatusCode;
use prost_types::Struct;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{problem::Problem, route::Call};
pub use crate::proto::moment;
use crate::proto::{Dataset, Endpoint, Model, from_struct};

/// Items of one page: as many as the RPCs give.
pub const PAGE: i32 = 1000;

/// What was done, in words.
#[derive(Serialize, JsonSchema)]
pub struct Done {
    pub message: String,
}

/// What can be said of a type of dataset, model or policy.
#[derive(Serialize, JsonSchema)]
pub struct TypeInfo {
    name: String,
    description: String,
    /// JSON Schema of its configuration.
    config_schema: Map<String, Value>,
    icon: String,
    enabled: bool,
}

/// An endpoint that uses something.
#[derive(Clone, Serialize, JsonSchema)]
pub struct ConnectedEndpoint {
    id: String,
    name: String,
    slug: String,
}

impl From<crate::proto::TypeInfo> for TypeInfo {
    fn from(info: crate::proto::TypeInfo) -> Self {
        Self {
            name: info.name,
            description: info.description,
            config_schema: object(info.config_schema),
            icon: info.icon,
            enabled: true,
        }
    }
}

impl TypeInfo {
    /// The type of that name; `kind` says what of.
    ///
    /// # Errors
    /// 404.
    pub fn named(types: Vec<crate::proto::TypeInfo>, name: &str, kind: &str) -> Result<Self, Problem> {
        let found = types
            .into_iter()
            .find(|info| info.name == name || info.aliases.iter().any(|alias| alias == name))
            .map(Self::from);
        let shown: String = name.chars().take(64).collect();
        let mut kind = kind.to_owned();
        kind[..1].make_ascii_uppercase();
        found.ok_or_else(|| {
            Problem::Refused(StatusCode::NOT_FOUND, format!("{kind} type '{shown}' not found").into())
        })
    }

    pub fn config_schema(self) -> Map<String, Value> {
        self.config_schema
    }
}

impl From<&Endpoint> for ConnectedEndpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self { id: endpoint.id.clone(), name: endpoint.name.clone(), slug: endpoint.slug.clone() }
    }
}

/// A configuration, or another object.
pub fn object(value: Option<Struct>) -> Map<String, Value> {
    value.and_then(from_struct).unwrap_or_default()
}

/// Labels, as one text.
pub fn joined(tags: &[String]) -> String {
    tags.join(",")
}

/// Labels of one text.
pub fn split(tags: &str) -> Vec<String> {
    tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// All items of a list, page by page: `all!(call, client.method(Request { field: value }).items)`. With
/// `, as shown` behind it, only what that makes of an item is kept.
macro_rules! all {
    ($call:expr, $client:ident.$method:ident($request:ident { $($field:ident: $value:expr),* }).$items:ident) => {
        $crate::gateway::resources::all!($call, $client.$method($request { $($field: $value),* }).$items, as std::convert::identity)
    };
    ($call:expr, $client:ident.$method:ident($request:ident { $($field:ident: $value:expr),* }).$items:ident, as $shown:expr) => {{
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = $crate::proto::$request {
                page_size: $crate::gateway::resources::PAGE,
                page_token,
                $($field: $value),*
            };
            let page = $call.gateway.$client().$method($call.asks(request)).await?.into_inner();
            all.extend(page.$items.into_iter().map($shown));
            if page.next_page_token.is_empty() {
                break all;
            }
            page_token = page.next_page_token;
        }
    }};
}
pub(super) use all;

/// What `shown` makes of every endpoint: a whole one can be long.
pub async fn endpoints<T>(call: &Call, shown: impl Fn(Endpoint) -> T) -> Result<Vec<T>, Problem> {
    Ok(all!(call, endpoints.list_endpoints(ListEndpointsRequest {}).endpoints, as &shown))
}

pub async fn datasets(call: &Call) -> Result<Vec<Dataset>, Problem> {
    Ok(all!(call, datasets.list_datasets(ListDatasetsRequest {}).datasets))
}

pub async fn models(call: &Call) -> Result<Vec<Model>, Problem> {
    Ok(all!(call, models.list_models(ListModelsRequest {}).models))
}

/// The endpoints that use something, by what `attached` says is the id of it.
pub async fn connected(
    call: &Call,
    attached: fn(&Endpoint) -> Option<&String>,
) -> Result<HashMap<String, Vec<ConnectedEndpoint>>, Problem> {
    let shown =
        |endpoint: Endpoint| attached(&endpoint).cloned().map(|id| (id, ConnectedEndpoint::from(&endpoint)));
    let mut connected: HashMap<String, Vec<ConnectedEndpoint>> = HashMap::new();
    for (id, endpoint) in endpoints(call, shown).await?.into_iter().flatten() {
        connected.entry(id).or_default().push(endpoint);
    }
    Ok(connected)
}
