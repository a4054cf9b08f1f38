//! `syft.space.v1.DatasetService`.

use futures_util::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Api, convert, ingest, status::status, tenant};
use crate::{
    catalog::SearchDraft,
    error::Part::Dataset,
    proto::{self, dataset_service_server::DatasetService},
};

#[tonic::async_trait]
impl DatasetService for Api {
    async fn create_dataset(
        &self,
        request: Request<proto::CreateDatasetRequest>,
    ) -> Result<Response<proto::CreateDatasetResponse>, Status> {
        let tenant = tenant(&request)?;
        let new = request.into_inner().dataset.unwrap_or_default();
        let mut draft = convert::attachment_draft("dataset", new.name, new.dtype, new.configuration);
        (draft.summary, draft.tags) = (new.summary, new.tags);
        let created = self.catalog.create_attachment(Dataset, &tenant, draft).await.map_err(status)?;
        Ok(Response::new(proto::CreateDatasetResponse { dataset: Some(convert::dataset(created)) }))
    }

    async fn get_dataset(
        &self,
        request: Request<proto::GetDatasetRequest>,
    ) -> Result<Response<proto::GetDatasetResponse>, Status> {
        let tenant = tenant(&request)?;
        let found = self.catalog.attachment(Dataset, &tenant, &request.into_inner().name).await;
        let (found, endpoint_slugs) = found.map_err(status)?;
        Ok(Response::new(proto::GetDatasetResponse {
            dataset: Some(convert::dataset(found)),
            endpoint_slugs,
        }))
    }

    async fn list_datasets(
        &self,
        request: Request<proto::ListDatasetsRequest>,
    ) -> Result<Response<proto::ListDatasetsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.attachments(Dataset, &tenant, &page).await.map_err(status)?;
        let datasets = found.items.into_iter().map(convert::dataset).collect();
        Ok(Response::new(proto::ListDatasetsResponse { datasets, next_page_token: found.next_token }))
    }

    async fn update_dataset(
        &self,
        request: Request<proto::UpdateDatasetRequest>,
    ) -> Result<Response<proto::UpdateDatasetResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let new = request.dataset.unwrap_or_default();
        let labels = (new.summary, new.tags);
        let change = convert::attachment_change(request.update_mask, request.new_name, labels);
        let change = change.map_err(status)?;
        let updated =
            self.catalog.update_attachment(Dataset, &tenant, &new.name, change).await.map_err(status)?;
        Ok(Response::new(proto::UpdateDatasetResponse { dataset: Some(convert::dataset(updated)) }))
    }

    async fn delete_dataset(
        &self,
        request: Request<proto::DeleteDatasetRequest>,
    ) -> Result<Response<proto::DeleteDatasetResponse>, Status> {
        let tenant = tenant(&request)?;
        self.catalog.delete_attachment(Dataset, &tenant, &request.into_inner().name).await.map_err(status)?;
        Ok(Response::new(proto::DeleteDatasetResponse {}))
    }

    async fn list_dataset_types(
        &self,
        _request: Request<proto::ListDatasetTypesRequest>,
    ) -> Result<Response<proto::ListDatasetTypesResponse>, Status> {
        let types = self.catalog.attachment_types(Dataset).into_iter().map(convert::type_info).collect();
        Ok(Response::new(proto::ListDatasetTypesResponse { types }))
    }

    async fn check_dataset_health(
        &self,
        request: Request<proto::CheckDatasetHealthRequest>,
    ) -> Result<Response<proto::CheckDatasetHealthResponse>, Status> {
        let tenant = tenant(&request)?;
        let health = self.catalog.attachment_health(Dataset, &tenant, &request.into_inner().name).await;
        let health = Some(convert::health(health.map_err(status)?));
        Ok(Response::new(proto::CheckDatasetHealthResponse { health }))
    }

    async fn search_dataset(
        &self,
        request: Request<proto::SearchDatasetRequest>,
    ) -> Result<Response<proto::SearchDatasetResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let draft = SearchDraft {
            text: request.text,
            similarity_threshold: request.similarity_threshold,
            limit: request.limit,
            include_metadata: request.include_metadata,
        };
        let found = self.catalog.search(&tenant, &request.name, draft).await.map_err(status)?;
        Ok(Response::new(proto::SearchDatasetResponse { references: Some(convert::references(found)) }))
    }

    type IngestDocumentsStream = BoxStream<'static, Result<proto::IngestDocumentsResponse, Status>>;

    async fn ingest_documents(
        &self,
        request: Request<Streaming<proto::IngestDocumentsRequest>>,
    ) -> Result<Response<Self::IngestDocumentsStream>, Status> {
        let tenant = tenant(&request)?;
        let documents = ingest::Documents::new(self.catalog.clone(), tenant, request.into_inner());
        Ok(Response::new(documents.acknowledged().boxed()))
    }

    async fn list_documents(
        &self,
        request: Request<proto::ListDocumentsRequest>,
    ) -> Result<Response<proto::ListDocumentsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.documents(&tenant, &request.dataset, &page).await.map_err(status)?;
        let documents = found.items.into_iter().map(convert::document).collect();
        Ok(Response::new(proto::ListDocumentsResponse { documents, next_page_token: found.next_token }))
    }

    async fn delete_documents(
        &self,
        request: Request<proto::DeleteDocumentsRequest>,
    ) -> Result<Response<proto::DeleteDocumentsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let deleted =
            self.catalog.delete_documents(&tenant, &request.dataset, request.ids).await.map_err(status)?;
        Ok(Response::new(proto::DeleteDocumentsResponse {
            deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
        }))
    }
}
