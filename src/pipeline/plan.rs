//! What a query needs to know of its endpoint, loaded once and kept until something changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use moka::future::Cache;

use super::{Call, prompt};
use crate::{
    dataset::{Dataset, Datasets},
    domain::{EndpointId, TenantId},
    error::{Cause, Error},
    model::{Model, Models},
    policy::{Policies, PolicySet},
    store::{Store, StoredPlan},
};

/// Plans kept at most.
const CAPACITY: u64 = 10_000;
/// How long a plan is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(60);

/// An endpoint, ready to run.
pub struct Plan {
    pub endpoint: EndpointId,
    pub published: bool,
    /// What to search, if the endpoint searches.
    pub dataset: Option<Arc<dyn Dataset>>,
    /// What the dataset is called; empty when there is none.
    pub dataset_name: String,
    /// What to ask, if the endpoint asks.
    pub model: Option<Arc<dyn Model>>,
    pub policies: PolicySet,
}

/// Loads plans, and keeps them for as long as nothing changes.
#[derive(Clone)]
pub struct Plans {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Stored { store: Store, registries: Registries, cache: Cache<Key, Arc<Plan>> },
    Fixed(Arc<HashMap<String, Arc<Plan>>>),
}

/// Everything that makes instances.
#[derive(Clone)]
pub struct Registries {
    pub datasets: Datasets,
    pub models: Models,
    pub policies: Policies,
}

/// A plan is filed under the revision at which its load began: one that raced with a change is never
/// found afterwards.
type Key = (TenantId, String, i64);

impl Plan {
    /// Bytes that may be put before a question for the model; `None` when no model is asked.
    pub(super) fn prompt_bytes(&self, context: usize) -> Option<usize> {
        let context = self.dataset.as_ref().map_or(0, |_| context.max(prompt::HEADING.len()));
        Some(context.saturating_add(self.model.as_ref()?.prompt_bytes()))
    }
}

impl Plans {
    /// Plans of the endpoints in the database.
    pub fn new(store: Store, registries: Registries) -> Self {
        // Every change of the catalog leaves the plans before it behind.
        let cache = Cache::builder().max_capacity(CAPACITY).time_to_idle(KEPT).build();
        Self { source: Source::Stored { store, registries, cache } }
    }

    /// Plans that never change, by slug: a pipeline without a database.
    pub fn fixed(plans: impl IntoIterator<Item = (String, Plan)>) -> Self {
        let plans = plans.into_iter().map(|(slug, plan)| (slug, Arc::new(plan))).collect();
        Self { source: Source::Fixed(Arc::new(plans)) }
    }

    /// The plan for a call. Costs nothing on the database when it is known and nothing has changed;
    /// concurrent loads of one plan are one.
    ///
    /// # Errors
    /// `EndpointNotFound`, `EndpointNotPublished`, `ConfigurationInvalid`, `StoreUnavailable`.
    pub(super) async fn get(&self, call: &Call) -> Result<Arc<Plan>, Error> {
        let plan = self.find(call).await?;
        if plan.published || call.preview { Ok(plan) } else { Err(Error::EndpointNotPublished) }
    }

    async fn find(&self, call: &Call) -> Result<Arc<Plan>, Error> {
        match &self.source {
            Source::Fixed(plans) => {
                plans.get(&call.slug).cloned().ok_or_else(|| Error::EndpointNotFound(call.slug.clone()))
            }
            Source::Stored { store, registries, cache } => {
                let tenant = call.caller.tenant().id;
                // Boxed, so that a running query does not keep room for a load that seldom happens.
                let load = || Box::pin(load(store, registries, tenant, &call.slug));
                let Some(revision) = store.feed().catalog_revision() else { return load().await };
                let key = (tenant, call.slug.clone(), revision);
                // Waiting for another's load is dearer than finding what is there.
                if let Some(plan) = cache.get(&key).await {
                    return Ok(plan);
                }
                cache.try_get_with(key, load()).await.map_err(|error| shared(&error))
            }
        }
    }
}

async fn load(
    store: &Store,
    registries: &Registries,
    tenant: TenantId,
    slug: &str,
) -> Result<Arc<Plan>, Error> {
    let StoredPlan { endpoint, dataset, model, policies } = store.plan(tenant, slug).await?;
    let dataset = dataset.filter(|_| endpoint.response_type.searches());
    let model = model.filter(|_| endpoint.response_type.chats());
    Ok(Arc::new(Plan {
        endpoint: endpoint.id,
        published: endpoint.published,
        dataset_name: dataset.as_ref().map(|stored| stored.name.clone()).unwrap_or_default(),
        dataset: dataset.map(|stored| registries.datasets.open(&stored)).transpose()?,
        model: model.map(|stored| registries.models.open(&stored)).transpose()?,
        policies: registries.policies.build(&policies)?,
    }))
}

/// An error that several callers wait for, once for each.
fn shared(error: &Arc<Error>) -> Error {
    match error.as_ref() {
        Error::EndpointNotFound(slug) => Error::EndpointNotFound(slug.clone()),
        Error::ConfigurationInvalid(resource, name) => Error::ConfigurationInvalid(*resource, name.clone()),
        Error::NotFound(resource, name) => Error::NotFound(*resource, name.clone()),
        Error::StoreUnavailable(_) => Error::StoreUnavailable(cause(error)),
        _ => Error::internal(cause(error)),
    }
}

fn cause(error: &Error) -> Cause {
    error.cause().unwrap_or_else(|| error.to_string()).into()
}
