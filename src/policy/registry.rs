//! The types of policy this service knows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{
    Policy, PolicySet,
    access::{self, Access},
    accounting::{self, Accounting, Till},
    rate_limit::{self, RateLimit},
};
use crate::{
    domain::{self, PolicyId, schema, schema::TypeSpec},
    error::{Cause, Error, Resource},
    store::{RateCounters, Store},
    upstream,
};

/// Makes one instance from all policies of its type on an endpoint.
type Build = fn(&Tools, &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause>;

/// The registry.
#[derive(Clone)]
pub struct Policies {
    types: Arc<[(TypeSpec, Build)]>,
    tools: Tools,
}

/// What instances are made with.
#[derive(Clone)]
struct Tools {
    rate_counters: RateCounters,
    till: Till,
}

impl Policies {
    /// Starts what policies share. Queries take `longest` at most to answer.
    ///
    /// # Errors
    /// When the TLS provider cannot be set up.
    pub fn new(store: &Store, config: &upstream::Config, longest: Duration) -> Result<Self, Cause> {
        let types: [(TypeSpec, Build); 3] = [
            (
                TypeSpec::of::<access::Config>(access::NAME, access::DESCRIPTION, access::ICON, &[]),
                build_access,
            ),
            (
                TypeSpec::of::<rate_limit::Config>(
                    rate_limit::NAME,
                    rate_limit::DESCRIPTION,
                    rate_limit::ICON,
                    &[],
                )
                .publishing(&["limit", "scope"]),
                build_rate_limit,
            ),
            (
                TypeSpec::of::<accounting::Config>(
                    accounting::NAME,
                    accounting::DESCRIPTION,
                    accounting::ICON,
                    accounting::SECRETS,
                )
                .publishing(accounting::PUBLIC),
                build_accounting,
            ),
        ];
        let till = Till::new(store, config, longest)?;
        let tools = Tools { rate_counters: RateCounters::start(store), till };
        Ok(Self { types: types.into(), tools })
    }

    /// Settles the charges that crashes and silent accounting services have left, until `until`.
    pub async fn recover_charges(self, until: CancellationToken) {
        self.tools.till.recover(until).await;
    }

    /// The types, by name.
    pub fn specs(&self) -> impl Iterator<Item = &TypeSpec> {
        self.types.iter().map(|(spec, _)| spec)
    }

    /// Instances for all policies of an endpoint.
    ///
    /// # Errors
    /// `ConfigurationInvalid` when a stored policy has an unknown type or no longer fits its type.
    pub fn build(&self, stored: &[domain::Policy]) -> Result<PolicySet, Error> {
        let mut by_type: BTreeMap<&str, Vec<domain::Policy>> = BTreeMap::new();
        for policy in stored {
            by_type.entry(&policy.policy_type).or_default().push(policy.clone());
        }
        let instances = by_type.into_iter().map(|(name, policies)| {
            let build = self.types.iter().find(|(spec, _)| spec.name() == name).map(|(_, build)| build);
            let instance =
                build.ok_or_else(|| "unknown type".into()).and_then(|build| build(&self.tools, &policies));
            instance.map_err(|_| Error::ConfigurationInvalid(Resource::Policy, policies[0].name.clone()))
        });
        Ok(PolicySet::new(instances.collect::<Result<_, _>>()?))
    }
}

fn build_access(_tools: &Tools, policies: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
    let configs = read_all(policies)?.into_iter().map(|(_, config)| config).collect();
    Ok(Arc::new(Access::new(configs)))
}

fn build_rate_limit(tools: &Tools, policies: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
    Ok(Arc::new(RateLimit::new(read_all(policies)?, tools.rate_counters.clone())?))
}

fn build_accounting(tools: &Tools, policies: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
    Ok(Arc::new(Accounting::new(policies, tools.till.clone())?))
}

fn read_all<C: DeserializeOwned>(policies: &[domain::Policy]) -> Result<Vec<(PolicyId, C)>, Cause> {
    policies.iter().map(|policy| Ok((policy.id, schema::read(&policy.configuration)?))).collect()
}
