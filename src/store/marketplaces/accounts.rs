//! What owners do with their accounts, and what is noted of them.

use std::{collections::HashMap, time::Duration};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select, UpdateMany,
    sea_query::{Expr, LockType},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Rank, at, lock_tenant, of};
use crate::{
    domain::{Marketplace, MarketplaceId, NewMarketplace, Tally, TenantId},
    error::{Error, Resource},
    store::{Store, entities::marketplace, listings, now},
};

/// How long a marketplace that was disconnected is asked to forget endpoints.
const MOURNING: Duration = Duration::from_secs(7 * 86_400);

impl Store {
    /// A marketplace.
    ///
    /// # Errors
    /// `NotFound`, also for one that was disconnected; `StoreUnavailable`.
    pub async fn marketplace(&self, tenant: TenantId, id: MarketplaceId) -> Result<Marketplace, Error> {
        let found = connected(tenant).filter(marketplace::Column::Id.eq(id.0)).one(self.reader()).await?;
        self.open_marketplace(tenant, found.ok_or_else(|| not_found(id))?)
    }

    /// Up to `limit` marketplaces after the one with the id `after`, oldest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn marketplaces(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Marketplace>, Error> {
        let mut find = connected(tenant).order_by_asc(marketplace::Column::Id).limit(limit);
        if let Some(after) = after {
            find = find.filter(marketplace::Column::Id.gt(after));
        }
        let rows = find.all(self.reader()).await?;
        rows.into_iter().map(|row| self.open_marketplace(tenant, row)).collect()
    }

    /// How each of the tenant's marketplaces stands with its endpoints. One that knows of none is missing.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn tallies(&self, tenant: TenantId) -> Result<HashMap<MarketplaceId, Tally>, Error> {
        let sql = "SELECT marketplace_id, COUNT(CASE WHEN is_listed THEN 1 END) AS published, \
                   COUNT(CASE WHEN state = 'pending' THEN 1 END) AS pending, \
                   COUNT(CASE WHEN state = 'failed' THEN 1 END) AS failed, MAX(reported_at) AS reported_at \
                   FROM listings WHERE tenant_id = $1 GROUP BY marketplace_id";
        let rows = self.reader().query_all_raw(self.statement(sql, [tenant.0.into()])).await?;
        let tally = |row: sea_orm::QueryResult| {
            let tally = Tally {
                published: row.try_get("", "published")?,
                pending: row.try_get("", "pending")?,
                failed: row.try_get("", "failed")?,
                reported_at: row.try_get::<Option<i64>>("", "reported_at")?.and_then(moment),
            };
            Ok((MarketplaceId(row.try_get("", "marketplace_id")?), tally))
        };
        rows.into_iter().map(tally).collect()
    }

    /// Stores an account on a hub. A marketplace of the same URL takes the new credential, is active again,
    /// and is told again of whatever it does not know. It is the default one if no other is.
    ///
    /// # Errors
    /// `MarketplaceConfigured`, `StoreUnavailable`.
    pub async fn connect_marketplace(
        &self,
        tenant: TenantId,
        new: NewMarketplace,
    ) -> Result<Marketplace, Error> {
        let store = self.clone();
        self.change(move |txn| {
            Box::pin(async move {
                lock_tenant(txn, tenant).await?;
                let found = at(tenant, &new.url).one(txn).await?;
                if found.as_ref().is_some_and(|found| found.is_configured) {
                    return Err(Error::MarketplaceConfigured(new.url));
                }
                let is_own_default = found.as_ref().is_some_and(|found| found.is_active && found.is_default);
                let default = of(tenant)
                    .filter(marketplace::Column::IsActive.eq(true))
                    .filter(marketplace::Column::IsDefault.eq(true));
                let is_default = is_own_default || default.count(txn).await? == 0;
                let rank = Rank { is_configured: false, is_default };
                let stored = store.put(txn, tenant, (found, new), rank).await?;
                store.open_marketplace(tenant, stored)
            })
        })
        .await
    }

    /// Disconnects a marketplace: it is not shown and its tokens are refused from now on. Its row stays
    /// until it has forgotten the endpoints that it lists.
    ///
    /// # Errors
    /// `NotFound`, `MarketplaceConfigured`, `StoreUnavailable`.
    pub async fn disconnect_marketplace(&self, tenant: TenantId, id: MarketplaceId) -> Result<(), Error> {
        self.change(move |txn| {
            Box::pin(async move {
                let find = connected(tenant).filter(marketplace::Column::Id.eq(id.0));
                let found = find.lock(LockType::NoKeyUpdate).one(txn).await?.ok_or_else(|| not_found(id))?;
                if found.is_configured {
                    return Err(Error::MarketplaceConfigured(found.url));
                }
                if listings::marketplace_left(txn, id.0).await? == 0 {
                    marketplace::Entity::delete_by_id(id.0).exec(txn).await?;
                    return Ok(());
                }
                let mut row = found.into_active_model();
                row.is_active = Set(false);
                row.is_default = Set(false);
                row.removed_at = Set(Some(now()));
                row.updated_at = Set(now());
                marketplace::Entity::update(row).exec(txn).await?;
                Ok(())
            })
        })
        .await
    }

    /// Deletes the rows of disconnected marketplaces that have forgotten all endpoints, and of those that
    /// could not be made to for a week: no credential is kept for ever. Says how many.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_marketplaces(&self) -> Result<u64, Error> {
        let sql = "DELETE FROM marketplaces WHERE removed_at < $1 OR (removed_at IS NOT NULL \
                   AND NOT EXISTS (SELECT 1 FROM listings WHERE marketplace_id = marketplaces.id))";
        let statement = self.statement(sql, [(now() - MOURNING).into()]);
        self.write(move |txn| Box::pin(async move { Ok(txn.execute_raw(statement).await?.rows_affected()) }))
            .await
    }

    /// Notes where a hub was told that this space is, and what it calls it.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn announced(
        &self,
        tenant: TenantId,
        id: MarketplaceId,
        satellite_id: Option<String>,
        url: String,
    ) -> Result<(), Error> {
        let known = self.marketplace(tenant, id).await?;
        // What the hub has said is of the account that was asked for it.
        let told = update(id)
            .filter(marketplace::Column::Username.eq(&known.username))
            .col_expr(marketplace::Column::AnnouncedUrl, Expr::value(url));
        if known.satellite_id == satellite_id {
            return self.write(|txn| Box::pin(run(txn, told))).await;
        }
        // Tokens may be for it: whoever looks at them must learn it.
        let told = told
            .col_expr(marketplace::Column::SatelliteId, Expr::value(satellite_id))
            .col_expr(marketplace::Column::UpdatedAt, Expr::value(now()));
        self.change(|txn| Box::pin(run(txn, told))).await
    }

    /// Notes why a hub could not be told that endpoints are alive; empty when it could. Nothing that is
    /// known of its tokens is forgotten for that.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn set_report_error(&self, id: MarketplaceId, text: String) -> Result<(), Error> {
        let told = update(id)
            .filter(marketplace::Column::ReportError.ne(&text))
            .col_expr(marketplace::Column::ReportError, Expr::value(text));
        self.write(|txn| Box::pin(run(txn, told))).await
    }
}

