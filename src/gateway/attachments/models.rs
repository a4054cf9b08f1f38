//! Models.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tonic::Status;

use super::{Attachment, Change, Kind};
use crate::{
    gateway::{
        problem::Problem,
        resources::{self, ConnectedEndpoint, joined, moment, object},
        route::Call,
    },
    proto::{self, Endpoint, Model},
};

pub(super) struct Models;

/// A model. Secrets are struck out.
#[derive(Serialize, JsonSchema)]
pub(super) struct ModelResponse {
    id: String,
    name: String,
    dtype: String,
    configuration: Map<String, Value>,
    summary: String,
    tags: String,
    created_at: String,
    updated_at: String,
    connected_endpoints: Vec<ConnectedEndpoint>,
}

/// A model in a list.
#[derive(Serialize, JsonSchema)]
pub(super) struct ModelListItem {
    id: String,
    name: String,
    dtype: String,
    summary: String,
    tags: String,
    created_at: String,
    connected_endpoints: Vec<ConnectedEndpoint>,
    configuration: Map<String, Value>,
}

/// Whether a model can be asked.
#[derive(Serialize, JsonSchema)]
pub(super) struct ModelHealth {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    message: String,
}

impl Kind for Models {
    const NAME: &'static str = "model";
    type Shown = ModelResponse;
    type Listed = ModelListItem;
    type Health = ModelHealth;

    fn of(endpoint: &Endpoint) -> Option<&String> {
        endpoint.model_id.as_ref()
    }

    async fn types(call: &Call) -> Result<Vec<proto::TypeInfo>, Status> {
        let request = call.asks(proto::ListModelTypesRequest {});
        Ok(call.gateway.models().list_model_types(request).await?.into_inner().types)
    }

    async fn create(call: &Call, new: Attachment) -> Result<Attachment, Status> {
        let request = call.asks(proto::CreateModelRequest { model: Some(new.into()) });
        Ok(call.gateway.models().create_model(request).await?.into_inner().model.unwrap_or_default().into())
    }

    async fn get(call: &Call, name: String) -> Result<Attachment, Status> {
        let request = call.asks(proto::GetModelRequest { name });
        Ok(call.gateway.models().get_model(request).await?.into_inner().model.unwrap_or_default().into())
    }

    async fn all(call: &Call) -> Result<Vec<Attachment>, Problem> {
        Ok(resources::models(call).await?.into_iter().map(Attachment::from).collect())
    }

    async fn update(call: &Call, change: Change) -> Result<Attachment, Status> {
        let model =
            Model { name: change.name, summary: change.summary, tags: change.tags, ..Model::default() };
        let request = call.asks(proto::UpdateModelRequest {
            model: Some(model),
            update_mask: Some(change.mask),
            new_name: change.new_name,
        });
        Ok(call.gateway.models().update_model(request).await?.into_inner().model.unwrap_or_default().into())
    }

    async fn delete(call: &Call, name: String) -> Result<(), Status> {
        call.gateway.models().delete_model(call.asks(proto::DeleteModelRequest { name })).await?;
        Ok(())
    }

    async fn health(call: &Call, name: String) -> Result<proto::Health, Status> {
        let request = call.asks(proto::CheckModelHealthRequest { name });
        let checked = call.gateway.models().check_model_health(request).await?.into_inner();
        Ok(checked.health.unwrap_or_default())
    }
}

impl From<(Attachment, Vec<ConnectedEndpoint>)> for ModelResponse {
    fn from((found, connected_endpoints): (Attachment, Vec<ConnectedEndpoint>)) -> Self {
        Self {
            id: found.id,
            name: found.name,
            dtype: found.dtype,
            configuration: object(found.configuration),
            summary: found.summary,
            tags: joined(&found.tags),
            created_at: moment(found.create_time),
            updated_at: moment(found.update_time),
            connected_endpoints,
        }
    }
}

impl From<(Attachment, Vec<ConnectedEndpoint>)> for ModelListItem {
    fn from((found, connected_endpoints): (Attachment, Vec<ConnectedEndpoint>)) -> Self {
        Self {
            id: found.id,
            name: found.name,
            dtype: found.dtype,
            summary: found.summary,
            tags: joined(&found.tags),
            created_at: moment(found.create_time),
            connected_endpoints,
            configuration: object(found.configuration),
        }
    }
}

impl From<proto::Health> for ModelHealth {
    fn from(health: proto::Health) -> Self {
        Self { status: if health.healthy { "healthy" } else { "unhealthy" }, message: health.message }
    }
}

impl From<Model> for Attachment {
    fn from(model: Model) -> Self {
        Self {
            id: model.id,
            name: model.name,
            dtype: model.dtype,
            configuration: model.configuration,
            summary: model.summary,
            tags: model.tags,
            create_time: model.create_time,
            update_time: model.update_time,
        }
    }
}

impl From<Attachment> for Model {
    fn from(new: Attachment) -> Self {
        Self {
            name: new.name,
            dtype: new.dtype,
            configuration: new.configuration,
            summary: new.summary,
            tags: new.tags,
            ..Self::default()
        }
    }
}
