//! No published endpoint's report lapses while a replica lives, and each says what is so.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;
use syft_endpoints::proto::ListingState;

use tokio::time::Instant;

use super::*;
use crate::support::{
    hub::{Fault, Report},
    on_both,
};

/// Milliseconds between two reports.
const INTERVAL: &str = "400";
const OFTEN: [(&str, &str); 1] = [("hub.report_interval_ms", INTERVAL)];

/// The longest time between two reports of an endpoint, from `since` on.
fn longest_gap(reports: &[Report], slug: &str, since: Instant) -> Duration {
    let mut last = since;
    let of_slug = reports.iter().filter(|report| report.slug == slug && report.arrived > since);
    let gaps = of_slug.map(|report| report.arrived - std::mem::replace(&mut last, report.arrived));
    gaps.max().unwrap_or_default().max(last.elapsed())
}

fn count(hub: &Hub, slug: &str) -> usize {
    hub.reports().iter().filter(|report| report.slug == slug).count()
}

async fn reported(hub: &Hub, slug: &str, healthy: bool) {
    let is_last = || {
        hub.reports()
            .iter()
            .rev()
            .find(|report| report.slug == slug)
            .is_some_and(|one| one.healthy == healthy)
    };
    eventually("it is reported", async || is_last()).await;
}

/// A model server whose health can be switched, and how often it has been asked for it.
struct ModelServer {
    url: String,
    asked: &'static AtomicUsize,
    status: &'static std::sync::atomic::AtomicU16,
}

