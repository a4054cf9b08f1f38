//! What goes wrong, as HTTP says it.

use http::Method;
use serde_json::json;

use super::legal;
use crate::support::{
    database::Database,
    rest::{Rest, question},
    space::{ADMIN_KEY, Space},
    upstream::{Upstream, status},
};

const QUERY: &str = "/api/v1/endpoints/legal-qa/query";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_learns_nothing_and_no_body_is_read() {
    let space = Space::sqlite().await;
    let wrong = format!("Bearer {ADMIN_KEY}x");
    let callers: [&[(&str, &str)]; 5] = [
        &[],
        &[("authorization", &wrong)],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic x")],
        &[("authorization", "Bearer a"), ("x-tenant-name", "nobody")],
    ];
    for caller in callers {
        let rest = Rest::with(&space, caller);
        for (method, path) in [
            (Method::POST, QUERY),
            (Method::GET, "/api/v1/endpoints/"),
            (Method::GET, "/api/v1/no/such/path"),
            (Method::DELETE, "/api/v1/datasets/x"),
        ] {
            let answer = rest.send(rest.request(method, path).body("{no json")).await;
            assert_eq!(answer.expect(401), json!({"detail": "A valid credential is required"}), "{path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        // These are for everybody.
        for path in ["/api/v1/health", "/api/v1/health/", "/openapi.json", "/docs/"] {
            assert_eq!(rest.get(path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_the_scope_is_refused_before_its_body_is_read() {
    let space = Space::sqlite().await;
    let admin = Rest::admin(&space);
    let new = json!({"name": "asker", "email": "amy@example.org", "scopes": ["query"]});
    let key = admin.post("/api/v1/keys", new).await.expect(201);
    let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
    let rest = Rest::with(&space, &[("authorization", &bearer)]);
    let refused = rest.send(rest.request(Method::POST, "/api/v1/endpoints").body("{no json")).await;
    assert_eq!(refused.expect(403), json!({"detail": "The credential lacks the scope `manage`"}));
    assert_eq!(rest.query("none", question()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_faults_have_the_statuses_that_syfthub_acts_on() {
    let scripts = vec![
        status("404 Not Found", "", "s3cret"),
        status("400 Bad Request", "", "s3cret"),
        status("200 OK", "content-type: text/event-stream\r\n", "data: s3cret\n\n"),
        status("503 Busy", "retry-after: 60\r\n", "s3cret"),
    ];
    let (space, _upstream) = legal(Database::sqlite(), Upstream::start(scripts).await).await;
    let rest = Rest::admin(&space);
    let mut told = Vec::new();
    for _ in 0..4 {
        let answer = rest.query("chat", question()).await;
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
        told.push((answer.status, answer.json()["detail"].as_str().unwrap().to_owned()));
    }
    insta::assert_debug_snapshot!(told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_and_too_large_are_told() {
    let settings = [("grpc.max_request_bytes", "4096"), ("pipeline.max_running", "1")];
    let space = Space::configured(Database::sqlite(), &settings).await;
    let upstream = Upstream::endless().await;
    let mut clients = space.admin().await;
    clients.asks("ask", upstream.address).await;
    let rest = Rest::admin(&space);
    let large = rest.query("ask", json!({"messages": "x".repeat(8000)})).await;
    assert_eq!(large.expect(413), json!({"detail": "The body is larger than 4096 bytes"}));
    let _running = clients.stream("ask").await.unwrap();
    let refused = rest.query("ask", question()).await;
    assert_eq!(refused.expect(429), json!({"detail": "Too many calls are running"}));
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_and_methods_are_told() {
    let space = Space::sqlite().await;
    let rest = Rest::admin(&space);
    assert_eq!(rest.get("/api/v1/no/such").await.expect(404), json!({"detail": "Not Found"}));
    assert_eq!(rest.get("/no/such").await.expect(404), json!({"detail": "Not Found"}));
    let no_text = rest.get("/api/v1/endpoints/%ff").await;
    assert_eq!(no_text.expect(404), json!({"detail": "Not Found"}));
    let put = rest.call("PUT", "/api/v1/endpoints/", None).await;
    assert_eq!(put.expect(405), json!({"detail": "Method Not Allowed"}));
    let mut allowed: Vec<&str> = put.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let home = rest.get("/").await;
    assert_eq!((home.status, home.header("location")), (307, "/docs/"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_are_told_what_the_reference_tells_them() {
    let settings = [("identity.enable_multi_tenancy", "true")];
    let space = Space::configured(Database::sqlite(), &settings).await;
    let rest = Rest::admin(&space);
    let missing = rest.get("/api/v1/endpoints/").await.expect(400);
    let words = "X-Tenant-Name header is required for this endpoint when multi-tenancy is enabled";
    assert_eq!(missing, json!({"detail": words}));
    let bearer = format!("Bearer {ADMIN_KEY}");
    let nobody = Rest::with(&space, &[("authorization", &bearer), ("x-tenant-name", "nobody")]);
    assert_eq!(
        nobody.get("/api/v1/endpoints").await.expect(404),
        json!({"detail": "Tenant 'nobody' not found"})
    );
    let made = rest.post("/api/v1/tenants", json!({"name": "acme", "domain": "ignored"})).await.expect(201);
    assert_eq!((&made["name"], &made["is_active"]), (&json!("acme"), &json!(true)));
    assert_eq!(rest.post("/api/v1/tenants", json!({"name": "acme"})).await.status, 409);
    assert_eq!(rest.get("/api/v1/tenants/acme").await.expect(200), made);
    let two = [("authorization", bearer.as_str()), ("x-tenant-name", "acme"), ("x-tenant-name", "root")];
    let unclear = Rest::with(&space, &two).get("/api/v1/endpoints").await.expect(422);
    assert_eq!(unclear["detail"][0]["loc"], json!(["header", "X-Tenant-Name"]));
    let single = Space::sqlite().await;
    let refused = Rest::admin(&single).post("/api/v1/tenants", json!({"name": "acme"})).await;
    assert_eq!(refused.expect(403), json!({"detail": "Multi-tenancy is disabled"}));
}
