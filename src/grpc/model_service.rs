//! `syft.space.v1.ModelService`.

use tonic::{Request, Response, Status};

use super::{Api, convert, status::status, tenant};
use crate::{
    error::Part::Model,
    proto::{self, model_service_server::ModelService},
};

#[tonic::async_trait]
impl ModelService for Api {
    async fn create_model(
        &self,
        request: Request<proto::CreateModelRequest>,
    ) -> Result<Response<proto::CreateModelResponse>, Status> {
        let tenant = tenant(&request)?;
        let new = request.into_inner().model.unwrap_or_default();
        let mut draft = convert::attachment_draft("model", new.name, new.dtype, new.configuration);
        (draft.summary, draft.tags) = (new.summary, new.tags);
        let created = self.catalog.create_attachment(Model, &tenant, draft).await.map_err(status)?;
        Ok(Response::new(proto::CreateModelResponse { model: Some(convert::model(created)) }))
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::GetModelResponse>, Status> {
        let tenant = tenant(&request)?;
        let found = self.catalog.attachment(Model, &tenant, &request.into_inner().name).await;
        let (found, endpoint_slugs) = found.map_err(status)?;
        Ok(Response::new(proto::GetModelResponse { model: Some(convert::model(found)), endpoint_slugs }))
    }

    async fn list_models(
        &self,
        request: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.attachments(Model, &tenant, &page).await.map_err(status)?;
        let models = found.items.into_iter().map(convert::model).collect();
        Ok(Response::new(proto::ListModelsResponse { models, next_page_token: found.next_token }))
    }

    async fn update_model(
        &self,
        request: Request<proto::UpdateModelRequest>,
    ) -> Result<Response<proto::UpdateModelResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let new = request.model.unwrap_or_default();
        let labels = (new.summary, new.tags);
        let change = convert::attachment_change(request.update_mask, request.new_name, labels);
        let change = change.map_err(status)?;
        let updated =
            self.catalog.update_attachment(Model, &tenant, &new.name, change).await.map_err(status)?;
        Ok(Response::new(proto::UpdateModelResponse { model: Some(convert::model(updated)) }))
    }

    async fn delete_model(
        &self,
        request: Request<proto::DeleteModelRequest>,
    ) -> Result<Response<proto::DeleteModelResponse>, Status> {
        let tenant = tenant(&request)?;
        self.catalog.delete_attachment(Model, &tenant, &request.into_inner().name).await.map_err(status)?;
        Ok(Response::new(proto::DeleteModelResponse {}))
    }

    async fn list_model_types(
        &self,
        _request: Request<proto::ListModelTypesRequest>,
    ) -> Result<Response<proto::ListModelTypesResponse>, Status> {
        let types = self.catalog.attachment_types(Model).into_iter().map(convert::type_info).collect();
        Ok(Response::new(proto::ListModelTypesResponse { types }))
    }

    async fn check_model_health(
        &self,
        request: Request<proto::CheckModelHealthRequest>,
    ) -> Result<Response<proto::CheckModelHealthResponse>, Status> {
        let tenant = tenant(&request)?;
        let health = self.catalog.attachment_health(Model, &tenant, &request.into_inner().name).await;
        let health = Some(convert::health(health.map_err(status)?));
        Ok(Response::new(proto::CheckModelHealthResponse { health }))
    }
}
