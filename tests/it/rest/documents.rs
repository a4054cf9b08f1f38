//! The OpenAPI document says what is served, and the page that shows it needs nobody else.

use serde_json::Value;

use crate::support::{rest::Rest, space::Space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_a_document() {
    let space = Space::sqlite().await;
    let rest = Rest::with(&space, &[]);
    let document = rest.get("/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_json_snapshot!("openapi", document);
    // Nothing in it points nowhere.
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let path = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(path).is_some(), "{reference} is not there");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(reference) if name == "$ref" => references.push(reference.clone()),
            value => collect(value, references),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

/// Every documented operation is served under both forms of its path, and none without a credential.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_route_is_served() {
    let space = Space::sqlite().await;
    let (nobody, admin) = (Rest::with(&space, &[]), Rest::admin(&space));
    let document = nobody.get("/openapi.json").await.expect(200);
    let mut count = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = path.replace("{policy_id}", "0197b9e4-0000-7000-8000-000000000000");
            let path = path.replace("{key_id}", "0197b9e4-0000-7000-8000-000000000000");
            let path = path.replace("{marketplace_id}", "0197b9e4-0000-7000-8000-000000000000");
            let path = path.replace("{slug}", "none").replace("{name}", "none").replace("{username}", "none");
            let open = operation.get("security").is_none();
            for path in [path.trim_end_matches('/').to_owned(), format!("{}/", path.trim_end_matches('/'))] {
                let method = method.to_uppercase();
                let refused = nobody.call(&method, &path, None).await;
                assert_eq!(refused.status == 401, !open, "{method} {path}: {}", refused.status);
                let answer = admin.call(&method, &path, None).await;
                let documented = operation["responses"].get(answer.status.to_string());
                assert!(documented.is_some(), "{method} {path} answers {}", answer.status);
                assert_ne!(answer.json(), serde_json::json!({"detail": "Not Found"}), "{method} {path}");
                count += 1;
            }
        }
    }
    assert!(count > 90, "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_brings_all_it_needs() {
    let space = Space::sqlite().await;
    let rest = Rest::with(&space, &[]);
    assert_eq!(rest.get("/docs").await.header("location"), "/docs/");
    let page = rest.get("/docs/").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"));
    let mut parts = 0;
    for attribute in ["src=\"", "href=\""] {
        for part in page.text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!part.contains("//"), "{part} is somebody else's");
            assert_eq!(
                rest.get(&format!("/docs/{}", part.trim_start_matches("./"))).await.status,
                200,
                "{part}"
            );
            parts += 1;
        }
    }
    assert!(parts > 3, "{}", page.text);
    let settings = rest.get("/docs/swagger-initializer.js").await.text;
    assert!(settings.contains("/openapi.json"));
    assert!(settings.contains("\"validatorUrl\": \"none\""), "it would ask somebody else: {settings}");
    assert_eq!(rest.get("/docs/none.js").await.status, 404);
}
