//! Datasets.

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
    proto::{self, Dataset, Endpoint},
};

pub(super) struct Datasets;

/// A dataset. Secrets are struck out.
#[derive(Serialize, JsonSchema)]
pub(super) struct DatasetResponse {
    id: String,
    name: String,
    dtype: String,
    configuration: Map<String, Value>,
    summary: String,
    tags: String,
    /// Null: this service starts no search engines.
    provisioner_state: Option<Map<String, Value>>,
    created_at: String,
    updated_at: String,
    connected_endpoints: Vec<ConnectedEndpoint>,
}

/// A dataset in a list.
#[derive(Serialize, JsonSchema)]
pub(super) struct DatasetListItem {
    id: String,
    name: String,
    dtype: String,
    summary: String,
    tags: String,
    created_at: String,
    connected_endpoints: Vec<ConnectedEndpoint>,
    provisioner_status: Option<Map<String, Value>>,
    configuration: Map<String, Value>,
}

/// Whether a dataset can be searched.
#[derive(Serialize, JsonSchema)]
pub(super) struct DatasetHealth {
    /// `healthy` or `unhealthy`.
    dataset_type_status: &'static str,
    provisioner_status: Option<String>,
    message: String,
}

impl Kind for Datasets {
    const NAME: &'static str = "dataset";
    type Shown = DatasetResponse;
    type Listed = DatasetListItem;
    type Health = DatasetHealth;

    fn of(endpoint: &Endpoint) -> Option<&String> {
        endpoint.dataset_id.as_ref()
    }

    async fn types(call: &Call) -> Result<Vec<proto::TypeInfo>, Status> {
        let request = call.asks(proto::ListDatasetTypesRequest {});
        Ok(call.gateway.datasets().list_dataset_types(request).await?.into_inner().types)
    }

    async fn create(call: &Call, new: Attachment) -> Result<Attachment, Status> {
        let request = call.asks(proto::CreateDatasetRequest { dataset: Some(new.into()) });
        Ok(call
            .gateway
            .datasets()
            .create_dataset(request)
            .await?
            .into_inner()
            .dataset
            .unwrap_or_default()
            .into())
    }

    async fn get(call: &Call, name: String) -> Result<Attachment, Status> {
        let request = call.asks(proto::GetDatasetRequest { name });
        Ok(call
            .gateway
            .datasets()
            .get_dataset(request)
            .await?
            .into_inner()
            .dataset
            .unwrap_or_default()
            .into())
    }

    async fn all(call: &Call) -> Result<Vec<Attachment>, Problem> {
        Ok(resources::datasets(call).await?.into_iter().map(Attachment::from).collect())
    }

    async fn update(call: &Call, change: Change) -> Result<Attachment, Status> {
        let dataset =
            Dataset { name: change.name, summary: change.summary, tags: change.tags, ..Dataset::default() };
        let request = call.asks(proto::UpdateDatasetRequest {
            dataset: Some(dataset),
            update_mask: Some(change.mask),
            new_name: change.new_name,
        });
        Ok(call
            .gateway
            .datasets()
            .update_dataset(request)
            .await?
            .into_inner()
            .dataset
            .unwrap_or_default()
            .into())
    }

    async fn delete(call: &Call, name: String) -> Result<(), Status> {
        call.gateway.datasets().delete_dataset(call.asks(proto::DeleteDatasetRequest { name })).await?;
        Ok(())
    }

    async fn health(call: &Call, name: String) -> Result<proto::Health, Status> {
        let request = call.asks(proto::CheckDatasetHealthRequest { name });
        let checked = call.gateway.datasets().check_dataset_health(request).await?.into_inner();
        Ok(checked.health.unwrap_or_default())
    }
}

impl From<(Attachment, Vec<ConnectedEndpoint>)> for DatasetResponse {
    fn from((found, connected_endpoints): (Attachment, Vec<ConnectedEndpoint>)) -> Self {
        Self {
            id: found.id,
            name: found.name,
            dtype: found.dtype,
            configuration: object(found.configuration),
            summary: found.summary,
            tags: joined(&found.tags),
            provisioner_state: None,
            created_at: moment(found.create_time),
            updated_at: moment(found.update_time),
            connected_endpoints,
        }
    }
}

impl From<(Attachment, Vec<ConnectedEndpoint>)> for DatasetListItem {
    fn from((found, connected_endpoints): (Attachment, Vec<ConnectedEndpoint>)) -> Self {
        Self {
            id: found.id,
            name: found.name,
            dtype: found.dtype,
            summary: found.summary,
            tags: joined(&found.tags),
            created_at: moment(found.create_time),
            connected_endpoints,
            provisioner_status: None,
            configuration: object(found.configuration),
        }
    }
}

impl From<proto::Health> for DatasetHealth {
    fn from(health: proto::Health) -> Self {
        Self {
            dataset_type_status: if health.healthy { "healthy" } else { "unhealthy" },
            provisioner_status: None,
            message: health.message,
        }
    }
}

impl From<Dataset> for Attachment {
    fn from(dataset: Dataset) -> Self {
        Self {
            id: dataset.id,
            name: dataset.name,
            dtype: dataset.dtype,
            configuration: dataset.configuration,
            summary: dataset.summary,
            tags: dataset.tags,
            create_time: dataset.create_time,
            update_time: dataset.update_time,
        }
    }
}

impl From<Attachment> for Dataset {
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
