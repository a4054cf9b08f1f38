//! Tenants see nothing of one another, over every RPC.

use prost::Message;
use syft_endpoints::proto::{
    self, ApiKey, CreateApiKeyRequest, CreateTenantRequest, ListDatasetsRequest, ListEndpointsRequest,
    ListModelsRequest, ListPoliciesRequest, Scope, Tenant,
};
use tonic::{Code, Status};

use crate::support::{
    database::{Database, marketplace},
    on_both,
    space::{ADMIN_KEY, Clients, Space, question, reason, structure},
    tenants::{call_raw, call_with, methods},
};

const SETTINGS: [(&str, &str); 1] = [("identity.enable_multi_tenancy", "true")];

/// A space with two tenants, each with a `docs`, a `gpt`, an `ask`, a policy and a key.
struct Two {
    space: Space,
    /// The metadata of the other tenant's admin and of its key, and ids of what the first tenant has.
    ids: Ids,
    other_key: String,
}

struct Ids {
    policy: String,
    key: String,
    dataset: String,
    marketplace: String,
    ingestion: String,
}

impl Two {
    async fn start(database: Database) -> Self {
        let space = Space::configured(database, &SETTINGS).await;
        let (ids, _) = furnish(&space, "acme").await;
        let (_, other_key) = furnish(&space, "umbrella").await;
        Self { space, ids, other_key }
    }
}

async fn tenant(space: &Space, name: &str) -> Clients {
    space.clients(&[("authorization", &format!("Bearer {ADMIN_KEY}")), ("x-tenant-name", name)]).await
}

async fn furnish(space: &Space, name: &str) -> (Ids, String) {
    let new = Tenant { name: name.to_owned(), ..Tenant::default() };
    space.admin().await.access.create_tenant(CreateTenantRequest { tenant: Some(new) }).await.unwrap();
    let mut clients = tenant(space, name).await;
    let dataset = clients.dataset("docs").await;
    clients.ingest("docs", &[("d", &format!("words of {name}"))]).await;
    let model = clients.model("gpt", "extractive", serde_json::json!({})).await;
    clients.endpoint("ask", Some(&dataset), Some(&model)).await;
    let policy = clients.policy("ask", "access", serde_json::json!({})).await.id;
    let api_key = ApiKey {
        name: name.to_owned(),
        email: format!("amy@{name}.org"),
        scopes: vec![Scope::Query.into(), Scope::Manage.into()],
        ..ApiKey::default()
    };
    let created =
        clients.access.create_api_key(CreateApiKeyRequest { api_key: Some(api_key) }).await.unwrap();
    let created = created.into_inner();
    let id = space.store.tenant(name).await.unwrap().id;
    let connected = space.store.connect_marketplace(id, marketplace("http://127.0.0.1:9")).await.unwrap();
    let key = created.api_key.unwrap().id;
    // Nobody answers there.
    let urls = proto::IngestionUrls { urls: vec!["https://127.0.0.1.invalid/a.md".to_owned()] };
    let source = Some(proto::start_ingestion_request::Source::Urls(urls));
    let request = proto::StartIngestionRequest { dataset: "docs".to_owned(), source };
    let started = clients.ingestions.start_ingestion(request).await.unwrap().into_inner();
    let ingestion = started.ingestion.unwrap().id;
    let marketplace = connected.id.to_string();
    (Ids { policy, key, dataset: dataset.id, marketplace, ingestion }, created.secret)
}

