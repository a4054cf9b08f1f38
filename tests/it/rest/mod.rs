//! REST, as SyftHub and clients of the Python Space speak it.

mod captures;
mod catalog;
mod cors;
mod documents;
mod early;
mod edges;
mod failures;
mod grpc_web;
mod large;
mod policy_metadata;
mod publishing;
mod queries;
mod streams;
mod tenants;
mod validation;
mod values;

use serde_json::Value;

use crate::support::{database::Database, space::Space, upstream::Upstream};

/// A space with an endpoint `legal-qa` that searches and asks, and its upstream.
async fn legal(database: Database, upstream: Upstream) -> (Space, Upstream) {
    let space = Space::start(database).await;
    let mut clients = space.admin().await;
    let dataset = clients.dataset("law").await;
    clients.ingest("law", &[("d1", "The copyright term is seventy years."), ("d2", "Dogs bark.")]).await;
    let address = upstream.address;
    let config =
        serde_json::json!({"base_url": format!("http://{address}/v1"), "model": "m", "api_key": "s3cret"});
    let model = clients.model("gpt", "openai", config).await;
    clients.endpoint("legal-qa", Some(&dataset), Some(&model)).await;
    clients.endpoint("legal-docs", Some(&dataset), None).await;
    clients.endpoint("chat", None, Some(&model)).await;
    (space, upstream)
}

/// A value with what changes from run to run struck out.
fn settled(mut value: Value) -> Value {
    strike(&mut value);
    value
}

fn strike(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match (name.as_str(), &value) {
            ("created_at" | "updated_at" | "publish_time" | "report_time", Value::String(at)) => {
                // 2026-11-25T14:11:51.349460Z
                assert!(at.len() == 27 && at.ends_with('Z') && &at[10..11] == "T", "{at}");
                *value = "[time]".into();
            }
            ("similarity_score", Value::Number(_)) => *value = "[score]".into(),
            ("base_url", Value::String(_)) => *value = "[url]".into(),
            (_, Value::String(text)) if uuid::Uuid::try_parse(text).is_ok() => *value = "[id]".into(),
            _ => strike(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(strike),
        _ => {}
    }
}
