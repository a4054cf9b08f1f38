//! Reports come in time, whatever one hub, one clock or one replica does.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use syft_endpoints::proto::ListingState;

use super::*;
use crate::support::{hub::Fault, on_both};

/// A report every 400 ms.
const OFTEN: [(&str, &str); 1] = [("hub.report_interval_ms", "400")];

fn count(hub: &Hub) -> usize {
    hub.reports().len()
}

async fn goes_on(hub: &Hub) {
    let before = count(hub);
    eventually("reports go on", async || count(hub) > before + 2).await;
}

/// As if the database's clock had been an hour ahead until now.
async fn clock_is_set_back(database: &Database) {
    let raw = database.raw().await;
    let later = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000 + 3_600_000_000;
    for column in ["reported_at", "claimed_until"] {
        raw.execute_unprepared(&format!("UPDATE listings SET {column} = {later}")).await.unwrap();
    }
    raw.close().await.unwrap();
}

on_both! {
    async fn a_clock_that_is_set_back_silences_nobody(database: Database) {
        let hub = Hub::start().await;
        let (space, mut owner) = space(database, &hub, &OFTEN).await;
        published(&mut owner, "law").await;
        goes_on(&hub).await;
        clock_is_set_back(&space.database).await;
        goes_on(&hub).await;
        clock_is_set_back(&space.database).await;
        summarize(&mut owner, "law", "new words").await;
        reaches(&mut owner, "law", ListingState::Published).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_asks_for_endless_patience_ends_nothing() {
    let (good, odd) = (Hub::start().await, Hub::start().await);
    let (space, mut owner) = space(Database::sqlite(), &good, &OFTEN).await;
    connect(&space.store, &odd).await;
    published(&mut owner, "law").await;
    let headers = &[("retry-after", "18446744073709551615")];
    let calls = odd.calls("health");
    odd.fail("health", Fault { status: 429, headers, body: String::new() });
    eventually("it asks", async || odd.calls("health") > calls).await;
    goes_on(&good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_does_not_answer_delays_no_other() {
    let (good, slow) = (Hub::start().await, Hub::start().await);
    let (space, mut owner) = space(Database::sqlite(), &good, &OFTEN).await;
    connect(&space.store, &slow).await;
    published(&mut owner, "law").await;
    slow.hold_route("health");
    let calls = slow.calls("health");
    eventually("it is asked", async || slow.calls("health") > calls).await;
    let before = count(&good);
    let in_time = Duration::from_secs(6);
    let told = tokio::time::timeout(in_time, async {
        eventually("six more", async || count(&good) >= before + 6).await;
    });
    assert!(told.await.is_ok(), "{} reports in {in_time:?}", count(&good) - before);
    slow.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_after_a_stop_that_one_hub_delayed_says_at_once_what_is_alive() {
    let (good, slow) = (Hub::start().await, Hub::start().await);
    let (space, mut owner) = space(Database::sqlite(), &good, &[]).await;
    connect(&space.store, &slow).await;
    published(&mut owner, "law").await;
    drop(owner);
    slow.hold_route("health");
    let database = space.stop().await;
    assert!(!good.reports().last().unwrap().healthy);
    let _next = on(database, &good, &[]).await;
    eventually("it is alive", async || good.reports().last().unwrap().healthy).await;
    slow.release();
}

/// What is published while the only replica stops is not said to be alive after the last words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_said_to_be_alive_once_the_space_stops() {
    let hub = Hub::start().await;
    let (space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
    published(&mut owner, "law").await;
    hub.hold_route("change");
    summarize(&mut owner, "law", "new words").await;
    eventually("it is being told", async || hub.calls("change") > 0).await;
    drop(owner);
    space.shutdown.cancel();
    eventually("the last words are said", async || !hub.reports().last().unwrap().healthy).await;
    hub.release();
    let database = space.stop().await;
    assert_eq!(shown(&hub, "law", "description").unwrap(), "new words", "what has begun is ended");
    assert!(!hub.reports().last().unwrap().healthy);
    let _next = on(database, &hub, &[]).await;
    eventually("it is alive", async || hub.reports().last().unwrap().healthy).await;
}
