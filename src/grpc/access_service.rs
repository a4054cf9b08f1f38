//! `syft.space.v1.AccessService`.

use secrecy::ExposeSecret;
use tonic::{Request, Response, Status};

use super::{Api, convert, status::status, tenant};
use crate::{
    catalog::ApiKeyDraft,
    identity,
    proto::{self, access_service_server::AccessService},
};

#[tonic::async_trait]
impl AccessService for Api {
    async fn create_api_key(
        &self,
        request: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::CreateApiKeyResponse>, Status> {
        let tenant = tenant(&request)?;
        let new = request.into_inner().api_key.unwrap_or_default();
        let (expires_at, problems) = convert::time_of("api_key.expire_time", new.expire_time);
        let draft = ApiKeyDraft {
            name: new.name,
            email: new.email,
            scopes: convert::scopes(&new.scopes),
            expires_at,
            problems,
        };
        let secret = identity::new_api_key().map_err(status)?;
        let hash = identity::hash(secret.expose_secret());
        let created = self.catalog.create_api_key(&tenant, draft, hash).await.map_err(status)?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(proto::CreateApiKeyResponse { api_key: Some(convert::api_key(created)), secret }))
    }

    async fn list_api_keys(
        &self,
        request: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.api_keys(&tenant, &page).await.map_err(status)?;
        let api_keys = found.items.into_iter().map(convert::api_key).collect();
        Ok(Response::new(proto::ListApiKeysResponse { api_keys, next_page_token: found.next_token }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<proto::RevokeApiKeyRequest>,
    ) -> Result<Response<proto::RevokeApiKeyResponse>, Status> {
        let tenant = tenant(&request)?;
        let revoked = self.catalog.revoke_api_key(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::RevokeApiKeyResponse { api_key: Some(convert::api_key(revoked)) }))
    }

    async fn create_tenant(
        &self,
        request: Request<proto::CreateTenantRequest>,
    ) -> Result<Response<proto::CreateTenantResponse>, Status> {
        let new = request.into_inner().tenant.unwrap_or_default();
        let created = self.catalog.create_tenant(&new.name, &new.display_name).await.map_err(status)?;
        Ok(Response::new(proto::CreateTenantResponse { tenant: Some(convert::tenant(created)) }))
    }

    async fn get_tenant(
        &self,
        request: Request<proto::GetTenantRequest>,
    ) -> Result<Response<proto::GetTenantResponse>, Status> {
        let found = self.catalog.tenant(&request.into_inner().name).await.map_err(status)?;
        Ok(Response::new(proto::GetTenantResponse { tenant: Some(convert::tenant(found)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<proto::ListTenantsRequest>,
    ) -> Result<Response<proto::ListTenantsResponse>, Status> {
        let request = request.into_inner();
        let found = self.catalog.tenants(&convert::page(request.page_size, request.page_token)).await;
        let found = found.map_err(status)?;
        let tenants = found.items.into_iter().map(convert::tenant).collect();
        Ok(Response::new(proto::ListTenantsResponse { tenants, next_page_token: found.next_token }))
    }
}
