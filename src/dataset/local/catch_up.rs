//! Keeping an index up to date with its rows.

use std::{sync::Arc, time::Duration};

use tantivy::IndexWriter;

use super::index::{Cursor, LocalIndex};
use crate::{
    domain::AttachmentId,
    error::Error,
    store::{Store, VersionedDocument},
};

/// Rows read at once.
const PAGE: u64 = 64;
/// Pause while another process writes the same folder.
const LOCKED: Duration = Duration::from_millis(100);

/// Brings the index to the dataset's present revision, and commits once. When another process writes
/// the folder, waits for it and takes over from where it got.
///
/// # Errors
/// `NotFound` when the dataset is gone, `StoreUnavailable`, or `Internal` when the index fails.
pub(super) async fn catch_up(
    store: &Store,
    dataset: AttachmentId,
    index: &Arc<LocalIndex>,
) -> Result<(), Error> {
    loop {
        let target = store.document_revision(dataset).await?;
        if index.cursor().map_err(Error::internal)?.revision == target {
            reload(index).await?;
            index.mark_caught_up(target);
            return Ok(());
        }
        let Some(writer) = index.writer().map_err(Error::internal)? else {
            tokio::time::sleep(LOCKED).await;
            continue;
        };
        write(store, dataset, index, (writer, target)).await?;
    }
}

async fn write(
    store: &Store,
    dataset: AttachmentId,
    index: &Arc<LocalIndex>,
    (mut writer, target): (IndexWriter, i64),
) -> Result<(), Error> {
    // Read again under the writer's lock: another process may have come further meanwhile.
    let mut cursor = index.cursor().map_err(Error::internal)?;
    if cursor.revision > target && cursor.revision > store.document_revision(dataset).await? {
        // The rows are older than the index: a backup was restored. They are the truth.
        tracing::warn!(%dataset, "an index is ahead of its documents and is made anew");
        writer.delete_all_documents().map_err(Error::internal)?;
        cursor = Cursor::default();
    }
    loop {
        let page = store.documents_since(dataset, (cursor.revision, &cursor.id), PAGE).await?;
        let Some(last) = page.last() else { break };
        cursor = Cursor { revision: last.revision, id: last.document.id.clone() };
        let complete = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        writer = apply(index, writer, page).await?;
        if complete {
            break;
        }
    }
    if cursor.revision < target {
        // A write that left no row behind, such as a deletion of nothing.
        cursor = Cursor { revision: target, id: String::new() };
    }
    let index = Arc::clone(index);
    let commit = tokio::task::spawn_blocking(move || {
        index.commit(&mut writer, &cursor)?;
        writer.wait_merging_threads()
    });
    commit.await.map_err(Error::internal)?.map_err(Error::internal)
}

/// Vectors may have to be read.
async fn reload(index: &Arc<LocalIndex>) -> Result<(), Error> {
    let index = Arc::clone(index);
    let reloaded = tokio::task::spawn_blocking(move || index.reload());
    reloaded.await.map_err(Error::internal)?.map_err(Error::internal)
}

async fn apply(
    index: &Arc<LocalIndex>,
    writer: IndexWriter,
    page: Vec<VersionedDocument>,
) -> Result<IndexWriter, Error> {
    let index = Arc::clone(index);
    let applied = tokio::task::spawn_blocking(move || index.apply(&writer, &page).map(|()| writer));
    applied.await.map_err(Error::internal)?.map_err(Error::internal)
}
