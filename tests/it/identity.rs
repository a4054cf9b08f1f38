//! Who may call: every RPC, with every kind of credential.

use syft_endpoints::proto::{ApiKey, CreateApiKeyRequest, Scope};
use tonic::Code;

use crate::support::{
    database::Database,
    eventually, on_both,
    space::{ADMIN_KEY, Space, reason},
    tenants::{call_raw, methods},
};

async fn key(space: &Space, scopes: &[Scope]) -> String {
    let api_key = ApiKey {
        name: "k".to_owned(),
        email: "Amy@Example.org".to_owned(),
        scopes: scopes.iter().map(|scope| i32::from(*scope)).collect(),
        ..ApiKey::default()
    };
    let created =
        space.admin().await.access.create_api_key(CreateApiKeyRequest { api_key: Some(api_key) }).await;
    let created = created.unwrap().into_inner();
    assert!(created.secret.starts_with("syft_sk_") && created.secret.len() > 40);
    format!("Bearer {}", created.secret)
}

on_both! {
    async fn every_rpc_needs_its_scope(database: Database) {
        let space = Space::start(database).await;
        let (query, manage) = (key(&space, &[Scope::Query]).await, key(&space, &[Scope::Manage]).await);
        let admin = format!("Bearer {ADMIN_KEY}");
        for method in methods() {
            let scope = match method.as_str() {
                "EndpointService/Query" | "EndpointService/StreamQuery" => "query",
                "AccessService/CreateTenant" | "AccessService/GetTenant" | "AccessService/ListTenants" => "admin",
                _ => "manage",
            };
            for (held, credential) in [("query", &query), ("manage", &manage), ("admin", &admin)] {
                let code = call_raw(&space, &method, &[("authorization", credential)]).await.code();
                let allowed = code != Code::PermissionDenied && code != Code::Unauthenticated;
                assert_eq!(allowed, held == scope || held == "admin", "{method} with {held}: {code:?}");
            }
        }
    }

    async fn bad_credentials_are_all_alike(database: Database) {
        let space = Space::start(database).await;
        let good = key(&space, &[Scope::Query]).await;
        let cut = &good[..good.len() - 1];
        let bad: [Vec<(&'static str, &str)>; 9] = [
            vec![],
            vec![("authorization", "Bearer ")],
            vec![("authorization", "Bearer")],
            vec![("authorization", ADMIN_KEY)],
            vec![("authorization", "Basic dGVzdDp0ZXN0")],
            vec![("authorization", "Bearer syft_sk_")],
            vec![("authorization", cut)],
            vec![("authorization", "Bearer test-admin-key-471")],
            vec![("authorization", "Bearer nonsense"), ("x-tenant-name", "root")],
        ];
        let mut answers = std::collections::BTreeSet::new();
        for metadata in &bad {
            for method in methods() {
                let status = call_raw(&space, &method, metadata).await;
                assert_eq!(status.code(), Code::Unauthenticated, "{method} with {metadata:?}");
                answers.insert(format!("{} {:?}", status.message(), status.details()));
            }
        }
        assert_eq!(answers.len(), 1, "refusals tell callers apart: {answers:?}");
    }

    async fn reflection_and_health_ask_for_nothing(database: Database) {
        use tonic_reflection::pb::v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };

        let space = Space::start(database).await;
        let channel = tonic::transport::Channel::from_shared(space.url()).unwrap().connect().await.unwrap();
        let asked = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut reflection = ServerReflectionClient::new(channel.clone());
        let mut answer = reflection.server_reflection_info(tokio_stream::once(asked)).await.unwrap().into_inner();
        let answer = answer.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
        let listed: Vec<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
        let services = ["Endpoint", "Dataset", "Model", "Policy", "Access", "Marketplace", "Usage", "Ingestion"];
        for service in services.map(|name| format!("syft.space.v1.{name}Service")) {
            assert!(listed.contains(&service.as_str()), "{listed:?}");
        }
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let ours = listed.iter().copied().filter(|name| name.starts_with("syft."));
        for service in ours.chain([""]).map(str::to_owned) {
            let asked = tonic_health::pb::HealthCheckRequest { service: service.clone() };
            health.check(asked).await.unwrap_or_else(|status| panic!("{service}: {status:?}"));
        }
    }

    async fn a_key_ends_when_it_is_revoked_and_shows_its_secret_once(database: Database) {
        let space = Space::start(database).await;
        let credential = key(&space, &[Scope::Query, Scope::Manage]).await;
        let mut amy = space.clients(&[("authorization", &credential)]).await;
        let listed = amy.access.list_api_keys(syft_endpoints::proto::ListApiKeysRequest::default()).await;
        let listed = listed.unwrap().into_inner().api_keys;
        assert_eq!(listed[0].email, "amy@example.org");
        assert!(!format!("{listed:?}").contains(credential.trim_start_matches("Bearer ")));
        let id = listed[0].id.clone();
        for _ in 0..2 {
            let revoke = syft_endpoints::proto::RevokeApiKeyRequest { id: id.clone() };
            space.admin().await.access.revoke_api_key(revoke).await.unwrap();
        }
        eventually("the key is refused", async || {
            amy.clone().query("x").await.is_err_and(|status| reason(&status) == "UNAUTHENTICATED")
        }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_see_the_keys_identity() {
    let space = Space::sqlite().await;
    let mut owner = space.admin().await;
    let dataset = owner.dataset("docs").await;
    owner.endpoint("ask", Some(&dataset), None).await;
    owner.policy("ask", "access", serde_json::json!({"allowed_users": ["amy@example.org"]})).await;
    let mut amy = space.clients(&[("authorization", &key(&space, &[Scope::Query]).await)]).await;
    amy.query("ask").await.unwrap();
    let refused = owner.query("ask").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "POLICY_VIOLATION"));
    assert_eq!(refused.message(), "Policy 'access' blocked request: Access denied");
}
