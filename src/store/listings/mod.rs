//! Listings: what marketplaces list, and what they have yet to be told.
//!
//! The table is the outbox. A row says what is wanted of one marketplace for one endpoint, and every change
//! of that is a new revision that is due at once, written in the transaction that causes it. Who tells the
//! marketplace claims the row, so two never speak for it at a time, and records how it ended for the
//! revision that it has read: what has changed meanwhile stays due.

mod claims;
mod reports;

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, Select,
    Statement,
};
use time::OffsetDateTime;
use uuid::Uuid;

pub use claims::{CLAIM, Told};

use super::{
    Store, endpoints,
    entities::{listing, marketplace},
    marketplaces, now,
};
use crate::{
    domain::{Endpoint, EndpointId, Listing, ListingId, ListingState, Marketplace, MarketplaceId, TenantId},
    error::{Error, Resource},
};

/// A row that is due.
const INSERT: &str = "INSERT INTO listings (id, tenant_id, marketplace_id, endpoint_id, slug, is_removal, state, \
    is_listed, revision, attempts, due_at, claimed_until, last_error, healthy, created_at) \
    SELECT $1, $2, $3, $4, $5, $6, 'pending', FALSE, 1, 0, 0, 0, '', FALSE, $7 \
    WHERE EXISTS (SELECT 1 FROM marketplaces WHERE id = $3) \
    ON CONFLICT (marketplace_id, slug) DO UPDATE SET";
/// What makes a row due again; what it is for stays.
const AGAIN: &str =
    "state = 'pending', revision = listings.revision + 1, attempts = 0, due_at = 0, last_error = ''";

impl Store {
    /// Wants an endpoint listed on marketplaces, as it is now.
    ///
    /// # Errors
    /// `EndpointNotFound`; `NotFound` for a marketplace that is not connected; `StoreUnavailable`.
    pub async fn want_listed(
        &self,
        tenant: TenantId,
        slug: &str,
        on: Vec<MarketplaceId>,
    ) -> Result<Vec<Listing>, Error> {
        let slug = slug.to_owned();
        self.tell(move |txn| {
            Box::pin(async move {
                let endpoint = endpoints::find(txn, tenant, &slug).await?.id;
                if !endpoints::lock(txn, endpoint).await? {
                    return Err(Error::EndpointNotFound(slug));
                }
                marketplaces::keep(txn, tenant, &on).await?;
                for marketplace in &on {
                    put(txn, tenant, *marketplace, (Some(endpoint), &slug)).await?;
                }
                let find = of(tenant).filter(listing::Column::Slug.eq(&slug)).filter(is_on(&on));
                named(txn, find.all(txn).await?).await
            })
        })
        .await
    }

    /// Wants an endpoint taken away from marketplaces, or from all that list it or are to list it. Returns
    /// what they list of it.
    ///
    /// # Errors
    /// `EndpointNotFound`, `StoreUnavailable`.
    pub async fn want_removed(
        &self,
        tenant: TenantId,
        slug: &str,
        from: Vec<MarketplaceId>,
    ) -> Result<Vec<Listing>, Error> {
        let slug = slug.to_owned();
        self.tell(move |txn| {
            Box::pin(async move {
                endpoints::find(txn, tenant, &slug).await?;
                let mut find = of(tenant).filter(listing::Column::Slug.eq(&slug));
                if !from.is_empty() {
                    find = find.filter(is_on(&from));
                }
                let found = find.all(txn).await?;
                for row in &found {
                    remove(txn, "id = $1", row.id).await?;
                }
                named(txn, found).await
            })
        })
        .await
    }