/// The tenant's marketplaces that have not been disconnected.
fn connected(tenant: TenantId) -> Select<marketplace::Entity> {
    of(tenant).filter(marketplace::Column::RemovedAt.is_null())
}

/// Keeps marketplaces from being disconnected until the transaction ends.
///
/// # Errors
/// `NotFound` for one that is not connected.
pub(in crate::store) async fn keep(
    txn: &DatabaseTransaction,
    tenant: TenantId,
    ids: &[MarketplaceId],
) -> Result<(), Error> {
    let find = connected(tenant).filter(marketplace::Column::Id.is_in(ids.iter().map(|id| id.0)));
    let found = find.order_by_asc(marketplace::Column::Id).lock(LockType::Share).all(txn).await?;
    let missing = ids.iter().find(|id| found.iter().all(|row| row.id != id.0));
    missing.map_or(Ok(()), |id| Err(not_found(*id)))
}

fn not_found(id: MarketplaceId) -> Error {
    Error::NotFound(Resource::Marketplace, id.to_string())
}

fn update(id: MarketplaceId) -> UpdateMany<marketplace::Entity> {
    marketplace::Entity::update_many().filter(marketplace::Column::Id.eq(id.0))
}

async fn run(txn: &DatabaseTransaction, update: UpdateMany<marketplace::Entity>) -> Result<(), Error> {
    update.exec(txn).await?;
    Ok(())
}

/// A moment in microseconds since 1970.
fn moment(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}
