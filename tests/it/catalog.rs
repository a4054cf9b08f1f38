//! What owners change over the wire: names, policies, configurations; and what they are told of types.

use prost_types::FieldMask;
use serde_json::json;
use syft_endpoints::{
    error::Error,
    proto::{
        CreatePolicyRequest, CreateTenantRequest, Dataset, ListDatasetTypesRequest, ListModelTypesRequest,
        ListPoliciesRequest, ListPolicyTypesRequest, Model, Policy, Tenant, UpdateDatasetRequest,
        UpdateModelRequest, UpdatePolicyRequest,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    database::Database,
    on_both,
    space::{ADMIN_KEY, Clients, Space, reason, structure},
};

const SETTINGS: [(&str, &str); 1] = [("identity.enable_multi_tenancy", "true")];

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    details.into_iter().map(|violation| violation.field).collect()
}

async fn tenant(space: &Space, name: &str) -> Clients {
    let new = Tenant { name: name.to_owned(), ..Tenant::default() };
    space.admin().await.access.create_tenant(CreateTenantRequest { tenant: Some(new) }).await.unwrap();
    space.clients(&[("authorization", &format!("Bearer {ADMIN_KEY}")), ("x-tenant-name", name)]).await
}

fn rename_dataset(name: &str, new_name: &str) -> UpdateDatasetRequest {
    let dataset = Dataset { name: name.to_owned(), summary: "ignored".to_owned(), ..Dataset::default() };
    UpdateDatasetRequest {
        dataset: Some(dataset),
        update_mask: mask(&["name"]),
        new_name: new_name.to_owned(),
    }
}

fn rename_model(name: &str, new_name: &str) -> UpdateModelRequest {
    let model = Model { name: name.to_owned(), summary: "ignored".to_owned(), ..Model::default() };
    UpdateModelRequest { model: Some(model), update_mask: mask(&["name"]), new_name: new_name.to_owned() }
}

/// A policy `named` on the endpoint with that slug or that id.
fn access(named: &str, slug: &str, id: &str) -> CreatePolicyRequest {
    let policy = Policy {
        name: named.to_owned(),
        policy_type: "access".to_owned(),
        endpoint_slug: slug.to_owned(),
        endpoint_id: id.to_owned(),
        ..Policy::default()
    };
    CreatePolicyRequest { policy: Some(policy) }
}

fn change(id: &str, configuration: serde_json::Value, paths: &[&str]) -> UpdatePolicyRequest {
    let configuration = Some(structure(configuration));
    let policy = Policy { id: id.to_owned(), configuration, ..Policy::default() };
    UpdatePolicyRequest { policy: Some(policy), update_mask: mask(paths) }
}

