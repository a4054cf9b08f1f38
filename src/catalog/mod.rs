//! What owners do: use cases on endpoints, datasets, models, policies, keys and tenants. Each checks
//! its values, does one thing in the store, and returns domain values with their secrets struck out.

mod attachments;
mod documents;
mod endpoints;
mod keys;
mod page;
mod policies;
mod tenants;

pub use attachments::AttachmentDraft;
pub use documents::Ingestion;
pub use endpoints::{EndpointDetail, EndpointDraft};
pub use keys::ApiKeyDraft;
pub use page::{Page, PageRequest};
pub use policies::PolicyDraft;

use crate::{
    dataset::Datasets, domain::schema::TypeSpec, error::Part, model::Models, policy::Policies, store::Store,
};

/// The use cases. Clones share everything.
#[derive(Clone)]
pub struct Catalog {
    store: Store,
    datasets: Datasets,
    models: Models,
    policies: Policies,
    multi_tenancy: bool,
}

impl Catalog {
    pub fn new(
        store: Store,
        datasets: Datasets,
        models: Models,
        policies: Policies,
        multi_tenancy: bool,
    ) -> Self {
        Self { store, datasets, models, policies, multi_tenancy }
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
    let Some(spec) = specs.find(|spec| spec.name() == name) else {
        check.fail(field, crate::error::Rule::OneOf, "is not a type that this service knows");
        return None;
    };
    for violation in spec.check(configuration) {
        check.fail(violation.field, violation.rule, violation.message);
    }
    Some(spec)
}
