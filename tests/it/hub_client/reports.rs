//! A hub believes a report from the moment that it names, on the hub's clock.

use syft_endpoints::{domain::Marketplace, hub::Liveness};

use super::{account, client, fault, publication, rejected, unavailable};
use crate::support::hub;

const HERE: &str = "https://space.example";

fn alive(slug: &str) -> Liveness {
    Liveness { slug: slug.to_owned(), healthy: true }
}

/// How far the moments of the reports are from the hub's time when they came, in seconds.
fn errors(hub: &hub::Hub) -> Vec<f64> {
    hub.reports().iter().map(|report| (report.checked_at - report.arrived_at).as_seconds_f64()).collect()
}

#[tokio::test]
async fn a_report_says_who_is_alive_where_and_for_how_long() {
    let (hub, client) = (hub::Hub::start().await, client());
    for slug in ["papers", "books"] {
        hub.list(serde_json::to_value(publication(slug)).unwrap());
    }
    let ill = Liveness { slug: "books".to_owned(), healthy: false };
    let all = [alive("papers"), ill, alive("unknown")];
    client.report(&account(&hub), HERE, &all, 180).await.unwrap();
    let sent = &hub.bodies("health")[0];
    assert_eq!((sent["url"].as_str(), sent["ttl_seconds"].as_u64()), (Some(HERE), Some(180)));
    assert!(sent.get("satellite_id").is_none());
    let seen: Vec<_> = hub.reports().iter().map(|report| (report.slug.clone(), report.healthy)).collect();
    assert_eq!(seen, [("papers".to_owned(), true), ("books".to_owned(), false)]);
    let first = &hub.reports()[0];
    assert_eq!(first.believed_until - first.checked_at, time::Duration::seconds(180));
    assert!(first.arrived.elapsed().as_secs() < 60 && first.url == HERE && first.satellite_id.is_none());
    assert_eq!(hub.domain().as_deref(), Some(HERE));
    for (ttl, told) in [(0, 1), (1_800, 1_800), (1_801, 1_800), (u32::MAX, 1_800)] {
        client.report(&account(&hub), HERE, &all, ttl).await.unwrap();
        assert_eq!(hub.bodies("health").last().unwrap()["ttl_seconds"], told);
    }
}

#[tokio::test]
async fn a_clock_that_is_minutes_off_is_learnt_from_the_first_answer() {
    for skew in [-120, 120, -86_400, 3_600] {
        let (hub, client) = (hub::Hub::start().await, client());
        hub.list(serde_json::to_value(publication("papers")).unwrap());
        hub.set_skew(skew);
        client.report(&account(&hub), HERE, &[alive("papers")], 30).await.unwrap();
        // The first is told on our clock, and at once again on the hub's.
        let seen = errors(&hub);
        assert_eq!(seen.len(), 2, "{seen:?}");
        #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
        let first = skew as f64;
        assert!((seen[0] + first).abs() < 1.0 && seen[1].abs() < 1.5, "{skew}: {seen:?}");
        client.clone().report(&account(&hub), HERE, &[alive("papers")], 30).await.unwrap();
        let seen = errors(&hub);
        assert!(seen.len() == 3 && seen[2].abs() < 1.5, "{skew}: {seen:?}");
    }
}

#[tokio::test]
async fn a_clock_is_learnt_from_any_answer_and_again_when_it_changes() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.list(serde_json::to_value(publication("papers")).unwrap());
    hub.set_skew(120);
    hub.fail_next("exists", 1, fault(404, ""));
    client.is_listed(&account(&hub), "papers").await.unwrap_err();
    client.report(&account(&hub), HERE, &[alive("papers")], 30).await.unwrap();
    assert_eq!(errors(&hub).len(), 1, "{:?}", errors(&hub));
    hub.set_skew(-120);
    client.report(&account(&hub), HERE, &[alive("papers")], 30).await.unwrap();
    let seen = errors(&hub);
    assert!(seen.len() == 3 && seen[0].abs() < 1.5 && seen[2].abs() < 1.5, "{seen:?}");
    // A second more or less is no change.
    hub.set_skew(-118);
    client.report(&account(&hub), HERE, &[alive("papers")], 30).await.unwrap();
    assert_eq!(errors(&hub).len(), 4);
}

/// What tests of the reporter rely on.
#[tokio::test]
async fn a_hub_sees_a_report_lapse() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.list(serde_json::to_value(publication("papers")).unwrap());
    for (skew, lapses) in [(0, 0), (20, 0), (40, 0), (90, 1), (115, 1)] {
        hub.set_skew(skew);
        client.report(&account(&hub), HERE, &[alive("papers")], 30).await.unwrap();
        assert_eq!(hub.lapses().len(), lapses, "{skew}");
    }
    hub.set_skew(150);
    assert_eq!(hub.lapses(), ["papers", "papers"]);
    client.unpublish(&account(&hub), "papers").await.unwrap();
    assert_eq!(hub.lapses().len(), 0);
}

#[tokio::test]
async fn three_hundred_are_told_in_a_call() {
    let (hub, client) = (hub::Hub::start().await, client());
    for (count, chunks) in
        [(0, vec![]), (1, vec![1]), (300, vec![300]), (301, vec![300, 1]), (650, vec![300, 300, 50])]
    {
        hub.forget_received();
        let all: Vec<_> = (0..count).map(|n| alive(&format!("papers-{n}"))).collect();
        client.report(&account(&hub), HERE, &all, 30).await.unwrap();
        let bodies = hub.bodies("health");
        let told: Vec<usize> =
            bodies.iter().map(|body| body["endpoints"].as_array().unwrap().len()).collect();
        assert_eq!(told, chunks);
        let slugs =
            bodies.iter().flat_map(|body| body["endpoints"].as_array().unwrap()).map(|one| &one["slug"]);
        assert!(slugs.zip(&all).all(|(told, one)| *told == one.slug));
    }
}

#[tokio::test]
async fn a_report_names_the_satellite_and_fails_as_calls_do() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let id = hub.add_satellite(HERE);
    let ours = Marketplace { satellite_id: Some(id.clone()), ..account(&hub) };
    client.report(&ours, HERE, &[alive("papers")], 30).await.unwrap();
    assert_eq!(hub.bodies("health")[0]["satellite_id"], id);
    hub.fail_next("health", 2, fault(503, ""));
    unavailable(&client.report(&ours, HERE, &[alive("papers")], 30).await.unwrap_err());
    let error = client.report(&ours, "nowhere", &[alive("papers")], 30).await.unwrap_err();
    assert_eq!((rejected(&error), error.status), ("it refused the request", Some(422)));
}
