//! The types of policy this service knows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{
    Policy, PolicySet,
    access::{self, Access},
    accounting::{self, Accounting, Till},
    allow_guests::{self, AllowGuests},
    attribution::{self, Attribution},
    composite::{self, Composite, Kind},
    pii_filter, prompt_filter,
    rate_limit::{self, RateLimit},
    token_limit::{self, TokenLimit},
};
use crate::{
    domain::{self, PolicyId, schema, schema::TypeSpec},
    error::{Cause, Error, Resource},
    store::{RateCounters, Store, TokenCounters},
    upstream,
};

/// Beyond the time of its answer, a query takes this long at most: its hooks before and after.
const HOOKS: Duration = Duration::from_secs(120);

/// Makes one instance from all policies of its type on an endpoint.
type Build = fn(&Policies, &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause>;

/// The registry.
#[derive(Clone)]
pub struct Policies {
    types: Arc<[(Arc<TypeSpec>, Build)]>,
    tools: Arc<Tools>,
}

/// What instances are made with.
struct Tools {
    rate_counters: RateCounters,
    token_counters: TokenCounters,
    till: Till,
}

/// Every type that is not made of others: a line for each, by name.
fn types() -> Vec<(TypeSpec, Build)> {
    vec![
        (access::spec(), |_, stored| Ok(Arc::new(Access::new(configs(stored)?)?))),
        (accounting::spec(), |policies, stored| {
            Ok(Arc::new(Accounting::new(stored, policies.tools.till.clone())?))
        }),
        (allow_guests::spec(), |_, _| Ok(Arc::new(AllowGuests))),
        (attribution::spec(), |_, stored| Ok(Arc::new(Attribution::new(configs(stored)?)))),
        (pii_filter::spec(), |_, stored| Ok(Arc::new(pii_filter::filter(configs(stored)?)?))),
        (prompt_filter::spec(), |_, stored| Ok(Arc::new(prompt_filter::filter(configs(stored)?)?))),
        (rate_limit::spec(), |policies, stored| {
            Ok(Arc::new(RateLimit::new(numbered(stored)?, policies.tools.rate_counters.clone())?))
        }),
        (token_limit::spec(), |policies, stored| {
            Ok(Arc::new(TokenLimit::new(numbered(stored)?, policies.tools.token_counters.clone())?))
        }),
    ]
}

/// The types that are made of others. A composite's specification knows those that may stand in it, so it
/// is made once for each depth, from the innermost outwards.
fn composites(simple: &[(Arc<TypeSpec>, Build)]) -> Vec<(Arc<TypeSpec>, Build)> {
    let builds: [(Kind, Build); 3] = [
        (Kind::AllOf, |policies, stored| policies.composite(Kind::AllOf, stored)),
        (Kind::AnyOf, |policies, stored| policies.composite(Kind::AnyOf, stored)),
        (Kind::Not, |policies, stored| policies.composite(Kind::Not, stored)),
    ];
    // Guests and money are a matter of the whole endpoint: a token of the caller serves once.
    let whole = [accounting::NAME, allow_guests::NAME];
    let held = simple.iter().map(|(spec, _)| spec).filter(|spec| !whole.contains(&spec.name()));
    let held: Vec<Arc<TypeSpec>> = held.cloned().collect();
    let mut made: Vec<(Arc<TypeSpec>, Build)> = Vec::new();
    for _ in 0..composite::MAX_DEPTH {
        let inner = made.iter().map(|(spec, _)| Arc::clone(spec));
        let types: Arc<[_]> = held.iter().cloned().chain(inner).collect();
        let spec = |kind| Arc::new(composite::spec(kind, Arc::clone(&types)));
        made = builds.map(|(kind, build)| (spec(kind), build)).into();
    }
    made
}

impl Policies {
    /// Starts what policies share. Queries take `longest` at most to answer.
    ///
    /// # Errors
    /// When the TLS provider cannot be set up.
    pub fn new(store: &Store, config: &upstream::Config, longest: Duration) -> Result<Self, Cause> {
        let mut all: Vec<_> = types().into_iter().map(|(spec, build)| (Arc::new(spec), build)).collect();
        all.extend(composites(&all));
        all.sort_by_key(|(spec, _)| spec.name());
        let longest = longest + HOOKS;
        let tools = Tools {
            rate_counters: RateCounters::start(store),
            token_counters: TokenCounters::start(store, longest),
            till: Till::new(store, config, longest)?,
        };
        Ok(Self { types: all.into(), tools: Arc::new(tools) })
    }

    /// Settles the charges that crashes and silent accounting services have left, until `until`.
    pub async fn recover_charges(self, until: CancellationToken) {
        self.tools.till.clone().recover(until).await;
    }

    /// The types, by name.
    pub fn specs(&self) -> impl Iterator<Item = &TypeSpec> {
        self.types.iter().map(|(spec, _)| spec.as_ref())
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
        let instances = by_type.into_values().map(|policies| {
            let instance = self.instance(&policies);
            instance.map_err(|_| Error::ConfigurationInvalid(Resource::Policy, policies[0].name.clone()))
        });
        Ok(PolicySet::new(instances.collect::<Result<_, _>>()?))
    }

    /// One instance for policies of one type.
    fn instance(&self, stored: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
        let named = stored.first().map(|policy| policy.policy_type.as_str()).unwrap_or_default();
        let (_, build) = self.types.iter().find(|(spec, _)| spec.name() == named).ok_or("unknown type")?;
        build(self, stored)
    }

    /// What is stored has been checked, so it is no deeper than a composite may be.
    fn composite(&self, kind: Kind, stored: &[domain::Policy]) -> Result<Arc<dyn Policy>, Cause> {
        let child = |child: &domain::Policy| self.instance(std::slice::from_ref(child));
        Ok(Arc::new(Composite::new(kind, stored, child)?))
    }
}

fn configs<C: DeserializeOwned>(stored: &[domain::Policy]) -> Result<Vec<C>, Cause> {
    Ok(numbered(stored)?.into_iter().map(|(_, config)| config).collect())
}

fn numbered<C: DeserializeOwned>(stored: &[domain::Policy]) -> Result<Vec<(PolicyId, C)>, Cause> {
    stored.iter().map(|policy| Ok((policy.id, schema::read(&policy.configuration)?))).collect()
}
