//! What the demo serves, created through the public API.

use std::env;

use serde_json::{Value, json};
use syft_endpoints::{
    error::Cause,
    extract::text_documents,
    proto::{
        CreateDatasetRequest, CreateEndpointRequest, CreateModelRequest, CreatePolicyRequest, Dataset,
        Endpoint, Model, Policy, to_struct,
    },
};
use tokio::sync::mpsc;

use crate::cli::{
    client::Client,
    ingest::{message, upload},
    output::failure,
};

pub(super) const SLUG: &str = "syft-docs";

/// The project's own documents, inside the binary: the demo works from any folder.
const DOCUMENTS: [(&str, &str); 4] = [
    ("README.md", include_str!("../../../README.md")),
    ("ARCHITECTURE.md", include_str!("../../../ARCHITECTURE.md")),
    ("CONTRIBUTING.md", include_str!("../../../CONTRIBUTING.md")),
    ("CHANGELOG.md", include_str!("../../../CHANGELOG.md")),
];

/// Creates dataset, model, endpoint and policies.
pub(super) async fn create(client: &Client) -> Result<(), Cause> {
    let dataset = Dataset { name: "docs".to_owned(), dtype: "local".to_owned(), ..Dataset::default() };
    let created = client.datasets().create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await;
    let dataset = created.map_err(|status| failure(&status))?.into_inner().dataset.unwrap_or_default();
    let stored = load(client, &dataset.name).await?;
    say!("dataset   {}: {stored} pieces of this project's documents", dataset.name)?;

    let model = model();
    say!("model     {} ({})", model.name, model.dtype)?;
    let created = client.models().create_model(CreateModelRequest { model: Some(model) }).await;
    let model = created.map_err(|status| failure(&status))?.into_inner().model.unwrap_or_default();

    let endpoint = Endpoint {
        slug: SLUG.to_owned(),
        name: "The documents of Syft endpoints".to_owned(),
        dataset_id: Some(dataset.id),
        model_id: Some(model.id),
        published: true,
        ..Endpoint::default()
    };
    let created =
        client.endpoints().create_endpoint(CreateEndpointRequest { endpoint: Some(endpoint) }).await;
    created.map_err(|status| failure(&status))?;
    say!("endpoint  {SLUG}")?;
    policy(client, "access", json!({"allowed_users": ["*"]})).await?;
    policy(client, "rate_limit", json!({"limit": "60/m"})).await
}

async fn load(client: &Client, dataset: &str) -> Result<i64, Cause> {
    let (outgoing, messages) = mpsc::channel(DOCUMENTS.len());
    for (name, text) in DOCUMENTS {
        let documents = text_documents(name, text).into_iter().map(message).collect();
        outgoing.send(documents).await?;
    }
    drop(outgoing);
    upload(client, dataset, messages).await
}

/// The embedded model, or the server that `OPENAI_BASE_URL` names.
fn model() -> Model {
    let Ok(base_url) = env::var("OPENAI_BASE_URL") else {
        return Model { name: "extractive".to_owned(), dtype: "extractive".to_owned(), ..Model::default() };
    };
    let name = env::var("OPENAI_MODEL").unwrap_or_else(|_| "gpt-4o-mini".to_owned());
    let mut configuration = json!({"base_url": base_url, "model": name});
    if let Ok(key) = env::var("OPENAI_API_KEY") {
        configuration["api_key"] = json!(key);
    }
    let configuration = Some(structure(configuration));
    Model { name: "openai".to_owned(), dtype: "openai".to_owned(), configuration, ..Model::default() }
}

async fn policy(client: &Client, policy_type: &str, configuration: Value) -> Result<(), Cause> {
    let policy = Policy {
        name: policy_type.to_owned(),
        policy_type: policy_type.to_owned(),
        configuration: Some(structure(configuration)),
        endpoint_slug: SLUG.to_owned(),
        ..Policy::default()
    };
    let created = client.policies().create_policy(CreatePolicyRequest { policy: Some(policy) }).await;
    created.map_err(|status| failure(&status))?;
    say!("policy    {policy_type}")?;
    Ok(())
}

fn structure(object: Value) -> prost_types::Struct {
    to_struct(object.as_object().cloned().unwrap_or_default())
}
