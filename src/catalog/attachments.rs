//! Datasets and models.

use super::{
    Catalog, Page, PageRequest, check_type,
    page::{Listing, id},
};
use crate::{
    dataset::SearchRequest,
    domain::{
        Attachment, AttachmentChange, Configuration, Health, NewAttachment, References, SearchOptions,
        Tenant, TypeInfo, defaults,
        rules::{self, Check},
    },
    error::{Error, Part, Violation},
};

/// Bytes of references in one answer.
const MAX_FOUND: usize = 3 << 20;

/// A dataset or model as it came: nothing is checked.
#[derive(Clone, Default)]
pub struct AttachmentDraft {
    pub name: String,
    pub dtype: String,
    pub configuration: Configuration,
    pub summary: String,
    pub tags: Vec<String>,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

/// A search as it came: nothing is checked, and `None` means that nothing was said.
#[derive(Clone, Default)]
pub struct SearchDraft {
    pub text: String,
    pub similarity_threshold: Option<f64>,
    pub limit: Option<i32>,
    pub include_metadata: Option<bool>,
}

impl Catalog {
    /// Creates a dataset or model.
    ///
    /// # Errors
    /// `Invalid`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn create_attachment(
        &self,
        part: Part,
        tenant: &Tenant,
        draft: AttachmentDraft,
    ) -> Result<Attachment, Error> {
        let mut check = Check::of(draft.problems);
        let prefix = prefix(part);
        let name = check.take(rules::resource_name(&format!("{prefix}.name"), &draft.name));
        let mut of_type = Check::default();
        let spec = check_type(&mut of_type, self.specs(part), ("dtype", &draft.dtype), &draft.configuration);
        check.absorb(prefix, of_type.finish().err().unwrap_or_default());
        let summary = check.take(rules::optional_text(&format!("{prefix}.summary"), &draft.summary, 4096));
        let tags = check.take(rules::tags(&format!("{prefix}.tags"), &draft.tags));
        let new = name.zip(summary).zip(tags).zip(spec).map(|(((name, summary), tags), spec)| {
            let dtype = spec.name().to_owned();
            (NewAttachment { name, dtype, configuration: draft.configuration, summary, tags }, spec.secrets())
        });
        let (new, secrets) = check.with(new)?;
        let created = self.store.create_attachment(part, tenant.id, new, secrets).await?;
        Ok(self.redacted(part, created))
    }

