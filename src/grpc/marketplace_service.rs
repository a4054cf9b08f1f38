//! `syft.space.v1.MarketplaceService`.

use tonic::{Request, Response, Status};

use super::Api;
use crate::proto::{self, marketplace_service_server::MarketplaceService};

#[tonic::async_trait]
impl MarketplaceService for Api {
    async fn register_marketplace(
        &self,
        _request: Request<proto::RegisterMarketplaceRequest>,
    ) -> Result<Response<proto::RegisterMarketplaceResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn verify_otp(
        &self,
        _request: Request<proto::VerifyOtpRequest>,
    ) -> Result<Response<proto::VerifyOtpResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn resend_otp(
        &self,
        _request: Request<proto::ResendOtpRequest>,
    ) -> Result<Response<proto::ResendOtpResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn connect_marketplace(
        &self,
        _request: Request<proto::ConnectMarketplaceRequest>,
    ) -> Result<Response<proto::ConnectMarketplaceResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn get_marketplace(
        &self,
        _request: Request<proto::GetMarketplaceRequest>,
    ) -> Result<Response<proto::GetMarketplaceResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn list_marketplaces(
        &self,
        _request: Request<proto::ListMarketplacesRequest>,
    ) -> Result<Response<proto::ListMarketplacesResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn delete_marketplace(
        &self,
        _request: Request<proto::DeleteMarketplaceRequest>,
    ) -> Result<Response<proto::DeleteMarketplaceResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn check_username(
        &self,
        _request: Request<proto::CheckUsernameRequest>,
    ) -> Result<Response<proto::CheckUsernameResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn get_public_url(
        &self,
        _request: Request<proto::GetPublicUrlRequest>,
    ) -> Result<Response<proto::GetPublicUrlResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }

    async fn set_public_url(
        &self,
        _request: Request<proto::SetPublicUrlRequest>,
    ) -> Result<Response<proto::SetPublicUrlResponse>, Status> {
        Err(Status::unimplemented("not written yet"))
    }
}
