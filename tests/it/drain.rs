//! Stopping: no new calls, running ones finish or are ended and settled, and everything is written.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use syft_endpoints::proto::{StreamQueryResponse, stream_query_response::Event};
use tonic::{Code, Status, Streaming};

use crate::support::{
    database::Database,
    eventually,
    peer::{PREFACE, Peer, SETTINGS, frame},
    process::Process,
    space::{Space, reason},
    upstream::{Step, Upstream, delta, end, finish, head, send},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finishes_within_the_grace_finishes() {
    let slow = vec![
        head(),
        send(&delta("a")),
        Step::Pause(Duration::from_millis(300)),
        send(&delta("b")),
        send(&finish()),
        end(),
    ];
    let upstream = Upstream::start(vec![slow]).await;
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let mut events = clients.stream("ask").await.unwrap();
    events.message().await.unwrap().unwrap();
    space.shutdown.cancel();
    let address = space.address;
    eventually("nobody is accepted", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    let (mut text, mut completed) = (String::new(), false);
    while let Some(message) = events.message().await.unwrap() {
        match message.event.unwrap() {
            Event::Delta(delta) => text.push_str(&delta.content),
            Event::Completed(_) => completed = true,
            Event::References(_) => {}
        }
    }
    assert_eq!((text.as_str(), completed), ("b", true));
    space.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_is_ended_and_recorded() {
    let upstream = Upstream::endless().await;
    let database = Database::sqlite();
    let mut process = Process::start(&database, &[]);
    let mut clients = process.admin().await;
    clients.asks("ask", upstream.address).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(clients.stream("ask").await.unwrap());
    }
    // A peer that never says a word holds nothing up.
    let _silent = tokio::net::TcpStream::connect(process.server.trim_start_matches("http://")).await.unwrap();
    process.signal("-TERM");
    for ended in join_all(streams.into_iter().map(until_it_fails)).await {
        assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    }
    assert!(process.ended().await.success());
    assert_eq!(recorded(&database, "shutting_down").await, 20);
}

async fn until_it_fails(mut stream: Streaming<StreamQueryResponse>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a clean end"),
            Err(status) => return status,
        }
    }
}

/// Queries that were recorded with this outcome.
async fn recorded(database: &Database, outcome: &str) -> i64 {
    use sea_orm::ConnectionTrait;

    let raw = database.raw().await;
    let sql = format!("SELECT count(*) AS n FROM query_records WHERE outcome = '{outcome}'");
    let row =
        raw.query_one_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "n").unwrap()
}

/// 200 streams that would never end and 1,000 connections that never began, in every way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_within_the_grace_and_two_seconds() {
    let upstream = Upstream::endless().await;
    let database = Database::sqlite();
    let mut process = Process::start(&database, &[]);
    let mut clients = process.admin().await;
    clients.asks("ask", upstream.address).await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(clients.stream("ask").await.unwrap());
    }
    let address = process.server.trim_start_matches("http://").parse().unwrap();
    let mut half_open = Vec::new();
    for n in 0..1_000 {
        let mut peer = Peer::connect(address).await;
        match n % 4 {
            0 => {}
            1 => peer.send(&PREFACE[..12]).await,
            2 => peer.send(PREFACE).await,
            // Open, and will never answer the GOAWAY's PING.
            _ => peer.send(&[PREFACE, &frame(SETTINGS, &[])].concat()).await,
        }
        half_open.push(peer);
    }
    let told = Instant::now();
    process.signal("-TERM");
    let (ended, ()) = tokio::join!(process.ended(), async {
        // Readers that go on reading; all of them are told why.
        for ended in join_all(streams.into_iter().map(until_it_fails)).await {
            assert_eq!(reason(&ended), "SHUTTING_DOWN", "{ended:?}");
        }
    });
    assert!(ended.success());
    // The grace is half a second here.
    assert!(told.elapsed() < Duration::from_millis(2_500), "{:?}", told.elapsed());
    assert_eq!(recorded(&database, "shutting_down").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    let upstream = Upstream::endless().await;
    let database = Database::sqlite();
    let file = database.folder.path().join("config.toml");
    std::fs::write(&file, "drain_delay_ms = 600000\n").unwrap();
    let mut process = Process::start(&database, &["--config", file.to_str().unwrap()]);
    let mut clients = process.admin().await;
    clients.asks("ask", upstream.address).await;
    let _stream = clients.stream("ask").await.unwrap();
    process.signal("-TERM");
    let log = process.log.clone();
    eventually("it is stopping", async || std::fs::read_to_string(&log).unwrap().contains("stopping")).await;
    process.signal("-TERM");
    assert!(!process.ended().await.success());
}
