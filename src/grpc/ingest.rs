//! The stream of IngestDocuments: documents in, acknowledgements of stored batches out.

use std::time::Duration;

use async_stream::try_stream;
use futures_util::Stream;
use tonic::{Status, Streaming};

use super::{
    convert,
    status::{status, unreadable},
};
use crate::{
    catalog::{Catalog, Ingestion},
    domain::{Tenant, rules::violation},
    error::{Ended, Error, Rule},
    proto::{IngestDocumentsRequest, IngestDocumentsResponse},
};

/// Silence after which documents are stored although their batch is not full.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Silence after which a stream is ended.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// Documents on their way in.
pub(super) struct Documents {
    catalog: Catalog,
    tenant: Tenant,
    incoming: Streaming<IngestDocumentsRequest>,
    /// Begun by the first message, which names the dataset.
    ingestion: Option<Ingestion>,
}

/// What comes next.
enum Next {
    Message(IngestDocumentsRequest),
    /// Nothing for a while.
    Silence,
    End,
    Broken(Status),
}

impl Documents {
    pub(super) fn new(catalog: Catalog, tenant: Tenant, incoming: Streaming<IngestDocumentsRequest>) -> Self {
        Self { catalog, tenant, incoming, ingestion: None }
    }

    /// Stores what comes in, batch by batch. A document that is refused ends the stream; what was taken
    /// before it is stored and acknowledged first. The stream ends well once a search here finds
    /// everything.
    pub(super) fn acknowledged(mut self) -> impl Stream<Item = Result<IngestDocumentsResponse, Status>> {
        try_stream! {
            loop {
                let mut stored = Vec::new();
                let more = self.step(&mut stored).await;
                for batch in stored {
                    yield batch;
                }
                if !more? {
                    break;
                }
            }
            let missing = || violation("dataset", Rule::Missing, "is required in the first message");
            let ingestion = self.ingestion.ok_or_else(|| status(Error::Invalid(vec![missing()])))?;
            ingestion.indexed().await;
        }
    }

    /// Takes one message; false at the end. Full batches are stored on the way, all of them when the
    /// stream is silent, ends or breaks.
    async fn step(&mut self, stored: &mut Vec<IngestDocumentsResponse>) -> Result<bool, Status> {
        let more = match self.next().await {
            Next::Message(message) => match self.take(message, stored).await {
                Ok(()) => return Ok(true),
                refused => refused.map(|()| true),
            },
            Next::Silence => Ok(true),
            Next::End => Ok(false),
            Next::Broken(broken) => Err(broken),
        };
        if let Some(ingestion) = &mut self.ingestion {
            stored.extend(store(ingestion).await?);
        }
        more
    }

    async fn next(&mut self) -> Next {
        let waiting = self.ingestion.as_ref().is_some_and(Ingestion::has_unstored);
        let patience = if waiting { FLUSH_AFTER } else { IDLE_LIMIT };
        match tokio::time::timeout(patience, self.incoming.message()).await {
            Ok(Ok(Some(message))) => Next::Message(message),
            Ok(Ok(None)) => Next::End,
            Ok(Err(broken)) => Next::Broken(unreadable(&broken).unwrap_or(broken)),
            Err(_) if waiting => Next::Silence,
            Err(_) => Next::Broken(status(Error::Ended(Ended::DeadlineExceeded))),
        }
    }

    async fn take(
        &mut self,
        message: IngestDocumentsRequest,
        stored: &mut Vec<IngestDocumentsResponse>,
    ) -> Result<(), Status> {
        let ingestion = match &mut self.ingestion {
            Some(ingestion) => ingestion,
            none => none.insert(self.catalog.ingest(&self.tenant, &message.dataset).await.map_err(status)?),
        };
        same_dataset(ingestion, &message.dataset).map_err(status)?;
        for document in message.documents {
            let document = convert::document_draft(ingestion.received(), document).map_err(status)?;
            if ingestion.add(document).map_err(status)? {
                stored.extend(store(ingestion).await?);
            }
        }
        Ok(())
    }
}

async fn store(ingestion: &mut Ingestion) -> Result<Option<IngestDocumentsResponse>, Status> {
    let stored = ingestion.store().await.map_err(status)?;
    Ok(stored.map(|(acknowledged, revision)| IngestDocumentsResponse {
        acknowledged: i64::try_from(acknowledged).unwrap_or(i64::MAX),
        revision,
    }))
}

fn same_dataset(ingestion: &Ingestion, dataset: &str) -> Result<(), Error> {
    if dataset.is_empty() || dataset == ingestion.dataset() {
        return Ok(());
    }
    let message = "must be the same in all messages of a stream";
    Err(Error::Invalid(vec![violation("dataset", Rule::Immutable, message)]))
}
