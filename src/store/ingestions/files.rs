//! Files of datasets: which documents are theirs, and how their last reading went.

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use super::runs::{IngestionRun, count};
use crate::{
    domain::{AttachmentId, FileId, FileOrigin, FileWriter, IngestedFile, IngestionId, TenantId},
    error::{Error, Resource},
    store::{Store, bulk::Bulk, documents, now},
};

/// Files that one transaction plans: others wait for it.
const CHUNK: usize = 2_048;

/// Where a file is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    pub tenant: TenantId,
    pub dataset: AttachmentId,
    pub name: String,
    pub origin: FileOrigin,
}

/// What a file was when its documents were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// SHA-256 in hexadecimal.
    pub hash: String,
    pub format: &'static str,
    pub size: usize,
    pub documents: usize,
    /// The dataset's first revision with documents of this reading; `None` when it has none. What is older of the
    /// file is deleted.
    pub since: Option<i64>,
}

impl Store {
    /// Writes down which files a job is to read. Those with which it has done stay as they are. Says whether the
    /// job was held all the time.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn plan_ingestion(
        &self,
        run: IngestionRun,
        (tenant, dataset, origin): (TenantId, AttachmentId, FileOrigin),
        names: &[String],
    ) -> Result<bool, Error> {
        for chunk in names.chunks(CHUNK) {
            let rows: Vec<_> =
                chunk.iter().map(|name| planned(tenant, dataset, origin, name, run.job)).collect();
            let planned = self.write(move |txn| {
                Box::pin(async move {
                    let held = count(txn, run, "").await?;
                    if held {
                        PLAN.tell(txn, rows).await?;
                    }
                    Ok(held)
                })
            });
            if !planned.await? {
                return Ok(false);
            }
        }
        let sql = "UPDATE ingestion_jobs SET total = $2, revision = revision + 1, \
                   done = (SELECT count(*) FROM ingested_files WHERE job_id = $1 AND state = 'done' AND NOT unchanged), \
                   unchanged = (SELECT count(*) FROM ingested_files WHERE job_id = $1 AND state = 'done' AND unchanged), \
                   failed = (SELECT count(*) FROM ingested_files WHERE job_id = $1 AND state = 'failed') \
                   WHERE id = $1 AND holder = $3 AND state = 'running'";
        let total = i64::try_from(names.len()).unwrap_or(i64::MAX);
        let counted = self.statement(sql, [run.job.0.into(), total.into(), run.holder.into()]);
        self.write(move |txn| {
            Box::pin(async move { Ok(txn.execute_raw(counted).await?.rows_affected() > 0) })
        })
        .await
    }

    /// Begins to write a file's documents: whoever wrote them before may no more. Says how often the run's job has
    /// begun with it; `None` when the job is not held any more.
    ///
    /// # Errors
    /// `NotFound` when the dataset is gone, `StoreUnavailable`.
    pub async fn begin_file(
        &self,
        run: Option<IngestionRun>,
        place: FilePlace,
    ) -> Result<Option<(FileWriter, i64)>, Error> {
        self.write(move |txn| {
            Box::pin(async move {
                if let Some(run) = run
                    && !count(txn, run, "").await?
                {
                    return Ok(None);
                }
                begin(txn, run.map(|run| run.job), &place).await.map(Some)
            })
        })
        .await
    }

    /// Records that a file is stored, and deletes what is left of the version before. Says whether the run's job
    /// was held; if not, nothing is changed.
    ///
    /// # Errors
    /// `NotFound` when somebody else writes the file, `StoreUnavailable`.
    pub async fn finish_file(
        &self,
        run: Option<IngestionRun>,
        (place, writer): (FilePlace, FileWriter),
        stored: StoredFile,
    ) -> Result<bool, Error> {
        let finished = self.write(move |txn| {
            Box::pin(async move {
                if let Some(run) = run
                    && !count(txn, run, ", done = done + 1").await?
                {
                    return Ok((false, None));
                }
                finish(txn, writer, &stored).await?;
                let (of, before) = ((place.tenant, place.dataset), stored.since.unwrap_or(i64::MAX));
                Ok((true, documents::delete_of_file(txn, of, writer.file, before).await?))
            })
        });
        let (held, announced) = finished.await?;
        announced.into_iter().for_each(|revision| self.feed().advance_documents(revision));
        Ok(held)
    }

    /// Records of a file of a job that it is as it was. Says whether the job was held.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn keep_file(&self, run: IngestionRun, file: &IngestedFile) -> Result<bool, Error> {
        let sql = "UPDATE ingested_files SET state = 'done', unchanged = TRUE, updated_at = $4 \
                   WHERE id = $1 AND job_id = $2 AND hash = $3";
        let values = [file.id.0.into(), run.job.0.into(), file.hash.clone().into(), now().into()];
        self.settle(run, self.statement(sql, values), ", unchanged = unchanged + 1").await
    }

    /// Records why a file of a job cannot be read; what is stored of it stays. Says whether the job was held.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn fail_file(
        &self,
        run: IngestionRun,
        (dataset, name): (AttachmentId, &str),
        reason: String,
    ) -> Result<bool, Error> {
        let sql = "UPDATE ingested_files SET state = 'failed', reason = $4, writer = NULL, updated_at = $5 \
                   WHERE dataset_id = $1 AND name = $2 AND job_id = $3";
        let values = [dataset.0.into(), name.into(), run.job.0.into(), reason.into(), now().into()];
        self.settle(run, self.statement(sql, values), ", failed = failed + 1").await
    }

    /// Records why a file that belongs to no job could not be stored. What is stored of it stays.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn fail_upload(&self, writer: FileWriter, reason: String) -> Result<(), Error> {
        let sql = "UPDATE ingested_files SET state = 'failed', reason = $3, writer = NULL, updated_at = $4 \
                   WHERE id = $1 AND writer = $2";
        let values = [writer.file.0.into(), writer.writer.into(), reason.into(), now().into()];
        let failed = self.statement(sql, values);
        self.write(move |txn| Box::pin(async move { Ok(txn.execute_raw(failed).await.map(|_| ())?) })).await
    }

    /// Deletes a file and its documents; says whether there was one. With a run, only while its job is held,
    /// which counts it.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn remove_file(
        &self,
        run: Option<IngestionRun>,
        of: (TenantId, AttachmentId),
        name: &str,
    ) -> Result<bool, Error> {
        // What a job finds gone may have been uploaded meanwhile.
        let sql = match run {
            Some(_) => {
                "DELETE FROM ingested_files WHERE tenant_id = $1 AND dataset_id = $2 AND name = $3 \
                 AND origin = 'folder' RETURNING id"
            }
            None => {
                "DELETE FROM ingested_files WHERE tenant_id = $1 AND dataset_id = $2 AND name = $3 RETURNING id"
            }
        };
        let delete = self.statement(sql, [of.0.0.into(), of.1.0.into(), name.into()]);
        let removed = self.write(move |txn| {
            Box::pin(async move {
                if let Some(run) = run
                    && !count(txn, run, "").await?
                {
                    return Ok((false, None));
                }
                let Some(row) = txn.query_one_raw(delete).await? else { return Ok((false, None)) };
                if let Some(run) = run {
                    count(txn, run, ", removed = removed + 1").await?;
                }
                let file = FileId(row.try_get("", "id")?);
                Ok((true, documents::delete_of_file(txn, of, file, i64::MAX).await?))
            })
        });
        let (was_there, announced) = removed.await?;
        announced.into_iter().for_each(|revision| self.feed().advance_documents(revision));
        Ok(was_there)
    }

    /// Changes a file of a job, and counts it; one that is the job's no more counts no more.
    async fn settle(
        &self,
        run: IngestionRun,
        change: Statement,
        counted: &'static str,
    ) -> Result<bool, Error> {
        self.write(move |txn| {
            Box::pin(async move {
                // The job's row first.
                if !count(txn, run, "").await? {
                    return Ok(false);
                }
                let is_ours = txn.execute_raw(change).await?.rows_affected() > 0;
                count(txn, run, if is_ours { counted } else { ", total = total - 1" }).await
            })
        })
        .await
    }

    /// Counts a file no more that somebody else has taken over. Says whether the job was held.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn leave_file(&self, run: IngestionRun) -> Result<bool, Error> {
        self.write(move |txn| Box::pin(async move { count(txn, run, ", total = total - 1").await })).await
    }
}

