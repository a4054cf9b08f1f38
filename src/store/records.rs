//! The record of every query: who, what, how it ended, what it took. Text only where the owner wants it,
//! and sealed.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::Value;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::sleep};

use super::{SecretBox, Store, bulk::Bulk, fault, seal::Owner};
use crate::{
    domain::{QueryId, QueryRecord, TenantId},
    error::Error,
};

/// What is kept of queries, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether records have what was asked and answered: the last user message and the text of the answer,
    /// 4,000 characters of each. Off: records have no text. Also SYFT_RECORD_QUERIES.
    pub text: bool,
    /// Days after which a record is deleted; 0: never.
    pub keep_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { text: false, keep_days: 90 }
    }
}

/// Records written together at most.
const BATCH: usize = 256;
/// Records that wait for the database at most; beyond it queries wait to record.
const QUEUE: usize = 4096;
/// How long a query waits to record before its record is dropped and said so.
const PATIENCE: Duration = Duration::from_secs(5);
/// Milliseconds between attempts to write.
const PAUSES: [u64; 4] = [200, 500, 1_000, 2_000];
const LONGEST_PAUSE: u64 = 5_000;
/// Attempts that a store makes which closes.
const LAST_TRIES: u32 = 3;

/// Writes records in batches. Clones share one writer.
#[derive(Clone)]
pub struct Recorder {
    records: mpsc::Sender<QueryRecord>,
    lost: Arc<AtomicU64>,
    text: bool,
}

impl Recorder {
    /// Starts the writer. It ends, with everything written, when the store closes.
    pub fn start(store: &Store, config: &Config) -> Self {
        let (records, inbox) = mpsc::channel(QUEUE);
        store.inner.tasks.spawn(serve(store.clone(), inbox));
        Self { records, lost: Arc::clone(&store.inner.records_lost), text: config.text }
    }

    /// A recorder whose records come out of a channel instead of going into a database.
    pub fn channel(config: &Config) -> (Self, mpsc::Receiver<QueryRecord>) {
        let (records, inbox) = mpsc::channel(QUEUE);
        (Self { records, lost: Arc::default(), text: config.text }, inbox)
    }

    /// Whether records are to have text.
    pub fn keeps_text(&self) -> bool {
        self.text
    }

    /// Hands a record over. Waits while the queue is full, 5 s at most; then the record is lost, counted,
    /// and the log says so.
    pub async fn record(&self, record: QueryRecord) {
        if self.records.send_timeout(record, PATIENCE).await.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a query record was lost: the database does not keep up");
        }
    }
}

async fn serve(store: Store, mut inbox: mpsc::Receiver<QueryRecord>) {
    loop {
        let batch = store.next_batch(&mut inbox, BATCH).await;
        if batch.is_empty() {
            return;
        }
        let lost = keep(&store, batch.into()).await;
        if lost > 0 {
            store.inner.records_lost.fetch_add(lost as u64, Ordering::Relaxed);
            tracing::error!(count = lost, "query records were lost");
        }
    }
}

/// Tries until the database takes them: meanwhile the queue fills, and only what finds no room is lost.
/// Records that the database refuses are halved until the bad ones are alone. Returns how many were lost.
async fn keep(store: &Store, records: Arc<[QueryRecord]>) -> usize {
    let (mut lost, mut left, mut last_tries) =
        (0, std::iter::once(0..records.len()).collect::<Vec<_>>(), LAST_TRIES);
    let mut pauses = PAUSES.into_iter();
    while let Some(part) = left.pop() {
        let Err(error) = insert(store, &records, part.clone()).await else { continue };
        if fault::is_refused(&error) {
            if part.len() == 1 {
                tracing::error!(cause = error.cause(), "the database refuses a query record");
                lost += 1;
                continue;
            }
            let middle = part.start + part.len() / 2;
            left.extend([middle..part.end, part.start..middle]);
            continue;
        }
        tracing::warn!(cause = error.cause(), waiting = records.len(), "query records wait for the database");
        left.push(part);
        let pause = Duration::from_millis(pauses.next().unwrap_or(LONGEST_PAUSE));
        if store.inner.closing.run_until_cancelled(sleep(pause)).await.is_none() {
            last_tries -= 1;
            if last_tries == 0 {
                return lost + left.into_iter().map(|part| part.len()).sum::<usize>();
            }
        }
    }
    lost
}

async fn insert(store: &Store, records: &Arc<[QueryRecord]>, part: Range<usize>) -> Result<(), Error> {
    // A row that an attempt before has written after all stays as it is.
    static INSERT: Bulk = Bulk::new(
        "INSERT INTO query_records (id, tenant_id, endpoint_id, endpoint_slug, dataset_id, caller, request_id, \
         correlation_id, preview, outcome, reason, documents, prompt_tokens, completion_tokens, usage_estimated, \
         cost_nano_units, currency, first_event_micros, first_token_micros, duration_micros, started_micros, \
         question, answer) VALUES ",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        " ON CONFLICT (id) DO NOTHING",
    );
    let (records, box_of) = (Arc::clone(records), store.clone());
    store
        .write(move |txn| {
            Box::pin(async move {
                let rows = records[part].iter().map(|record| row(box_of.secrets(), record));
                INSERT.tell(txn, rows.collect::<Result<_, _>>()?).await
            })
        })
        .await
}

/// In the order of the columns.
fn row(secrets: &SecretBox, record: &QueryRecord) -> Result<[Value; 23], Error> {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let currency = record.cost.as_ref().map(|cost| cost.currency.clone());
    let sealed = |field, text: &Option<String>| {
        let bind = binding(record.tenant, record.id, field);
        text.as_ref().map(|text| secrets.seal_text(&bind, text)).transpose()
    };
    Ok([
        record.id.0.into(),
        record.tenant.0.into(),
        record.endpoint.map(|id| id.0).into(),
        record.endpoint_slug.clone().into(),
        record.dataset.map(|id| id.0).into(),
        record.caller.clone().into(),
        record.request_id.into(),
        record.correlation_id.clone().into(),
        record.preview.into(),
        record.outcome.into(),
        record.reason.clone().into(),
        i64::try_from(record.documents).unwrap_or(i64::MAX).into(),
        record.usage.prompt_tokens.into(),
        record.usage.completion_tokens.into(),
        record.usage.estimated.into(),
        record.cost.as_ref().map(|cost| cost.nano_units).into(),
        currency.unwrap_or_default().into(),
        record.first_event.map(micros).into(),
        record.first_token.map(micros).into(),
        micros(record.duration).into(),
        since_1970(record.started_at).into(),
        sealed("question", &record.text.question)?.into(),
        sealed("answer", &record.text.answer)?.into(),
    ])
}

/// What a sealed text is bound to.
pub(super) fn binding(tenant: TenantId, id: QueryId, field: &str) -> String {
    Owner { tenant, row: id.0 }.bind(field)
}

/// In microseconds.
fn since_1970(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or_default()
}
