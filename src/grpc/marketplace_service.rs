//! `syft.space.v1.MarketplaceService`.

use tonic::{Request, Response, Status};

use super::{Api, convert, status::status, tenant};
use crate::proto::{self, marketplace_service_server::MarketplaceService};

#[tonic::async_trait]
impl MarketplaceService for Api {
    async fn register_marketplace(
        &self,
        request: Request<proto::RegisterMarketplaceRequest>,
    ) -> Result<Response<proto::RegisterMarketplaceResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::registration_draft(request.into_inner());
        let registered = self.catalog.register_marketplace(&tenant, draft).await.map_err(status)?;
        Ok(Response::new(proto::RegisterMarketplaceResponse {
            verification_required: registered.is_none(),
            marketplace: registered.map(convert::marketplace),
        }))
    }

    async fn verify_otp(
        &self,
        request: Request<proto::VerifyOtpRequest>,
    ) -> Result<Response<proto::VerifyOtpResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::proof_draft(request.into_inner());
        let connected = self.catalog.verify_otp(&tenant, draft).await.map_err(status)?;
        Ok(Response::new(proto::VerifyOtpResponse { marketplace: Some(convert::marketplace(connected)) }))
    }

    async fn resend_otp(
        &self,
        request: Request<proto::ResendOtpRequest>,
    ) -> Result<Response<proto::ResendOtpResponse>, Status> {
        let request = request.into_inner();
        self.catalog.resend_otp(&request.email, &request.url).await.map_err(status)?;
        Ok(Response::new(proto::ResendOtpResponse {}))
    }

    async fn connect_marketplace(
        &self,
        request: Request<proto::ConnectMarketplaceRequest>,
    ) -> Result<Response<proto::ConnectMarketplaceResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::connection_draft(request.into_inner());
        let connected = self.catalog.connect_marketplace(&tenant, draft).await.map_err(status)?;
        let marketplace = Some(convert::marketplace(connected));
        Ok(Response::new(proto::ConnectMarketplaceResponse { marketplace }))
    }

    async fn get_marketplace(
        &self,
        request: Request<proto::GetMarketplaceRequest>,
    ) -> Result<Response<proto::GetMarketplaceResponse>, Status> {
        let tenant = tenant(&request)?;
        let found = self.catalog.marketplace(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::GetMarketplaceResponse { marketplace: Some(convert::marketplace(found)) }))
    }

    async fn list_marketplaces(
        &self,
        request: Request<proto::ListMarketplacesRequest>,
    ) -> Result<Response<proto::ListMarketplacesResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.marketplaces(&tenant, &page).await.map_err(status)?;
        let marketplaces = found.items.into_iter().map(convert::marketplace).collect();
        let next_page_token = found.next_token;
        Ok(Response::new(proto::ListMarketplacesResponse { marketplaces, next_page_token }))
    }

    async fn delete_marketplace(
        &self,
        request: Request<proto::DeleteMarketplaceRequest>,
    ) -> Result<Response<proto::DeleteMarketplaceResponse>, Status> {
        let tenant = tenant(&request)?;
        self.catalog.delete_marketplace(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::DeleteMarketplaceResponse {}))
    }

    async fn check_username(
        &self,
        request: Request<proto::CheckUsernameRequest>,
    ) -> Result<Response<proto::CheckUsernameResponse>, Status> {
        let request = request.into_inner();
        let checked = self.catalog.is_username_free(&request.username, &request.url).await;
        Ok(Response::new(proto::CheckUsernameResponse { available: checked.map_err(status)? }))
    }

    async fn get_public_url(
        &self,
        request: Request<proto::GetPublicUrlRequest>,
    ) -> Result<Response<proto::GetPublicUrlResponse>, Status> {
        let found = self.catalog.public_url(&tenant(&request)?).await.map_err(status)?;
        Ok(Response::new(proto::GetPublicUrlResponse { public_url: found.unwrap_or_default() }))
    }

    async fn set_public_url(
        &self,
        request: Request<proto::SetPublicUrlRequest>,
    ) -> Result<Response<proto::SetPublicUrlResponse>, Status> {
        let tenant = tenant(&request)?;
        let url = request.into_inner().public_url;
        let counts = self.catalog.set_public_url(&tenant, &url).await.map_err(status)?;
        Ok(Response::new(proto::SetPublicUrlResponse { public_url: counts.unwrap_or_default() }))
    }
}
