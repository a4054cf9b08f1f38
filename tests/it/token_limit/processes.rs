//! Limits hold over real processes: three on Postgres, one on SQLite, and 64 clients who want more than
//! there is. What was admitted, and when, is read from the database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use syft_endpoints::proto;
use tokio::sync::Barrier;
use tonic_types::StatusExt;

use super::{counted, rows};
use crate::support::{
    database::Database,
    eventually, on_both,
    process::Process,
    space::{Clients, asking, reason},
    upstream::Upstream,
};

const CLIENTS: usize = 64;
/// Output tokens of a query at most, and as the model counts them.
const MAX_TOKENS: i32 = 25;
const USED: i64 = 5;
const SECOND: i64 = 1_000_000;
/// How long a client waits who was refused.
const PAUSE: Duration = Duration::from_millis(25);

struct Cluster {
    processes: Vec<Process>,
    clients: Vec<Clients>,
    raw: DatabaseConnection,
    _upstream: Upstream,
    database: Database,
}

impl Cluster {
    async fn start(database: Database) -> Self {
        let replicas = if database.url.starts_with("postgres") { 3 } else { 1 };
        // One after the other: the first migrates.
        let processes: Vec<Process> = (0..replicas).map(|_| Process::start(&database, &[])).collect();
        let upstream = Upstream::says(&["a", "b"]).await;
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            clients.push(processes[n % replicas].admin().await);
        }
        let raw = database.raw().await;
        Self { processes, clients, raw, _upstream: upstream, database }
    }

    /// An endpoint with these policies.
    async fn limited(&mut self, slug: &str, policies: &[(&str, Value)]) {
        let owner = &mut self.clients[0];
        owner.asks(slug, self._upstream.address).await;
        for (policy_type, configuration) in policies {
            owner.policy(slug, policy_type, configuration.clone()).await;
        }
        for process in &self.processes {
            let mut clients = process.admin().await;
            // A preview passes limits.
            let request = proto::PreviewQueryRequest { slug: slug.to_owned(), query: Some(asking("?")) };
            eventually("every replica knows it", async || {
                clients.endpoints.preview_query(request.clone()).await.is_ok()
            })
            .await;
        }
    }

    /// All clients at once, until they have been told `enough` or the time is over. Returns how many were
    /// admitted.
    async fn demand(&self, slug: &str, limit: Duration, enough: Duration) -> usize {
        let (barrier, begun) = (Arc::new(Barrier::new(CLIENTS)), Instant::now());
        let asking = self.clients.iter().cloned().map(|mut client| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                let mut admitted = 0;
                while begun.elapsed() < limit {
                    let Err(status) = ask(&mut client, slug).await else {
                        admitted += 1;
                        continue;
                    };
                    assert_eq!(reason(&status), "RATE_LIMITED", "{status:?}");
                    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
                    if wait > enough {
                        break;
                    }
                    tokio::time::sleep(PAUSE.min(wait)).await;
                }
                admitted
            }
        });
        futures_util::future::join_all(asking).await.into_iter().sum()
    }
}

async fn ask(client: &mut Clients, slug: &str) -> Result<(), tonic::Status> {
    let query = proto::Query { max_tokens: Some(MAX_TOKENS), ..asking("?") };
    let request = proto::QueryRequest { slug: slug.to_owned(), query: Some(query), request_id: None };
    client.endpoints.query(request).await.map(drop)
}

/// Keeps the moment of every admission: a slot itself knows only its last.
async fn remember_slots(raw: &DatabaseConnection) {
    let sql: &[&str] = match raw.get_database_backend() {
        DbBackend::Postgres => &[
            "CREATE TABLE slot_history (admitted_at bigint NOT NULL)",
            "CREATE FUNCTION note_slot() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO slot_history VALUES (NEW.admitted_at); RETURN NULL; END $$",
            "CREATE TRIGGER note_slot AFTER INSERT OR UPDATE ON rate_slots FOR EACH ROW \
             WHEN (NEW.admitted_at > 0) EXECUTE FUNCTION note_slot()",
        ],
        _ => &[
            "CREATE TABLE slot_history (admitted_at integer NOT NULL)",
            "CREATE TRIGGER note_new AFTER INSERT ON rate_slots WHEN NEW.admitted_at > 0 \
             BEGIN INSERT INTO slot_history VALUES (NEW.admitted_at); END",
            "CREATE TRIGGER note_old AFTER UPDATE ON rate_slots WHEN NEW.admitted_at > 0 \
             BEGIN INSERT INTO slot_history VALUES (NEW.admitted_at); END",
        ],
    };
    for statement in sql {
        raw.execute_unprepared(statement).await.unwrap();
    }
}

