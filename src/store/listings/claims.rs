//! Who speaks to a marketplace for a listing, and how it ended.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect, Select, Statement,
    sea_query::{LockBehavior, LockType},
};
use tokio::sync::futures::Notified;
use uuid::Uuid;

use super::{again, is_on, named, of, put};
use crate::{
    domain::{Listing, ListingState, MarketplaceId, TenantId},
    error::Error,
    store::{Store, database_micros, entities::listing, write::Work},
};

/// How long a claim holds. Who has one must have ended every call by then.
pub const CLAIM: Duration = Duration::from_secs(60);

/// No claim holds for longer.
const IMPOSSIBLE: Duration = CLAIM.saturating_mul(2);

/// How telling a marketplace ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It lists the endpoint. Whether it is alive, if that could be told too.
    Listed { alive: Option<bool> },
    /// It lists the endpoint no more.
    Gone,
    /// Not now. To be told again after a while.
    Later { error: String, after: Duration },
    /// It refuses. To be told again when something changes, or after a while.
    Refused { error: String, after: Option<Duration> },
}

impl Store {
    /// Waits until a listing may have become due in this process. To be asked for before looking.
    pub fn outbox(&self) -> Notified<'_> {
        self.inner.outbox.notified()
    }

    /// Claims listings that are due and that nobody has claimed, those that wait longest first; none of the
    /// marketplaces in `busy`.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn claim_listings(
        &self,
        holder: Uuid,
        busy: Vec<MarketplaceId>,
        limit: u64,
    ) -> Result<Vec<Listing>, Error> {
        // Looks before it takes the writer.
        if limit == 0 || is_none_due(self.reader(), &busy).await? {
            return Ok(Vec::new());
        }
        self.write(move |txn| {
            Box::pin(async move {
                let now = database_micros(txn).await?;
                claim(txn, holder, now, due(now, &busy).limit(limit)).await
            })
        })
        .await
    }

    /// Claims everything that concerns a marketplace, if nobody else has a part of it.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn claim_marketplace(
        &self,
        tenant: TenantId,
        marketplace: MarketplaceId,
        holder: Uuid,
    ) -> Result<Option<Vec<Listing>>, Error> {
        self.write(move |txn| {
            Box::pin(async move {
                let now = database_micros(txn).await?;
                let all = of(tenant).filter(is_on(&[marketplace]));
                let count = all.clone().all(txn).await?.len();
                let free = all.filter(is_free(now));
                let claimed = claim(txn, holder, now, free).await?;
                if claimed.len() == count {
                    return Ok(Some(claimed));
                }
                for listing in &claimed {
                    release(txn, listing.id.0).await?;
                }
                Ok(None)
            })
        })
        .await
    }

    /// Gives claims up whose work was not begun.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn release_listings(&self, holder: Uuid) -> Result<(), Error> {
        let sql = "UPDATE listings SET claimed_by = NULL, claimed_until = 0 WHERE claimed_by = $1";
        let statement = self.statement(sql, [holder.into()]);
        self.tell(move |txn| {
            Box::pin(async move {
                txn.execute_raw(statement).await?;
                Ok(())
            })
        })
        .await
    }

    /// Makes due what concerns a marketplace and `holder` has not claimed.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn tell_others_again(&self, marketplace: MarketplaceId, holder: Uuid) -> Result<(), Error> {
        let which = "marketplace_id = $1 AND (claimed_by IS NULL OR claimed_by <> $2)";
        self.tell(move |txn| {
            Box::pin(async move {
                again(txn, which, [marketplace.0.into(), holder.into()]).await?;
                Ok(())
            })
        })
        .await
    }

    /// Records how telling a marketplace ended, for the revision that `claimed` has. Says whether the claim
    /// still held; when it did not, the marketplace is told once more, for the last word may have been an old
    /// one.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn settle_listing(&self, holder: Uuid, claimed: &Listing, told: Told) -> Result<bool, Error> {
        let claimed = claimed.clone();
        self.tell(move |txn| {
            Box::pin(async move {
                let (id, revision) = (claimed.id.0, claimed.revision);
                let find = listing::Entity::find_by_id(id).filter(listing::Column::ClaimedBy.eq(holder));
                let Some(row) = find.lock_exclusive().one(txn).await? else {
                    doubt(txn, &claimed).await?;
                    return Ok(false);
                };
                let now = database_micros(txn).await?;
                let is_current = row.revision == revision;
                if is_current && told == Told::Gone {
                    listing::Entity::delete_by_id(id).exec(txn).await?;
                    return Ok(true);
                }
                listing::Entity::update(settled(row, told, is_current, now)).exec(txn).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Runs `work` in a transaction, and wakes the outbox once it is committed.
    pub(in crate::store) async fn tell<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, Error> {
        let done = self.write(work).await;
        self.inner.outbox.notify_one();
        done
    }
}

async fn is_none_due(db: &impl ConnectionTrait, busy: &[MarketplaceId]) -> Result<bool, Error> {
    let now = database_micros(db).await?;
    Ok(due(now, busy).limit(1).one(db).await?.is_none())
}

/// What is to be told now, except the marketplaces in `busy`.
fn due(now: i64, busy: &[MarketplaceId]) -> Select<listing::Entity> {
    listing::Entity::find()
        .filter(listing::Column::DueAt.lte(now))
        .filter(is_free(now))
        .filter(is_on(busy).not())
}

/// Whether nobody has claimed it: not any more, or not on a clock that has been set back since.
fn is_free(now: i64) -> Condition {
    let until = listing::Column::ClaimedUntil;
    Condition::any().add(until.lte(now)).add(until.gt(later(now, IMPOSSIBLE)))
}

async fn claim(
    txn: &DatabaseTransaction,
    holder: Uuid,
    now: i64,
    free: Select<listing::Entity>,
) -> Result<Vec<Listing>, Error> {
    let free = free.order_by_asc(listing::Column::DueAt).order_by_asc(listing::Column::Id);
    // Another replica that claims meanwhile takes others.
    let rows = free.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked).all(txn).await?;
    let until = now + i64::try_from(CLAIM.as_micros()).map_err(Error::internal)?;
    for row in &rows {
        let mut row = row.clone().into_active_model();
        row.claimed_by = Set(Some(holder));
        row.claimed_until = Set(until);
        listing::Entity::update(row).exec(txn).await?;
    }
    named(txn, rows).await
}

/// Whoever has lost a claim may have contradicted the one who had it next: what is wanted is told again, and
/// what has gone is taken away again.
async fn doubt(txn: &DatabaseTransaction, claimed: &Listing) -> Result<(), Error> {
    let (tenant, on, slug) = (claimed.tenant_id, claimed.marketplace_id, claimed.slug.as_str());
    let known = again(txn, "marketplace_id = $1 AND slug = $2", [on.0.into(), slug.into()]).await?;
    if known == 0 && !claimed.is_removal {
        put(txn, tenant, on, (None, slug)).await?;
    }
    Ok(())
}

async fn release(txn: &DatabaseTransaction, id: Uuid) -> Result<(), Error> {
    let sql = "UPDATE listings SET claimed_by = NULL, claimed_until = 0 WHERE id = $1";
    txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, [id.into()])).await?;
    Ok(())
}

