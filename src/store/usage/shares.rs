//! Who used most, and which endpoints were used most.

use std::collections::HashMap;

use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    Conditions, Store,
    totals::{cost, sum, summed},
};
use crate::{
    domain::{Cost, EndpointId, RecordFilter, TenantId, UsageShare},
    error::Error,
};

/// What records are put together by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Caller,
    Endpoint,
}

impl Store {
    /// The `limit` callers with most queries, by their names where they have as many.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn top_callers(
        &self,
        tenant: TenantId,
        filter: &RecordFilter,
        previews: bool,
        limit: u32,
    ) -> Result<Vec<UsageShare>, Error> {
        let mut conditions = self.counted(tenant, filter, previews).await?;
        let store = self.clone();
        self.in_turn(async move { store.top(By::Caller, &mut conditions, limit).await }).await
    }

    /// The `limit` endpoints with most queries, those that are gone too. What nobody has found is none.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn top_endpoints(
        &self,
        tenant: TenantId,
        filter: &RecordFilter,
        previews: bool,
        limit: u32,
    ) -> Result<Vec<UsageShare>, Error> {
        let mut conditions = self.counted(tenant, filter, previews).await?;
        conditions.are("endpoint_id IS NOT NULL", []);
        let store = self.clone();
        self.in_turn(async move { store.top(By::Endpoint, &mut conditions, limit).await }).await
    }

    async fn top(&self, by: By, conditions: &mut Conditions, limit: u32) -> Result<Vec<UsageShare>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (columns, mut ranked) = (by.columns(), conditions.clone());
        let limit = ranked.value(i64::from(limit));
        let sql = format!(
            "SELECT {columns}, count(*) AS queries, \
             count(*) FILTER (WHERE outcome = 'completed') AS completed, {}, {} FROM query_records \
             WHERE {} GROUP BY {columns} ORDER BY queries DESC, {columns} LIMIT {limit}",
            sum!("prompt_tokens", "prompt"),
            sum!("completion_tokens", "completion"),
            ranked.text()
        );
        let rows = self.rows(&sql, ranked.into_values()).await?;
        let mut shares = rows.iter().map(|row| by.share(row)).collect::<Result<Vec<_>, _>>()?;
        let mut costs = self.costs_by(by, conditions, &shares).await?;
        for share in &mut shares {
            share.costs = costs.remove(&by.key(share)).unwrap_or_default();
        }
        Ok(shares)
    }

    /// What these were charged.
    async fn costs_by(
        &self,
        by: By,
        conditions: &mut Conditions,
        shares: &[UsageShare],
    ) -> Result<HashMap<String, Vec<Cost>>, Error> {
        let mut costs: HashMap<String, Vec<Cost>> = HashMap::new();
        if shares.is_empty() {
            return Ok(costs);
        }
        let names: Vec<String> = shares.iter().map(|share| conditions.value(share.name.clone())).collect();
        let (columns, name) = (by.columns(), by.name());
        let sql = format!(
            "SELECT {columns}, currency, {} FROM query_records WHERE {} AND cost_nano_units IS NOT NULL \
             AND {name} IN ({}) GROUP BY {columns}, currency ORDER BY currency",
            sum!("cost_nano_units", "cost"),
            conditions.text(),
            names.join(", ")
        );
        for row in self.rows(&sql, conditions.clone().into_values()).await? {
            costs.entry(by.key(&by.named(&row)?)).or_default().push(cost(&row)?);
        }
        Ok(costs)
    }
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Endpoint => "endpoint_slug",
        }
    }

    fn columns(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            // One that was made anew under a slug is another.
            Self::Endpoint => "endpoint_slug, endpoint_id",
        }
    }

    fn key(self, share: &UsageShare) -> String {
        share.endpoint.map_or_else(|| share.name.clone(), |id| id.to_string())
    }

    fn named(self, row: &QueryResult) -> Result<UsageShare, Error> {
        let endpoint = match self {
            Self::Caller => None,
            Self::Endpoint => row.try_get::<Option<Uuid>>("", "endpoint_id")?.map(EndpointId),
        };
        Ok(UsageShare {
            name: row.try_get("", self.name())?,
            endpoint,
            queries: 0,
            completed: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            costs: Vec::new(),
        })
    }

    fn share(self, row: &QueryResult) -> Result<UsageShare, Error> {
        Ok(UsageShare {
            queries: row.try_get("", "queries")?,
            completed: row.try_get("", "completed")?,
            prompt_tokens: summed(row, "prompt")?,
            completion_tokens: summed(row, "completion")?,
            ..self.named(row)?
        })
    }
}
