//! Stopping: no new calls, running ones finish or are ended and settled, and everything is written.

use std::time::Duration;

use syft_endpoints::proto::stream_query_response::Event;
use tonic::Code;

use crate::support::{
    database::Database,
    eventually,
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
    use sea_orm::ConnectionTrait;

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
    for mut stream in streams {
        let ended = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a clean end"),
                Err(status) => break status,
            }
        };
        assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    }
    assert!(process.ended().await.success());
    let raw = database.raw().await;
    let sql = "SELECT count(*) AS n FROM query_records WHERE outcome = 'shutting_down'";
    let row =
        raw.query_one_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
    assert_eq!(row.unwrap().try_get::<i64>("", "n").unwrap(), 20);
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