/// The row after its marketplace was told, of its present revision or of one before.
fn settled(row: listing::Model, told: Told, is_current: bool, now: i64) -> listing::ActiveModel {
    let attempts = row.attempts;
    let mut row = row.into_active_model();
    row.claimed_by = Set(None);
    row.claimed_until = Set(0);
    // What has changed meanwhile is due.
    let (mut state, mut due_at, mut failed) = (ListingState::Pending, Some(0), (0, String::new()));
    match told {
        Told::Listed { alive } => {
            row.is_listed = Set(true);
            row.published_at = Set(Some(now));
            row.healthy = Set(alive.unwrap_or_default());
            row.reported_at = Set(alive.map(|_| now));
            (state, due_at) = (ListingState::Published, None);
        }
        Told::Gone => row.is_listed = Set(false),
        Told::Later { error, after } => {
            due_at = Some(later(now, after));
            failed = (attempts + 1, error);
        }
        Told::Refused { error, after } => {
            (state, due_at) = (ListingState::Failed, after.map(|after| later(now, after)));
            failed = (attempts + 1, error);
        }
    }
    if is_current {
        row.state = Set(state.name().to_owned());
        row.due_at = Set(due_at);
        (row.attempts, row.last_error) = (Set(failed.0), Set(failed.1));
    } else {
        row.due_at = Set(Some(0));
    }
    row
}

fn later(now: i64, after: Duration) -> i64 {
    now.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX))
}
