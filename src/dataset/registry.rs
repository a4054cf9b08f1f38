//! The types of dataset this service knows.

use std::sync::Arc;

use super::{
    Dataset,
    chroma::{self, Chroma},
    embedding::Embeddings,
    local::{self, LocalDataset, LocalIndexes},
    pgvector::{self, PgVector},
    qdrant::{self, Qdrant},
    weaviate::{self, Weaviate},
};
use crate::{
    domain::{Attachment, schema, schema::TypeSpec},
    error::{Cause, Error, Resource},
    upstream::Upstream,
};

type Open = fn(&Tools, &Attachment) -> Result<Arc<dyn Dataset>, Cause>;

/// The registry.
#[derive(Clone)]
pub struct Datasets {
    types: Arc<[(TypeSpec, Open)]>,
    tools: Arc<Tools>,
}

/// What the types work with.
struct Tools {
    indexes: LocalIndexes,
    upstream: Upstream,
    embeddings: Embeddings,
    links: pgvector::Links,
}

impl Datasets {
    pub fn new(indexes: LocalIndexes, upstream: Upstream) -> Self {
        let types: [(TypeSpec, Open); 5] = [
            (chroma::spec(), open_chroma),
            (local::spec(), open_local),
            (pgvector::spec(), open_pgvector),
            (qdrant::spec(), open_qdrant),
            (weaviate::spec(), open_weaviate),
        ];
        let (embeddings, links) = (Embeddings::new(upstream.clone()), pgvector::Links::new(upstream.clone()));
        Self { types: types.into(), tools: Arc::new(Tools { indexes, upstream, embeddings, links }) }
    }

    /// The types, by name.
    pub fn specs(&self) -> impl Iterator<Item = &TypeSpec> {
        self.types.iter().map(|(spec, _)| spec)
    }

    /// The indexes of `local` datasets.
    pub fn indexes(&self) -> &LocalIndexes {
        &self.tools.indexes
    }

    /// An instance for a stored dataset.
    ///
    /// # Errors
    /// `ConfigurationInvalid` when its type is unknown or its configuration no longer fits.
    pub fn open(&self, stored: &Attachment) -> Result<Arc<dyn Dataset>, Error> {
        let open = self.types.iter().find(|(spec, _)| spec.is_called(&stored.dtype)).map(|(_, open)| open);
        let opened = open.ok_or_else(|| "unknown type".into()).and_then(|open| open(&self.tools, stored));
        opened.map_err(|_| Error::ConfigurationInvalid(Resource::Dataset, stored.name.clone()))
    }

    /// The same for one of type `local`, which takes documents too.
    ///
    /// # Errors
    /// `ConfigurationInvalid` when its configuration no longer fits.
    pub fn open_local(&self, stored: &Attachment) -> Result<LocalDataset, Error> {
        let opened = local(&self.tools, stored);
        opened.map_err(|_| Error::ConfigurationInvalid(Resource::Dataset, stored.name.clone()))
    }
}

fn open_chroma(tools: &Tools, stored: &Attachment) -> Result<Arc<dyn Dataset>, Cause> {
    let config = schema::read(&stored.configuration)?;
    Ok(Arc::new(Chroma::open(tools.upstream.clone(), &tools.embeddings, config)?))
}

fn open_local(tools: &Tools, stored: &Attachment) -> Result<Arc<dyn Dataset>, Cause> {
    Ok(Arc::new(local(tools, stored)?))
}

fn local(tools: &Tools, stored: &Attachment) -> Result<LocalDataset, Cause> {
    let config = schema::read(&stored.configuration)?;
    LocalDataset::open(&tools.indexes, &tools.embeddings, stored.id, config)
}

fn open_pgvector(tools: &Tools, stored: &Attachment) -> Result<Arc<dyn Dataset>, Cause> {
    let config = schema::read(&stored.configuration)?;
    Ok(Arc::new(PgVector::open(&tools.links, &tools.embeddings, stored.id, config)?))
}

fn open_qdrant(tools: &Tools, stored: &Attachment) -> Result<Arc<dyn Dataset>, Cause> {
    let config = schema::read(&stored.configuration)?;
    Ok(Arc::new(Qdrant::open(tools.upstream.clone(), &tools.embeddings, config)?))
}

fn open_weaviate(tools: &Tools, stored: &Attachment) -> Result<Arc<dyn Dataset>, Cause> {
    let config = schema::read(&stored.configuration)?;
    Ok(Arc::new(Weaviate::open(tools.upstream.clone(), &tools.embeddings, config)?))
}
