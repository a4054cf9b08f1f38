//! The index of one dataset: a tantivy folder, derived from the rows.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::RwLock,
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

use super::scoring::{self, Statistics};
use crate::{
    dataset::SearchRequest,
    domain::{Reference, References, words::Language},
    store::VersionedDocument,
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
    language: Language,
    statistics: RwLock<std::sync::Arc<Statistics>>,
    /// The revision up to which everything is searchable; `None` until it has caught up once.
    caught_up: watch::Sender<Option<i64>>,
}

#[derive(Clone, Copy)]
struct Fields {
    id: Field,
    content: Field,
    metadata: Field,
}

impl LocalIndex {
    /// Opens the index in `folder`, or makes an empty one where there is none that can be read.
    pub(super) fn open(folder: &Path, language: Language) -> tantivy::Result<Self> {
        match Self::open_as_it_is(folder, language) {
            Err(TantivyError::IoError(error)) => Err(TantivyError::IoError(error)),
            Err(error) => {
                tracing::warn!(%error, "an index cannot be read and is made anew");
                fs::remove_dir_all(folder)?;
                Self::open_as_it_is(folder, language)
            }
            opened => opened,
        }
    }

    fn open_as_it_is(folder: &Path, language: Language) -> tantivy::Result<Self> {
        let index = open_or_create(folder)?;
        index.tokenizers().register(WORDS, language.analyzer());
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let (_, fields) = schema();
        let statistics = Statistics::of(&reader.searcher(), fields.content)?;
        let statistics = RwLock::new(std::sync::Arc::new(statistics));
        Ok(Self { index, reader, fields, language, statistics, caught_up: watch::Sender::new(None) })
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
            writer.add_document(doc!(
                self.fields.id => document.id.as_str(),
                self.fields.content => document.content.as_str(),
                self.fields.metadata => serde_json::to_string(&document.metadata).unwrap_or_default(),
            ))?;
        }
        Ok(())
    }

    /// Makes what was applied durable, at `cursor`, and visible.
    pub(super) fn commit(&self, writer: &mut IndexWriter, cursor: &Cursor) -> tantivy::Result<()> {
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&serde_json::to_string(cursor).unwrap_or_default());
        commit.commit()?;
        self.reload()
    }

    /// Makes what is on disk visible.
    pub(super) fn reload(&self) -> tantivy::Result<()> {
        self.reader.reload()?;
        let statistics = Statistics::of(&self.reader.searcher(), self.fields.content)?;
        *self.statistics.write().unwrap_or_else(std::sync::PoisonError::into_inner) = statistics.into();
        Ok(())
    }

    /// Documents by similarity, ties by id.
    pub(super) fn search(&self, request: &SearchRequest) -> tantivy::Result<References> {
        let statistics = self.statistics.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let searcher = statistics.searcher();
        let words = crate::domain::words::words(&mut self.language.analyzer(), &request.text);
        let hits = scoring::search(&statistics, self.fields.content, words, request.options)?;
        let mut documents = Vec::with_capacity(hits.len());
        for hit in hits {
            documents.push(self.load(searcher, &hit, request.options.include_metadata)?);
        }
        documents.sort_by(|a, b| {
            b.similarity_score.total_cmp(&a.similarity_score).then_with(|| a.document_id.cmp(&b.document_id))
        });
        documents.truncate(request.options.limit);
        Ok(References { documents, search_engine: super::NAME.to_owned() })
    }

    fn load(
        &self,
        searcher: &Searcher,
        hit: &scoring::Hit,
        with_metadata: bool,
    ) -> tantivy::Result<Reference> {
        let document: TantivyDocument = searcher.doc(hit.address)?;
        let text = |field| document.get_first(field).and_then(|value| value.as_str()).unwrap_or_default();
        Ok(Reference {
            document_id: text(self.fields.id).to_owned(),
            content: text(self.fields.content).to_owned(),
            similarity_score: hit.similarity,
            metadata: with_metadata
                .then(|| serde_json::from_str(text(self.fields.metadata)).unwrap_or_default()),
        })
    }
}

/// The folder of a dataset's index. Its name changes with everything the index's content depends on
/// beside the rows, so an index of an older kind is never opened.
pub(super) fn folder(root: &Path, dataset: crate::domain::AttachmentId, language: Language) -> PathBuf {
    root.join(format!("{dataset}.{}.v1", language.name()))
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
    };
    (schema.build(), fields)
}
