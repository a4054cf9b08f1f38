//! The types of policy this service knows.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    Policy, PolicySet,
    access::{self, Access},
    pii_filter, prompt_filter,
    rate_limit::{self, RateLimit},
};
use crate::{
    domain::{self, PolicyId, schema, schema::TypeSpec},
    error::{Cause, Error, Resource},
    store::{RateCounters, Store},
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
}

impl Policies {
    /// Starts what policies share.
    pub fn new(store: &Store) -> Self {
        let types: [(TypeSpec, Build); 4] = [
            (
                TypeSpec::of::<access::Config>(access::NAME, access::DESCRIPTION, access::ICON, &[]),
                build_access,
            ),
            (
                TypeSpec::of::<pii_filter::Config>(
                    pii_filter::NAME,
                    pii_filter::DESCRIPTION,
                    pii_filter::ICON,
                    &[],
                )
                .publishing(&[
                    "email",
                    "phone",
                    "credit_card",
                    "iban",
                    "ip_address",
                    "mode",
                    "apply_to",
                ]),
                build_pii_filter,
            ),
            (
                TypeSpec::of::<prompt_filter::Config>(
                    prompt_filter::NAME,
                    prompt_filter::DESCRIPTION,
                    prompt_filter::ICON,
                    &[],
                )
                .publishing(&["mode", "apply_to"])
                .checking(prompt_filter::check),
                build_prompt_filter,
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
        ];
        Self { types: types.into(), tools: Tools { rate_counters: RateCounters::start(store) } }
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

fn build_pii_filter(_tools: &Tools, policies: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
    let configs = read_all(policies)?.into_iter().map(|(_, config)| config).collect();
    Ok(Arc::new(pii_filter::filter(configs)?))
}

fn build_prompt_filter(_tools: &Tools, policies: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
    let configs = read_all(policies)?.into_iter().map(|(_, config)| config).collect();
    Ok(Arc::new(prompt_filter::filter(configs)?))
}

fn build_rate_limit(tools: &Tools, policies: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
    Ok(Arc::new(RateLimit::new(read_all(policies)?, tools.rate_counters.clone())?))
}

fn read_all<C: DeserializeOwned>(policies: &[domain::Policy]) -> Result<Vec<(PolicyId, C)>, Cause> {
    policies.iter().map(|policy| Ok((policy.id, schema::read(&policy.configuration)?))).collect()
}