static PLAN: Bulk = Bulk::new(
    "INSERT INTO ingested_files (id, tenant_id, dataset_id, name, origin, format, hash, size, documents, state, \
     reason, unchanged, job_id, tries, updated_at) VALUES ",
    "(?, ?, ?, ?, ?, '', '', 0, 0, 'pending', '', FALSE, ?, 0, ?)",
    " ON CONFLICT (dataset_id, name) DO UPDATE SET origin = excluded.origin, state = 'pending', reason = '', \
     unchanged = FALSE, writer = NULL, job_id = excluded.job_id, updated_at = excluded.updated_at, \
     tries = CASE WHEN ingested_files.job_id = excluded.job_id THEN ingested_files.tries ELSE 0 END \
     WHERE ingested_files.job_id IS NULL OR ingested_files.job_id <> excluded.job_id \
     OR ingested_files.state = 'running'",
);

fn planned(
    tenant: TenantId,
    dataset: AttachmentId,
    origin: FileOrigin,
    name: &str,
    job: IngestionId,
) -> [Value; 7] {
    [
        Uuid::now_v7().into(),
        tenant.0.into(),
        dataset.0.into(),
        name.into(),
        origin.name().into(),
        job.0.into(),
        now().into(),
    ]
}

async fn begin(
    txn: &DatabaseTransaction,
    job: Option<IngestionId>,
    place: &FilePlace,
) -> Result<(FileWriter, i64), Error> {
    let sql = "INSERT INTO ingested_files (id, tenant_id, dataset_id, name, origin, format, hash, size, documents, \
               state, reason, unchanged, job_id, writer, tries, updated_at) \
               VALUES ($1, $2, $3, $4, $5, '', '', 0, 0, 'running', '', FALSE, $6, $7, 1, $8) \
               ON CONFLICT (dataset_id, name) DO UPDATE SET origin = excluded.origin, state = 'running', \
               reason = '', unchanged = FALSE, job_id = excluded.job_id, writer = excluded.writer, \
               tries = ingested_files.tries + 1, updated_at = excluded.updated_at RETURNING id, tries";
    let writer = Uuid::now_v7();
    let values: [Value; 8] = [
        Uuid::now_v7().into(),
        place.tenant.0.into(),
        place.dataset.0.into(),
        place.name.clone().into(),
        place.origin.name().into(),
        job.map(|job| job.0).into(),
        writer.into(),
        now().into(),
    ];
    let begun = txn.query_one_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values));
    let row = begun.await.map_err(|error| match crate::store::fault::is_foreign_key(&error) {
        true => Error::NotFound(Resource::Dataset, place.dataset.to_string()),
        false => error.into(),
    })?;
    let row = row.ok_or_else(|| Error::StoreUnavailable("a file was not begun".into()))?;
    Ok((FileWriter { file: FileId(row.try_get("", "id")?), writer }, row.try_get("", "tries")?))
}

