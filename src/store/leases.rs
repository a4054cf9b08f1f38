//! Leases: jobs that one replica runs at a time. A row per job, on the database's clock; a holder that
//! dies is followed when its lease runs out.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use super::{Store, database_micros};
use crate::error::Error;

/// A lease that is held. The fence grows with every change of holder, so that a write can be refused
/// when its author has been superseded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub fence: i64,
}

impl Store {
    /// Takes or renews the lease `name` for `term`; `None` while another holder has it. To be renewed
    /// at a third of the term.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        term: Duration,
    ) -> Result<Option<Lease>, Error> {
        let (name, backend) = (name.to_owned(), self.backend());
        let term = i64::try_from(term.as_micros()).map_err(Error::internal)?;
        self.write(move |txn| {
            Box::pin(async move {
                let now = database_micros(txn).await?;
                let take = "INSERT INTO leases (name, holder, fence, expires_at) VALUES ($1, $2, 1, $3) \
                            ON CONFLICT (name) DO UPDATE SET \
                            fence = leases.fence + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END, \
                            holder = excluded.holder, expires_at = excluded.expires_at \
                            WHERE leases.holder = excluded.holder OR leases.expires_at <= $4 RETURNING fence";
                let values = [name.clone().into(), holder.into(), (now + term).into(), now.into()];
                let row = txn.query_one_raw(Statement::from_sql_and_values(backend, take, values)).await?;
                row.map(|row| Ok(Lease { name, fence: row.try_get("", "fence")? })).transpose()
            })
        })
        .await
    }

    /// Gives the lease up, so that another can take it at once.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn release_lease(&self, name: &str, holder: Uuid) -> Result<(), Error> {
        let end = "UPDATE leases SET expires_at = 0 WHERE name = $1 AND holder = $2";
        let statement = self.statement(end, [name.into(), holder.into()]);
        self.write(move |txn| {
            Box::pin(async move {
                txn.execute_raw(statement).await?;
                Ok(())
            })
        })
        .await
    }
}