    /// Makes listings due, without a change of what is wanted.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn tell_again(&self, ids: Vec<ListingId>) -> Result<(), Error> {
        self.tell(move |txn| {
            Box::pin(async move {
                for id in ids {
                    again(txn, "id = $1", [id.0.into()]).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Those of these listings that are still there.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn listings(&self, tenant: TenantId, ids: &[ListingId]) -> Result<Vec<Listing>, Error> {
        let find = of(tenant).filter(listing::Column::Id.is_in(ids.iter().map(|id| id.0)));
        named(self.reader(), find.all(self.reader()).await?).await
    }

    /// Everything that a marketplace lists or is to list or to take away.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn listings_on(
        &self,
        tenant: TenantId,
        marketplace: MarketplaceId,
    ) -> Result<Vec<Listing>, Error> {
        let find = of(tenant).filter(is_on(&[marketplace])).order_by_asc(listing::Column::Slug);
        named(self.reader(), find.all(self.reader()).await?).await
    }

    /// The marketplace of a listing, also one that was disconnected.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn marketplace_of(&self, listing: &Listing) -> Result<Marketplace, Error> {
        let (tenant, id) = (listing.tenant_id, listing.marketplace_id);
        let find = marketplace::Entity::find_by_id(id.0).filter(marketplace::Column::TenantId.eq(tenant.0));
        let found = find.one(self.reader()).await?;
        let found = found.ok_or_else(|| Error::NotFound(Resource::Marketplace, id.to_string()))?;
        self.open_marketplace(tenant, found)
    }

    /// Notes how things stand with endpoints on marketplaces.
    pub(super) async fn with_listings(&self, mut endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>, Error> {
        let ids = endpoints.iter().map(|endpoint| endpoint.id.0);
        let find = listing::Entity::find().filter(listing::Column::EndpointId.is_in(ids));
        let rows = find.order_by_asc(listing::Column::MarketplaceId).all(self.reader()).await?;
        let mut by_endpoint: HashMap<Option<EndpointId>, Vec<Listing>> = HashMap::new();
        for listing in named(self.reader(), rows).await? {
            by_endpoint.entry(listing.endpoint_id).or_default().push(listing);
        }
        for endpoint in &mut endpoints {
            endpoint.listings = by_endpoint.remove(&Some(endpoint.id)).unwrap_or_default();
        }
        Ok(endpoints)
    }
}

/// Notes that an endpoint is about to change: its marketplaces are told.
pub(super) async fn endpoint_changed(txn: &DatabaseTransaction, endpoint: Uuid) -> Result<(), Error> {
    endpoints::lock(txn, endpoint).await?;
    again(txn, "endpoint_id = $1 AND NOT is_removal", [endpoint.into()]).await?;
    Ok(())
}

/// Notes that an endpoint is about to be deleted.
pub(super) async fn endpoint_deleted(txn: &DatabaseTransaction, endpoint: Uuid) -> Result<(), Error> {
    endpoints::lock(txn, endpoint).await?;
    remove(txn, "endpoint_id = $1", endpoint).await?;
    Ok(())
}

/// Notes that a marketplace is about to be disconnected. Says how many listings it has to forget.
pub(super) async fn marketplace_left(txn: &DatabaseTransaction, marketplace: Uuid) -> Result<u64, Error> {
    remove(txn, "marketplace_id = $1", marketplace).await
}

/// Makes listings due, and says how many there are.
pub(super) async fn again<const N: usize>(
    txn: &DatabaseTransaction,
    which: &str,
    values: [sea_orm::Value; N],
) -> Result<u64, Error> {
    let sql = format!("UPDATE listings SET {AGAIN} WHERE {which}");
    let statement = Statement::from_sql_and_values(txn.get_database_backend(), sql, values);
    Ok(txn.execute_raw(statement).await?.rows_affected())
}

/// Wants an endpoint listed, or, without one, a slug taken away, whatever was wanted before.
async fn put(
    txn: &DatabaseTransaction,
    tenant: TenantId,
    on: MarketplaceId,
    (endpoint, slug): (Option<Uuid>, &str),
) -> Result<(), Error> {
    let sql =
        format!("{INSERT} endpoint_id = excluded.endpoint_id, is_removal = excluded.is_removal, {AGAIN}");
    let values = [
        ListingId::new().0.into(),
        tenant.0.into(),
        on.0.into(),
        endpoint.into(),
        slug.into(),
        endpoint.is_none().into(),
        now().into(),
    ];
    txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values)).await?;
    Ok(())
}

async fn remove(txn: &DatabaseTransaction, which: &str, id: Uuid) -> Result<u64, Error> {
    let sql = format!("UPDATE listings SET is_removal = TRUE, {AGAIN} WHERE {which}");
    let statement = Statement::from_sql_and_values(txn.get_database_backend(), sql, [id.into()]);
    Ok(txn.execute_raw(statement).await?.rows_affected())
}

fn of(tenant: TenantId) -> Select<listing::Entity> {
    listing::Entity::find().filter(listing::Column::TenantId.eq(tenant.0))
}

fn is_on(marketplaces: &[MarketplaceId]) -> sea_orm::sea_query::SimpleExpr {
    listing::Column::MarketplaceId.is_in(marketplaces.iter().map(|id| id.0))
}

/// Rows with the names of their marketplaces.
async fn named(db: &impl ConnectionTrait, rows: Vec<listing::Model>) -> Result<Vec<Listing>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut ids: Vec<Uuid> = rows.iter().map(|row| row.marketplace_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let find = marketplace::Entity::find().filter(marketplace::Column::Id.is_in(ids));
    let names: HashMap<Uuid, String> =
        find.all(db).await?.into_iter().map(|row| (row.id, row.name)).collect();
    let name = |row: &listing::Model| names.get(&row.marketplace_id).cloned().unwrap_or_default();
    Ok(rows.into_iter().map(|row| Listing { marketplace_name: name(&row), ..row.into() }).collect())
}

impl From<listing::Model> for Listing {
    fn from(row: listing::Model) -> Self {
        Self {
            id: ListingId(row.id),
            tenant_id: TenantId(row.tenant_id),
            marketplace_id: MarketplaceId(row.marketplace_id),
            marketplace_name: String::new(),
            endpoint_id: row.endpoint_id.map(EndpointId),
            slug: row.slug,
            is_removal: row.is_removal,
            state: ListingState::parse(&row.state).unwrap_or(ListingState::Pending),
            is_listed: row.is_listed,
            revision: row.revision,
            attempts: row.attempts,
            last_error: row.last_error,
            published_at: row.published_at.and_then(moment),
            reported_at: row.reported_at.and_then(moment),
            healthy: row.healthy,
        }
    }
}

fn moment(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}
