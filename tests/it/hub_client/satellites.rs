//! Hubs are told where the space is, as each of them understands it.

use serde_json::json;
use syft_endpoints::{domain::Marketplace, hub::Verdict};

use super::{account, client, fault, rejected, unavailable};
use crate::support::hub;

const HERE: &str = "https://space.example";
const THERE: &str = "https://elsewhere.example:8443";

fn known_as(hub: &hub::Hub, id: Option<&str>) -> Marketplace {
    Marketplace { satellite_id: id.map(ToOwned::to_owned), ..account(hub) }
}

#[tokio::test]
async fn a_newer_hub_gives_an_id_which_stays_when_the_space_moves() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let id = client.announce(&known_as(&hub, None), &format!("{HERE}/")).await.unwrap().unwrap();
    assert_eq!(hub.bodies("add-satellite"), [json!({"kind": "space", "base_url": HERE})]);
    let again = client.announce(&known_as(&hub, Some(&id)), THERE).await.unwrap();
    assert_eq!(
        (again.as_deref(), hub.satellites()),
        (Some(id.as_str()), vec![(id.clone(), THERE.to_owned())])
    );
    assert_eq!(hub.bodies("move-satellite"), [json!({"base_url": THERE})]);
    assert_eq!((hub.calls("add-satellite"), hub.calls("set-me")), (1, 0));
    // What is not known any more by its id is known by its place.
    assert_eq!(client.announce(&known_as(&hub, None), THERE).await.unwrap(), Some(id));
}

#[tokio::test]
async fn an_id_that_the_hub_has_forgotten_is_replaced() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let old = hub.add_satellite(HERE);
    hub.remove_satellites();
    let id = client.announce(&known_as(&hub, Some(&old)), HERE).await.unwrap().unwrap();
    assert_ne!(id, old);
    assert_eq!(hub.satellites(), [(id, HERE.to_owned())]);
    assert_eq!((hub.calls("move-satellite"), hub.calls("add-satellite")), (1, 1));
}

#[tokio::test]
async fn an_id_is_kept_when_the_place_is_another_ones() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let (ours, other) = (hub.add_satellite(HERE), hub.add_satellite(THERE));
    let kept = client.announce(&known_as(&hub, Some(&ours)), THERE).await.unwrap();
    assert_eq!(kept.as_deref(), Some(ours.as_str()));
    assert_eq!(hub.satellites(), [(ours, HERE.to_owned()), (other, THERE.to_owned())]);
}

#[tokio::test]
async fn a_place_that_is_a_stations_is_refused() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    hub.add_station(HERE);
    let error = client.announce(&known_as(&hub, None), HERE).await.unwrap_err();
    assert_eq!((rejected(&error), error.status), ("its origin is registered as a station", Some(409)));
    assert_eq!(error.said.as_deref(), Some("The origin is registered as a station"));
    assert_eq!(hub.calls("set-me"), 0);
}

#[tokio::test]
async fn an_older_hub_is_told_the_domain() {
    let (hub, client) = (hub::Hub::start().await, client());
    assert_eq!(client.announce(&known_as(&hub, None), HERE).await.unwrap(), None);
    assert_eq!(hub.domain().as_deref(), Some(HERE));
    // It was a newer one when the id was given.
    assert_eq!(client.announce(&known_as(&hub, Some("old")), THERE).await.unwrap(), None);
    assert_eq!(hub.domain().as_deref(), Some(THERE));
    let error = client.announce(&known_as(&hub, None), "ftp://x").await.unwrap_err();
    assert_eq!((rejected(&error), error.status), ("it refused the request", Some(422)));
}

#[tokio::test]
async fn what_fails_changes_nothing_else() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let id = hub.add_satellite(HERE);
    hub.fail("move-satellite", fault(500, ""));
    unavailable(&client.announce(&known_as(&hub, Some(&id)), THERE).await.unwrap_err());
    hub.fail("add-satellite", fault(403, ""));
    rejected(&client.announce(&known_as(&hub, None), THERE).await.unwrap_err());
    for id in ["\"\"", "null", "\"a\\nb\"", &format!("\"{}\"", "x".repeat(201))] {
        hub.fail("add-satellite", fault(201, &format!("{{\"id\": {id}}}")));
        let error = client.announce(&known_as(&hub, None), THERE).await.unwrap_err();
        assert_eq!(unavailable(&error), "its answer cannot be read");
    }
    hub.fail("add-satellite", fault(201, "{\"id\": 7}"));
    assert_eq!(client.announce(&known_as(&hub, None), THERE).await.unwrap().as_deref(), Some("7"));
    assert_eq!((hub.satellites(), hub.calls("set-me")), (vec![(id, HERE.to_owned())], 0));
}

#[tokio::test]
async fn a_token_for_the_satellite_is_ours() {
    let (hub, client) = (hub::Hub::start().await, client());
    hub.know_satellites(true);
    let id = hub.add_satellite(HERE);
    let token = hub.mint("2", &id);
    let good = client.verify(&known_as(&hub, Some(&id)), &token).await.unwrap();
    assert!(matches!(good, Verdict::Good { guest: false, .. }));
    client.verify(&known_as(&hub, None), &token).await.unwrap_err();
}
