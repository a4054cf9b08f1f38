//! Whether endpoints are alive: whether what they search and ask answers. Each dataset and model is checked
//! once an interval at most, however many endpoints share it.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, future, stream};
use moka::future::Cache;
use tokio::time::timeout;

use crate::{
    dataset::Datasets,
    domain::{AttachmentId, Endpoint, Tenant, TenantId},
    error::{Error, Part},
    model::Models,
    store::Store,
};

/// How long a check may take; what is slower is not alive.
const LIMIT: Duration = Duration::from_secs(5);
/// Endpoints that are checked at once.
const AT_ONCE: usize = 64;
/// Datasets and models remembered at most.
const CAPACITY: u64 = 100_000;

/// What is known of datasets and models. Clones share it.
#[derive(Clone)]
pub(super) struct Health {
    store: Store,
    datasets: Datasets,
    models: Models,
    known: Cache<(Part, AttachmentId), bool>,
}

impl Health {
    pub(super) fn new(store: Store, datasets: Datasets, models: Models, interval: Duration) -> Self {
        // A little less, so that who looks every interval sees a new one each time.
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(interval * 9 / 10).build();
        Self { store, datasets, models, known }
    }

    /// Whether a query to the endpoint could be answered now. Makes no paid call.
    ///
    /// # Errors
    /// `StoreUnavailable`: it is not known then.
    pub(super) async fn is_alive(&self, tenant: &Tenant, endpoint: &Endpoint) -> Result<bool, Error> {
        if !endpoint.published || !tenant.active {
            return Ok(false);
        }
        let kind = endpoint.response_type;
        let dataset = endpoint.dataset_id.filter(|_| kind.searches());
        let model = endpoint.model_id.filter(|_| kind.chats());
        let parts = [(Part::Dataset, dataset), (Part::Model, model)];
        let checks =
            parts.into_iter().filter_map(|(part, id)| Some(self.is_part_alive(tenant.id, part, id?)));
        Ok(future::try_join_all(checks).await?.into_iter().all(|alive| alive))
    }

    /// The same of many, in their order.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub(super) async fn are_alive(
        &self,
        tenant: &Tenant,
        endpoints: Vec<Endpoint>,
    ) -> Result<Vec<bool>, Error> {
        let check = |endpoint: Endpoint| async move { self.is_alive(tenant, &endpoint).await };
        stream::iter(endpoints).map(check).buffered(AT_ONCE).try_collect().await
    }

    async fn is_part_alive(&self, tenant: TenantId, part: Part, id: AttachmentId) -> Result<bool, Error> {
        let checked = self.known.try_get_with((part, id), self.check(tenant, part, id)).await;
        checked.map_err(|error: Arc<Error>| Error::StoreUnavailable(error.to_string().into()))
    }

    async fn check(&self, tenant: TenantId, part: Part, id: AttachmentId) -> Result<bool, Error> {
        let stored = match self.store.attachment_by_id(part, tenant, id).await {
            Err(Error::StoreUnavailable(cause)) => return Err(Error::StoreUnavailable(cause)),
            Err(_) => return Ok(false),
            Ok(stored) => stored,
        };
        let check = async {
            match part {
                Part::Dataset => Some(self.datasets.open(&stored).ok()?.health().await),
                Part::Model => Some(self.models.open(&stored).ok()?.health().await),
            }
        };
        let health = timeout(LIMIT, check).await.ok().flatten();
        Ok(health.is_some_and(|health| health.healthy))
    }
}
