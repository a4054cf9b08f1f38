//! `/policies`.

use http::Method;
use prost_types::FieldMask;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    problem::Problem,
    resources::{Done, TypeInfo, all, moment, object},
    route::{Call, Route},
};
use crate::proto::{self, Policy, to_struct};

/// A policy to be attached. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct CreatePolicyRequest {
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// One of the types.
    policy_type: String,
    /// As the type's schema says.
    configuration: Map<String, Value>,
    endpoint_id: Uuid,
}

/// New values; null or absent leaves a field as it is.
#[derive(Deserialize, JsonSchema)]
struct UpdatePolicyRequest {
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    name: Option<String>,
    /// Keys that replace those of the stored configuration.
    #[serde(default)]
    configuration: Option<Map<String, Value>>,
}

/// A policy. Secrets are struck out.
#[derive(Serialize, JsonSchema)]
struct PolicyResponse {
    id: String,
    name: String,
    policy_type: String,
    configuration: Map<String, Value>,
    endpoint_id: String,
    created_at: String,
    updated_at: String,
}

/// A policy in a list.
#[derive(Serialize, JsonSchema)]
struct PolicyListItem {
    id: String,
    name: String,
    policy_type: String,
    endpoint_id: String,
    created_at: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/api/v1/policies/types/", types).says("Lists the types that there are"),
        Route::new(Method::GET, "/api/v1/policies/types/{name}", type_info)
            .says("Shows a type")
            .fails(&[404]),
        Route::new(Method::GET, "/api/v1/policies/types/{name}/schema", schema)
            .says("Shows the JSON Schema of a type's configuration")
            .fails(&[404]),
        Route::reading(Method::POST, "/api/v1/policies/", create)
            .says("Attaches a policy to an endpoint")
            .creates()
            .fails(&[400, 404, 409]),
        Route::new(Method::GET, "/api/v1/policies/", list)
            .says("Lists all policies, oldest first")
            .queries(&[("endpoint_id", "Only those of this endpoint")])
            .fails(&[404, 422]),
        Route::new(Method::GET, "/api/v1/policies/{policy_id}", get)
            .says("Shows a policy")
            .fails(&[404, 422]),
        Route::reading(Method::PATCH, "/api/v1/policies/{policy_id}", update)
            .says("Changes a policy's name, or keys of its configuration")
            .fails(&[400, 404, 409]),
        Route::new(Method::DELETE, "/api/v1/policies/{policy_id}", delete)
            .says("Takes a policy away")
            .fails(&[404, 422]),
    ]
}

async fn types(call: Call) -> Result<Vec<TypeInfo>, Problem> {
    Ok(known(&call).await?.into_iter().map(TypeInfo::from).collect())
}

async fn type_info(call: Call) -> Result<TypeInfo, Problem> {
    TypeInfo::named(known(&call).await?, &call.param("name"), "policy")
}

async fn schema(call: Call) -> Result<Map<String, Value>, Problem> {
    Ok(type_info(call).await?.config_schema())
}

async fn known(call: &Call) -> Result<Vec<proto::TypeInfo>, Problem> {
    let request = call.asks(proto::ListPolicyTypesRequest {});
    Ok(call.gateway.policies().list_policy_types(request).await?.into_inner().types)
}

async fn create(call: Call, new: CreatePolicyRequest) -> Result<PolicyResponse, Problem> {
    let policy = Policy {
        name: new.name,
        policy_type: new.policy_type,
        configuration: Some(to_struct(new.configuration)),
        endpoint_id: new.endpoint_id.to_string(),
        ..Policy::default()
    };
    let request = call.asks(proto::CreatePolicyRequest { policy: Some(policy) });
    let created = call.gateway.policies().create_policy(request).await?.into_inner();
    Ok(created.policy.unwrap_or_default().into())
}

async fn list(call: Call) -> Result<Vec<PolicyListItem>, Problem> {
    let endpoint_id = call.query_id("endpoint_id")?.map(|id| id.to_string()).unwrap_or_default();
    let found = all!(
        call,
        policies
            .list_policies(ListPoliciesRequest {
                endpoint_slug: String::new(),
                endpoint_id: endpoint_id.clone()
            })
            .policies
    );
    let item = |policy: Policy| PolicyListItem {
        id: policy.id,
        name: policy.name,
        policy_type: policy.policy_type,
        endpoint_id: policy.endpoint_id,
        created_at: moment(policy.create_time),
    };
    Ok(found.into_iter().map(item).collect())
}

async fn get(call: Call) -> Result<PolicyResponse, Problem> {
    shown(&call, call.id("policy_id")?).await
}

async fn update(call: Call, new: UpdatePolicyRequest) -> Result<PolicyResponse, Problem> {
    let id = call.id("policy_id")?;
    let named = [("name", new.name.is_some()), ("configuration.*", new.configuration.is_some())];
    let paths: Vec<String> =
        named.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect();
    if paths.is_empty() {
        // The reference takes it, and changes nothing.
        return shown(&call, id).await;
    }
    let policy = Policy {
        id: id.to_string(),
        name: new.name.unwrap_or_default(),
        configuration: new.configuration.map(to_struct),
        ..Policy::default()
    };
    let request = proto::UpdatePolicyRequest { policy: Some(policy), update_mask: Some(FieldMask { paths }) };
    let updated = call.gateway.policies().update_policy(call.asks(request)).await?.into_inner();
    Ok(updated.policy.unwrap_or_default().into())
}

async fn delete(call: Call) -> Result<Done, Problem> {
    let id = call.id("policy_id")?;
    let request = call.asks(proto::DeletePolicyRequest { id: id.to_string() });
    call.gateway.policies().delete_policy(request).await?;
    Ok(Done { message: format!("Successfully deleted policy '{id}'") })
}

async fn shown(call: &Call, id: Uuid) -> Result<PolicyResponse, Problem> {
    let request = call.asks(proto::GetPolicyRequest { id: id.to_string() });
    let found = call.gateway.policies().get_policy(request).await?.into_inner();
    Ok(found.policy.unwrap_or_default().into())
}

impl From<Policy> for PolicyResponse {
    fn from(policy: Policy) -> Self {
        Self {
            id: policy.id,
            name: policy.name,
            policy_type: policy.policy_type,
            configuration: object(policy.configuration),
            endpoint_id: policy.endpoint_id,
            created_at: moment(policy.create_time),
            updated_at: moment(policy.update_time),
        }
    }
}
