//! What one peer may take: connections, headers, messages, streams, frames, time. Each limit is attacked.

use std::time::Duration;

use syft_endpoints::proto::{ListEndpointsRequest, QueryRequest};
use tonic::{Code, transport::Channel};

use crate::support::{
    database::Database,
    eventually,
    peer::{PING, PREFACE, Peer, SETTINGS, WINDOW_UPDATE, frame},
    space::{ADMIN_KEY, Space, asking, clients, question, reason},
    upstream::{Step, Upstream},
};

async fn space(settings: &[(&'static str, &str)]) -> Space {
    Space::configured(Database::sqlite(), settings).await
}

/// A flood of one kind of frame is ended soon, and another connection's calls go on.
async fn ends_a_flood(flood: Vec<u8>, most: usize) {
    let space = space(&[]).await;
    let mut others = space.admin().await;
    let peer = Peer::open(space.address).await;
    let (sent, ()) = tokio::join!(peer.flood(&flood, most), async {
        for _ in 0..50 {
            others.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
        }
    });
    assert!(sent <= most, "{sent}");
    assert_eq!(space.metric(r#"syft_connections_refused_total{reason="control_frames"}"#).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_ended() {
    ends_a_flood(frame(PING, &[0; 8]), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_settings_is_ended() {
    ends_a_flood(frame(SETTINGS, &[0, 4, 0, 1, 0, 0]), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_window_updates_is_ended() {
    ends_a_flood(frame(WINDOW_UPDATE, &[0, 0, 0, 1]), 20_000).await;
}

/// A client that measures bandwidth sends a PING for every frame that it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_pings_as_it_reads_is_served() {
    let upstream = Upstream::endless_every(Duration::from_millis(1)).await;
    let space = space(&[("server.control_frames", "100")]).await;
    space.admin().await.asks("ask", upstream.address).await;
    let channel = Channel::from_shared(space.url())
        .unwrap()
        .http2_keep_alive_interval(Duration::from_millis(1))
        .http2_adaptive_window(true)
        .connect()
        .await
        .unwrap();
    let mut clients = clients(channel, &[("authorization", &format!("Bearer {ADMIN_KEY}"))]);
    let mut events = clients.stream("ask").await.unwrap();
    for _ in 0..2_000 {
        events.message().await.unwrap().expect("the stream ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_is_closed() {
    let space = space(&[("server.handshake_timeout_ms", "300")]).await;
    // Nothing; half of the preface; all of it without SETTINGS; half of HTTP/1's headers.
    for said in [&b""[..], &PREFACE[..10], PREFACE, b"GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut peer = Peer::connect(space.address).await;
        peer.send(said).await;
        let closed = peer.closed_within(Duration::from_secs(5)).await;
        let closed = closed.unwrap_or_else(|| panic!("{:?} is never closed", String::from_utf8_lossy(said)));
        assert!(closed >= Duration::from_millis(250), "{closed:?}");
    }
    let refused = space.metric(r#"syft_connections_refused_total{reason="handshake"}"#).await;
    assert!(refused >= 3.0, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_has_died_is_found_out() {
    let space =
        space(&[("server.keepalive_interval_ms", "200"), ("server.keepalive_timeout_ms", "200")]).await;
    // It has opened a connection and will never answer a PING.
    let mut peer = Peer::open(space.address).await;
    assert!(peer.closed_within(Duration::from_secs(5)).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_for_each_address_and_in_all() {
    let limited = space(&[("server.max_connections_per_address", "2")]).await;
    let (first, _second) = (Peer::open(limited.address).await, Peer::open(limited.address).await);
    let mut third = Peer::connect(limited.address).await;
    assert!(third.closed_within(Duration::from_secs(5)).await.is_some(), "a third was let in");
    drop(first);
    eventually("a place is free again", async || {
        let mut next = Peer::open(limited.address).await;
        next.closed_within(Duration::from_millis(50)).await.is_none()
    })
    .await;

    let small = space(&[("server.max_connections", "1"), ("server.handshake_timeout_ms", "300")]).await;
    // It holds the only place, and loses it: others wait no longer than that.
    let _silent = Peer::connect(small.address).await;
    small.admin().await.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_replaced_and_its_calls_go_on() {
    let upstream = Upstream::endless().await;
    let space = space(&[("server.max_connection_age_ms", "200")]).await;
    space.admin().await.asks("ask", upstream.address).await;
    let mut clients = space.admin().await;
    let mut events = clients.stream("ask").await.unwrap();
    let _idle = space.admin().await;
    // The one on which all was set up has gone as well, and so have those that read the metric.
    eventually("the idle ones are gone", async || space.metric("syft_connections").await == 1.0).await;
    for _ in 0..100 {
        events.message().await.unwrap().expect("the stream ended");
    }
    // tonic's channel connects anew by itself, at the second call at the latest.
    let _ = clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await;
    clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_has_so_many_streams() {
    let upstream = Upstream::start(vec![vec![Step::Hang]]).await;
    let space = space(&[("server.max_streams_per_connection", "3")]).await;
    let mut admin = space.admin().await;
    admin.asks("ask", upstream.address).await;
    let clients = space.admin().await;
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let mut clients = clients.clone();
            async move { tokio::time::timeout(Duration::from_millis(1500), clients.query("ask")).await }
        })
        .collect();
    let all = futures_util::future::join_all(waiting);
    let watch = async {
        eventually("three have reached the model", async || upstream.count() == 3).await;
    };
    tokio::join!(all, watch);
    // The first three were given up by their client and left; never were there more at once.
    assert_eq!(upstream.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_messages_have_a_size() {
    let space = space(&[
        ("server.max_header_bytes", "8192"),
        ("grpc.max_request_bytes", "10000"),
        ("grpc.max_response_bytes", "20000"),
    ])
    .await;
    let large = "x".repeat(9_000);
    let mut clients = space
        .clients(&[("authorization", &format!("Bearer {ADMIN_KEY}")), ("x-large", large.as_str())])
        .await;
    clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap_err();

    let mut clients = space.admin().await;
    let query = Some(asking(&"x".repeat(10_000)));
    let request = QueryRequest { slug: "ask".to_owned(), query, request_id: None };
    let refused = clients.endpoints.query(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert!(refused.message().contains("10000"), "{refused:?}");

    let upstream = Upstream::says(&[&"y".repeat(30_000)]).await;
    clients.asks("ask", upstream.address).await;
    let request = QueryRequest { slug: "ask".to_owned(), query: Some(question()), request_id: None };
    let refused = clients.endpoints.query(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
}
