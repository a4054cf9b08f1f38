//! The index of one dataset: a tantivy folder, derived from the rows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tantivy::{
    Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
    directory::error::LockError,
    doc,
    schema::{FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value},
};
use tokio::sync::watch;

use super::{
    highlights,
    indexes::Settings,
    scoring::{self, Sought, Statistics},
};
use crate::{
    dataset::SearchRequest,
    domain::{AttachmentId, HIGHLIGHTS, Reference, References, words::words},
    error::UpstreamError,
    store::{Embedding, VersionedDocument},
};

/// Name of our analyzer inside the index.
const WORDS: &str = "words";
/// Memory of a writer, which lives only while it writes.
const WRITER_BYTES: usize = 32 << 20;

/// How far an index has read: the revision and, within it, the id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) revision: i64,
    pub(super) id: String,
}

/// An open index. Searches and catching up run side by side.
pub(super) struct LocalIndex {
    index: Index,
    reader: IndexReader,
    fields: Fields,
    settings: Settings,
    statistics: RwLock<Arc<Statistics>>,
    /// The revision up to which everything is searchable; `None` until it has caught up once.
    caught_up: watch::Sender<Option<i64>>,
}

#[derive(Clone, Copy)]
struct Fields {
    id: Field,
    content: Field,
    metadata: Field,
    /// As in the row, if the model is the dataset's.
    embedding: Field,
}

/// How to look for what is asked.
#[derive(Default)]
pub(super) struct Look {
    /// The question's vector, and how much of a similarity it makes up.
    pub(super) meaning: Option<(Vec<f32>, f64)>,
    pub(super) highlights: bool,
}

impl LocalIndex {
    /// Opens the index in `folder`, or makes an empty one where there is none that can be read.
    pub(super) fn open(folder: &Path, settings: &Settings) -> tantivy::Result<Self> {
        match Self::open_as_it_is(folder, settings) {
            Err(TantivyError::IoError(error)) => Err(TantivyError::IoError(error)),
            Err(error) => {
                tracing::warn!(%error, "an index cannot be read and is made anew");
                fs::remove_dir_all(folder)?;
                Self::open_as_it_is(folder, settings)
            }
            opened => opened,
        }
    }

    fn open_as_it_is(folder: &Path, settings: &Settings) -> tantivy::Result<Self> {
        let index = open_or_create(folder)?;
        index.tokenizers().register(WORDS, settings.language.analyzer());
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let (settings, (_, fields)) = (settings.clone(), schema());
        let embedding = settings.meaning.as_ref().map(|_| fields.embedding);
        let statistics = Statistics::of(&reader.searcher(), fields.content, embedding, None)?;
        let statistics = RwLock::new(Arc::new(statistics));
        Ok(Self { index, reader, fields, settings, statistics, caught_up: watch::Sender::new(None) })
    }

    /// Waits until everything up to `revision` is searchable; false when it is not within `patience`.
    pub(super) async fn reached(&self, revision: i64, patience: Duration) -> bool {
        let mut caught_up = self.caught_up.subscribe();
        let reached = caught_up.wait_for(|known| known.is_some_and(|known| known >= revision));
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }

    pub(super) fn mark_caught_up(&self, revision: i64) {
        self.caught_up.send_replace(Some(revision));
    }

    /// Hears of every time that it has caught up.
    pub(super) fn caught_up(&self) -> watch::Receiver<Option<i64>> {
        self.caught_up.subscribe()
    }

    /// How far the index on disk has read, whichever process wrote it.
    pub(super) fn cursor(&self) -> tantivy::Result<Cursor> {
        let payload = self.index.load_metas()?.payload.unwrap_or_default();
        Ok(serde_json::from_str(&payload).unwrap_or_default())
    }