on_both! {
    async fn datasets_and_models_take_new_names(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        let dataset = clients.dataset("docs").await;
        clients.ingest("docs", &[("d", "The copyright term is 70 years.")]).await;
        clients.dataset("taken").await;
        let model = clients.model("gpt", "extractive", json!({})).await;
        clients.model("taken", "extractive", json!({})).await;
        clients.endpoint("ask", Some(&dataset), Some(&model)).await;
        clients.query("ask").await.unwrap();

        let updated = clients.datasets.update_dataset(rename_dataset("docs", "law.v2")).await.unwrap();
        let updated = updated.into_inner().dataset.unwrap();
        let expected = Dataset { name: "law.v2".to_owned(), update_time: updated.update_time, ..dataset };
        assert_eq!(updated, expected);
        let updated = clients.models.update_model(rename_model("gpt", "gpt-2")).await.unwrap();
        let updated = updated.into_inner().model.unwrap();
        assert_eq!((updated.id, updated.name.as_str(), updated.summary.as_str()), (model.id, "gpt-2", ""));

        let answer = clients.query("ask").await.unwrap();
        assert_eq!(answer.references.unwrap().documents[0].document_id, "d");
        let request = syft_endpoints::proto::GetDatasetRequest { name: "law.v2".to_owned() };
        assert_eq!(clients.datasets.get_dataset(request).await.unwrap().into_inner().endpoint_slugs, ["ask"]);

        let refused = clients.datasets.update_dataset(rename_dataset("law.v2", "taken")).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        let refused = clients.models.update_model(rename_model("gpt-2", "taken")).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        let refused = clients.datasets.update_dataset(rename_dataset("docs", "x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        for wrong in ["", "a b", "a/b", &"x".repeat(65)] {
            let refused = clients.datasets.update_dataset(rename_dataset("law.v2", wrong)).await.unwrap_err();
            assert_eq!(fields(&refused), ["new_name"], "{wrong:?}");
            let refused = clients.models.update_model(rename_model("gpt-2", wrong)).await.unwrap_err();
            assert_eq!(fields(&refused), ["new_name"], "{wrong:?}");
        }
        // A new name that the mask does not name is none.
        let request = UpdateDatasetRequest { update_mask: mask(&["summary"]), ..rename_dataset("law.v2", "other") };
        let updated = clients.datasets.update_dataset(request).await.unwrap().into_inner().dataset.unwrap();
        assert_eq!((updated.name.as_str(), updated.summary.as_str()), ("law.v2", "ignored"));
    }

    async fn policies_name_their_endpoint_by_slug_or_by_id(database: Database) {
        let space = Space::configured(database, &SETTINGS).await;
        let (mut acme, mut umbrella) = (tenant(&space, "acme").await, tenant(&space, "umbrella").await);
        let dataset = acme.dataset("docs").await;
        let endpoint = acme.endpoint("ask", Some(&dataset), None).await;
        acme.endpoint("other", Some(&dataset), None).await;
        let dataset = umbrella.dataset("docs").await;
        umbrella.endpoint("ask", Some(&dataset), None).await;

        let by_slug = acme.policies.create_policy(access("by slug", "ask", "")).await.unwrap();
        let by_id = acme.policies.create_policy(access("by id", "", &endpoint.id)).await.unwrap();
        for created in [by_slug, by_id] {
            let created = created.into_inner().policy.unwrap();
            assert_eq!((&created.endpoint_slug, &created.endpoint_id), (&endpoint.slug, &endpoint.id));
            let request = syft_endpoints::proto::GetPolicyRequest { id: created.id.clone() };
            assert_eq!(acme.policies.get_policy(request).await.unwrap().into_inner().policy.unwrap(), created);
        }
        acme.policies.create_policy(access("elsewhere", "other", "")).await.unwrap();
        for (slug, id, page_size) in [("", endpoint.id.as_str(), 1), ("ask", "", 1)] {
            let mut names = Vec::new();
            let (slug, id) = (slug.to_owned(), id.to_owned());
            let mut request = ListPoliciesRequest { endpoint_slug: slug, endpoint_id: id, page_size, ..Default::default() };
            loop {
                let page = acme.policies.list_policies(request.clone()).await.unwrap().into_inner();
                names.extend(page.policies.into_iter().map(|policy| policy.name));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            assert_eq!(names, ["by slug", "by id"]);
        }

        for (slug, id, field) in [
            ("", "", "policy.endpoint_slug"),
            ("ask", endpoint.id.as_str(), "policy.endpoint_id"),
            ("", "nonsense", "policy.endpoint_id"),
        ] {
            let refused = acme.policies.create_policy(access("p", slug, id)).await.unwrap_err();
            assert_eq!(fields(&refused), [field]);
        }
        for (slug, id) in [("ask", endpoint.id.as_str()), ("", "nonsense")] {
            let (endpoint_slug, endpoint_id) = (slug.to_owned(), id.to_owned());
            let request = ListPoliciesRequest { endpoint_slug, endpoint_id, ..Default::default() };
            assert_eq!(fields(&acme.policies.list_policies(request).await.unwrap_err()), ["endpoint_id"]);
        }
        // What another tenant has is not there.
        let refused = umbrella.policies.create_policy(access("p", "", &endpoint.id)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "ENDPOINT_NOT_FOUND"));
        assert_eq!(refused.message(), Error::EndpointNotFound(endpoint.id.clone()).to_string());
        let request = ListPoliciesRequest { endpoint_id: endpoint.id, ..Default::default() };
        let refused = umbrella.policies.list_policies(request).await.unwrap_err();
        assert_eq!(reason(&refused), "ENDPOINT_NOT_FOUND");
    }

    async fn a_configuration_is_replaced_or_merged_and_checked_whole(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        let dataset = clients.dataset("docs").await;
        clients.endpoint("ask", Some(&dataset), None).await;
        let id = clients.policy("ask", "rate_limit", json!({"limit": "5/m", "scope": "global"})).await.id;
        let mut changed = async |configuration, paths: &[&str]| {
            let changed = clients.policies.update_policy(change(&id, configuration, paths)).await?;
            Ok::<_, Status>(changed.into_inner().policy.unwrap().configuration.unwrap())
        };
        let merged = changed(json!({"limit": "9/h"}), &["configuration.*"]).await.unwrap();
        assert_eq!(merged, structure(json!({"limit": "9/h", "scope": "global"})));
        assert_eq!(changed(json!({}), &["configuration.*"]).await.unwrap(), merged);
        let replaced = changed(json!({"limit": "7/h"}), &["configuration"]).await.unwrap();
        assert_eq!(replaced, structure(json!({"limit": "7/h"})));

        let refused = changed(json!({"limit": "often"}), &["configuration.*", "name"]).await.unwrap_err();
        assert_eq!(fields(&refused), ["policy.name", "policy.configuration.limit"]);
        let refused = changed(json!({"typo": 1}), &["configuration.*"]).await.unwrap_err();
        assert!(refused.message().contains("typo"), "{refused:?}");
        // Alone it would do, merged it does not.
        let refused = changed(json!({"scope": "global"}), &["configuration"]).await.unwrap_err();
        assert!(refused.message().contains("limit"), "{refused:?}");
        let both = changed(json!({}), &["configuration", "configuration.*"]).await.unwrap_err();
        assert_eq!(fields(&both), ["update_mask"]);
        assert_eq!(changed(json!({}), &["configuration.*"]).await.unwrap(), replaced);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_has_a_picture() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    let datasets = clients.datasets.list_dataset_types(ListDatasetTypesRequest {}).await.unwrap();
    let models = clients.models.list_model_types(ListModelTypesRequest {}).await.unwrap();
    let policies = clients.policies.list_policy_types(ListPolicyTypesRequest {}).await.unwrap();
    let types =
        [datasets.into_inner().types, models.into_inner().types, policies.into_inner().types].concat();
    for (name, icon) in [("access", "🔒"), ("openai", "🤖")] {
        assert!(types.iter().any(|info| info.name == name && info.icon == icon), "{name}");
    }
    let emoji = |icon: &str| icon.chars().count() == 1 && icon.chars().all(|c| c > '\u{2000}');
    let without: Vec<_> = types.iter().filter(|info| !emoji(&info.icon)).map(|info| &info.name).collect();
    assert!(without.is_empty(), "{without:?}");
}
