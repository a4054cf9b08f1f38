//! Endpoints on marketplaces: published, kept in line, taken away, and reported alive.
//!
//! What a marketplace should list is written down first, in the outbox (`store::listings`); one loop
//! ([`Listings::deliver`]) brings marketplaces in line with it, on any replica. A call such as
//! [`Listings::publish`] writes down and waits for the loop, so there is one way in which marketplaces learn
//! anything, and it survives restarts.

mod announce;
mod health;
mod outbox;
mod publication;
mod publish;
mod replace;
mod reports;
mod sync;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use publish::{Availability, Chosen, Outcome, marketplace_ids};
pub use sync::Synced;

use crate::{
    dataset::Datasets,
    domain::{Marketplace, Tenant, TenantId, rules},
    error::{Error, UpstreamError, Violation},
    hub::{Hub, HubError},
    model::Models,
    policy::Policies,
    store::{Store, StoredPlan},
    telemetry::Metrics,
};
use health::Health;

/// What is known of the space.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where marketplaces' users reach it, unless its owner has said otherwise. Empty: not known.
    pub public_url: String,
    /// How often marketplaces are told which endpoints are alive. They believe it three times as long.
    pub report_interval: Duration,
    /// Endpoints in one call that replaces everything.
    pub max_sync_endpoints: usize,
    /// Whether calls must name a tenant.
    pub multi_tenancy: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            report_interval: Duration::from_secs(60),
            max_sync_endpoints: 100,
            multi_tenancy: false,
        }
    }
}

/// What it works with.
pub struct Parts {
    pub store: Store,
    pub hub: Hub,
    pub datasets: Datasets,
    pub models: Models,
    pub policies: Policies,
    /// Runs what a caller that goes away does not end.
    pub tasks: TaskTracker,
    pub metrics: Metrics,
}

/// Knows what marketplaces should list, and tells them. Clones share everything.
#[derive(Clone)]
pub struct Listings {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    hub: Hub,
    policies: Policies,
    health: Health,
    config: Config,
    /// Whose claims and leases are this process's.
    holder: Uuid,
    /// Changes whenever a marketplace was told something here.
    told: watch::Sender<u64>,
    /// From now on another replica says what is alive, or nothing is.
    stopping: CancellationToken,
    metrics: Metrics,
    /// What a caller that goes away does not end.
    tasks: TaskTracker,
}

/// Why a marketplace does not know what it should.
enum Trouble {
    Hub(HubError),
    /// It would refuse.
    Limits(Vec<Violation>),
    /// Nobody knows where this space is.
    NoPublicUrl,
    /// The space has left it.
    Inactive,
    Store(Error),
}

impl Listings {
    pub fn new(parts: Parts, config: Config) -> Self {
        let Parts { store, hub, datasets, models, policies, tasks, metrics } = parts;
        let health = Health::new(store.clone(), datasets, models, config.report_interval);
        let inner = Inner {
            store,
            hub,
            policies,
            health,
            config,
            holder: Uuid::now_v7(),
            told: watch::Sender::new(0),
            stopping: CancellationToken::new(),
            metrics,
            tasks,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where marketplaces' users reach the space; `None` when nobody has said.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn public_url(&self, tenant: TenantId) -> Result<Option<String>, Error> {
        self.inner.public_url(tenant).await
    }
}

impl Inner {
    /// What a marketplace should list of an endpoint.
    fn publication(&self, tenant: &Tenant, plan: &StoredPlan) -> Result<crate::hub::Publication, Trouble> {
        let named = self.config.multi_tenancy.then_some(tenant.name.as_str());
        publication::publication(plan, &self.policies, named).map_err(Trouble::Limits)
    }

    /// Where marketplaces' users reach the space.
    async fn url(&self, tenant: TenantId) -> Result<String, Trouble> {
        self.public_url(tenant).await?.ok_or(Trouble::NoPublicUrl)
    }

    async fn public_url(&self, tenant: TenantId) -> Result<Option<String>, Error> {
        let chosen = self.store.public_url(tenant).await?;
        // In the one spelling that is compared.
        let configured = || rules::origin("public_url", &self.config.public_url).ok();
        Ok(chosen.or_else(configured))
    }

    /// For how long marketplaces believe a report, in seconds.
    fn ttl_s(&self) -> u32 {
        let millis = self.config.report_interval.as_millis() * 3;
        u32::try_from(millis.div_ceil(1_000)).unwrap_or(u32::MAX)
    }
}

impl Trouble {
    /// In a sentence, for the owner.
    fn words(&self, marketplace: Option<&Marketplace>) -> String {
        match self {
            Self::Hub(error) => match marketplace {
                Some(marketplace) => format!("{} {}", marketplace.name, error.words()),
                None => format!("The marketplace {}", error.words()),
            },
            Self::Limits(violations) => {
                let words = violations.iter().map(|one| format!("{} {}", one.field, one.message));
                format!("Cannot be published: {}", words.collect::<Vec<_>>().join("; "))
            }
            Self::NoPublicUrl => "Set this space's public URL before publishing".to_owned(),
            Self::Inactive => "Marketplace is not active".to_owned(),
            Self::Store(error) => error.to_string(),
        }
    }
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<UpstreamError> for Trouble {
    fn from(error: UpstreamError) -> Self {
        Self::Hub(error.into())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
