//! Pages of other origins may call when the configuration says so, and read what they need.

use http::Method;

use crate::support::{
    database::Database,
    rest::{Rest, question},
    space::{ADMIN_KEY, Space},
};

const RPC: &str = "/syft.space.v1.EndpointService/StreamQuery";
const REST: &str = "/api/v1/endpoints/x/query";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflights_are_answered_for_known_origins_only() {
    let space = Space::sqlite().await;
    let rest = Rest::with(&space, &[]);
    for path in [RPC, REST] {
        let ask = async |origin: &str| {
            let request = rest.request(Method::OPTIONS, path).header("origin", origin);
            let request = request.header("access-control-request-method", "POST");
            rest.send(request.header("access-control-request-headers", "authorization,x-grpc-web")).await
        };
        for origin in ["http://localhost:5173", "https://a-b.syfthub.ngrok.app", "tauri://localhost"] {
            let answer = ask(origin).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert_eq!(answer.header("access-control-allow-methods"), "POST");
            assert_eq!(answer.header("access-control-allow-headers"), "authorization,x-grpc-web");
            assert_eq!(answer.header("access-control-max-age"), "600");
        }
        for origin in ["http://localhost:1", "https://a.b.syfthub.ngrok.app", "null"] {
            assert_eq!(ask(origin).await.header("access-control-allow-origin"), "", "{origin}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_can_read_failures_too() {
    let settings = [("cors.allowed_origins", "[\"https://app.example.org\"]")];
    let space = Space::configured(Database::sqlite(), &settings).await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    for authorization in [bearer.as_str(), "Bearer wrong"] {
        let rest =
            Rest::with(&space, &[("authorization", authorization), ("origin", "https://app.example.org")]);
        let answer = rest.query("none", question()).await;
        assert!(matches!(answer.status, 401 | 404));
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.org");
        let exposed = answer.header("access-control-expose-headers");
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-query-id", "retry-after"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert!(answer.header("vary").contains("origin"));
    }
    let other = Rest::with(&space, &[("authorization", &bearer), ("origin", "http://localhost:5173")]);
    assert_eq!(other.query("none", question()).await.header("access-control-allow-origin"), "");
}