/// All moments, in order, and none of them any more.
async fn take_history(raw: &DatabaseConnection) -> Vec<i64> {
    let sql = "SELECT admitted_at FROM slot_history ORDER BY admitted_at";
    let rows = raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    raw.execute_unprepared("DELETE FROM slot_history").await.unwrap();
    rows.iter().map(|row| row.try_get("", "admitted_at").unwrap()).collect()
}

/// No window admitted more than `most`, and as many windows as there was demand for were used to 95 %.
fn assert_slides(moments: &[i64], most: usize, window: i64, windows: i64) {
    for (i, pair) in moments.windows(most + 1).enumerate() {
        let span = pair[most] - pair[0];
        assert!(span >= window, "{} in {span} µs, from the {i}th on", most + 1);
    }
    let end = moments[0] + windows * window;
    let admitted = moments.iter().filter(|moment| **moment < end).count() as f64;
    let allowed = most as f64 * windows as f64;
    assert!(admitted >= 0.95 * allowed, "{admitted} of {allowed} in {windows} windows");
}

/// Tokens that completed queries have written, as they were recorded.
async fn recorded(raw: &DatabaseConnection, slug: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(coalesce(sum(completion_tokens), 0) AS bigint) AS n FROM query_records \
         WHERE endpoint_slug = '{slug}' AND outcome = 'completed' AND NOT preview"
    );
    let row = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "n").unwrap()
}

on_both! {
    async fn sixty_four_clients_get_what_there_is_and_no_more(database: Database) {
        let mut cluster = Cluster::start(database).await;
        remember_slots(&cluster.raw).await;
        // Several windows in a few seconds.
        cluster.limited("often", &[("rate_limit", json!({"limit": "50/s"}))]).await;
        let admitted = cluster.demand("often", Duration::from_millis(3_300), Duration::MAX).await;
        let moments = take_history(&cluster.raw).await;
        assert_eq!(moments.len(), admitted, "what clients saw is not what was counted");
        assert_slides(&moments, 50, SECOND, 3);
        // All of one window, with a limit on tokens beside it that is not the narrower one.
        let tokens = json!({"period": "minute", "output_tokens": 100_000});
        cluster.limited("hundred", &[("rate_limit", json!({"limit": "100/m"})), ("token_limit", tokens)]).await;
        let admitted = cluster.demand("hundred", Duration::from_secs(20), Duration::from_secs(2)).await;
        let moments = take_history(&cluster.raw).await;
        assert_eq!((moments.len(), admitted), (100, 100));
        assert!(moments[99] - moments[0] < 60 * SECOND);
        eventually("all is settled", async || rows(&cluster.raw, "token_holds").await == 0).await;
        assert_eq!(counted(&cluster.raw).await, [100, 1_100, 100 * USED, 0, 0, 0]);
        cluster.raw.execute_unprepared("DELETE FROM token_buckets").await.unwrap();
        // What running queries hold, and what those that have ended used, is looked at again and again.
        let most = 600;
        cluster.limited("tokens", &[("token_limit", json!({"period": "minute", "output_tokens": most}))]).await;
        let seen = async {
            let mut highest = 0;
            loop {
                let [_, _, used, _, _, held] = counted(&cluster.raw).await;
                highest = highest.max(used + held);
                assert!(used + held <= most, "{used} used and {held} held of {most}");
                if used + i64::from(MAX_TOKENS) > most && held == 0 {
                    return highest;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let demand = cluster.demand("tokens", Duration::from_secs(20), Duration::from_secs(2));
        let seen = tokio::time::timeout(Duration::from_secs(25), seen);
        let (seen, admitted) = tokio::join!(seen, demand);
        let [requests, _, used, ..] = counted(&cluster.raw).await;
        assert!(seen.unwrap() <= most && used * 100 >= most * 95, "{used} used of {most}");
        assert_eq!((requests * USED, requests), (used, i64::try_from(admitted).unwrap()));
        eventually("it is recorded", async || recorded(&cluster.raw, "tokens").await == used).await;
        let Cluster { processes, database, .. } = cluster;
        processes.into_iter().for_each(Process::kill);
        drop(database);
    }
}
