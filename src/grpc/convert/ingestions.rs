//! Jobs that read files, and the files.

use super::resources::timestamp;
use crate::{
    domain::{
        FileState, IngestedFile, IngestionCounts, IngestionJob, IngestionSource, IngestionState,
        rules::violation,
    },
    error::{Rule, Violation},
    proto::{self, IngestionFileState, ingestion, start_ingestion_request},
};

pub(in crate::grpc) fn ingestion(job: IngestionJob) -> proto::Ingestion {
    let IngestionCounts { total, done, unchanged, failed, removed } = job.counts;
    let source = match job.source {
        IngestionSource::Folder(folder) => ingestion::Source::Folder(folder),
        IngestionSource::Urls(urls) => {
            let urls = urls.iter().map(|url| IngestionSource::shown(url)).collect();
            ingestion::Source::Urls(proto::IngestionUrls { urls })
        }
    };
    let state = match job.state {
        IngestionState::Pending => proto::IngestionState::Pending,
        IngestionState::Running => proto::IngestionState::Running,
        IngestionState::Done => proto::IngestionState::Done,
        IngestionState::Failed => proto::IngestionState::Failed,
        IngestionState::Stopped => proto::IngestionState::Stopped,
    };
    proto::Ingestion {
        id: job.id.to_string(),
        dataset: job.dataset,
        source: Some(source),
        state: state.into(),
        counts: Some(proto::IngestionCounts { total, done, unchanged, failed, removed }),
        error: job.error,
        attempt: job.attempt,
        create_time: Some(timestamp(job.created_at)),
        start_time: job.started_at.map(timestamp),
        end_time: job.ended_at.map(timestamp),
    }
}

pub(in crate::grpc) fn ingestion_file(file: IngestedFile) -> proto::IngestionFile {
    let state = match file.state {
        FileState::Pending => IngestionFileState::Pending,
        FileState::Running => IngestionFileState::Running,
        FileState::Done => IngestionFileState::Done,
        FileState::Failed => IngestionFileState::Failed,
    };
    proto::IngestionFile {
        name: file.name,
        state: state.into(),
        reason: file.reason,
        sha256: file.hash,
        size: file.size,
        documents: file.documents,
        ingestion_id: file.job.map(|job| job.to_string()).unwrap_or_default(),
        update_time: Some(timestamp(file.updated_at)),
    }
}

pub(in crate::grpc) fn ingestion_source(
    source: Option<start_ingestion_request::Source>,
) -> Result<IngestionSource, Violation> {
    match source {
        Some(start_ingestion_request::Source::Folder(folder)) => Ok(IngestionSource::Folder(folder)),
        Some(start_ingestion_request::Source::Urls(urls)) => Ok(IngestionSource::Urls(urls.urls)),
        None => Err(violation("source", Rule::Missing, "is required: folder or urls")),
    }
}

pub(in crate::grpc) fn file_state(state: i32) -> Result<Option<FileState>, Violation> {
    let unknown = |_| violation("state", Rule::OneOf, "is not an IngestionFileState");
    Ok(match IngestionFileState::try_from(state).map_err(unknown)? {
        IngestionFileState::Unspecified => None,
        IngestionFileState::Pending => Some(FileState::Pending),
        IngestionFileState::Running => Some(FileState::Running),
        IngestionFileState::Done => Some(FileState::Done),
        IngestionFileState::Failed => Some(FileState::Failed),
    })
}
