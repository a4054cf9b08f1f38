//! Files of datasets, as they are shown.

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use uuid::Uuid;

use crate::{
    domain::{AttachmentId, FileId, FileOrigin, FileState, IngestedFile, IngestionId},
    error::Error,
    store::Store,
};

const COLUMNS: &str = "SELECT id, name, origin, format, hash, size, documents, state, reason, job_id, updated_at \
                       FROM ingested_files";

impl Store {
    /// What is known of a file.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn ingested_file(
        &self,
        dataset: AttachmentId,
        name: &str,
    ) -> Result<Option<IngestedFile>, Error> {
        let sql = format!("{COLUMNS} WHERE dataset_id = $1 AND name = $2");
        let row = self.reader().query_one_raw(self.statement(&sql, [dataset.0.into(), name.into()])).await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Up to `limit` files after the one with the name `after`, by name: all of a dataset, or only those of a
    /// job, only those in a state.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn ingested_files(
        &self,
        dataset: AttachmentId,
        (job, state): (Option<IngestionId>, Option<FileState>),
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<IngestedFile>, Error> {
        let (mut sql, mut values) = (format!("{COLUMNS} WHERE dataset_id = $1"), vec![dataset.0.into()]);
        let mut asked = |condition: &str, value: Option<Value>| {
            let Some(value) = value else { return };
            values.push(value);
            sql.push_str(&format!(" AND {condition} ${}", values.len()));
        };
        asked("job_id =", job.map(|job| job.0.into()));
        asked("state =", state.map(|state| state.name().into()));
        asked("name >", after.map(Into::into));
        sql.push_str(&format!(" ORDER BY name LIMIT {limit}"));
        let rows = self.reader().query_all_raw(Statement::from_sql_and_values(self.backend(), sql, values));
        rows.await?.iter().map(read).collect()
    }

    /// Names of the files with which a job has done, well or not.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn settled_files(&self, job: IngestionId) -> Result<Vec<String>, Error> {
        let sql = "SELECT name FROM ingested_files WHERE job_id = $1 AND state IN ('done', 'failed')";
        let rows = self.reader().query_all_raw(self.statement(sql, [job.0.into()])).await?;
        rows.iter().map(|row| Ok(row.try_get("", "name")?)).collect()
    }

    /// Names of the files that came from a folder, or from everywhere below the root when it is empty.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn files_of_folder(&self, dataset: AttachmentId, folder: &str) -> Result<Vec<String>, Error> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let sql = format!(
            "SELECT name FROM ingested_files WHERE dataset_id = $1 AND origin = 'folder' \
             AND (name = $2 OR substr(name, 1, {}) = $3)",
            prefix.chars().count()
        );
        let values = [dataset.0.into(), folder.into(), prefix.into()];
        let rows = self.reader().query_all_raw(self.statement(&sql, values)).await?;
        rows.iter().map(|row| Ok(row.try_get("", "name")?)).collect()
    }
}

fn read(row: &QueryResult) -> Result<IngestedFile, Error> {
    let (origin, state): (String, String) = (row.try_get("", "origin")?, row.try_get("", "state")?);
    Ok(IngestedFile {
        id: FileId(row.try_get("", "id")?),
        name: row.try_get("", "name")?,
        origin: FileOrigin::parse(&origin).unwrap_or(FileOrigin::Upload),
        state: FileState::parse(&state).unwrap_or(FileState::Failed),
        reason: row.try_get("", "reason")?,
        hash: row.try_get("", "hash")?,
        format: row.try_get("", "format")?,
        size: row.try_get("", "size")?,
        documents: row.try_get("", "documents")?,
        job: row.try_get::<Option<Uuid>>("", "job_id")?.map(IngestionId),
        updated_at: row.try_get("", "updated_at")?,
    })
}
