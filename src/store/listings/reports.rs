//! When marketplaces were last told that endpoints are alive.

use std::{collections::HashMap, time::Duration};

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement, sea_query::Expr};

use super::{is_on, named, of};
use crate::{
    domain::{Endpoint, Listing, ListingId, MarketplaceId, TenantId},
    error::Error,
    store::{
        Store, database_micros,
        entities::{endpoint, listing},
    },
};

/// What is reported: what the marketplace has and is to keep.
const REPORTED: &str = "is_listed AND NOT is_removal";

impl Store {
    /// Whether any marketplace lists anything.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn is_anything_listed(&self) -> Result<bool, Error> {
        let sql = format!("SELECT 1 FROM listings WHERE {REPORTED} LIMIT 1");
        Ok(self.reader().query_one_raw(self.statement(&sql, [])).await?.is_some())
    }

    /// Active marketplaces that were last told `interval` ago of an endpoint, or never. What they list is to be
    /// reported together.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn due_for_report(&self, interval: Duration) -> Result<Vec<(TenantId, MarketplaceId)>, Error> {
        let interval = i64::try_from(interval.as_micros()).map_err(Error::internal)?;
        let now = database_micros(self.reader()).await?;
        // One that is to come was noted on a clock that has been set back since.
        let moments = [(now - interval).into(), (now + interval).into()];
        let sql = format!(
            "SELECT DISTINCT tenant_id, marketplace_id FROM listings WHERE {REPORTED} \
             AND (reported_at IS NULL OR reported_at <= $1 OR reported_at > $2) \
             AND marketplace_id IN (SELECT id FROM marketplaces WHERE is_active)"
        );
        let rows = self.reader().query_all_raw(self.statement(&sql, moments)).await?;
        let ids = |row: sea_orm::QueryResult| {
            Ok((TenantId(row.try_get("", "tenant_id")?), MarketplaceId(row.try_get("", "marketplace_id")?)))
        };
        rows.into_iter().map(ids).collect()
    }

    /// What a marketplace lists and is to keep, with the endpoints as they are.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn listed_on(
        &self,
        tenant: TenantId,
        marketplace: MarketplaceId,
    ) -> Result<Vec<(Listing, Endpoint)>, Error> {
        let find = of(tenant).filter(is_on(&[marketplace])).filter(Expr::cust(REPORTED));
        let rows = find.all(self.reader()).await?;
        let ids: Vec<_> = rows.iter().filter_map(|row| row.endpoint_id).collect();
        let found =
            endpoint::Entity::find().filter(endpoint::Column::Id.is_in(ids)).all(self.reader()).await?;
        let mut endpoints: HashMap<_, _> =
            found.into_iter().map(|row| (row.id, Endpoint::from(row))).collect();
        let listed = named(self.reader(), rows).await?.into_iter();
        Ok(listed
            .filter_map(|listing| Some((endpoints.remove(&listing.endpoint_id?.0)?, listing)))
            .map(|(endpoint, listing)| (listing, endpoint))
            .collect())
    }

    /// Notes that marketplaces were told whether these are alive.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn reported(&self, listings: Vec<(ListingId, bool)>) -> Result<(), Error> {
        self.write(move |txn| {
            Box::pin(async move {
                let now = database_micros(txn).await?;
                for healthy in [true, false] {
                    let ids = listings.iter().filter(|(_, told)| *told == healthy).map(|(id, _)| id.0);
                    listing::Entity::update_many()
                        .col_expr(listing::Column::ReportedAt, Expr::value(now))
                        .col_expr(listing::Column::Healthy, Expr::value(healthy))
                        .filter(listing::Column::Id.is_in(ids))
                        .exec(txn)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Makes every report due.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn forget_reports(&self) -> Result<(), Error> {
        let forget = self.statement("UPDATE listings SET reported_at = NULL", []);
        self.write(move |txn| {
            Box::pin(async move {
                txn.execute_raw(forget).await?;
                Ok(())
            })
        })
        .await
    }

    /// How many leases hold whose names begin with this.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn live_leases(&self, prefix: &str) -> Result<i64, Error> {
        let now = database_micros(self.reader()).await?;
        let sql = "SELECT COUNT(*) AS live FROM leases WHERE name LIKE $1 AND expires_at > $2";
        let values = [format!("{prefix}%").into(), now.into()];
        let statement: Statement = self.statement(sql, values);
        let row = self.reader().query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get("", "live")).transpose()?.unwrap_or_default())
    }
}
