//! All that a query needs to know of an endpoint, in one load.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::{Store, endpoints, entities::policy};
use crate::{
    domain::{Attachment, Endpoint, Policy, TenantId},
    error::{Error, Part},
};

/// An endpoint and what is attached to it, as stored.
pub struct StoredPlan {
    pub endpoint: Endpoint,
    pub dataset: Option<Attachment>,
    pub model: Option<Attachment>,
    /// In the order of their creation.
    pub policies: Vec<Policy>,
}

impl Store {
    /// Loads the endpoint with that slug. Costs four short statements, in parallel after the first.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn plan(&self, tenant: TenantId, slug: &str) -> Result<StoredPlan, Error> {
        let endpoint = Endpoint::from(endpoints::find(self.reader(), tenant, slug).await?);
        let attached = |part, id| async move {
            match id {
                Some(id) => self.attachment_by_id(part, tenant, id).await.map(Some),
                None => Ok(None),
            }
        };
        let policies = policy::Entity::find()
            .filter(policy::Column::EndpointId.eq(endpoint.id.0))
            .filter(policy::Column::TenantId.eq(tenant.0))
            .order_by_asc(policy::Column::Id);
        let (dataset, model, policies) = futures_util::future::try_join3(
            attached(Part::Dataset, endpoint.dataset_id),
            attached(Part::Model, endpoint.model_id),
            async { Ok(policies.all(self.reader()).await?) },
        )
        .await?;
        let policies = policies.into_iter().map(|row| self.open_policy(tenant, row, slug));
        let policies = policies.collect::<Result<_, _>>()?;
        Ok(StoredPlan { endpoint, dataset, model, policies })
    }
}
