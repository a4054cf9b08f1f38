//! Endpoints, datasets, models, policies, keys and tenants.

use prost_types::{FieldMask, Timestamp};
use time::OffsetDateTime;

use super::{
    marketplaces::{listing, published_to},
    object,
};
use crate::{
    catalog::{AttachmentDraft, EndpointDraft, PageRequest, PolicyDraft},
    domain::{
        ApiKey, Attachment, AttachmentChange, ConfigurationChange, Document, Endpoint, EndpointChange,
        Health, Policy, PolicyChange, ResponseType, Scope, Tenant, TypeInfo,
        rules::{Check, violation},
    },
    error::{Error, Rule, Violation},
    proto::{self, to_struct},
};

pub(in crate::grpc) fn endpoint(endpoint: Endpoint) -> proto::Endpoint {
    let response_type = match endpoint.response_type {
        ResponseType::Raw => proto::ResponseType::Raw,
        ResponseType::Summary => proto::ResponseType::Summary,
        ResponseType::Both => proto::ResponseType::Both,
    };
    proto::Endpoint {
        id: endpoint.id.to_string(),
        slug: endpoint.slug,
        name: endpoint.name,
        summary: endpoint.summary,
        description: endpoint.description,
        dataset_id: endpoint.dataset_id.map(|id| id.to_string()),
        model_id: endpoint.model_id.map(|id| id.to_string()),
        response_type: response_type.into(),
        published: endpoint.published,
        tags: endpoint.tags,
        published_to: published_to(&endpoint.listings),
        listings: endpoint.listings.into_iter().map(listing).collect(),
        create_time: Some(timestamp(endpoint.created_at)),
        update_time: Some(timestamp(endpoint.updated_at)),
    }
}

pub(in crate::grpc) fn endpoint_draft(endpoint: Option<proto::Endpoint>) -> Result<EndpointDraft, Error> {
    let endpoint = required("endpoint", endpoint)?;
    let response_type = match proto::ResponseType::try_from(endpoint.response_type) {
        Ok(proto::ResponseType::Unspecified) => None,
        Ok(proto::ResponseType::Raw) => Some(Some(ResponseType::Raw)),
        Ok(proto::ResponseType::Summary) => Some(Some(ResponseType::Summary)),
        Ok(proto::ResponseType::Both) => Some(Some(ResponseType::Both)),
        Err(_) => Some(None),
    };
    Ok(EndpointDraft {
        slug: endpoint.slug,
        name: endpoint.name,
        summary: endpoint.summary,
        description: endpoint.description,
        dataset_id: endpoint.dataset_id,
        model_id: endpoint.model_id,
        response_type,
        published: endpoint.published,
        tags: endpoint.tags,
    })
}

/// The slug, and what the mask says to change.
pub(in crate::grpc) fn endpoint_change(
    request: proto::UpdateEndpointRequest,
) -> Result<(String, EndpointChange), Error> {
    let endpoint = required("endpoint", request.endpoint)?;
    let paths = mask(request.update_mask, &["name", "summary", "description", "tags", "published"])?;
    let named = |name: &str| paths.iter().any(|path| path == name);
    let change = EndpointChange {
        name: named("name").then_some(endpoint.name),
        summary: named("summary").then_some(endpoint.summary),
        description: named("description").then_some(endpoint.description),
        tags: named("tags").then_some(endpoint.tags),
        published: named("published").then_some(endpoint.published),
    };
    Ok((endpoint.slug, change))
}

pub(in crate::grpc) fn dataset(found: Attachment) -> proto::Dataset {
    proto::Dataset {
        id: found.id.to_string(),
        name: found.name,
        dtype: found.dtype,
        configuration: Some(to_struct(found.configuration)),
        summary: found.summary,
        tags: found.tags,
        create_time: Some(timestamp(found.created_at)),
        update_time: Some(timestamp(found.updated_at)),
    }
}

pub(in crate::grpc) fn model(found: Attachment) -> proto::Model {
    proto::Model {
        id: found.id.to_string(),
        name: found.name,
        dtype: found.dtype,
        configuration: Some(to_struct(found.configuration)),
        summary: found.summary,
        tags: found.tags,
        create_time: Some(timestamp(found.created_at)),
        update_time: Some(timestamp(found.updated_at)),
    }
}

/// A dataset's or model's draft; `field` is the message's name in its request.
pub(in crate::grpc) fn attachment_draft(
    field: &str,
    name: String,
    dtype: String,
    configuration: Option<prost_types::Struct>,
) -> AttachmentDraft {
    let (configuration, problems) = read(object(&format!("{field}.configuration"), configuration));
    AttachmentDraft { name, dtype, configuration, problems, ..AttachmentDraft::default() }
}

/// What the mask says to change of a dataset or model.
pub(in crate::grpc) fn attachment_change(
    update_mask: Option<FieldMask>,
    new_name: String,
    (summary, tags): (String, Vec<String>),
) -> Result<AttachmentChange, Error> {
    let paths = mask(update_mask, &["name", "summary", "tags"])?;
    let named = |name: &str| paths.iter().any(|path| path == name);
    Ok(AttachmentChange {
        name: named("name").then_some(new_name),
        summary: named("summary").then_some(summary),
        tags: named("tags").then_some(tags),
    })
}

pub(in crate::grpc) fn policy(policy: Policy) -> proto::Policy {
    proto::Policy {
        id: policy.id.to_string(),
        name: policy.name,
        policy_type: policy.policy_type,
        configuration: Some(to_struct(policy.configuration)),
        endpoint_slug: policy.endpoint_slug,
        create_time: Some(timestamp(policy.created_at)),
        update_time: Some(timestamp(policy.updated_at)),
        endpoint_id: policy.endpoint_id.to_string(),
    }
}

