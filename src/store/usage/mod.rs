//! Records, read again: one by one, newest first, and added up.

mod conditions;
mod shares;
mod totals;

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{SecretBox, Store, records::binding};
use crate::{
    domain::{
        AttachmentId, Cost, EndpointId, EndpointRef, QueryId, QueryOutcome, QueryRecord, RecordFilter,
        RecordedText, TenantId, Usage,
    },
    error::Error,
};
use conditions::Conditions;

/// Sums that are made at once: each may read much, and queries need connections too.
pub(super) const SUMMARIES: usize = 2;

/// The record that a page goes on after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKey {
    /// Since 1970.
    pub started_micros: i64,
    pub id: Uuid,
}

impl Store {
    /// Up to `limit` records, newest first, that are older than `after`. Text that does not open is not there.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn query_records(
        &self,
        tenant: TenantId,
        filter: &RecordFilter,
        after: Option<RecordKey>,
        limit: u64,
    ) -> Result<Vec<QueryRecord>, Error> {
        let mut conditions = self.conditions(tenant, filter).await?;
        if let Some(after) = after {
            conditions.are("(started_micros, id) < (?, ?)", [after.started_micros.into(), after.id.into()]);
        }
        let limit = conditions.value(i64::try_from(limit).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT id, endpoint_id, endpoint_slug, dataset_id, caller, request_id, correlation_id, preview, \
             outcome, reason, documents, prompt_tokens, completion_tokens, usage_estimated, cost_nano_units, \
             currency, first_event_micros, first_token_micros, duration_micros, started_micros, question, answer \
             FROM query_records WHERE {} ORDER BY started_micros DESC, id DESC LIMIT {limit}",
            conditions.text()
        );
        let rows = self.rows(&sql, conditions.into_values()).await?;
        rows.iter().map(|row| record(self.secrets(), tenant, row)).collect()
    }

    /// What a filter asks for. One that names an endpoint by its id asks for its slug too: that is in an index,
    /// and never changes.
    async fn conditions(&self, tenant: TenantId, filter: &RecordFilter) -> Result<Conditions, Error> {
        let mut conditions = Conditions::of(tenant, filter);
        if let Some(EndpointRef::Id(id)) = &filter.endpoint {
            let sql = "SELECT slug FROM endpoints WHERE tenant_id = $1 AND id = $2";
            let row =
                self.reader().query_one_raw(self.statement(sql, [tenant.0.into(), id.0.into()])).await?;
            if let Some(row) = row {
                conditions.are("endpoint_slug = ?", [row.try_get::<String>("", "slug")?.into()]);
            }
        }
        Ok(conditions)
    }

    /// Makes a sum in its turn, on a task that no caller can cancel: the database goes on with what nobody waits
    /// for, and so long the turn must last.
    async fn in_turn<T: Send + 'static>(
        &self,
        sum: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.inner.summaries).acquire_owned().await.map_err(Error::internal)?;
        let task = self.inner.tasks.spawn(async move {
            let summed = sum.await;
            drop(turn);
            summed
        });
        task.await.map_err(Error::internal)?
    }

    async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, Error> {
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        Ok(self.reader().query_all_raw(statement).await?)
    }
}

impl RecordKey {
    /// Where a record is in the order.
    pub fn of(record: &QueryRecord) -> Self {
        let micros = record.started_at.unix_timestamp_nanos().div_euclid(1_000);
        Self { started_micros: i64::try_from(micros).unwrap_or_default(), id: record.id.0 }
    }
}

fn record(secrets: &SecretBox, tenant: TenantId, row: &QueryResult) -> Result<QueryRecord, Error> {
    let id = QueryId(row.try_get("", "id")?);
    let opened = |field: &str| -> Result<Option<String>, Error> {
        let sealed: Option<String> = row.try_get("", field)?;
        Ok(sealed.and_then(|sealed| secrets.open_text(&binding(tenant, id, field), &sealed)))
    };
    let outcome: String = row.try_get("", "outcome")?;
    let nano_units: Option<i64> = row.try_get("", "cost_nano_units")?;
    let currency: String = row.try_get("", "currency")?;
    Ok(QueryRecord {
        id,
        tenant,
        endpoint: row.try_get::<Option<Uuid>>("", "endpoint_id")?.map(EndpointId),
        endpoint_slug: row.try_get("", "endpoint_slug")?,
        dataset: row.try_get::<Option<Uuid>>("", "dataset_id")?.map(AttachmentId),
        caller: row.try_get("", "caller")?,
        request_id: row.try_get("", "request_id")?,
        correlation_id: row.try_get("", "correlation_id")?,
        preview: row.try_get("", "preview")?,
        outcome: QueryOutcome::parse(&outcome).unwrap_or(QueryOutcome::Failed).name(),
        reason: row.try_get("", "reason")?,
        documents: usize::try_from(row.try_get::<i64>("", "documents")?).unwrap_or_default(),
        usage: Usage {
            prompt_tokens: row.try_get("", "prompt_tokens")?,
            completion_tokens: row.try_get("", "completion_tokens")?,
            estimated: row.try_get("", "usage_estimated")?,
        },
        cost: nano_units.map(|nano_units| Cost { nano_units, currency }),
        first_event: time(row, "first_event_micros")?,
        first_token: time(row, "first_token_micros")?,
        duration: time(row, "duration_micros")?.unwrap_or_default(),
        started_at: moment(row.try_get("", "started_micros")?),
        text: RecordedText { question: opened("question")?, answer: opened("answer")? },
    })
}

/// A column of microseconds.
fn time(row: &QueryResult, column: &str) -> Result<Option<Duration>, Error> {
    let micros: Option<i64> = row.try_get("", column)?;
    Ok(micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or_default())))
}

/// Microseconds since 1970, as a moment.
fn moment(micros: i64) -> OffsetDateTime {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
    moment.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