    /// The dataset or model of that name, and the slugs of the endpoints that use it.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn attachment(
        &self,
        part: Part,
        tenant: &Tenant,
        name: &str,
    ) -> Result<(Attachment, Vec<String>), Error> {
        rules::named("name", name).map_err(|violation| vec![violation])?;
        let found = self.store.attachment(part, tenant.id, name).await?;
        let slugs = self.store.endpoint_slugs(part, tenant.id, found.id).await?;
        Ok((self.redacted(part, found), slugs))
    }

    /// A page of the tenant's datasets or models.
    ///
    /// # Errors
    /// `Invalid`, `StoreUnavailable`.
    pub async fn attachments(
        &self,
        part: Part,
        tenant: &Tenant,
        page: &PageRequest,
    ) -> Result<Page<Attachment>, Error> {
        let listing = Listing::new(&self.store, tenant.id, prefix(part), page)?;
        let read = listing.read(|after, limit| async move {
            let found = self.store.attachments(part, tenant.id, id(after), limit).await?;
            Ok(found.into_iter().map(|found| self.redacted(part, found)).collect())
        });
        read.await
    }

    /// Changes a dataset or model. Endpoints that use it know it by its id, and keep it.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `AlreadyExists`, `StoreUnavailable`.
    pub async fn update_attachment(
        &self,
        part: Part,
        tenant: &Tenant,
        name: &str,
        mut change: AttachmentChange,
    ) -> Result<Attachment, Error> {
        let mut check = Check::default();
        check.take(rules::named(&format!("{}.name", prefix(part)), name));
        if let Some(new) = &change.name {
            check.take(rules::resource_name("new_name", new));
        }
        if let Some(summary) = &change.summary {
            check.take(rules::optional_text(&format!("{}.summary", prefix(part)), summary, 4096));
        }
        if let Some(new) = &change.tags {
            change.tags = check.take(rules::tags(&format!("{}.tags", prefix(part)), new));
        }
        check.finish()?;
        let updated = self.store.update_attachment(part, tenant.id, name, change).await?;
        Ok(self.redacted(part, updated))
    }

    /// Deletes a dataset, with its documents and index, or a model.
    ///
    /// # Errors
    /// `NotFound`, `InUse`, `StoreUnavailable`.
    pub async fn delete_attachment(&self, part: Part, tenant: &Tenant, name: &str) -> Result<(), Error> {
        rules::named("name", name).map_err(|violation| vec![violation])?;
        let id = self.store.delete_attachment(part, tenant.id, name).await?;
        if part == Part::Dataset {
            self.datasets.indexes().forget(id).await;
        }
        Ok(())
    }

    /// The types, by name.
    pub fn attachment_types(&self, part: Part) -> Vec<TypeInfo> {
        self.specs(part).map(|spec| spec.info()).collect()
    }

    /// Whether a dataset or model can be used now.
    ///
    /// # Errors
    /// `NotFound`, `ConfigurationInvalid`, `StoreUnavailable`.
    pub async fn attachment_health(&self, part: Part, tenant: &Tenant, name: &str) -> Result<Health, Error> {
        rules::named("name", name).map_err(|violation| vec![violation])?;
        let stored = self.store.attachment(part, tenant.id, name).await?;
        Ok(match part {
            Part::Dataset => self.datasets.open(&stored)?.health().await,
            Part::Model => self.models.open(&stored)?.health().await,
        })
    }

    /// Searches a dataset, past endpoints and policies. Without a threshold, everything that matches at all is found.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Upstream`, `StoreUnavailable`.
    pub async fn search(&self, tenant: &Tenant, name: &str, draft: SearchDraft) -> Result<References, Error> {
        let mut check = Check::default();
        check.take(rules::named("name", name));
        let text = check.take(rules::text("text", &draft.text, rules::MAX_DOCUMENT_BYTES));
        let threshold = draft.similarity_threshold.unwrap_or(0.0);
        let threshold = check.take(rules::number("similarity_threshold", threshold, 0.0, 1.0));
        let limit = check.take(rules::count("limit", draft.limit.unwrap_or(defaults::LIMIT)));
        let request = text.zip(threshold).zip(limit).map(|((text, similarity_threshold), limit)| {
            let limit = (limit as usize).min(rules::MAX_REFERENCES);
            let include_metadata = draft.include_metadata.unwrap_or(true);
            SearchRequest { text, options: SearchOptions { similarity_threshold, limit, include_metadata } }
        });
        let request = check.with(request)?;
        let stored = self.store.attachment(Part::Dataset, tenant.id, name).await?;
        let dataset = self.datasets.open(&stored)?;
        let mut found = dataset.search(&request).await.map_err(|fault| fault.of(Part::Dataset))?;
        found.cut(MAX_FOUND);
        Ok(found)
    }

    /// Strikes the secrets out. Of a type that is not known any more, the whole configuration.
    pub(super) fn redacted(&self, part: Part, mut attachment: Attachment) -> Attachment {
        let configuration = std::mem::take(&mut attachment.configuration);
        if let Some(spec) = self.specs(part).find(|spec| spec.is_called(&attachment.dtype)) {
            attachment.dtype = spec.name().to_owned();
            attachment.configuration = spec.redact(configuration);
        }
        attachment
    }
}

fn prefix(part: Part) -> &'static str {
    match part {
        Part::Dataset => "dataset",
        Part::Model => "model",
    }
}
