//! The client's deadline over a real connection: DEADLINE_EXCEEDED, also in the middle of an answer.

use std::time::Duration;

use syft_endpoints::proto::{
    StreamQueryRequest, StreamQueryResponse, endpoint_service_client::EndpointServiceClient,
};
use tonic::{Code, Request, Status, Streaming};

use crate::support::{
    eventually,
    space::{ADMIN_KEY, Space, question, reason},
    upstream::Upstream,
};

/// A call with this header, without a socket: a connection of tonic's would keep the time itself.
async fn ask(space: &Space, timeout: &'static str) -> Result<Streaming<StreamQueryResponse>, Status> {
    let message = StreamQueryRequest { slug: "ask".to_owned(), query: Some(question()), request_id: None };
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request.metadata_mut().insert("authorization", format!("Bearer {ADMIN_KEY}").parse().unwrap());
    Ok(EndpointServiceClient::new(space.routes.clone()).stream_query(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_an_answer_and_its_upstream_call() {
    let upstream = Upstream::endless().await;
    let space = Space::sqlite().await;
    space.admin().await.asks("ask", upstream.address).await;
    let mut events = ask(&space, "300m").await.unwrap();
    let late = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a clean end"),
            Err(status) => break status,
        }
    };
    assert_eq!((late.code(), reason(&late).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    eventually("the upstream call is abandoned", async || upstream.abandoned() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_before_the_first_event_is_the_calls_own() {
    let upstream = Upstream::start(vec![vec![crate::support::upstream::Step::Hang]]).await;
    let space = Space::sqlite().await;
    space.admin().await.asks("ask", upstream.address).await;
    for timeout in ["100m", "1n", "0S"] {
        assert_eq!(ask(&space, timeout).await.unwrap_err().code(), Code::DeadlineExceeded, "{timeout}");
    }
    for malformed in ["soon", "123456789S", "-1S", "1"] {
        assert_eq!(ask(&space, malformed).await.unwrap_err().code(), Code::InvalidArgument, "{malformed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_free_again_when_a_stalled_client_runs_out_of_time() {
    let upstream = Upstream::endless().await;
    let space = Space::configured(
        crate::support::database::Database::sqlite(),
        &[("pipeline.max_running", "1"), ("pipeline.timeout_ms", "500")],
    )
    .await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let _stalled = clients.stream("ask").await.unwrap();
    // On connections of their own: places are counted per query.
    let mut others = space.admin().await;
    let refused = others.stream("ask").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    let mut again = space.admin().await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while again.stream("ask").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the place was never free again");
}