/// For every RPC, a request that names what only the first tenant has. Names that both have are made
/// unique first.
fn requests(ids: &Ids) -> Vec<(&'static str, Vec<u8>)> {
    let (name, slug) = (|| "acme-only".to_owned(), || "acme-only".to_owned());
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    let endpoint = proto::Endpoint {
        slug: "fresh".to_owned(),
        name: "x".to_owned(),
        dataset_id: Some(ids.dataset.clone()),
        ..Default::default()
    };
    let policy = proto::Policy {
        name: "x".to_owned(),
        policy_type: "access".to_owned(),
        configuration: Some(structure(serde_json::json!({}))),
        endpoint_slug: slug(),
        ..Default::default()
    };
    let query = Some(question());
    vec![
        (
            "EndpointService/CreateEndpoint",
            proto::CreateEndpointRequest { endpoint: Some(endpoint) }.encode_to_vec(),
        ),
        ("EndpointService/GetEndpoint", proto::GetEndpointRequest { slug: slug() }.encode_to_vec()),
        (
            "EndpointService/UpdateEndpoint",
            proto::UpdateEndpointRequest {
                endpoint: Some(proto::Endpoint { slug: slug(), ..Default::default() }),
                update_mask: mask("summary"),
            }
            .encode_to_vec(),
        ),
        ("EndpointService/DeleteEndpoint", proto::DeleteEndpointRequest { slug: slug() }.encode_to_vec()),
        (
            "EndpointService/Query",
            proto::QueryRequest { slug: slug(), query: query.clone(), request_id: None }.encode_to_vec(),
        ),
        (
            "EndpointService/StreamQuery",
            proto::StreamQueryRequest { slug: slug(), query: query.clone(), request_id: None }
                .encode_to_vec(),
        ),
        ("EndpointService/PreviewQuery", proto::PreviewQueryRequest { slug: slug(), query }.encode_to_vec()),
        ("DatasetService/GetDataset", proto::GetDatasetRequest { name: name() }.encode_to_vec()),
        (
            "DatasetService/UpdateDataset",
            proto::UpdateDatasetRequest {
                dataset: Some(proto::Dataset { name: name(), ..Default::default() }),
                update_mask: mask("name"),
                new_name: "another".to_owned(),
            }
            .encode_to_vec(),
        ),
        ("DatasetService/DeleteDataset", proto::DeleteDatasetRequest { name: name() }.encode_to_vec()),
        (
            "DatasetService/CheckDatasetHealth",
            proto::CheckDatasetHealthRequest { name: name() }.encode_to_vec(),
        ),
        (
            "DatasetService/SearchDataset",
            proto::SearchDatasetRequest { name: name(), text: "words".to_owned(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "DatasetService/IngestDocuments",
            proto::IngestDocumentsRequest { dataset: name(), documents: vec![] }.encode_to_vec(),
        ),
        (
            "DatasetService/ListDocuments",
            proto::ListDocumentsRequest { dataset: name(), ..Default::default() }.encode_to_vec(),
        ),
        (
            "DatasetService/DeleteDocuments",
            proto::DeleteDocumentsRequest { dataset: name(), ids: vec!["d".to_owned()] }.encode_to_vec(),
        ),
        ("ModelService/GetModel", proto::GetModelRequest { name: name() }.encode_to_vec()),
        (
            "ModelService/UpdateModel",
            proto::UpdateModelRequest {
                model: Some(proto::Model { name: name(), ..Default::default() }),
                update_mask: mask("name"),
                new_name: "another".to_owned(),
            }
            .encode_to_vec(),
        ),
        ("ModelService/DeleteModel", proto::DeleteModelRequest { name: name() }.encode_to_vec()),
        ("ModelService/CheckModelHealth", proto::CheckModelHealthRequest { name: name() }.encode_to_vec()),
        ("PolicyService/CreatePolicy", proto::CreatePolicyRequest { policy: Some(policy) }.encode_to_vec()),
        ("PolicyService/GetPolicy", proto::GetPolicyRequest { id: ids.policy.clone() }.encode_to_vec()),
        (
            "PolicyService/UpdatePolicy",
            proto::UpdatePolicyRequest {
                policy: Some(proto::Policy {
                    id: ids.policy.clone(),
                    name: "y".to_owned(),
                    ..Default::default()
                }),
                update_mask: mask("name"),
            }
            .encode_to_vec(),
        ),
        ("PolicyService/DeletePolicy", proto::DeletePolicyRequest { id: ids.policy.clone() }.encode_to_vec()),
        (
            "PolicyService/ListPolicies",
            proto::ListPoliciesRequest { endpoint_slug: slug(), ..Default::default() }.encode_to_vec(),
        ),
        (
            "PolicyService/EvaluatePolicies",
            proto::EvaluatePoliciesRequest {
                endpoint_slug: slug(),
                email: "a@x.org".to_owned(),
                query: Some(question()),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        ("AccessService/RevokeApiKey", proto::RevokeApiKeyRequest { id: ids.key.clone() }.encode_to_vec()),
    ]
    .into_iter()
    .chain(marketplace_requests(ids))
    .chain(ingestion_requests(ids))
    .collect()
}

fn ingestion_requests(ids: &Ids) -> Vec<(&'static str, Vec<u8>)> {
    let (dataset, id) = (|| "acme-only".to_owned(), || ids.ingestion.clone());
    let source = proto::start_ingestion_request::Source::Urls(proto::IngestionUrls::default());
    let start = proto::StartIngestionRequest { dataset: dataset(), source: Some(source) };
    let list = proto::ListIngestionsRequest { dataset: dataset(), ..Default::default() };
    let files = proto::ListIngestionFilesRequest { dataset: dataset(), ..Default::default() };
    let upload =
        proto::UploadFileRequest { dataset: dataset(), name: "d.md".to_owned(), ..Default::default() };
    let delete = proto::DeleteIngestionFileRequest { dataset: dataset(), name: "d.md".to_owned() };
    vec![
        ("IngestionService/StartIngestion", start.encode_to_vec()),
        ("IngestionService/GetIngestion", proto::GetIngestionRequest { id: id() }.encode_to_vec()),
        ("IngestionService/ListIngestions", list.encode_to_vec()),
        ("IngestionService/WatchIngestion", proto::WatchIngestionRequest { id: id() }.encode_to_vec()),
        ("IngestionService/StopIngestion", proto::StopIngestionRequest { id: id() }.encode_to_vec()),
        ("IngestionService/RetryIngestion", proto::RetryIngestionRequest { id: id() }.encode_to_vec()),
        ("IngestionService/ListIngestionFiles", files.encode_to_vec()),
        ("IngestionService/UploadFile", upload.encode_to_vec()),
        ("IngestionService/DeleteIngestionFile", delete.encode_to_vec()),
    ]
}

fn marketplace_requests(ids: &Ids) -> Vec<(&'static str, Vec<u8>)> {
    let (slug, marketplaces) = (|| "acme-only".to_owned(), || vec![ids.marketplace.clone()]);
    let get = proto::GetMarketplaceRequest { id: ids.marketplace.clone() };
    let delete = proto::DeleteMarketplaceRequest { id: ids.marketplace.clone() };
    let publish = proto::PublishEndpointRequest {
        slug: slug(),
        marketplace_ids: marketplaces(),
        all_marketplaces: false,
    };
    let unpublish = proto::UnpublishEndpointRequest { slug: slug(), marketplace_ids: Vec::new() };
    let sync = proto::SyncEndpointsRequest { marketplace_ids: marketplaces(), replace_all: false };
    vec![
        ("MarketplaceService/GetMarketplace", get.encode_to_vec()),
        ("MarketplaceService/DeleteMarketplace", delete.encode_to_vec()),
        ("EndpointService/PublishEndpoint", publish.encode_to_vec()),
        ("EndpointService/UnpublishEndpoint", unpublish.encode_to_vec()),
        ("EndpointService/SyncEndpoints", sync.encode_to_vec()),
    ]
}

/// RPCs that name nothing of one tenant's: lists, types, names to be checked, accounts on hubs, and tenants
/// themselves.
const OTHERS: [&str; 24] = [
    "EndpointService/ListEndpoints",
    "EndpointService/CheckSlug",
    "DatasetService/CreateDataset",
    "DatasetService/ListDatasets",
    "DatasetService/ListDatasetTypes",
    "ModelService/CreateModel",
    "ModelService/ListModels",
    "ModelService/ListModelTypes",
    "PolicyService/ListPolicyTypes",
    "AccessService/CreateApiKey",
    "AccessService/ListApiKeys",
    "AccessService/CreateTenant",
    "AccessService/GetTenant",
    "AccessService/ListTenants",
    "MarketplaceService/RegisterMarketplace",
    "MarketplaceService/VerifyOtp",
    "MarketplaceService/ResendOtp",
    "MarketplaceService/ConnectMarketplace",
    "MarketplaceService/ListMarketplaces",
    "MarketplaceService/CheckUsername",
    "MarketplaceService/GetPublicUrl",
    "MarketplaceService/SetPublicUrl",
    // What they show of others: `usage/tenants.rs`.
    "UsageService/ListQueryRecords",
    "UsageService/SummarizeUsage",
];

on_both! {
    async fn what_another_tenant_has_is_not_there(database: Database) {
        let two = Two::start(database).await;
        let mut acme = tenant(&two.space, "acme").await;
        let dataset = acme.dataset("acme-only").await;
        let model = acme.model("acme-only", "extractive", serde_json::json!({})).await;
        acme.endpoint("acme-only", Some(&dataset), Some(&model)).await;
        let requests = requests(&two.ids);
        let mut known: Vec<&str> = requests.iter().map(|(method, _)| *method).chain(OTHERS).collect();
        let mut all = methods();
        known.sort_unstable();
        all.sort();
        assert_eq!(all, known, "an RPC has no row in this matrix");

        let admin = format!("Bearer {ADMIN_KEY}");
        let key = format!("Bearer {}", two.other_key);
        let callers: [&[(&'static str, &str)]; 3] = [
            &[("authorization", &admin), ("x-tenant-name", "umbrella")],
            &[("authorization", &key)],
            &[("authorization", &key), ("x-tenant-name", "umbrella")],
        ];
        for (method, message) in &requests {
            for caller in callers {
                let status = call_with(&two.space, method, caller, message.clone()).await;
                assert_eq!(status.code(), Code::NotFound, "{method}: {status:?}");
            }
        }
        // The other tenant's key is no key in the first one.
        for method in methods() {
            let caller = [("authorization", key.as_str()), ("x-tenant-name", "acme")];
            assert_eq!(call_raw(&two.space, &method, &caller).await.code(), Code::Unauthenticated, "{method}");
        }
        // And nothing of the first has suffered.
        acme.marketplaces.get_marketplace(proto::GetMarketplaceRequest { id: two.ids.marketplace }).await.unwrap();
        acme.query("acme-only").await.unwrap();
        acme.policies.get_policy(proto::GetPolicyRequest { id: two.ids.policy }).await.unwrap();
    }

    async fn the_same_names_mean_each_tenants_own(database: Database) {
        let two = Two::start(database).await;
        for name in ["acme", "umbrella"] {
            let mut clients = tenant(&two.space, name).await;
            let request = proto::SearchDatasetRequest { name: "docs".to_owned(), text: "words".to_owned(), ..Default::default() };
            let found = clients.datasets.search_dataset(request).await.unwrap().into_inner().references.unwrap();
            assert_eq!(found.documents[0].content, format!("words of {name}"));
            let endpoints = clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
            assert_eq!(endpoints.into_inner().endpoints.len(), 1);
            assert_eq!(clients.datasets.list_datasets(ListDatasetsRequest::default()).await.unwrap().into_inner().datasets.len(), 1);
            assert_eq!(clients.models.list_models(ListModelsRequest::default()).await.unwrap().into_inner().models.len(), 1);
            assert_eq!(clients.policies.list_policies(ListPoliciesRequest::default()).await.unwrap().into_inner().policies.len(), 1);
            let marketplaces = clients.marketplaces.list_marketplaces(proto::ListMarketplacesRequest::default()).await.unwrap();
            assert_eq!(marketplaces.into_inner().marketplaces.len(), 1);
            let keys = clients.access.list_api_keys(proto::ListApiKeysRequest::default()).await.unwrap().into_inner();
            assert_eq!(keys.api_keys[0].name, name);
            let ingestions = clients.ingestions.list_ingestions(proto::ListIngestionsRequest::default()).await.unwrap();
            assert_eq!(ingestions.into_inner().ingestions.len(), 1);
        }
    }

    async fn tenants_are_named_and_must_exist(database: Database) {
        let space = Space::configured(database, &SETTINGS).await;
        let code = async |metadata: &[(&'static str, &str)]| -> Status {
            call_raw(&space, "EndpointService/ListEndpoints", metadata).await
        };
        let admin = format!("Bearer {ADMIN_KEY}");
        assert_eq!(code(&[("authorization", &admin)]).await.code(), Code::InvalidArgument);
        assert_eq!(code(&[("authorization", &admin), ("x-tenant-name", "nobody")]).await.code(), Code::NotFound);
        assert_eq!(code(&[("authorization", &admin), ("x-tenant-name", "root")]).await.code(), Code::Ok);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_space_with_one_tenant_makes_no_others() {
    let space = Space::sqlite().await;
    let new = Tenant { name: "acme".to_owned(), ..Tenant::default() };
    let refused = space
        .admin()
        .await
        .access
        .create_tenant(CreateTenantRequest { tenant: Some(new) })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "MULTI_TENANCY_DISABLED")
    );
    // The header is ignored.
    let mut clients = tenant(&space, "whatever").await;
    clients.dataset("docs").await;
}
