//! Vectors for documents that have none of the dataset's model: they were stored before there was one, or with
//! another. Until they have one, they are found by their words.
//!
//! An index knows which they are. One replica at a time embeds them and writes them into their rows, at a
//! new revision, so that every index hears of it as of any other change.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{index::LocalIndex, indexes::Opening, meaning::Meaning};
use crate::{
    domain::AttachmentId,
    error::{Error, Part, UpstreamError},
    store::{Embedding, LateEmbedding, Store, VersionedDocument},
};

/// Documents that are embedded between two looks at the lease.
const PAGE: usize = 64;
/// How long the lease lasts. A page that takes longer may be embedded twice, which does no harm.
const TERM: Duration = Duration::from_secs(60);
/// How often a replica without the lease looks whether anything is left to do.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// After so many failures in a row of a page its texts are tried one by one.
const STUCK: usize = 3;
/// How long it waits for its own index.
const INDEXED_WITHIN: Duration = Duration::from_secs(60);
/// Pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The job for one dataset.
pub(super) struct Backfill {
    pub(super) store: Store,
    pub(super) dataset: AttachmentId,
    pub(super) meaning: Arc<Meaning>,
    pub(super) stop: CancellationToken,
}

/// What has gone wrong so far.
#[derive(Default)]
struct Trouble {
    /// Documents whose texts the endpoint does not take, until the service starts again.
    refused: BTreeSet<String>,
    /// How often in a row a page could not be embedded.
    failures: usize,
}

/// How far it has come.
enum Step {
    /// No document needs a vector, or none that the index knows of.
    Done,
    /// None of a page can get one.
    Refused,
    /// Some have got one, at this revision.
    Stored(i64),
    /// Another replica is at it.
    Elsewhere,
}

impl Backfill {
    /// Works until it is stopped, and gives the lease up then.
    pub(super) async fn run(self, index: Opening) {
        let holder = Uuid::now_v7();
        self.stop.run_until_cancelled(self.work(index, holder)).await;
        if let Err(error) = self.store.release_lease(&self.job(), holder).await {
            tracing::debug!(cause = error.cause(), "a lease was not given up");
        }
    }

    async fn work(&self, mut opening: Opening, holder: Uuid) {
        let opened = opening.wait_for(Option::is_some).await;
        let Some(index) = opened.ok().and_then(|index| index.clone()) else { return };
        let (mut caught_up, mut trouble, mut pause) = (index.caught_up(), Trouble::default(), PAUSES.0);
        loop {
            caught_up.mark_unchanged();
            match self.step(&index, holder, &mut trouble).await {
                Ok(Step::Done) if caught_up.changed().await.is_err() => return,
                Ok(Step::Done | Step::Refused) => {}
                Ok(Step::Stored(revision)) => {
                    index.reached(revision, INDEXED_WITHIN).await;
                    (pause, trouble.failures) = (PAUSES.0, 0);
                }
                Ok(Step::Elsewhere) => sleep(ELSEWHERE).await,
                Err(error) => {
                    tracing::warn!(dataset = %self.dataset, %error, cause = error.cause(), "documents wait for vectors");
                    trouble.failures += 1;
                    sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
            }
        }
    }

    async fn step(
        &self,
        index: &Arc<LocalIndex>,
        holder: Uuid,
        trouble: &mut Trouble,
    ) -> Result<Step, Error> {
        let ids = index.without_embedding(PAGE, &trouble.refused).map_err(Error::internal)?;
        if ids.is_empty() {
            return Ok(Step::Done);
        }
        if self.store.acquire_lease(&self.job(), holder, TERM).await?.is_none() {
            return Ok(Step::Elsewhere);
        }
        let mut documents = self.store.documents_called(self.dataset, ids).await?;
        // The index may not have heard of it yet.
        let has_one = |embedding: &Embedding| embedding.made_by == self.meaning.name();
        documents.retain(|document| !document.embedding.as_ref().is_some_and(has_one));
        if documents.is_empty() {
            return Ok(Step::Done);
        }
        let late = self.embedded(&documents, trouble).await.map_err(|fault| fault.of(Part::Dataset))?;
        if late.is_empty() {
            return Ok(Step::Refused);
        }
        Ok(Step::Stored(self.store.put_embeddings(self.dataset, late).await?))
    }

    /// A text that the endpoint does not take, such as one that is too long for its model, must not keep the others
    /// waiting: it is left to its words until the service starts again. Some servers call that a failure of theirs.
    async fn embedded(
        &self,
        documents: &[VersionedDocument],
        trouble: &mut Trouble,
    ) -> Result<Vec<LateEmbedding>, UpstreamError> {
        let failed = match self.late(documents).await {
            Ok(late) => return Ok(late),
            Err(failed) => failed,
        };
        let is_refused = matches!(failed, UpstreamError::Rejected { .. });
        if !is_refused && trouble.failures < STUCK {
            return Err(failed);
        }
        // Of a single word too? Then it is not the text.
        self.meaning.probe().await?;
        let mut embedded = Vec::new();
        for document in documents {
            match self.late(std::slice::from_ref(document)).await {
                Ok(late) => embedded.extend(late),
                Err(failed) if matches!(failed, UpstreamError::Rejected { .. }) || !is_refused => {
                    self.meaning.probe().await?;
                    trouble.refused.insert(document.document.id.clone());
                }
                Err(failed) => return Err(failed),
            }
        }
        let count = trouble.refused.len();
        tracing::warn!(dataset = %self.dataset, count, "documents that cannot be embedded are found by words only");
        Ok(embedded)
    }

    async fn late(&self, documents: &[VersionedDocument]) -> Result<Vec<LateEmbedding>, UpstreamError> {
        let embeddings =
            self.meaning.of_documents(documents.iter().map(|document| &document.document)).await?;
        let late = documents.iter().zip(embeddings).map(|(document, embedding)| LateEmbedding {
            document: document.document.id.clone(),
            revision: document.revision,
            embedding,
        });
        Ok(late.collect())
    }

    fn job(&self) -> String {
        format!("embed {}", self.dataset)
    }
}
