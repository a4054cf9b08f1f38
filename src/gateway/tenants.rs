//! `/tenants`.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    endpoints::SLUG,
    problem::Problem,
    resources::{all, moment},
    route::{Call, Route},
};
use crate::proto::{self, Tenant};

/// A tenant to be made. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
struct CreateTenantRequest {
    /// 3 to 64 of a-z, 0-9 and single inner hyphens; upper case is lowered.
    #[schemars(length(min = 3, max = 64), regex(pattern = SLUG))]
    name: String,
    /// The name for people.
    #[serde(default)]
    display_name: String,
}

/// A tenant.
#[derive(Serialize, JsonSchema)]
struct TenantResponse {
    id: String,
    name: String,
    display_name: String,
    is_active: bool,
    created_at: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::reading(Method::POST, "/api/v1/tenants", create)
            .says("Makes a tenant, when there may be several")
            .creates()
            .fails(&[403, 409]),
        Route::new(Method::GET, "/api/v1/tenants", list).says("Lists all tenants, oldest first"),
        Route::new(Method::GET, "/api/v1/tenants/{name}", get).says("Shows a tenant").fails(&[404]),
    ]
}

async fn create(call: Call, new: CreateTenantRequest) -> Result<TenantResponse, Problem> {
    let tenant = Tenant { name: new.name, display_name: new.display_name, ..Tenant::default() };
    let request = call.asks(proto::CreateTenantRequest { tenant: Some(tenant) });
    let created = call.gateway.access().create_tenant(request).await?.into_inner();
    Ok(created.tenant.unwrap_or_default().into())
}

async fn list(call: Call) -> Result<Vec<TenantResponse>, Problem> {
    let tenants = all!(call, access.list_tenants(ListTenantsRequest {}).tenants);
    Ok(tenants.into_iter().map(TenantResponse::from).collect())
}

async fn get(call: Call) -> Result<TenantResponse, Problem> {
    let request = call.asks(proto::GetTenantRequest { name: call.param("name") });
    let found = call.gateway.access().get_tenant(request).await?.into_inner();
    Ok(found.tenant.unwrap_or_default().into())
}

impl From<Tenant> for TenantResponse {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            display_name: tenant.display_name,
            is_active: tenant.active,
            created_at: moment(tenant.create_time),
        }
    }
}
