//! Records added up by the database, whole or by buckets: what comes back is a row a bucket, however many
//! records there are. Both databases sort what does not fit into their memory on disk.

use std::collections::BTreeMap;

use sea_orm::{DbBackend, QueryResult};

use super::{Conditions, Store, conditions, moment, time};
use crate::{
    domain::{BucketWidth, Cost, RecordFilter, Spread, TenantId, UsageBucket, UsageTotals},
    error::Error,
};

/// Sums of columns that hold any 64 bits: their halves are added up, and put together again here. The
/// databases would fail where a sum does not fit.
macro_rules! sum {
    ($column:literal, $name:literal) => {
        concat!(
            "CAST(COALESCE(sum(",
            $column,
            " >> 32), 0) AS BIGINT) AS ",
            $name,
            "_high, ",
            "CAST(COALESCE(sum(",
            $column,
            " & 4294967295), 0) AS BIGINT) AS ",
            $name,
            "_low",
        )
    };
}
pub(super) use sum;

const COUNTS: &str = concat!(
    "count(*) AS queries, \
     count(*) FILTER (WHERE outcome = 'completed') AS completed, \
     count(*) FILTER (WHERE outcome = 'refused') AS refused, \
     count(*) FILTER (WHERE outcome IN ('client_gone', 'deadline_exceeded', 'shutting_down')) AS cancelled, \
     count(DISTINCT caller) AS callers, ",
    sum!("prompt_tokens", "prompt"),
    ", ",
    sum!("completion_tokens", "completion"),
);

/// Where buckets begin, and how long they are, in microseconds.
#[derive(Clone, Copy)]
struct Grid {
    origin: i64,
    width: i64,
}

/// Everything in one bucket.
const WHOLE: Grid = Grid { origin: 0, width: i64::MAX };