async fn finish(txn: &DatabaseTransaction, writer: FileWriter, stored: &StoredFile) -> Result<(), Error> {
    let sql = "UPDATE ingested_files SET state = 'done', writer = NULL, format = $3, hash = $4, size = $5, \
               documents = $6, tries = 0, updated_at = $7 WHERE id = $1 AND writer = $2";
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let values: [Value; 7] = [
        writer.file.0.into(),
        writer.writer.into(),
        stored.format.into(),
        stored.hash.clone().into(),
        number(stored.size).into(),
        number(stored.documents).into(),
        now().into(),
    ];
    let finish = Statement::from_sql_and_values(txn.get_database_backend(), sql, values);
    if txn.execute_raw(finish).await?.rows_affected() == 0 { Err(superseded(writer)) } else { Ok(()) }
}

/// Makes sure that nobody else writes a file until the transaction ends. Its documents are between two versions
/// from now on: no hash is theirs.
///
/// # Errors
/// `NotFound` when somebody else does, or it is another dataset's.
pub(in crate::store) async fn still_writes(
    txn: &DatabaseTransaction,
    dataset: AttachmentId,
    writer: FileWriter,
) -> Result<(), Error> {
    let sql = "UPDATE ingested_files SET hash = '' WHERE id = $1 AND writer = $2 AND dataset_id = $3";
    let values: [Value; 3] = [writer.file.0.into(), writer.writer.into(), dataset.0.into()];
    let lock = Statement::from_sql_and_values(txn.get_database_backend(), sql, values);
    if txn.execute_raw(lock).await?.rows_affected() == 0 { Err(superseded(writer)) } else { Ok(()) }
}

/// Notes that the documents of a file are not those of its bytes any more.
pub(in crate::store) async fn forget_hash(txn: &DatabaseTransaction, file: FileId) -> Result<(), Error> {
    let sql = "UPDATE ingested_files SET hash = '' WHERE id = $1";
    let values: [Value; 1] = [file.0.into()];
    txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values)).await?;
    Ok(())
}

fn superseded(writer: FileWriter) -> Error {
    Error::NotFound(Resource::File, writer.file.to_string())
}
