//! A trace goes through: from the caller's `traceparent` to the model's, and to the collector.

use syft_endpoints::proto::QueryRequest;

use crate::support::{
    space::{ADMIN_KEY, Space, question},
    upstream::Upstream,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn request() -> QueryRequest {
    QueryRequest { slug: "ask".to_owned(), query: Some(question()), request_id: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_reaches_the_model_without_a_collector() {
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::sqlite().await;
    space.admin().await.asks("ask", upstream.address).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let authorization = format!("Bearer {ADMIN_KEY}");
    let traced = [("authorization", authorization.as_str()), ("traceparent", &parent), ("tracestate", "a=b")];
    space.clients(&traced).await.endpoints.query(request()).await.unwrap();
    let sent = upstream.header(0, "traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"), "{sent}");
    assert!(!sent.contains(SPAN), "the model's call is a span of its own: {sent}");
    assert_eq!(upstream.header(0, "tracestate").as_deref(), Some("a=b"));

    // Without one, or with a bad one, the query's own id is the trace's.
    for bad in ["", "00-xyz-1-01"] {
        let mut metadata = vec![("authorization", authorization.as_str())];
        metadata.extend((!bad.is_empty()).then_some(("traceparent", bad)));
        let answer = space.clients(&metadata).await.endpoints.query(request()).await.unwrap().into_inner();
        let sent = upstream.header(upstream.count() - 1, "traceparent").unwrap();
        assert_eq!(sent[3..35], answer.query_id.replace('-', ""));
    }
}

#[cfg(feature = "otlp")]
mod exported {
    use serde_json::json;

    use super::*;
    use crate::support::{
        collector::{Collector, attribute},
        database::Database,
        eventually,
        process::Process,
        space::{asking, clients},
    };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_part_of_a_query_is_a_span_and_none_says_what_was_asked() {
        let (collector, upstream) = (Collector::start().await, Upstream::says(&["the answer is 42"]).await);
        let database = Database::sqlite();
        let file = database.folder.path().join("config.toml");
        std::fs::write(&file, format!("[traces]\nendpoint = \"http://{}\"\n", collector.address)).unwrap();
        let mut process = Process::start(&database, &["--config", file.to_str().unwrap()]);
        let mut admin = process.admin().await;
        let dataset = admin.dataset("docs").await;
        admin.ingest("docs", &[("1", "The copyright term is seventy years.")]).await;
        let configuration = json!({"base_url": format!("http://{}/v1", upstream.address), "model": "m-1"});
        let model = admin.model("gpt", "openai", configuration).await;
        admin.endpoint("ask", Some(&dataset), Some(&model)).await;
        admin.policy("ask", "access", json!({"denied_users": ["eve@example.org"]})).await;

        let channel = tonic::transport::Channel::from_shared(process.server.clone()).unwrap();
        let authorization = format!("Bearer {ADMIN_KEY}");
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let traced = [("authorization", authorization.as_str()), ("traceparent", parent.as_str())];
        let mut traced = clients(channel.connect().await.unwrap(), &traced);
        let query = Some(asking("copyright canary-question"));
        let asked = QueryRequest { slug: "ask".to_owned(), query, request_id: None };
        traced.endpoints.query(asked).await.unwrap();
        let missing = QueryRequest { slug: "nowhere".to_owned(), ..request() };
        traced.endpoints.query(missing).await.unwrap_err();
        process.signal("-TERM");
        assert!(process.ended().await.success());

        let rpc = "syft.space.v1.EndpointService/Query";
        eventually("the spans arrive", async || collector.named(rpc).len() == 2).await;
        let rpcs = collector.named(rpc);
        let found = |status: &str| {
            let status_of = |span: &&_| attribute(span, "rpc.response.status_code") == status;
            rpcs.iter().find(status_of).unwrap_or_else(|| panic!("no span has {status}"))
        };
        let (good, bad) = (found("OK"), found("NOT_FOUND"));
        assert_eq!((hex(&good.trace_id).as_str(), hex(&good.parent_span_id).as_str()), (TRACE, SPAN));
        assert_eq!(attribute(good, "rpc.system.name"), "grpc");
        assert_eq!(attribute(bad, "error.type"), "NOT_FOUND");
        for (name, attributes) in [
            (
                "retrieval docs",
                vec![("gen_ai.operation.name", "retrieval"), ("gen_ai.data_source.id", "docs")],
            ),
            (
                "chat m-1",
                vec![
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "openai"),
                    ("gen_ai.request.model", "m-1"),
                    ("gen_ai.usage.input_tokens", "11"),
                    ("gen_ai.usage.output_tokens", "5"),
                    ("gen_ai.response.finish_reasons", "stop"),
                ],
            ),
            ("pre_hook access", vec![("syft.policy.type", "access")]),
            ("post_hook access", vec![]),
        ] {
            let spans = collector.named(name);
            assert_eq!(spans.len(), 1, "{name}");
            assert_eq!(hex(&spans[0].trace_id), TRACE, "{name}");
            assert_eq!(spans[0].parent_span_id, good.span_id, "{name}");
            for (key, value) in attributes {
                assert_eq!(attribute(&spans[0], key), value, "{name} {key}");
            }
        }
        // The model's own spans would be children of the chat.
        let sent = upstream.header(0, "traceparent").unwrap();
        assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&collector.named("chat m-1")[0].span_id)));
        let everything = format!("{:?}", collector.spans.lock().unwrap());
        for secret in ["canary-question", "the answer is 42", "seventy years", ADMIN_KEY, "owner@localhost"] {
            assert!(!everything.contains(secret), "{secret} is in a span");
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
