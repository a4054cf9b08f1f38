//! The types of model this service knows.

use std::sync::Arc;

use super::{
    Model,
    extractive::{self, Extractive},
    openai::{self, OpenAi},
};
use crate::{
    domain::{Attachment, schema, schema::TypeSpec},
    error::{Cause, Error, Resource},
    upstream::Upstream,
};

type Open = fn(&Upstream, &Attachment) -> Result<Arc<dyn Model>, Cause>;

/// The registry.
#[derive(Clone)]
pub struct Models {
    types: Arc<[(TypeSpec, Open)]>,
    upstream: Upstream,
}

impl Models {
    pub fn new(upstream: Upstream) -> Self {
        let types: [(TypeSpec, Open); 2] = [
            (
                TypeSpec::of::<extractive::Config>(
                    extractive::NAME,
                    extractive::DESCRIPTION,
                    extractive::ICON,
                    &[],
                ),
                open_extractive,
            ),
            (
                TypeSpec::of::<openai::Config>(openai::NAME, openai::DESCRIPTION, openai::ICON, &["api_key"]),
                open_openai,
            ),
        ];
        Self { types: types.into(), upstream }
    }

    /// The types, by name.
    pub fn specs(&self) -> impl Iterator<Item = &TypeSpec> {
        self.types.iter().map(|(spec, _)| spec)
    }

    /// An instance for a stored model.
    ///
    /// # Errors
    /// `ConfigurationInvalid` when its type is unknown or its configuration no longer fits.
    pub fn open(&self, stored: &Attachment) -> Result<Arc<dyn Model>, Error> {
        let open = self.types.iter().find(|(spec, _)| spec.name() == stored.dtype).map(|(_, open)| open);
        let opened = open.ok_or_else(|| "unknown type".into()).and_then(|open| open(&self.upstream, stored));
        opened.map_err(|_| Error::ConfigurationInvalid(Resource::Model, stored.name.clone()))
    }
}

fn open_extractive(_upstream: &Upstream, stored: &Attachment) -> Result<Arc<dyn Model>, Cause> {
    Ok(Arc::new(Extractive::new(schema::read(&stored.configuration)?)))
}

fn open_openai(upstream: &Upstream, stored: &Attachment) -> Result<Arc<dyn Model>, Cause> {
    Ok(Arc::new(OpenAi::new(upstream.clone(), schema::read(&stored.configuration)?)?))
}
