//! Query records: only what cannot be kept is lost, and it is counted.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use syft_endpoints::{
    domain::{Cost, QueryId, QueryRecord, RecordedText, TenantId, Usage},
    store::{Recorder, RecordsConfig},
};

use crate::support::{
    database::{Database, root},
    eventually, on_both,
};

fn record(tenant: TenantId, slug: &str) -> QueryRecord {
    QueryRecord {
        id: QueryId::new(),
        tenant,
        endpoint: None,
        endpoint_slug: slug.to_owned(),
        dataset: None,
        caller: "bob@example.org".to_owned(),
        request_id: Some(uuid::Uuid::now_v7()),
        correlation_id: Some("c-1".to_owned()),
        preview: false,
        outcome: "completed",
        reason: String::new(),
        documents: 3,
        usage: Usage { prompt_tokens: 11, completion_tokens: 5, estimated: true },
        cost: Some(Cost { nano_units: 7, currency: "USD".to_owned() }),
        first_event: None,
        first_token: None,
        duration: Duration::from_micros(1_500),
        started_at: time::OffsetDateTime::now_utc().replace_nanosecond(123_456_000).unwrap(),
        text: RecordedText { question: Some("asked \0 this".to_owned()), answer: None },
    }
}

async fn stored(raw: &DatabaseConnection) -> i64 {
    let count = Statement::from_string(raw.get_database_backend(), "SELECT count(*) AS n FROM query_records");
    raw.query_one_raw(count).await.unwrap().unwrap().try_get("", "n").unwrap()
}

on_both! {
    async fn a_record_that_is_refused_loses_only_itself(database: Database) {
        let store = database.store().await;
        let (tenant, raw) = (root(&store).await.id, database.raw().await);
        let refuse = match raw.get_database_backend() {
            DbBackend::Postgres => "ALTER TABLE query_records ADD CHECK (endpoint_slug <> 'bad')",
            _ => "CREATE TRIGGER refuse BEFORE INSERT ON query_records WHEN new.endpoint_slug = 'bad' \
                  BEGIN SELECT RAISE(ABORT, 'bad'); END",
        };
        raw.execute_unprepared(refuse).await.unwrap();
        let recorder = Recorder::start(&store, &RecordsConfig::default());
        for n in 0..300 {
            recorder.record(record(tenant, if n % 100 == 50 { "bad" } else { "good" })).await;
        }
        eventually("the good ones are stored", async || stored(&raw).await == 297).await;
        eventually("the bad ones are counted", async || store.records_lost() == 3).await;
    }

    async fn a_record_is_stored_as_it_is(database: Database) {
        let store = database.store().await;
        let (tenant, raw) = (root(&store).await.id, database.raw().await);
        let recorder = Recorder::start(&store, &RecordsConfig::default());
        for _ in 0..7 {
            recorder.record(record(tenant, "ask")).await;
        }
        recorder.record(QueryRecord { usage: Usage::default(), request_id: None, first_event: Some(Duration::from_millis(2)), ..record(tenant, "ask") }).await;
        drop(recorder);
        eventually("all are stored", async || stored(&raw).await == 8).await;
        let all = "SELECT count(*) AS n FROM query_records WHERE tenant_id IN (SELECT id FROM tenants) \
                   AND endpoint_id IS NULL AND endpoint_slug = 'ask' AND caller = 'bob@example.org' AND NOT preview \
                   AND outcome = 'completed' AND reason = '' AND documents = 3 AND cost_nano_units = 7 AND currency = 'USD' AND correlation_id = 'c-1' \
                   AND answer IS NULL AND question NOT LIKE '%asked%' AND duration_micros = 1500";
        let most = "request_id IS NOT NULL AND prompt_tokens = 11 AND completion_tokens = 5 AND usage_estimated \
                    AND first_event_micros IS NULL";
        let last = "request_id IS NULL AND prompt_tokens = 0 AND completion_tokens = 0 AND NOT usage_estimated \
                    AND first_event_micros = 2000";
        for (which, expected) in [(most, 7_i64), (last, 1)] {
            let count = Statement::from_string(raw.get_database_backend(), format!("{all} AND {which}"));
            let row = raw.query_one_raw(count).await.unwrap().unwrap();
            assert_eq!(row.try_get::<i64>("", "n").unwrap(), expected, "{which}");
        }
        let at = Statement::from_string(raw.get_database_backend(), "SELECT started_micros FROM query_records");
        let at: i64 = raw.query_one_raw(at).await.unwrap().unwrap().try_get("", "started_micros").unwrap();
        assert_eq!(at % 1_000_000, 123_456);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_wait_for_a_database_that_has_no_room() {
    let database = Database::postgres().await;
    let store = database.store().await;
    let (tenant, raw) = (root(&store).await.id, database.raw().await);
    let full = "CREATE SEQUENCE attempts;
                CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF nextval('attempts') <= 4 THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER fill BEFORE INSERT ON query_records FOR EACH ROW EXECUTE FUNCTION fill();";
    raw.execute_unprepared(full).await.unwrap();
    let recorder = Recorder::start(&store, &RecordsConfig::default());
    for _ in 0..500 {
        recorder.record(record(tenant, "ask")).await;
    }
    eventually("all are stored", async || stored(&raw).await == 500).await;
    assert_eq!(store.records_lost(), 0);
}