impl Store {
    /// What records add up to. Previews count only with `previews`. Waits its turn while other sums are made.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn usage_totals(
        &self,
        tenant: TenantId,
        filter: &RecordFilter,
        previews: bool,
    ) -> Result<UsageTotals, Error> {
        let conditions = self.counted(tenant, filter, previews).await?;
        let store = self.clone();
        let mut totals = self.in_turn(async move { store.totals(&conditions, WHOLE).await }).await?;
        Ok(totals.remove(&0).unwrap_or_default())
    }

    /// What records add up to in each bucket from the one that holds `filter.from` to the one before
    /// `filter.to`; both must be there. Empty ones too.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn usage_series(
        &self,
        tenant: TenantId,
        filter: &RecordFilter,
        previews: bool,
        width: BucketWidth,
    ) -> Result<Vec<UsageBucket>, Error> {
        let (Some(from), Some(to)) = (filter.from, filter.to) else {
            return Err(Error::internal("a series has no beginning or no end"));
        };
        let grid = Grid { origin: width.begin(conditions::micros(from)), width: width.micros() };
        let conditions = self.counted(tenant, filter, previews).await?;
        let store = self.clone();
        let mut totals = self.in_turn(async move { store.totals(&conditions, grid).await }).await?;
        let starts = (0..).map(|bucket| (bucket, grid.origin + bucket * grid.width));
        let end = conditions::micros(to);
        let buckets = starts.take_while(|(_, start)| *start < end).map(|(bucket, start)| {
            let totals = totals.remove(&bucket).unwrap_or_default();
            UsageBucket { start: moment(start), totals }
        });
        Ok(buckets.collect())
    }

    /// Conditions on what is counted.
    pub(super) async fn counted(
        &self,
        tenant: TenantId,
        filter: &RecordFilter,
        previews: bool,
    ) -> Result<Conditions, Error> {
        let mut conditions = self.conditions(tenant, filter).await?;
        if !previews {
            conditions.are("NOT preview", []);
        }
        Ok(conditions)
    }

    /// By the number of the bucket; none for empty ones.
    async fn totals(&self, wanted: &Conditions, grid: Grid) -> Result<BTreeMap<i64, UsageTotals>, Error> {
        let mut conditions = wanted.clone();
        let bucket = grid.bucket(&mut conditions);
        let sql = format!(
            "SELECT {bucket} AS bucket, {COUNTS} FROM query_records WHERE {} GROUP BY 1",
            conditions.text()
        );
        let mut totals = BTreeMap::new();
        for row in self.rows(&sql, conditions.into_values()).await? {
            totals.insert(row.try_get::<i64>("", "bucket")?, counts(&row)?);
        }
        let latency = self.spreads(wanted, grid, "duration_micros", "outcome = 'completed'").await?;
        let first_token =
            self.spreads(wanted, grid, "first_token_micros", "first_token_micros IS NOT NULL").await?;
        let costs = self.costs_of(wanted, grid).await?;
        for (bucket, totals) in &mut totals {
            totals.latency = latency.get(bucket).copied().unwrap_or_default();
            totals.first_token = first_token.get(bucket).copied().unwrap_or_default();
        }
        for (bucket, cost) in costs {
            // A record may have come meanwhile.
            totals.entry(bucket).or_default().costs.push(cost);
        }
        Ok(totals)
    }

    /// How a column is spread in each bucket.
    async fn spreads(
        &self,
        wanted: &Conditions,
        grid: Grid,
        column: &str,
        condition: &str,
    ) -> Result<BTreeMap<i64, Spread>, Error> {
        let mut conditions = wanted.clone();
        conditions.are(condition, []);
        let bucket = grid.bucket(&mut conditions);
        let times = format!(
            "SELECT {bucket} AS bucket, {column} AS micros FROM query_records WHERE {}",
            conditions.text()
        );
        let sql = match self.backend() {
            DbBackend::Postgres => format!(
                "SELECT bucket, percentile_disc(0.5) WITHIN GROUP (ORDER BY micros) AS p50, \
                 percentile_disc(0.95) WITHIN GROUP (ORDER BY micros) AS p95, max(micros) AS longest \
                 FROM ({times}) AS times GROUP BY bucket"
            ),
            _ => format!(
                "SELECT bucket, min(micros) FILTER (WHERE place * 100 >= among * 50) AS p50, \
                 min(micros) FILTER (WHERE place * 100 >= among * 95) AS p95, max(micros) AS longest FROM \
                 (SELECT bucket, micros, row_number() OVER (PARTITION BY bucket ORDER BY micros) AS place, \
                 count(*) OVER (PARTITION BY bucket) AS among FROM ({times})) GROUP BY bucket"
            ),
        };
        let mut spreads = BTreeMap::new();
        for row in self.rows(&sql, conditions.into_values()).await? {
            let (p50, p95, max) = (time(&row, "p50")?, time(&row, "p95")?, time(&row, "longest")?);
            spreads.insert(row.try_get("", "bucket")?, Spread { p50, p95, max });
        }
        Ok(spreads)
    }

    /// What was charged in each bucket, a currency at a time.
    async fn costs_of(&self, wanted: &Conditions, grid: Grid) -> Result<Vec<(i64, Cost)>, Error> {
        let mut conditions = wanted.clone();
        let bucket = grid.bucket(&mut conditions);
        let sql = format!(
            "SELECT {bucket} AS bucket, currency, {} FROM query_records \
             WHERE {} AND cost_nano_units IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2",
            sum!("cost_nano_units", "cost"),
            conditions.text()
        );
        let rows = self.rows(&sql, conditions.into_values()).await?;
        rows.iter().map(|row| Ok((row.try_get("", "bucket")?, cost(row)?))).collect()
    }
}

impl Grid {
    fn bucket(self, conditions: &mut Conditions) -> String {
        let (origin, width) = (conditions.value(self.origin), conditions.value(self.width));
        format!("(started_micros - {origin}) / {width}")
    }
}

fn counts(row: &QueryResult) -> Result<UsageTotals, Error> {
    let count = |name: &str| row.try_get::<i64>("", name);
    let (queries, completed) = (count("queries")?, count("completed")?);
    let (refused, cancelled) = (count("refused")?, count("cancelled")?);
    Ok(UsageTotals {
        queries,
        completed,
        refused,
        failed: queries - completed - refused - cancelled,
        cancelled,
        prompt_tokens: summed(row, "prompt")?,
        completion_tokens: summed(row, "completion")?,
        callers: count("callers")?,
        ..UsageTotals::default()
    })
}

/// A cost with its currency.
pub(super) fn cost(row: &QueryResult) -> Result<Cost, Error> {
    Ok(Cost { nano_units: summed(row, "cost")?, currency: row.try_get("", "currency")? })
}

/// A sum of halves; the largest number when it does not fit.
pub(super) fn summed(row: &QueryResult, name: &str) -> Result<i64, Error> {
    let (high, low): (i64, i64) =
        (row.try_get("", &format!("{name}_high"))?, row.try_get("", &format!("{name}_low"))?);
    let whole = (i128::from(high) << 32) + i128::from(low);
    Ok(i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX }))
}
