//! Usage over REST: pages, CSV, and the dashboard of the Python Space.

use serde_json::{Value, json};
use syft_endpoints::domain::{EndpointId, QueryRecord, RecordedText, TenantId, Usage};
use time::{Duration, OffsetDateTime};

use super::{BEGIN, cost, record, store_all};
use crate::support::{
    database::Database,
    on_both,
    rest::Rest,
    space::{ADMIN_KEY, Space},
};

async fn tenant(space: &Space) -> TenantId {
    space.store.tenant("root").await.unwrap().id
}

/// Reads what RFC 4180 writes.
fn parse(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quoted) {
            ('"', true) if characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => line.push(std::mem::take(&mut field)),
            ('\r', false) => {
                assert_eq!(characters.next(), Some('\n'));
                line.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut line));
            }
            (other, _) => field.push(other),
        }
    }
    assert!(field.is_empty() && line.is_empty() && !quoted, "the last line has no end");
    lines
}

on_both! {
    async fn records_are_shown_page_by_page(database: Database) {
        let space = Space::start(database).await;
        let (tenant, rest) = (tenant(&space).await, Rest::admin(&space));
        let paid = QueryRecord {
            cost: Some(cost(12_500_000_001, "USD")),
            usage: Usage { prompt_tokens: 3, completion_tokens: 4, estimated: true },
            first_token: Some(std::time::Duration::from_micros(1_500)),
            ..record(tenant, BEGIN)
        };
        store_all(&space.store, &[paid.clone(), record(tenant, BEGIN + Duration::SECOND)]).await;
        let first = rest.get("/api/v1/usage?page_size=1").await.expect(200);
        assert_eq!(first["records"][0]["started_at"], "2026-03-04T00:00:01.000000Z");
        let path = format!("/api/v1/usage?page_size=1&page_token={}", first["next_page_token"].as_str().unwrap());
        let second = rest.get(&path).await.expect(200);
        assert_eq!(second["next_page_token"], Value::Null);
        assert_eq!(second["records"][0], json!({
            "id": paid.id.to_string(), "started_at": "2026-03-04T00:00:00.000000Z", "endpoint_slug": "ask",
            "endpoint_id": null, "dataset_id": null, "caller": "bob@example.org", "outcome": "completed",
            "reason": "", "preview": false, "documents": 0, "prompt_tokens": 3, "completion_tokens": 4,
            "usage_estimated": true, "cost": 12.500_000_001, "cost_nano_units": 12_500_000_001_i64,
            "currency": "USD", "first_event_ms": null, "first_token_ms": 1.5, "duration_ms": 3.0,
            "request_id": null, "correlation_id": null, "question": null, "answer": null,
        }));
        let within = "/api/v1/usage/?start_time=2026-03-04T01:00:01%2B01:00&outcome=completed&endpoint_slug=ask";
        assert_eq!(rest.get(within).await.expect(200)["records"].as_array().unwrap().len(), 1);
        for (query, at) in [
            ("outcome=lost", "outcome"),
            ("start_time=yesterday", "start_time"),
            ("endpoint_id=ask", "endpoint_id"),
            ("page_size=-1", "page_size"),
            ("page_token=nonsense", "page_token"),
            ("start_time=2026-03-04T00:00:00Z&end_time=2026-03-04T00:00:00Z", "end_time"),
            ("caller=%00", "caller"),
            ("format=xml", "format"),
        ] {
            let refused = rest.get(&format!("/api/v1/usage?{query}")).await.expect(422);
            assert_eq!(refused["detail"][0]["loc"], json!(["query", at]), "{query}: {refused}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            for path in ["usage", "analytics/summary", "analytics/time-series", "analytics/top-users"] {
                assert_eq!(rest.call(method, &format!("/api/v1/{path}"), None).await.status, 405, "{method} {path}");
            }
        }
    }

    async fn an_export_has_every_record_and_no_formula(database: Database) {
        let space = Space::start(database).await;
        let (tenant, rest) = (tenant(&space).await, Rest::admin(&space));
        let nasty = "=HYPERLINK(\"http://x\",\"é\r\nclick\")";
        let first = QueryRecord {
            caller: "+bob@example.org".to_owned(),
            cost: Some(cost(1, "USD")),
            correlation_id: Some("@a".to_owned()),
            text: RecordedText { question: Some(nasty.to_owned()), answer: Some("a, \"b\"".to_owned()) },
            ..record(tenant, BEGIN)
        };
        let mut records = vec![first.clone()];
        // More than two pages.
        records.extend((1..2_400).map(|n| record(tenant, BEGIN + Duration::milliseconds(n))));
        store_all(&space.store, &records).await;
        let answer = rest.get("/api/v1/usage?format=csv").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"usage.csv\"");
        let lines = parse(&answer.text);
        assert_eq!(lines.len(), 1 + records.len());
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let ids: Vec<&str> = lines[1..].iter().map(|line| line[0].as_str()).collect();
        let expected: Vec<String> = records.iter().rev().map(|record| record.id.to_string()).collect();
        assert_eq!(ids, expected);
        let column = |name: &str| lines[0].iter().position(|known| known == name).unwrap();
        let last = |name: &str| lines.last().unwrap()[column(name)].clone();
        assert_eq!(last("question"), format!("'{nasty}"));
        assert_eq!((last("caller"), last("correlation_id")), ("'+bob@example.org".to_owned(), "'@a".to_owned()));
        assert_eq!((last("answer"), last("cost"), last("currency")), ("a, \"b\"".to_owned(), "0.000000001".to_owned(), "USD".to_owned()));
        assert_eq!((last("outcome"), last("duration_ms"), last("first_token_ms")), ("completed".to_owned(), "3.000".to_owned(), String::new()));

        let accepting = Rest::with(&space, &[("authorization", &format!("Bearer {ADMIN_KEY}")), ("accept", "text/csv, */*;q=0.1")]);
        let one = "/api/v1/usage?end_time=2026-03-04T00:00:00.001Z";
        assert_eq!(parse(&accepting.get(one).await.text).len(), 2);
        let indifferent = Rest::with(&space, &[("authorization", &format!("Bearer {ADMIN_KEY}")), ("accept", "*/*, text/csv;q=0")]);
        assert_eq!(indifferent.get(one).await.expect(200)["records"].as_array().unwrap().len(), 1);
        // What is wrong is told before the first line.
        assert_eq!(rest.get("/api/v1/usage?format=csv&caller=%00").await.status, 422);
    }

    async fn the_dashboard_has_its_figures(database: Database) {
        let space = Space::start(database).await;
        let (tenant, rest, mut owner) = (tenant(&space).await, Rest::admin(&space), space.admin().await);
        let model = owner.model("local", "extractive", json!({})).await;
        let endpoint = owner.endpoint("ask", None, Some(&model)).await;
        let now = OffsetDateTime::now_utc();
        let before = |days: i64, caller: &str, nano_units: i64, currency: &str| QueryRecord {
            endpoint: Some(EndpointId(endpoint.id.parse().unwrap())),
            caller: caller.to_owned(),
            cost: Some(cost(nano_units, currency)),
            ..record(tenant, now - Duration::days(days) - Duration::MINUTE)
        };
        let refused = QueryRecord { outcome: "refused", ..before(1, "eve@x.org", 0, "USD") };
        let preview = QueryRecord { preview: true, ..before(1, "owner@x.org", 0, "USD") };
        let elsewhere = QueryRecord { endpoint: None, endpoint_slug: "gone".to_owned(), ..before(1, "bob@x.org", 0, "EUR") };
        let records = [
            before(1, "amy@x.org", 1_500_000_000, "USD"),
            before(2, "amy@x.org", 500_000_000, "EUR"),
            before(2, "bob@x.org", 500_000_000, "USD"),
            before(10, "cay@x.org", 1, "USD"),
            before(80, "dan@x.org", 1, "USD"),
            refused,
            preview,
            elsewhere,
        ];
        store_all(&space.store, &records).await;

        let summary = rest.get("/api/v1/analytics/summary?time_range=7d").await.expect(200);
        assert_eq!(summary["active_endpoints"], json!({"value": 1.0, "change_value": 1.0, "change_label": "+1 this period"}));
        assert_eq!(summary["total_queries"], json!({"value": 4.0, "change_value": 300.0, "change_label": "+300.0% from last period"}));
        let breakdown = json!([{"currency": "EUR", "amount": 0.5}, {"currency": "USD", "amount": 2.0}]);
        assert_eq!(summary["total_revenue"]["breakdown"], breakdown);
        assert!(summary["total_revenue"]["change_breakdown"].is_array());
        assert_eq!(summary["active_users"], json!({"value": 2.0, "change_value": 0.0, "change_label": "7d"}));
        let of = format!("/api/v1/analytics/summary?endpoint_id={}", endpoint.id);
        assert_eq!(rest.get(&of).await.expect(200)["total_queries"]["value"], 4.0);
        let of = format!("/api/v1/analytics/summary?dataset_id={}", uuid::Uuid::now_v7());
        assert_eq!(rest.get(&of).await.expect(200)["total_queries"]["value"], 0.0);

        let series = rest.get("/api/v1/analytics/time-series").await.expect(200);
        let sum = |points: &Value| points.as_array().unwrap().iter().map(|point| point["value"].as_f64().unwrap()).sum::<f64>();
        assert_eq!(series["query_volume"].as_array().unwrap().len(), 31);
        assert_eq!(sum(&series["query_volume"]), 5.0);
        let currencies: Vec<&Value> = series["revenue"].as_array().unwrap().iter().map(|of| &of["currency"]).collect();
        assert_eq!(currencies, ["EUR", "USD"]);
        assert_eq!(series["revenue"][1]["points"].as_array().unwrap().len(), 31);
        let weeks = rest.get("/api/v1/analytics/time-series?time_range=90d").await.expect(200);
        assert_eq!(sum(&weeks["query_volume"]), 6.0);
        assert!(weeks["query_volume"][0]["label"].as_str().unwrap().starts_with("Week of "));

        let users = rest.get("/api/v1/analytics/top-users").await.expect(200)["users"].take();
        assert_eq!(users[0], json!({"user_email": "amy@x.org", "query_count": 2, "revenue": [{"currency": "EUR", "amount": 0.5}, {"currency": "USD", "amount": 1.5}]}));
        let emails: Vec<&str> = users.as_array().unwrap().iter().map(|user| user["user_email"].as_str().unwrap()).collect();
        assert_eq!(emails, ["amy@x.org", "bob@x.org", "cay@x.org"]);
        assert_eq!(rest.get("/api/v1/analytics/top-users?time_range=1h").await.expect(422)["detail"][0]["loc"], json!(["query", "time_range"]));
    }
}
