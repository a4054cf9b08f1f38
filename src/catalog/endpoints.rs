//! Endpoints.

use super::{
    Catalog, Page, PageRequest,
    page::{self, Listing},
};
use crate::{
    domain::{
        Attachment, AttachmentId, Endpoint, EndpointChange, NewEndpoint, Policy, ResponseType, Tenant,
        rules::{self, Check},
    },
    error::{Error, Part, Resource, Rule},
    store::StoredPlan,
};

/// An endpoint as it came: nothing is checked.
#[derive(Debug, Clone, Default)]
pub struct EndpointDraft {
    pub slug: String,
    pub name: String,
    pub summary: String,
    pub description: String,
    pub dataset_id: Option<String>,
    pub model_id: Option<String>,
    /// `None` for the default, `Some(None)` for one that is not known.
    pub response_type: Option<Option<ResponseType>>,
    pub published: bool,
    pub tags: Vec<String>,
}

/// An endpoint with what is attached to it.
pub struct EndpointDetail {
    pub endpoint: Endpoint,
    pub dataset: Option<Attachment>,
    pub model: Option<Attachment>,
    pub policies: Vec<Policy>,
}

impl Catalog {
    /// Creates an endpoint.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` for its dataset or model, `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_endpoint(&self, tenant: &Tenant, draft: EndpointDraft) -> Result<Endpoint, Error> {
        let new = checked(draft)?;
        for (part, id) in [(Part::Dataset, new.dataset_id), (Part::Model, new.model_id)] {
            let Some(id) = id else { continue };
            if let Err(missing) = self.store.attachment_by_id(part, tenant.id, id).await {
                // A slug that is taken is told first: it is what the caller chose.
                return match self.store.endpoint(tenant.id, &new.slug).await {
                    Ok(taken) => Err(Error::AlreadyExists(Resource::Endpoint, taken.slug)),
                    Err(_) => Err(missing),
                };
            }
        }
        self.store.create_endpoint(tenant.id, new).await
    }

    /// An endpoint and what is attached to it.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn endpoint(&self, tenant: &Tenant, slug: &str) -> Result<EndpointDetail, Error> {
        rules::named("slug", slug).map_err(|violation| vec![violation])?;
        let StoredPlan { endpoint, dataset, model, policies } = self.store.plan(tenant.id, slug).await?;
        Ok(EndpointDetail {
            endpoint: self.store.shown(endpoint).await?,
            dataset: dataset.map(|dataset| self.redacted(Part::Dataset, dataset)),
            model: model.map(|model| self.redacted(Part::Model, model)),
            policies: policies.into_iter().map(|policy| self.redacted_policy(policy)).collect(),
        })
    }

    /// A page of the tenant's endpoints.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn endpoints(&self, tenant: &Tenant, page: &PageRequest) -> Result<Page<Endpoint>, Error> {
        let listing = Listing::new(&self.store, tenant.id, "endpoints", page)?;
        listing.read(|after, limit| self.store.endpoints(tenant.id, page::id(after), limit)).await
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// `Invalid`, `EndpointNotFound`, `StoreUnavailable`.
    pub async fn update_endpoint(
        &self,
        tenant: &Tenant,
        slug: &str,
        change: EndpointChange,
    ) -> Result<Endpoint, Error> {
        let mut change = change;
        let mut check = Check::default();
        check.take(rules::named("endpoint.slug", slug));
        if let Some(name) = &change.name {
            check.take(rules::text("endpoint.name", name, 200));
        }
        if let Some(summary) = &change.summary {
            check.take(rules::optional_text("endpoint.summary", summary, 4096));
        }
        if let Some(description) = &change.description {
            check.take(rules::optional_text("endpoint.description", description, 256 << 10));
        }
        if let Some(tags) = &change.tags {
            change.tags = check.take(rules::tags("endpoint.tags", tags));
        }
        check.finish()?;
        self.store.update_endpoint(tenant.id, slug, change).await
    }

    /// Deletes an endpoint and its policies.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn delete_endpoint(&self, tenant: &Tenant, slug: &str) -> Result<(), Error> {
        rules::named("slug", slug).map_err(|violation| vec![violation])?;
        self.store.delete_endpoint(tenant.id, slug).await
    }

    /// The slug as it would be stored, and whether it is free.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn check_slug(&self, tenant: &Tenant, slug: &str) -> Result<(String, bool), Error> {
        let slug = rules::slug("slug", slug).map_err(|violation| vec![violation])?;
        match self.store.endpoint(tenant.id, &slug).await {
            Ok(_) => Ok((slug, false)),
            Err(Error::EndpointNotFound(_)) => Ok((slug, true)),
            Err(error) => Err(error),
        }
    }
}

fn checked(draft: EndpointDraft) -> Result<NewEndpoint, Error> {
    let mut check = Check::default();
    let slug = check.take(rules::slug("endpoint.slug", &draft.slug));
    let name = check.take(rules::text("endpoint.name", &draft.name, 200));
    check.take(rules::optional_text("endpoint.summary", &draft.summary, 4096));
    check.take(rules::optional_text("endpoint.description", &draft.description, 256 << 10));
    let tags = check.take(rules::tags("endpoint.tags", &draft.tags));
    let dataset_id = id(&mut check, Part::Dataset, draft.dataset_id.as_deref());
    let model_id = id(&mut check, Part::Model, draft.model_id.as_deref());
    let response_type = draft.response_type.unwrap_or(Some(ResponseType::Both));
    if response_type.is_none() {
        let message = "must be RESPONSE_TYPE_RAW, RESPONSE_TYPE_SUMMARY or RESPONSE_TYPE_BOTH";
        check.fail("endpoint.response_type", Rule::OneOf, message);
    }
    let response_type = response_type.unwrap_or(ResponseType::Both);
    match (response_type, &draft.dataset_id, &draft.model_id) {
        (_, None, None) => {
            let message = "At least one of dataset_id or model_id must be provided";
            check.fail("endpoint", Rule::Missing, message);
        }
        (ResponseType::Raw, None, _) => {
            check.fail("endpoint.dataset_id", Rule::Missing, "is required for raw")
        }
        (ResponseType::Summary, _, None) => {
            check.fail("endpoint.model_id", Rule::Missing, "is required for summary")
        }
        _ => {}
    }
    let new = slug.zip(name).zip(tags).map(|((slug, name), tags)| NewEndpoint {
        slug,
        name,
        summary: draft.summary,
        description: draft.description,
        dataset_id,
        model_id,
        response_type,
        published: draft.published,
        tags,
    });
    check.with(new)
}

fn id(check: &mut Check, part: Part, text: Option<&str>) -> Option<AttachmentId> {
    let resource = match part {
        Part::Dataset => Resource::Dataset,
        Part::Model => Resource::Model,
    };
    let id = text?.parse().map(AttachmentId);
    if id.is_err() {
        let field = format!("endpoint.{}_id", resource.to_string().to_lowercase());
        check.fail(field, Rule::Pattern, "must be a UUID");
    }
    id.ok()
}
