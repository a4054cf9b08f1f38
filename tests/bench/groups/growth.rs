//! Whether a query feels how many endpoints there are.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use prost_types::FieldMask;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};
use syft_endpoints::proto::{
    Endpoint, UpdateEndpointRequest, endpoint_service_client::EndpointServiceClient,
};

use crate::{
    Bench, Fault,
    client::Caller,
    process::Process,
    report::Findings,
    script::Script,
    space::{Owner, callers, database, warm},
    stats::{median, percentile_ms},
};

const FEW: usize = 10;
const MANY: usize = 1_000_000;
const WARM_QUERIES: usize = 1_000;
const COLD_QUERIES: usize = 150;
/// When cold plans are slow, a round makes do with fewer.
const COLD_LIMIT: Duration = Duration::from_secs(3);
const COLD_LEAST: usize = 15;
/// The endpoint that is made by the service; the others are copies of its row.
const FIRST: &str = "grow-0";

/// A service with so many endpoints.
struct Side {
    _service: Process,
    owner: Owner,
    caller: Caller,
    endpoints: usize,
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let folder = bench.folder("growth")?;
    let upstream = Process::role("upstream", &folder)?;
    let started = Instant::now();
    let few = Side::start(bench, "growth/few", &upstream, FEW).await?;
    let many = Side::start(bench, "growth/many", &upstream, bench.count(MANY)).await?;
    let mut findings = Findings::default();
    findings.note("seconds to make the endpoints", started.elapsed().as_secs_f64());
    let sides = [few, many];
    let (mut warm, mut cold) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..=bench.rounds() {
        for side in [round % 2, (round + 1) % 2] {
            let times = sides[side].warm_times(bench.count(WARM_QUERIES)).await?;
            let cold_times = sides[side].cold_times(bench.count(COLD_QUERIES), round).await?;
            // The first round warms up.
            if round > 0 {
                warm[side].push(percentile_ms(&times, 0.5));
                cold[side].push(percentile_ms(&cold_times, 0.5));
            }
        }
    }
    let ratios = |[few, many]: &[Vec<f64>; 2]| -> Vec<f64> {
        many.iter().zip(few).map(|(many, few)| many / few).collect()
    };
    for (side, endpoints) in [FEW, bench.count(MANY)].into_iter().enumerate() {
        findings.note(&format!("p50 with {endpoints} endpoints, warm, ms"), median(&warm[side]));
        findings.note(&format!("p50 with {endpoints} endpoints, cold, ms"), median(&cold[side]));
    }
    findings.rounds("plan_growth", ratios(&warm));
    findings.rounds("plan_growth_uncached", ratios(&cold));
    Ok(findings)
}

impl Side {
    async fn start(bench: &Bench, name: &str, upstream: &Process, endpoints: usize) -> Result<Self, Fault> {
        let folder = bench.folder(name)?;
        let service = Process::service(&bench.binary, &folder, &[])?;
        let owner = Owner::new(&service).await?;
        owner.endpoint(FIRST, upstream, Script::short()).await?;
        let key = owner.key("bench@example.org").await?;
        drop(owner);
        service.stop()?;
        multiply(&database(&folder), endpoints).await?;
        let service = Process::service(&bench.binary, &folder, &[])?;
        let caller = callers(&service, &key, FIRST, 1).await?.remove(0);
        warm(&caller).await?;
        Ok(Self { owner: Owner::new(&service).await?, _service: service, caller, endpoints })
    }

    async fn warm_times(&self, queries: usize) -> Result<Vec<u64>, Fault> {
        let mut times = Vec::with_capacity(queries);
        self.caller.query().await?;
        for _ in 0..queries {
            times.push(time(&self.caller).await?);
        }
        Ok(times)
    }

    /// Each at another endpoint, after a write that makes every plan cold. A query at the first endpoint
    /// in between has the key looked up again: that is not what is asked here.
    async fn cold_times(&self, queries: usize, round: usize) -> Result<Vec<u64>, Fault> {
        let (mut times, until) = (Vec::with_capacity(queries), Instant::now() + COLD_LIMIT);
        for number in 0..queries {
            if times.len() >= COLD_LEAST && Instant::now() > until {
                break;
            }
            self.touch(number + round).await?;
            self.caller.query().await?;
            // A prime step: all over the table, and hardly one twice.
            let other = 1 + ((round * queries + number) * 700_001) % (self.endpoints - 1);
            times.push(time(&self.caller.at(&format!("grow-{other}"))).await?);
        }
        Ok(times)
    }

    async fn touch(&self, number: usize) -> Result<(), Fault> {
        let endpoint =
            Endpoint { slug: FIRST.to_owned(), summary: number.to_string(), ..Endpoint::default() };
        let update_mask = Some(FieldMask { paths: vec!["summary".to_owned()] });
        let request = UpdateEndpointRequest { endpoint: Some(endpoint), update_mask };
        let request = self.owner.request(request);
        EndpointServiceClient::new(self.owner.channel.clone()).update_endpoint(request).await?;
        Ok(())
    }
}

async fn time(caller: &Caller) -> Result<u64, Fault> {
    let started = Instant::now();
    caller.query().await?;
    Ok(u64::try_from(started.elapsed().as_nanos())?)
}

/// Copies the one endpoint and its policy until there are `endpoints`. Nobody else has the file open.
async fn multiply(path: &Path, endpoints: usize) -> Result<(), Fault> {
    let mut options = ConnectOptions::new(format!("sqlite://{}", path.display()));
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await?;
    for setting in ["foreign_keys = OFF", "synchronous = OFF", "cache_size = -200000"] {
        database.execute_unprepared(&format!("PRAGMA {setting}")).await?;
    }
    let copies = endpoints - 1;
    copy(&database, "endpoints", &[("id", ID), ("slug", "'grow-' || i")], copies).await?;
    copy(&database, "policies", &[("id", ID), ("endpoint_id", ID)], copies).await?;
    database.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    let count = "SELECT count(*) AS count FROM endpoints";
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), count)).await?;
    let count: i64 = row.ok_or("no count")?.try_get("", "count")?;
    database.close().await?;
    if usize::try_from(count)? == endpoints { Ok(()) } else { Err(format!("{count} endpoints").into()) }
}

/// An id that a number makes, smaller than every id of today.
const ID: &str = "unhex(printf('00000000000070008%015x', i))";

/// Inserts copies 1 to `copies` of the only row of a table, with some columns made anew.
async fn copy(
    database: &DatabaseConnection,
    table: &str,
    made: &[(&str, &str)],
    copies: usize,
) -> Result<(), Fault> {
    let columns = format!("SELECT name FROM pragma_table_info('{table}')");
    let rows =
        database.query_all_raw(Statement::from_string(database.get_database_backend(), columns)).await?;
    let columns: Vec<String> = rows.iter().map(|row| row.try_get("", "name")).collect::<Result<_, _>>()?;
    let values: Vec<&str> = columns
        .iter()
        .map(|column| made.iter().find(|(name, _)| name == column).map_or(column.as_str(), |(_, sql)| sql))
        .collect();
    database.execute_unprepared(&format!("CREATE TEMP TABLE source AS SELECT * FROM {table}")).await?;
    let insert = format!(
        "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {copies}) \
         INSERT INTO {table} ({}) SELECT {} FROM numbers, source",
        columns.join(", "),
        values.join(", ")
    );
    database.execute_unprepared(&insert).await?;
    database.execute_unprepared("DROP TABLE source").await?;
    Ok(())
}
