//! Jobs that read files into datasets, and the files.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{AttachmentId, FileId, IngestionId, TenantId};

/// A job that brings a dataset in line with files.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestionJob {
    pub id: IngestionId,
    pub tenant_id: TenantId,
    pub dataset_id: AttachmentId,
    /// The dataset's name.
    pub dataset: String,
    pub source: IngestionSource,
    pub state: IngestionState,
    pub counts: IngestionCounts,
    /// Why it failed; empty when it has not.
    pub error: String,
    /// How often a process has begun with it.
    pub attempt: i64,
    /// Grows with each change.
    pub revision: i64,
    pub created_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
}

/// Where files come from. URLs may have secrets in them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IngestionSource {
    /// A folder or file below the configured root; empty for the root itself.
    Folder(String),
    Urls(Vec<String>),
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestionState {
    Pending,
    Running,
    /// Everything is as the source has it.
    Done,
    /// The job itself failed, or one of its files did.
    Failed,
    Stopped,
}

/// Files of a job. What is not counted in one of the others is yet to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestionCounts {
    pub total: i64,
    /// Read and stored.
    pub done: i64,
    /// Found as they were.
    pub unchanged: i64,
    pub failed: i64,
    /// Gone from the source, and their documents with them.
    pub removed: i64,
}

/// A file of a dataset, as it is stored there.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestedFile {
    pub id: FileId,
    pub name: String,
    pub origin: FileOrigin,
    pub state: FileState,
    /// Why it failed; empty when it has not.
    pub reason: String,
    /// Of the bytes whose documents are stored: SHA-256 in hexadecimal; empty when there are none.
    pub hash: String,
    /// The format that they were read as.
    pub format: String,
    pub size: i64,
    pub documents: i64,
    /// The job that has read it last, or is to.
    pub job: Option<IngestionId>,
    pub updated_at: OffsetDateTime,
}

/// How a file came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOrigin {
    Folder,
    Url,
    Upload,
}

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    Pending,
    Running,
    Done,
    Failed,
}

/// Who writes the documents of a file. Another reading of it ends that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileWriter {
    pub file: FileId,
    pub writer: uuid::Uuid,
}

/// Names of the values of an enum, as they are stored.
macro_rules! named {
    ($($type:ident { $($value:ident: $name:literal),+ })+) => {$(
        impl $type {
            /// The name in stored rows.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }

            /// The one of that name.
            pub fn parse(name: &str) -> Option<Self> {
                [$(Self::$value),+].into_iter().find(|known| known.name() == name)
            }
        }
    )+};
}

named! {
    IngestionState {
        Pending: "pending", Running: "running", Done: "done", Failed: "failed", Stopped: "stopped"
    }
    FileState { Pending: "pending", Running: "running", Done: "done", Failed: "failed" }
    FileOrigin { Folder: "folder", Url: "url", Upload: "upload" }
}

impl IngestionState {
    /// Whether nothing happens any more unless somebody asks for it.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

impl IngestionSource {
    /// A URL as it may be shown: without its query.
    pub fn shown(url: &str) -> String {
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        if url.split('#').next().is_some_and(|url| url.contains('?')) {
            return format!("{bare}?[redacted]");
        }
        bare.to_owned()
    }
}

/// The URLs are secrets.
impl std::fmt::Debug for IngestionSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
            Self::Urls(urls) => f.debug_tuple("Urls").field(&urls.len()).finish(),
        }
    }
}
