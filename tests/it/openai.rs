//! The `openai` model against servers that do everything wrong.

use std::time::Duration;

use syft_endpoints::proto::stream_query_response::Event;
use tonic::{Code, Status};

use crate::support::{
    database::Database,
    eventually,
    space::{Clients, Space, reason},
    upstream::{self, Step, Upstream, answer_of, delta, end, finish, head, raw, send, status},
};

/// A space whose endpoint `ask` asks `upstream`.
async fn space(upstream: &Upstream) -> (Space, Clients) {
    space_with(upstream, &[]).await
}

async fn space_with(upstream: &Upstream, settings: &[(&'static str, &str)]) -> (Space, Clients) {
    let space = Space::configured(Database::sqlite(), settings).await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    (space, clients)
}

/// Text until the end of a stream, and how it ended.
async fn read(clients: &mut Clients) -> (String, Result<(), Status>) {
    let mut text = String::new();
    let mut events = match clients.stream("ask").await {
        Ok(events) => events,
        Err(status) => return (text, Err(status)),
    };
    loop {
        match events.message().await {
            Ok(Some(message)) => match message.event.unwrap() {
                Event::Delta(delta) => text.push_str(&delta.content),
                Event::Completed(_) => return (text, Ok(())),
                Event::References(_) => {}
            },
            Ok(None) => panic!("the stream ended well without its end"),
            Err(status) => return (text, Err(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_have_the_right_status_and_the_pool_stays_healthy() {
    let bad = |scripts: Vec<Step>| vec![head()].into_iter().chain(scripts).collect::<Vec<_>>();
    let unavailable = (Code::Unavailable, "MODEL_UNAVAILABLE");
    let rejected = (Code::FailedPrecondition, "MODEL_REJECTED");
    let cases = [
        ("a bad key", status("401 Unauthorized", "", "{}"), rejected),
        ("an unknown model", status("404 Not Found", "", "{}"), rejected),
        ("a bad request", status("400 Bad Request", "", "{}"), rejected),
        ("a redirect", status("302 Found", "location: http://127.0.0.1:1/\r\n", ""), rejected),
        ("failing for good", status("500 Internal Server Error", "retry-after: 0\r\n", ""), unavailable),
        ("rate limited for good", status("429 Too Many Requests", "retry-after: 3600\r\n", ""), unavailable),
        ("silence", vec![Step::Hang], unavailable),
        ("silence after the head", bad(vec![Step::Hang]), unavailable),
        ("silence after a token", bad(vec![send(&delta("a")), Step::Hang]), unavailable),
        (
            "only comments",
            bad(vec![Step::Drip(upstream::chunked(": ping\n\n"), Duration::from_millis(20))]),
            unavailable,
        ),
        ("an end without an end mark", bad(vec![send(&delta("a")), end()]), unavailable),
        ("a broken chunk", bad(vec![send(&delta("a")), raw("zz\r\n")]), unavailable),
        ("half an event", bad(vec![send("data: {\"choices\":[{\"del"), end()]), unavailable),
        ("garbage", bad(vec![send("data: nonsense\n\n"), end()]), unavailable),
        (
            "an error in the stream",
            bad(vec![send("data: {\"error\":{\"message\":\"x\"}}\n\n"), end()]),
            unavailable,
        ),
        (
            "an error as a 200",
            status("200 OK", "content-type: application/json\r\n", "{\"error\":\"x\"}"),
            unavailable,
        ),
        ("nothing", status("200 OK", "content-type: text/event-stream\r\n", ""), unavailable),
        (
            "an endless event",
            bad(vec![Step::Drip(upstream::chunked(&"x".repeat(1 << 16)), Duration::ZERO)]),
            unavailable,
        ),
        ("not UTF-8", bad(vec![Step::Send(b"8\r\ndata: \xff\n\r\n".to_vec()), end()]), unavailable),
    ];
    for (what, script, (code, expected)) in cases {
        let upstream =
            Upstream::start(vec![script.clone(), script.clone(), script, answer_of(&["fine"])]).await;
        let clocks = [("upstream.first_token_timeout_ms", "2000"), ("upstream.idle_timeout_ms", "300")];
        let (_space, mut clients) = space_with(&upstream, &clocks).await;
        let (_, ended) = read(&mut clients).await;
        let failed = ended.expect_err(what);
        assert_eq!((failed.code(), reason(&failed).as_str()), (code, expected), "{what}: {failed:?}");
        // Whatever it was, the next good answer comes through.
        for _ in upstream.count()..3 {
            let _ = read(&mut clients).await;
        }
        assert_eq!(read(&mut clients).await.0, "fine", "after {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_before_the_first_byte_are_repeated_and_none_after_it() {
    let upstream = Upstream::start(vec![
        status("503 Service Unavailable", "", ""),
        status("429 Too Many Requests", "retry-after: 0\r\n", ""),
        answer_of(&["third"]),
        vec![head(), send(&delta("cut")), end()],
        answer_of(&["never asked for"]),
    ])
    .await;
    let (_space, mut clients) = space(&upstream).await;
    let (text, ended) = read(&mut clients).await;
    ended.unwrap();
    assert_eq!((text.as_str(), upstream.count()), ("third", 3));
    let (text, ended) = read(&mut clients).await;
    assert_eq!((text.as_str(), ended.unwrap_err().code(), upstream.count()), ("cut", Code::Unavailable, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_unavailable() {
    let upstream = Upstream::says(&[]).await;
    let address = upstream.address;
    drop(upstream);
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.asks("ask", address).await;
    eventually("the port is closed", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    let (_, ended) = read(&mut clients).await;
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_but_good_answers_are_read() {
    let whole =
        r#"{"id":"x","model":"m","choices":[{"message":{"content":"whole"},"finish_reason":"length"}]}"#;
    let bom_free = vec![
        head(),
        send(&delta("é").replace("data: ", "data:").replace('\n', "\r\n")),
        send(&finish()),
        end(),
    ];
    let upstream = Upstream::start(vec![
        status("200 OK", "content-type: application/json\r\n", whole),
        bom_free,
        vec![head(), send(&delta("done")), send("data: [DONE]\n\n"), end()],
    ])
    .await;
    let (_space, mut clients) = space(&upstream).await;
    for expected in ["whole", "é", "done"] {
        let (text, ended) = read(&mut clients).await;
        ended.unwrap();
        assert_eq!(text, expected);
    }
    let usage = clients.query("ask").await.unwrap().summary.unwrap().completion.unwrap().usage.unwrap();
    assert!(usage.estimated && usage.completion_tokens > 0, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_chunking_of_a_stream_gives_the_same_text() {
    let stream: String = ["Grüße ", "\u{1F600}", " end"].map(delta).concat() + &finish() + "data: [DONE]\n\n";
    let bytes = stream.as_bytes();
    let chunk = |piece: &[u8]| {
        let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        Step::Send(framed)
    };
    let scripts: Vec<Vec<Step>> = [1, 2, 3, 7, 50, 1000]
        .into_iter()
        .map(|size| [head()].into_iter().chain(bytes.chunks(size).map(chunk)).chain([end()]).collect())
        .collect();
    let count = scripts.len();
    let upstream = Upstream::start(scripts).await;
    let (_space, mut clients) = space(&upstream).await;
    for _ in 0..count {
        let (text, ended) = read(&mut clients).await;
        ended.unwrap();
        assert_eq!(text, "Grüße \u{1F600} end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_what_was_asked_and_cannot_be_overridden() {
    let refusal =
        status("400 Bad Request", "", r#"{"error":{"message":"use 'max_completion_tokens' instead"}}"#);
    let upstream = Upstream::start(vec![refusal, answer_of(&["a"])]).await;
    let (_space, mut clients) = space(&upstream).await;
    let mut query = crate::support::space::question();
    query.extras = Some(crate::support::space::structure(serde_json::json!({"seed": 7, "top_p": 0.5})));
    query.max_tokens = Some(42);
    query.stop_sequences = None;
    let request =
        syft_endpoints::proto::QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
    clients.endpoints.query(request.clone()).await.unwrap();
    clients.endpoints.query(request).await.unwrap();
    assert_eq!(upstream.count(), 3, "the server's wish was not remembered");
    let body = upstream.body(2);
    assert_eq!(
        (&body["seed"], &body["top_p"], &body["max_completion_tokens"]),
        (&7.into(), &0.5.into(), &42.into())
    );
    assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
    assert_eq!(body["stop"], serde_json::json!(["\n"]));
    assert!(body.get("max_tokens").is_none());
}
