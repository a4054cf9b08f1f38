//! Between wire types and domain values. Wire types stop here.

mod evaluation;
mod ingestions;
mod listings;
mod marketplaces;
mod query;
mod resources;
mod usage;

pub(super) use evaluation::{evaluation, evaluation_draft};
pub(super) use ingestions::{file_state, ingestion, ingestion_file, ingestion_source};
pub(super) use listings::{availability, chosen, outcome, synced};
pub(super) use marketplaces::{connection_draft, marketplace, proof_draft, registration_draft};
pub(super) use query::{answer, event, parse_query, policy_metadata, references};
pub(super) use resources::{
    api_key, attachment_change, attachment_draft, dataset, document, document_draft, endpoint,
    endpoint_change, endpoint_draft, health, model, page, policy, policy_change, policy_draft, scopes,
    tenant, time_of, type_info,
};
pub(super) use usage::{query_record, record_filter, summary_draft, usage_summary};

use prost_types::Struct;

use crate::{
    domain::{Configuration, rules::violation},
    error::{Rule, Violation},
    proto,
};

/// A JSON object that a caller sent.
///
/// # Errors
/// A violation at `field` when a number in it is not finite.
fn object(field: &str, value: Option<Struct>) -> Result<Configuration, Violation> {
    let object = proto::from_struct(value.unwrap_or_default());
    object.ok_or_else(|| violation(field, Rule::NotFinite, "must have finite numbers only"))
}