pub(in crate::grpc) fn policy_draft(policy: Option<proto::Policy>) -> Result<PolicyDraft, Error> {
    let policy = required("policy", policy)?;
    let (configuration, problems) = read(object("policy.configuration", policy.configuration));
    Ok(PolicyDraft {
        name: policy.name,
        policy_type: policy.policy_type,
        configuration,
        problems,
        endpoint_slug: policy.endpoint_slug,
        endpoint_id: policy.endpoint_id,
    })
}

/// The id, and what the mask says to change.
pub(in crate::grpc) fn policy_change(
    request: proto::UpdatePolicyRequest,
) -> Result<(String, PolicyChange), Error> {
    let policy = required("policy", request.policy)?;
    let paths = mask(request.update_mask, &["name", "configuration", "configuration.*"])?;
    let named = |name: &str| paths.iter().any(|path| path == name);
    let how: Option<fn(_) -> _> = match (named("configuration"), named("configuration.*")) {
        (false, false) => None,
        (true, false) => Some(ConfigurationChange::Replace),
        (false, true) => Some(ConfigurationChange::Merge),
        (true, true) => {
            let message = "cannot name both 'configuration' and 'configuration.*'";
            return Err(Error::Invalid(vec![violation("update_mask", Rule::OneOf, message)]));
        }
    };
    let configuration = match how {
        Some(how) => Some(how(object("policy.configuration", policy.configuration).map_err(|v| vec![v])?)),
        None => None,
    };
    Ok((policy.id, PolicyChange { name: named("name").then_some(policy.name), configuration }))
}

pub(in crate::grpc) fn type_info(info: TypeInfo) -> proto::TypeInfo {
    proto::TypeInfo {
        name: info.name.to_owned(),
        description: info.description.to_owned(),
        config_schema: Some(to_struct(info.config_schema)),
        icon: info.icon.to_owned(),
        aliases: info.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    }
}

pub(in crate::grpc) fn health(health: Health) -> proto::Health {
    proto::Health { healthy: health.healthy, message: health.message }
}

pub(in crate::grpc) fn document(document: Document) -> proto::Document {
    proto::Document {
        id: document.id,
        content: document.content,
        metadata: Some(to_struct(document.metadata)),
    }
}

pub(in crate::grpc) fn document_draft(place: usize, document: proto::Document) -> Result<Document, Error> {
    let metadata = object(&format!("documents.{place}.metadata"), document.metadata).map_err(|v| vec![v])?;
    Ok(Document { id: document.id, content: document.content, metadata })
}

pub(in crate::grpc) fn api_key(key: ApiKey) -> proto::ApiKey {
    let scope = |scope: &Scope| match scope {
        Scope::Query => proto::Scope::Query.into(),
        Scope::Manage => proto::Scope::Manage.into(),
        Scope::Admin => proto::Scope::Unspecified.into(),
    };
    proto::ApiKey {
        id: key.id.to_string(),
        name: key.name,
        email: key.email,
        scopes: key.scopes.iter().map(scope).collect(),
        expire_time: key.expires_at.map(timestamp),
        revoke_time: key.revoked_at.map(timestamp),
        create_time: Some(timestamp(key.created_at)),
    }
}

/// `None` for a scope that is not known.
pub(in crate::grpc) fn scopes(scopes: &[i32]) -> Vec<Option<Scope>> {
    let scope = |scope: &i32| match proto::Scope::try_from(*scope) {
        Ok(proto::Scope::Query) => Some(Scope::Query),
        Ok(proto::Scope::Manage) => Some(Scope::Manage),
        _ => None,
    };
    scopes.iter().map(scope).collect()
}

pub(in crate::grpc) fn tenant(tenant: Tenant) -> proto::Tenant {
    proto::Tenant {
        id: tenant.id.to_string(),
        name: tenant.name,
        display_name: tenant.display_name,
        active: tenant.active,
        create_time: Some(timestamp(tenant.created_at)),
    }
}

pub(in crate::grpc) fn page(size: i32, token: String) -> PageRequest {
    PageRequest { size, token }
}

/// A moment that a caller named.
pub(in crate::grpc) fn time_of(
    field: &str,
    at: Option<Timestamp>,
) -> (Option<OffsetDateTime>, Vec<Violation>) {
    read(at.map(|at| moment(field, at)).transpose())
}

fn moment(field: &str, at: Timestamp) -> Result<OffsetDateTime, Violation> {
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    moment.map_err(|_| violation(field, Rule::Pattern, "is not a moment between the years 1 and 9999"))
}

/// A value, or nothing and why: what else is wrong is to be told together with it.
fn read<T: Default>(read: Result<T, Violation>) -> (T, Vec<Violation>) {
    match read {
        Ok(value) => (value, Vec::new()),
        Err(violation) => (T::default(), vec![violation]),
    }
}

fn required<T>(field: &str, message: Option<T>) -> Result<T, Error> {
    message.ok_or_else(|| Error::Invalid(vec![violation(field, Rule::Missing, "is required")]))
}

fn mask(mask: Option<FieldMask>, known: &[&str]) -> Result<Vec<String>, Error> {
    let paths = mask.unwrap_or_default().paths;
    let mut check = Check::default();
    if paths.is_empty() {
        check.fail("update_mask", Rule::Missing, "is required");
    }
    for path in paths.iter().filter(|path| !known.contains(&path.as_str())) {
        let path: String = path.escape_debug().take(64).collect();
        check.fail("update_mask", Rule::Immutable, format!("'{path}' cannot be changed"));
    }
    check.finish()?;
    Ok(paths)
}

pub(super) fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: at.unix_timestamp(), nanos: i32::try_from(at.nanosecond()).unwrap_or_default() }
}
