//! Bad input gets a clear error that names everything, and nothing is stored.

use serde_json::json;
use syft_endpoints::proto::{
    self, ApiKey, Conversation, CreateApiKeyRequest, CreateDatasetRequest, CreateEndpointRequest,
    CreateModelRequest, CreatePolicyRequest, Dataset, Endpoint, Message, Model, Policy, StopSequences,
    query::Messages,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    database::Database,
    on_both,
    space::{ADMIN_KEY, Space, question, structure},
    tenants::{call_with, methods},
};

/// The fields that a refusal names.
fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("no details").field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_told_all_that_is_wrong_with_it() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    let query = proto::Query {
        messages: Some(Messages::Conversation(Conversation {
            messages: vec![
                Message { role: "wizard".to_owned(), content: "x".to_owned() },
                Message { role: "user".to_owned(), content: " ".to_owned() },
            ],
        })),
        similarity_threshold: Some(f64::NAN),
        limit: Some(0),
        max_tokens: Some(-1),
        temperature: Some(f64::INFINITY),
        stop_sequences: Some(StopSequences { values: vec![String::new(); 17] }),
        presence_penalty: Some(-2.1),
        frequency_penalty: Some(2.1),
        extras: Some(structure(json!({"model": "x", "stream": false, "seed": 1}))),
        ..proto::Query::default()
    };
    let request =
        proto::QueryRequest { slug: String::new(), query: Some(query), request_id: Some("1".to_owned()) };
    let refused = fields(&clients.endpoints.query(request).await.unwrap_err());
    for field in [
        "slug",
        "request_id",
        "query.messages.0.role",
        "query.messages",
        "query.similarity_threshold",
        "query.limit",
        "query.max_tokens",
        "query.temperature",
        "query.stop_sequences",
        "query.stop_sequences.0",
        "query.presence_penalty",
        "query.frequency_penalty",
        "query.extras.model",
        "query.extras.stream",
    ] {
        assert!(refused.contains(&field.to_owned()), "{field} is not in {refused:?}");
    }
    assert!(!refused.iter().any(|field| field.contains("seed")));
    let mut broken = question();
    broken.extras = Some(prost_types::Struct {
        fields: [(
            "x".to_owned(),
            prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) },
        )]
        .into(),
    });
    let request = proto::QueryRequest { slug: "ask".to_owned(), query: Some(broken), request_id: None };
    assert_eq!(fields(&clients.endpoints.query(request).await.unwrap_err()), ["query.extras"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_created_is_checked_whole_and_refused_whole() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    let endpoint = Endpoint {
        slug: "-x".to_owned(),
        tags: vec!["a,b".to_owned()],
        dataset_id: Some("nonsense".to_owned()),
        ..Endpoint::default()
    };
    let refused = clients.endpoints.create_endpoint(CreateEndpointRequest { endpoint: Some(endpoint) }).await;
    let refused = fields(&refused.unwrap_err());
    assert_eq!(refused, ["endpoint.slug", "endpoint.name", "endpoint.tags.0", "endpoint.dataset_id"]);
    let neither = Endpoint { slug: "abc".to_owned(), name: "x".to_owned(), ..Endpoint::default() };
    let refused = clients.endpoints.create_endpoint(CreateEndpointRequest { endpoint: Some(neither) }).await;
    assert_eq!(fields(&refused.unwrap_err()), ["endpoint"]);

    let dataset = Dataset {
        name: "a b".to_owned(),
        dtype: "local".to_owned(),
        configuration: Some(structure(json!({"language": "klingon", "typo": 1}))),
        ..Dataset::default()
    };
    let refused =
        clients.datasets.create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await.unwrap_err();
    let named = fields(&refused);
    assert!(named.contains(&"dataset.name".to_owned()), "{named:?}");
    assert!(named.contains(&"dataset.configuration.language".to_owned()), "{named:?}");
    assert!(refused.message().contains("typo") && !refused.message().contains("klingon"), "{refused:?}");

    let not_finite = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) };
    let configuration = Some(prost_types::Struct { fields: [("x".to_owned(), not_finite)].into() });
    let dataset = Dataset { dtype: "nonsense".to_owned(), configuration, ..Dataset::default() };
    let refused =
        clients.datasets.create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await.unwrap_err();
    assert_eq!(fields(&refused), ["dataset.configuration", "dataset.name", "dataset.dtype"]);

    for (dtype, configuration, expected) in [
        ("nonsense", json!({}), "model.dtype"),
        ("openai", json!({"api_key": 5}), "model.configuration.api_key"),
        ("openai", json!({"base_url": "ftp://x"}), "model.configuration.base_url"),
        ("extractive", json!({"sentences": 0}), "model.configuration.sentences"),
        ("extractive", json!({"sentences": 1.5}), "model.configuration.sentences"),
    ] {
        let configuration = Some(structure(configuration));
        let model =
            Model { name: "m".to_owned(), dtype: dtype.to_owned(), configuration, ..Model::default() };
        let refused =
            clients.models.create_model(CreateModelRequest { model: Some(model) }).await.unwrap_err();
        assert_eq!(fields(&refused), [expected]);
    }
    let listed = clients.models.list_models(proto::ListModelsRequest::default()).await.unwrap().into_inner();
    assert!(listed.models.is_empty(), "something was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_and_keys_are_checked() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    for limit in ["", "0/m", "5", "5/d", "-1/s", "5/m\n", "٣/m", "1000000/s", "5 /m"] {
        let policy = Policy {
            name: "p".to_owned(),
            policy_type: "rate_limit".to_owned(),
            configuration: Some(structure(json!({"limit": limit}))),
            endpoint_slug: "ask".to_owned(),
            ..Policy::default()
        };
        let refused =
            clients.policies.create_policy(CreatePolicyRequest { policy: Some(policy) }).await.unwrap_err();
        assert_eq!(fields(&refused), ["policy.configuration.limit"], "{limit:?}");
    }
    let refused =
        clients.policies.create_policy(CreatePolicyRequest { policy: Some(Policy::default()) }).await;
    assert_eq!(fields(&refused.unwrap_err()), ["policy.name", "policy.policy_type", "policy.endpoint_slug"]);
    let never = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    let key = ApiKey { expire_time: Some(never), ..ApiKey::default() };
    let refused =
        clients.access.create_api_key(CreateApiKeyRequest { api_key: Some(key) }).await.unwrap_err();
    let expected = ["api_key.expire_time", "api_key.name", "api_key.email", "api_key.scopes"];
    assert_eq!(fields(&refused), expected);
    let past = prost_types::Timestamp { seconds: 1, nanos: 0 };
    let key = ApiKey { email: "nobody".to_owned(), expire_time: Some(past), ..ApiKey::default() };
    let refused =
        clients.access.create_api_key(CreateApiKeyRequest { api_key: Some(key) }).await.unwrap_err();
    let expected = ["api_key.name", "api_key.email", "api_key.scopes", "api_key.expire_time"];
    assert_eq!(fields(&refused), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_may_change_changes() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    let dataset = clients.dataset("docs").await;
    clients.endpoint("ask", Some(&dataset), None).await;
    for paths in [vec![], vec!["slug"], vec!["dataset_id"], vec!["response_type"], vec!["name", "model_id"]] {
        let paths = paths.into_iter().map(str::to_owned).collect();
        let request = proto::UpdateEndpointRequest {
            endpoint: Some(Endpoint {
                slug: "ask".to_owned(),
                name: "new".to_owned(),
                ..Endpoint::default()
            }),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        let refused = clients.endpoints.update_endpoint(request).await.unwrap_err();
        assert_eq!(fields(&refused), ["update_mask"]);
    }
    let kept =
        clients.endpoints.get_endpoint(proto::GetEndpointRequest { slug: "ask".to_owned() }).await.unwrap();
    assert_eq!(kept.into_inner().endpoint.unwrap().name, "ask");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_not_messages_are_the_callers_mistake() {
    let space = Space::sqlite().await;
    let admin = format!("Bearer {ADMIN_KEY}");
    let caller = [("authorization", admin.as_str())];
    let (garbage, not_utf8) = (vec![0xff; 32], vec![0x0a, 0x02, 0xff, 0xfe]);
    for method in methods() {
        let status = call_with(&space, &method, &caller, garbage.clone()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status:?}");
    }
    let status = call_with(&space, "EndpointService/GetEndpoint", &caller, not_utf8).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    let huge = [&[0x0a, 0x80, 0x80, 0x80, 0x03][..], &vec![b'a'; 6 << 20]].concat();
    let status = call_with(&space, "EndpointService/GetEndpoint", &caller, huge).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("the limit is: 4194304 bytes"), "{status:?}");
}

on_both! {
    async fn names_that_cannot_be_stored_are_not_found(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        let long = "a".repeat(3 << 20);
        for name in ["nul\0", &long] {
            let refused = clients.query(name).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
            assert!(refused.message().len() < 200);
            let get = proto::GetDatasetRequest { name: name.to_owned() };
            assert_eq!(clients.datasets.get_dataset(get).await.unwrap_err().code(), Code::NotFound);
            let get = proto::GetEndpointRequest { slug: name.to_owned() };
            assert_eq!(clients.endpoints.get_endpoint(get).await.unwrap_err().code(), Code::NotFound);
        }
        let messages = vec![Message { role: long.clone(), content: "x".to_owned() }; 1];
        let many = vec![Message { role: "wizard".to_owned(), content: "x".to_owned() }; 5000];
        for messages in [messages, many] {
            let query = proto::Query {
                messages: Some(Messages::Conversation(Conversation { messages })),
                ..proto::Query::default()
            };
            let request = proto::QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None };
            assert!(!fields(&clients.endpoints.query(request).await.unwrap_err()).is_empty());
        }
        let configuration = Some(structure(json!({"system_prompt": "nul\u{0}"})));
        let model = Model { name: "m".to_owned(), dtype: "openai".to_owned(), configuration, ..Model::default() };
        let refused = clients.models.create_model(CreateModelRequest { model: Some(model) }).await.unwrap_err();
        assert_eq!(fields(&refused), ["model.configuration"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_whole_and_their_tokens_open_nothing_else() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    let dataset = clients.dataset("docs").await;
    for i in 0..7 {
        clients.endpoint(&format!("slug-{i}"), Some(&dataset), None).await;
    }
    let (mut slugs, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListEndpointsRequest { page_size: 3, page_token };
        let page = clients.endpoints.list_endpoints(request).await.unwrap().into_inner();
        assert!(page.endpoints.len() <= 3);
        slugs.extend(page.endpoints.into_iter().map(|endpoint| endpoint.slug));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let other = proto::ListDatasetsRequest { page_size: 3, page_token: page_token.clone() };
        assert_eq!(fields(&clients.datasets.list_datasets(other).await.unwrap_err()), ["page_token"]);
    }
    assert_eq!(slugs, (0..7).map(|i| format!("slug-{i}")).collect::<Vec<_>>());
    let negative = proto::ListEndpointsRequest { page_size: -1, page_token: String::new() };
    assert_eq!(fields(&clients.endpoints.list_endpoints(negative).await.unwrap_err()), ["page_size"]);
}
