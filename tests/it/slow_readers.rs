//! A client that stalls loses no stream: not when it stalls for longer than its HTTP/2 stack bears small
//! frames, and not when tokens come faster than anybody reads.

use std::time::Duration;

use futures_util::future::join_all;
use syft_endpoints::proto::{StreamQueryResponse, stream_query_response::Event};
use tonic::Streaming;

use crate::support::{space::Space, upstream::Upstream};

/// Streams on one connection, with the windows that tonic's clients have by default.
const STREAMS: usize = 64;
const STALL: Duration = Duration::from_millis(2500);

async fn survives_a_stall(interval: Duration) {
    let upstream = Upstream::endless_every(interval).await;
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(clients.stream("ask").await.unwrap());
    }
    // The stall is what is tested: nobody reads, and nothing is waited for.
    tokio::time::sleep(STALL).await;
    let read = join_all(streams.iter_mut().map(tokens)).await;
    let lost: Vec<_> = read.iter().filter_map(|read| read.as_ref().err()).collect();
    assert!(lost.is_empty(), "{} of {STREAMS} streams were lost: {:?}", lost.len(), lost[0]);
}

/// Reads on until well past everything that had piled up.
async fn tokens(stream: &mut Streaming<StreamQueryResponse>) -> Result<usize, tonic::Status> {
    let mut tokens = 0;
    while tokens < 400 {
        match stream.message().await?.and_then(|message| message.event) {
            Some(Event::Delta(delta)) => tokens += delta.content.matches("tok ").count(),
            other => panic!("an endless answer has {other:?}"),
        }
    }
    Ok(tokens)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_hundred_tokens_a_second() {
    survives_a_stall(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_thousand_tokens_a_second() {
    survives_a_stall(Duration::from_millis(1)).await;
}
