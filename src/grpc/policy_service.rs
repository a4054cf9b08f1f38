//! `syft.space.v1.PolicyService`.

use tonic::{Request, Response, Status};

use super::{Api, convert, status::status, tenant};
use crate::proto::{self, policy_service_server::PolicyService};

#[tonic::async_trait]
impl PolicyService for Api {
    async fn create_policy(
        &self,
        request: Request<proto::CreatePolicyRequest>,
    ) -> Result<Response<proto::CreatePolicyResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::policy_draft(request.into_inner().policy).map_err(status)?;
        let created = self.catalog.create_policy(&tenant, draft).await.map_err(status)?;
        Ok(Response::new(proto::CreatePolicyResponse { policy: Some(convert::policy(created)) }))
    }

    async fn get_policy(
        &self,
        request: Request<proto::GetPolicyRequest>,
    ) -> Result<Response<proto::GetPolicyResponse>, Status> {
        let tenant = tenant(&request)?;
        let found = self.catalog.policy(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::GetPolicyResponse { policy: Some(convert::policy(found)) }))
    }

    async fn list_policies(
        &self,
        request: Request<proto::ListPoliciesRequest>,
    ) -> Result<Response<proto::ListPoliciesResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let endpoint = (request.endpoint_slug.as_str(), request.endpoint_id.as_str());
        let found = self.catalog.policies(&tenant, endpoint, &page).await.map_err(status)?;
        let policies = found.items.into_iter().map(convert::policy).collect();
        Ok(Response::new(proto::ListPoliciesResponse { policies, next_page_token: found.next_token }))
    }

    async fn update_policy(
        &self,
        request: Request<proto::UpdatePolicyRequest>,
    ) -> Result<Response<proto::UpdatePolicyResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let (id, change) = convert::policy_change(request).map_err(status)?;
        let updated = self.catalog.update_policy(&tenant, &id, change).await.map_err(status)?;
        Ok(Response::new(proto::UpdatePolicyResponse { policy: Some(convert::policy(updated)) }))
    }

    async fn delete_policy(
        &self,
        request: Request<proto::DeletePolicyRequest>,
    ) -> Result<Response<proto::DeletePolicyResponse>, Status> {
        let tenant = tenant(&request)?;
        self.catalog.delete_policy(&tenant, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(proto::DeletePolicyResponse {}))
    }

    async fn list_policy_types(
        &self,
        _request: Request<proto::ListPolicyTypesRequest>,
    ) -> Result<Response<proto::ListPolicyTypesResponse>, Status> {
        let types = self.catalog.policy_types().into_iter().map(convert::type_info).collect();
        Ok(Response::new(proto::ListPolicyTypesResponse { types }))
    }

    async fn evaluate_policies(
        &self,
        request: Request<proto::EvaluatePoliciesRequest>,
    ) -> Result<Response<proto::EvaluatePoliciesResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::evaluation_draft(request.into_inner()).map_err(status)?;
        let evaluated = self.catalog.evaluate_policies(&tenant, draft).await.map_err(status)?;
        Ok(Response::new(convert::evaluation(evaluated)))
    }
}
