//! What owners do: use cases on endpoints, datasets, models, policies, keys, tenants, marketplaces and usage. Each
//! checks its values, does one thing in the store, and returns domain values with their secrets struck out.

mod accounting;
mod attachments;
mod documents;
mod endpoints;
mod evaluation;
mod ingestions;
mod keys;
mod marketplaces;
mod page;
mod policies;
mod tenants;
mod usage;

pub use attachments::{AttachmentDraft, SearchDraft};
pub use documents::Ingestion;
pub use endpoints::{EndpointDetail, EndpointDraft};
pub use evaluation::{Decided, Decision, Evaluation, EvaluationDraft};
pub use ingestions::FilesDraft;
pub use keys::ApiKeyDraft;
pub use marketplaces::{ConnectionDraft, ProofDraft, RegistrationDraft};
pub use page::{Page, PageRequest};
pub use policies::PolicyDraft;
pub use usage::{FilterDraft, SummaryDraft, UsageSummary};

use std::sync::Arc;

use crate::{
    dataset::Datasets,
    domain::schema::TypeSpec,
    error::Part,
    hub::{self, Hub},
    listing::Listings,
    model::Models,
    policy::Policies,
    store::Store,
};

/// The use cases. Clones share everything.
#[derive(Clone)]
pub struct Catalog {
    store: Store,
    datasets: Datasets,
    models: Models,
    policies: Policies,
    hub: Hub,
    listings: Listings,
    settings: Arc<Settings>,
}

/// The types that there are.
#[derive(Clone)]
pub struct Types {
    pub datasets: Datasets,
    pub models: Models,
    pub policies: Policies,
}

/// What the configuration says to the use cases.
#[derive(Clone, Default)]
pub struct Settings {
    pub multi_tenancy: bool,
    pub hub: hub::Config,
}

impl Catalog {
    pub fn new(store: Store, types: Types, hub: Hub, listings: Listings, settings: Settings) -> Self {
        let Types { datasets, models, policies } = types;
        Self { store, datasets, models, policies, hub, listings, settings: Arc::new(settings) }
    }

    fn specs(&self, part: Part) -> Box<dyn Iterator<Item = &TypeSpec> + Send + '_> {
        match part {
            Part::Dataset => Box::new(self.datasets.specs()),
            Part::Model => Box::new(self.models.specs()),
        }
    }
}

/// Checks the name of a stored type and its configuration together.
fn check_type<'a>(
    check: &mut crate::domain::rules::Check,
    mut specs: impl Iterator<Item = &'a TypeSpec>,
    (field, name): (&str, &str),
    configuration: &crate::domain::Configuration,
) -> Option<&'a TypeSpec> {
    let Some(spec) = specs.find(|spec| spec.is_called(name)) else {
        check.fail(field, crate::error::Rule::OneOf, "is not a type that this service knows");
        return None;
    };
    for violation in spec.check(configuration) {
        check.fail(violation.field, violation.rule, violation.message);
    }
    Some(spec)
}