    /// A writer; `None` while another process has it.
    pub(super) fn writer(&self) -> tantivy::Result<Option<IndexWriter>> {
        match self.index.writer_with_num_threads(1, WRITER_BYTES) {
            Ok(writer) => Ok(Some(writer)),
            Err(TantivyError::LockFailure(LockError::LockBusy, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies changes, not yet visible to anybody.
    pub(super) fn apply(&self, writer: &IndexWriter, changes: &[VersionedDocument]) -> tantivy::Result<()> {
        for change in changes {
            let document = &change.document;
            writer.delete_term(Term::from_field_text(self.fields.id, &document.id));
            if change.deleted {
                continue;
            }
            let mut indexed = doc!(
                self.fields.id => document.id.as_str(),
                self.fields.content => document.content.as_str(),
                self.fields.metadata => serde_json::to_string(&document.metadata).unwrap_or_default(),
            );
            if let Some(bytes) = self.embedding(change) {
                indexed.add_bytes(self.fields.embedding, &bytes);
            }
            writer.add_document(indexed)?;
        }
        Ok(())
    }

    /// Another model's vectors are none.
    fn embedding(&self, change: &VersionedDocument) -> Option<Vec<u8>> {
        let meaning = self.settings.meaning.as_ref()?;
        change
            .embedding
            .as_ref()
            .filter(|embedding| embedding.made_by == meaning.name())
            .map(Embedding::bytes)
    }

    /// Makes what was applied durable, at `cursor`, and visible.
    pub(super) fn commit(&self, writer: &mut IndexWriter, cursor: &Cursor) -> tantivy::Result<()> {
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&serde_json::to_string(cursor).unwrap_or_default());
        commit.commit()?;
        self.reload()
    }

    /// Makes what is on disk visible. Reads the vectors of what is new.
    pub(super) fn reload(&self) -> tantivy::Result<()> {
        self.reader.reload()?;
        let embedding = self.settings.meaning.as_ref().map(|_| self.fields.embedding);
        let (searcher, before) = (self.reader.searcher(), self.statistics());
        let statistics = Statistics::of(&searcher, self.fields.content, embedding, Some(&before))?;
        *self.statistics.write().unwrap_or_else(PoisonError::into_inner) = statistics.into();
        Ok(())
    }

    fn statistics(&self) -> Arc<Statistics> {
        self.statistics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all its vectors can be compared with one of this length.
    pub(super) fn fits(&self, dimensions: usize) -> bool {
        self.statistics().fits(dimensions)
    }

    /// Ids of up to `limit` documents that need a vector, but for those that are refused one.
    pub(super) fn without_embedding(
        &self,
        limit: usize,
        refused: &BTreeSet<String>,
    ) -> tantivy::Result<Vec<String>> {
        let statistics = self.statistics();
        let mut ids = Vec::new();
        for address in statistics.unknown() {
            let document: TantivyDocument = statistics.searcher().doc(address)?;
            let id = text(&document, self.fields.id);
            if !refused.contains(id) {
                ids.push(id.to_owned());
            }
            if ids.len() >= limit {
                break;
            }
        }
        Ok(ids)
    }

    /// Documents by similarity, ties by id.
    ///
    /// # Errors
    /// `Rejected` when the question's vector has another length than the documents'; `Unavailable` when the index
    /// fails.
    pub(super) fn search(&self, request: &SearchRequest, look: &Look) -> Result<References, UpstreamError> {
        let statistics = self.statistics();
        let meaning = look.meaning.as_ref().map(|(question, weight)| (question.as_slice(), *weight));
        if meaning.is_some_and(|(question, _)| !statistics.fits(question.len())) {
            return Err(UpstreamError::rejected(OTHER_DIMENSIONS));
        }
        let words = words(&mut self.settings.language.analyzer(), &request.text).into_iter().collect();
        let found = self.found(&statistics, &Sought { words: &words, meaning }, request);
        let mut found = found.map_err(|error| UpstreamError::unavailable(super::FAILED).because(error))?;
        if look.highlights {
            self.highlight(&mut found, &words);
        }
        Ok(References { documents: found, search_engine: super::NAME.to_owned() })
    }

    fn found(
        &self,
        statistics: &Statistics,
        sought: &Sought<'_>,
        request: &SearchRequest,
    ) -> tantivy::Result<Vec<Reference>> {
        let hits = scoring::search(statistics, self.fields.content, sought, request.options)?;
        let mut documents = Vec::with_capacity(hits.len());
        for hit in hits {
            documents.push(self.load(statistics.searcher(), &hit, request.options.include_metadata)?);
        }
        documents.sort_by(|a, b| {
            b.similarity_score.total_cmp(&a.similarity_score).then_with(|| a.document_id.cmp(&b.document_id))
        });
        documents.truncate(request.options.limit);
        Ok(documents)
    }

    /// Tells where the words stand, in metadata that is wanted.
    fn highlight(&self, found: &mut [Reference], words: &BTreeSet<String>) {
        let mut analyzer = self.settings.language.analyzer();
        for reference in found {
            let Some(metadata) = &mut reference.metadata else { continue };
            let passages = highlights::passages(&mut analyzer, &reference.content, words);
            metadata.insert(HIGHLIGHTS.to_owned(), highlights::as_json(&passages));
        }
    }

    fn load(
        &self,
        searcher: &Searcher,
        hit: &scoring::Hit,
        with_metadata: bool,
    ) -> tantivy::Result<Reference> {
        let document: TantivyDocument = searcher.doc(hit.address)?;
        let text = |field| text(&document, field);
        Ok(Reference {
            document_id: text(self.fields.id).to_owned(),
            content: text(self.fields.content).to_owned(),
            similarity_score: hit.similarity,
            metadata: with_metadata
                .then(|| serde_json::from_str(text(self.fields.metadata)).unwrap_or_default()),
        })
    }
}

pub(super) const OTHER_DIMENSIONS: &str = "its vectors have other dimensions than its embedding endpoint's";

fn text(document: &TantivyDocument, field: Field) -> &str {
    document.get_first(field).and_then(|value| value.as_str()).unwrap_or_default()
}

/// The folder of a dataset's index. Its name changes with everything the index's content depends on
/// beside the rows, so an index of an older kind is never opened.
pub(super) fn folder(root: &Path, dataset: AttachmentId, settings: &Settings) -> PathBuf {
    let mut name = format!("{dataset}.{}.v2", settings.language.name());
    if let Some(meaning) = &settings.meaning {
        name.push('.');
        name.push_str(meaning.name());
    }
    root.join(name)
}

fn open_or_create(folder: &Path) -> tantivy::Result<Index> {
    fs::create_dir_all(folder)?;
    let directory = tantivy::directory::MmapDirectory::open(folder)?;
    Index::open_or_create(directory, schema().0)
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words =
        TextFieldIndexing::default().set_tokenizer(WORDS).set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        id: schema.add_text_field("id", STRING | STORED | FAST),
        content: schema
            .add_text_field("content", TextOptions::default().set_stored().set_indexing_options(words)),
        metadata: schema.add_text_field("metadata", STORED),
        embedding: schema.add_bytes_field("embedding", STORED),
    };
    (schema.build(), fields)
}
