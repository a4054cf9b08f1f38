//! Browsers call the gRPC services directly.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http::Method;
use prost::Message;
use syft_endpoints::proto::{StreamQueryRequest, StreamQueryResponse, stream_query_response::Event};

use super::legal;
use crate::support::{
    database::Database,
    eventually,
    rest::Rest,
    space::question,
    upstream::{Step, Upstream, delta, head, send},
};

/// Messages and trailers of a body.
fn frames(mut body: Bytes) -> (Vec<StreamQueryResponse>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while !body.is_empty() {
        let (flags, length) = (body.get_u8(), body.get_u32() as usize);
        let frame = body.split_to(length);
        match flags {
            0 => messages.push(StreamQueryResponse::decode(frame).unwrap()),
            _ => trailers.push_str(std::str::from_utf8(&frame).unwrap()),
        }
    }
    (messages, trailers)
}

fn request(rest: &Rest, slug: &str) -> reqwest::RequestBuilder {
    let message = StreamQueryRequest { slug: slug.to_owned(), query: Some(question()), request_id: None };
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    rest.request(Method::POST, "/syft.space.v1.EndpointService/StreamQuery")
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_streams_over_http_1() {
    let (space, _upstream) = legal(Database::sqlite(), Upstream::says(&["Seventy ", "years."]).await).await;
    let rest = Rest::admin(&space);
    let response = request(&rest, "legal-qa").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    let (messages, trailers) = frames(response.bytes().await.unwrap());
    let text: String = messages
        .iter()
        .filter_map(|message| match &message.event {
            Some(Event::Delta(delta)) => Some(delta.content.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "Seventy years.");
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    // Refusals are in the headers, as gRPC-Web has them.
    let refused = request(&Rest::with(&space, &[]), "legal-qa").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["grpc-status"]), (200, &"16".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_closed_stops_the_model() {
    let script = vec![head(), send(&delta("first ")), Step::Hang];
    let (space, upstream) = legal(Database::sqlite(), Upstream::start(vec![script]).await).await;
    let mut body = request(&Rest::admin(&space), "chat").send().await.unwrap().bytes_stream();
    let (messages, _) = frames(body.next().await.unwrap().unwrap());
    assert!(matches!(&messages[0].event, Some(Event::Delta(delta)) if delta.content == "first "));
    drop(body);
    eventually("the model's answer is abandoned", async || upstream.abandoned() == 1).await;
}