impl ModelServer {
    async fn start() -> Self {
        let asked: &AtomicUsize = Box::leak(Box::default());
        let status: &std::sync::atomic::AtomicU16 = Box::leak(Box::new(200.into()));
        let models = axum::routing::get(move || async move {
            asked.fetch_add(1, Ordering::SeqCst);
            let status = axum::http::StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap();
            (status, "{\"data\": []}")
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio_util::task::TaskTracker::new()
            .spawn(axum::serve(listener, axum::Router::new().route("/v1/models", models)).into_future());
        Self { url, asked, status }
    }

    fn configuration(&self) -> Value {
        json!({"base_url": self.url, "model": "m", "api_key": "k"})
    }
}

on_both! {
    async fn they_come_in_time_from_one_replica(database: Database) {
        let hub = Hub::start().await;
        let second = Database { url: database.url.clone(), folder: tempfile::tempdir().unwrap() };
        // Leases of half a second: what a busy machine can keep.
        let steady = [("hub.report_interval_ms", "1000")];
        let (_first, mut owner) = space(database, &hub, &steady).await;
        let _second = on(second, &hub, &steady).await;
        published(&mut owner, "law").await;
        let (begun, before) = (Instant::now(), count(&hub, "law"));
        eventually("five more", async || count(&hub, "law") >= before + 5).await;
        let gap = longest_gap(&hub.reports(), "law", begun);
        assert!(gap < Duration::from_secs(3), "{gap:?}");
        let (told, intervals) = (count(&hub, "law") - before, begun.elapsed().as_millis() / 1_000);
        assert!(told as u128 <= intervals + 2, "{told} reports in {intervals} intervals: two replicas report");
        assert!(listing(&mut owner, "law").await.unwrap().report_time.is_some());
    }

    async fn the_last_replica_says_that_nothing_is_alive_and_the_next_that_it_is(database: Database) {
        let hub = Hub::start().await;
        let second = Database { url: database.url.clone(), folder: tempfile::tempdir().unwrap() };
        let (first, mut owner) = space(database, &hub, &OFTEN).await;
        let second = on(second, &hub, &OFTEN).await;
        published(&mut owner, "law").await;
        let before = count(&hub, "law");
        eventually("both are there", async || count(&hub, "law") > before + 1).await;
        drop(owner);
        let database = first.stop().await;
        assert!(hub.reports().iter().all(|report| report.healthy), "another replica is alive");
        let before = count(&hub, "law");
        eventually("it goes on", async || count(&hub, "law") > before).await;
        second.stop().await;
        assert!(!hub.reports().last().unwrap().healthy);
        let _next = on(database, &hub, &OFTEN).await;
        reported(&hub, "law", true).await;
    }

    async fn a_hub_that_was_down_is_told_soon(database: Database) {
        let hub = Hub::start().await;
        let (space, mut owner) = space(database, &hub, &OFTEN).await;
        published(&mut owner, "law").await;
        hub.fail("health", Fault { status: 503, headers: &[], body: "<html>down</html>".to_owned() });
        let stands = async || space.store.active_marketplaces(root(&space.store).await.id).await.unwrap().remove(0).report_error;
        eventually("the owner sees it", async || !stands().await.is_empty()).await;
        let tried = hub.calls("health");
        eventually("it is tried again and again", async || hub.calls("health") > tried + 4).await;
        hub.recover();
        let before = count(&hub, "law");
        eventually("it is told", async || count(&hub, "law") > before).await;
        eventually("the owner sees that too", async || stands().await.is_empty()).await;
    }

    async fn each_model_is_asked_once_an_interval(database: Database) {
        let (hub, server) = (Hub::start().await, ModelServer::start().await);
        let (_space, mut owner) = space(database, &hub, &OFTEN).await;
        published(&mut owner, "law").await;
        let model = owner.model("shared", "openai", server.configuration()).await;
        for slug in ["a-chat", "b-chat", "c-chat"] {
            owner.endpoint(slug, None, Some(&model)).await;
            published(&mut owner, slug).await;
        }
        let (asked, before, begun) = (server.asked.load(Ordering::SeqCst), count(&hub, "a-chat"), Instant::now());
        eventually("five rounds", async || count(&hub, "a-chat") >= before + 5).await;
        let asked = server.asked.load(Ordering::SeqCst) - asked;
        let intervals = usize::try_from(begun.elapsed().as_millis() / 360).unwrap() + 1;
        assert!((4..=intervals).contains(&asked), "asked {asked} times in {intervals} intervals");
        server.status.store(500, Ordering::SeqCst);
        for slug in ["a-chat", "b-chat", "c-chat"] {
            reported(&hub, slug, false).await;
        }
        reported(&hub, "law", true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_clock_differs_believes_them_as_long() {
    for skew in [-120, 120] {
        let hub = Hub::start().await;
        hub.set_skew(skew);
        let (_space, mut owner) = space(Database::sqlite(), &hub, &[]).await;
        published(&mut owner, "law").await;
        let report = hub.reports().pop().unwrap();
        let believed = report.believed_until - report.arrived_at;
        assert!((believed.whole_seconds() - 180).abs() <= 5, "{skew}: believed for {believed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_does_not_answer_is_not_alive() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &OFTEN).await;
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    owner.asks("silent", silent.local_addr().unwrap()).await;
    let begun = Instant::now();
    published(&mut owner, "silent").await;
    reported(&hub, "silent", false).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_hears_only_of_what_it_lists() {
    let (hub, other) = (Hub::start().await, Hub::start().await);
    let (space, mut owner) = space(Database::sqlite(), &hub, &OFTEN).await;
    connect(&space.store, &other).await;
    // The oldest.
    let only = marketplace(&space).await;
    let request =
        PublishEndpointRequest { slug: "law".to_owned(), marketplace_ids: vec![only], ..Default::default() };
    assert!(owner.endpoints.publish_endpoint(request).await.unwrap().into_inner().results[0].success);
    let before = count(&hub, "law");
    eventually("it hears again", async || count(&hub, "law") > before + 2).await;
    assert_eq!((other.calls("health"), other.slugs().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_without_reports_is_no_trouble() {
    let hub = Hub::start().await;
    let (_space, mut owner) = space(Database::sqlite(), &hub, &OFTEN).await;
    let gone = Fault { status: 404, headers: &[], body: "{\"detail\": \"Not Found\"}".to_owned() };
    hub.fail("health", gone);
    published(&mut owner, "law").await;
    assert_eq!(listing(&mut owner, "law").await.unwrap().state(), ListingState::Published);
    eventually("the old way is tried", async || {
        hub.received().iter().any(|call| call.path.ends_with("/heartbeat"))
    })
    .await;
}

/// kill -9, again and again, of one of two replicas: the other is there in time.
async fn killed(database: Database, kills: u32) {
    let hub = Hub::start().await;
    let start = || replica(&database, &hub);
    let mut replicas = vec![start(), start()];
    let mut owner = replicas[0].admin().await;
    let dataset = owner.dataset("law").await;
    owner.endpoint("law", Some(&dataset), None).await;
    published(&mut owner, "law").await;
    let (begun, mut random) = (Instant::now(), u64::from(std::process::id()));
    for _ in 0..kills {
        // Any instant will do, and any replica: xorshift chooses.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 1_000)).await;
        replicas.remove((random >> 32) as usize % 2).kill();
        replicas.push(start());
    }
    let before = count(&hub, "law");
    eventually("the survivors report", async || count(&hub, "law") > before + 2).await;
    let gap = longest_gap(&hub.reports(), "law", begun);
    assert!(gap < Duration::from_secs(3), "not reported for {gap:?}");
    assert!(hub.reports().iter().all(|report| report.healthy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_report_lapses_while_replicas_are_killed_on_sqlite() {
    killed(Database::sqlite(), 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_report_lapses_while_replicas_are_killed_on_postgres() {
    killed(Database::postgres().await, 10).await;
}
