//! The indexes of this process, opened when first needed.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Mutex, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    backfill::Backfill,
    catch_up::catch_up,
    index::{LocalIndex, folder},
    meaning::Meaning,
};
use crate::{
    domain::{AttachmentId, words::Language},
    error::Error,
    store::Store,
};

/// Pause before a failed catch-up is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// All indexes of this process. Clones share them.
#[derive(Clone)]
pub struct LocalIndexes {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    root: PathBuf,
    open: Mutex<HashMap<AttachmentId, Opened>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// What an index depends on beside the rows.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) language: Language,
    /// What embeds its documents, if anything does.
    pub(super) meaning: Option<Arc<Meaning>>,
}

/// An index that may still be opening. `None` until it is.
pub(super) type Opening = watch::Receiver<Option<Arc<LocalIndex>>>;

struct Opened {
    index: Opening,
    settings: Settings,
    stop: CancellationToken,
}

/// An index, or the wait for it.
pub(super) struct Handle(Opening);

impl LocalIndexes {
    /// Indexes below `root`; nothing is opened yet. Catching up stops at `shutdown`.
    pub fn new(store: Store, root: PathBuf, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        Self { inner: Arc::new(Inner { store, root, open: Mutex::default(), tasks, shutdown }) }
    }

    /// The index of a dataset. Opening it and catching up go on in the background.
    pub(super) async fn open(&self, dataset: AttachmentId, settings: &Settings) -> Handle {
        let mut open = self.inner.open.lock().await;
        if let Some(opened) = open.get(&dataset).filter(|opened| opened.settings.is_like(settings)) {
            return Handle(opened.index.clone());
        }
        let opened = self.start(dataset, settings.clone());
        let handle = Handle(opened.index.clone());
        if let Some(former) = open.insert(dataset, opened) {
            former.stop.cancel();
        }
        handle
    }

    fn start(&self, dataset: AttachmentId, settings: Settings) -> Opened {
        let (announce, index) = watch::channel(None);
        let stop = self.inner.shutdown.child_token();
        let keep = Keeper { indexes: self.clone(), dataset, settings: settings.clone(), stop: stop.clone() };
        self.inner.tasks.spawn(async move { keep.run(announce).await });
        if let Some(meaning) = settings.meaning.clone() {
            let store = self.inner.store.clone();
            let backfill = Backfill { store, dataset, meaning, stop: stop.clone() };
            self.inner.tasks.spawn(backfill.run(index.clone()));
        }
        Opened { index, settings, stop }
    }

    /// Closes a dataset's index and removes it from the disk.
    pub async fn forget(&self, dataset: AttachmentId) {
        if let Some(opened) = self.inner.open.lock().await.remove(&dataset) {
            opened.stop.cancel();
        }
        let Ok(folders) = fs::read_dir(&self.inner.root) else { return };
        let name = dataset.to_string();
        for folder in folders.flatten().filter(|f| f.file_name().to_string_lossy().starts_with(&name)) {
            if let Err(error) = fs::remove_dir_all(folder.path()) {
                tracing::warn!(%error, "an index could not be removed");
            }
        }
    }
}

impl Handle {
    /// The index, once it has caught up; `None` when it has not within `patience`.
    pub(super) async fn ready(&self, patience: Duration) -> Option<Arc<LocalIndex>> {
        self.caught_up(0, patience).await
    }

    /// Waits until this process finds what was written up to `revision`; false when it does not within
    /// `patience`.
    pub(super) async fn reached(&self, revision: i64, patience: Duration) -> bool {
        self.caught_up(revision, patience).await.is_some()
    }

    async fn caught_up(&self, revision: i64, patience: Duration) -> Option<Arc<LocalIndex>> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut opening = self.0.clone();
        let opened = tokio::time::timeout_at(deadline, opening.wait_for(Option::is_some)).await;
        let index = opened.ok().and_then(|opened| opened.ok().and_then(|index| index.clone()))?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        index.reached(revision, left).await.then_some(index)
    }
}

/// Keeps one index up to date until its dataset is gone or the service stops.
struct Keeper {
    indexes: LocalIndexes,
    dataset: AttachmentId,
    settings: Settings,
    stop: CancellationToken,
}

impl Settings {
    /// Whether one index serves for both.
    fn is_like(&self, other: &Self) -> bool {
        let name = |settings: &Self| settings.meaning.as_ref().map(|meaning| meaning.name().to_owned());
        self.language == other.language && name(self) == name(other)
    }
}

impl Keeper {
    async fn run(self, announce: watch::Sender<Option<Arc<LocalIndex>>>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep(announce) => self.indexes.forget(self.dataset).await,
        }
    }

    /// Returns when the dataset is gone.
    async fn keep(&self, announce: watch::Sender<Option<Arc<LocalIndex>>>) {
        let store = &self.indexes.inner.store;
        let mut changes = store.feed().documents();
        loop {
            changes.mark_unchanged();
            let caught_up = match self.opened(&announce).await {
                Ok(index) => catch_up(store, self.dataset, &index).await,
                Err(error) => Err(error),
            };
            match caught_up {
                Ok(()) if changes.changed().await.is_err() => return,
                Ok(()) => {}
                Err(Error::NotFound(..)) => return,
                Err(error) => {
                    tracing::warn!(cause = error.cause(), "an index cannot catch up");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn opened(
        &self,
        announce: &watch::Sender<Option<Arc<LocalIndex>>>,
    ) -> Result<Arc<LocalIndex>, Error> {
        if let Some(index) = announce.borrow().clone() {
            return Ok(index);
        }
        let settings = self.settings.clone();
        let folder = folder(&self.indexes.inner.root, self.dataset, &settings);
        let opened = tokio::task::spawn_blocking(move || LocalIndex::open(&folder, &settings));
        let index = Arc::new(opened.await.map_err(Error::internal)?.map_err(Error::internal)?);
        announce.send_replace(Some(Arc::clone(&index)));
        Ok(index)
    }
}
