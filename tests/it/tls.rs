//! TLS and mutual TLS: nobody unknown comes in, a certificate names its caller, and new certificates
//! drop nobody.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use syft_endpoints::proto::ListEndpointsRequest;
use tonic::Code;

use crate::support::{
    certificates::Authority,
    database::Database,
    eventually,
    peer::Peer,
    process::command,
    space::{ADMIN_KEY, Space, clients},
    upstream::Upstream,
};

const WEB: &str = "spiffe://cluster.local/ns/chat/sa/web";

fn admin() -> [(&'static str, &'static str); 1] {
    [("authorization", "Bearer test-admin-key-4711")]
}

/// A space with a certificate of `authority`, and what more is set.
async fn space(authority: &Authority, folder: &Path, more: &[(&'static str, &str)]) -> Space {
    assert_eq!(admin()[0].1, format!("Bearer {ADMIN_KEY}"));
    let (certificate, key) = authority.issue(&["localhost"]).write(folder, "server");
    let mut settings = vec![
        ("tls.certificate", certificate.to_str().unwrap()),
        ("tls.key", key.to_str().unwrap()),
        ("tls.reload_interval_ms", "50"),
    ];
    settings.extend_from_slice(more);
    Space::configured(Database::sqlite(), &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_tls_and_none_without() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let space = space(&authority, folder.path(), &[("server.handshake_timeout_ms", "500")]).await;
    let channel = authority.connect(space.address, None).await.unwrap();
    clients(channel, &admin()).endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();

    assert!(Authority::new().connect(space.address, None).await.is_err(), "another authority's");
    let plain = tonic::transport::Channel::from_shared(format!("http://{}", space.address)).unwrap();
    if let Ok(channel) = plain.connect().await {
        let mut clients = clients(channel, &admin());
        clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap_err();
    }
    // Half a TLS handshake.
    let mut half = Peer::connect(space.address).await;
    half.send(&[0x16, 3, 1, 2, 0, 1]).await;
    assert!(half.closed_within(Duration::from_secs(5)).await.is_some());
    let closed = space.metric(r#"syft_connections_refused_total{reason="handshake"}"#).await;
    assert!(closed >= 1.0, "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_names_its_caller() {
    let (servers, meshes, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let authorities = folder.path().join("mesh.pem");
    fs::write(&authorities, &meshes.pem).unwrap();
    let known = format!(
        r#"[{{name = "{WEB}", email = "Web@chat.example.org"}},
            {{name = "*.ops.svc", email = "ops@example.org", scopes = ["query", "manage"]}}]"#
    )
    .replace('\n', " ");
    let more = [("tls.client_ca", authorities.to_str().unwrap()), ("identity.certificates", known.as_str())];
    let space = space(&servers, folder.path(), &more).await;
    let upstream = Upstream::says(&["a"]).await;
    let [web, ops, stranger] =
        [&[WEB][..], &["x.ops.svc"], &["spiffe://cluster.local/ns/chat/sa/other"]].map(|n| meshes.issue(n));

    let mut manager = clients(servers.connect(space.address, Some(&ops)).await.unwrap(), &[]);
    manager.asks("ask", upstream.address).await;
    // The policy sees the address in lower case.
    manager.policy("ask", "access", json!({"allowed_users": ["web@chat.example.org"]})).await;

    let channel = servers.connect(space.address, Some(&web)).await.unwrap();
    clients(channel.clone(), &[]).query("ask").await.unwrap();
    let refused =
        clients(channel.clone(), &[]).endpoints.list_endpoints(ListEndpointsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied, "it has the scope query alone");
    // A bad token is not made good by a certificate.
    let refused = clients(channel, &[("authorization", "Bearer wrong")]).query("ask").await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    let channel = servers.connect(space.address, Some(&stranger)).await.unwrap();
    assert_eq!(clients(channel.clone(), &[]).query("ask").await.unwrap_err().code(), Code::Unauthenticated);
    // A stranger with a key is the key's owner.
    clients(channel, &admin()).endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();

    // Nobody without a certificate, or with one of an unknown authority.
    for identity in [None, Some(Authority::new().issue(&[WEB]))] {
        let refused = match servers.connect(space.address, identity.as_ref()).await {
            Ok(channel) => clients(channel, &admin()).query("ask").await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_may_be_optional() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let authorities = folder.path().join("mesh.pem");
    fs::write(&authorities, &authority.pem).unwrap();
    let more = [("tls.client_ca", authorities.to_str().unwrap()), ("tls.client_certificates", "optional")];
    let space = space(&authority, folder.path(), &more).await;
    let channel = authority.connect(space.address, None).await.unwrap();
    let mut anonymous = clients(channel.clone(), &[]);
    assert_eq!(anonymous.query("ask").await.unwrap_err().code(), Code::Unauthenticated);
    clients(channel, &admin()).endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_served_and_old_streams_stay() {
    let (old, new, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let space = space(&old, folder.path(), &[]).await;
    let upstream = Upstream::endless().await;
    let mut connected = clients(old.connect(space.address, None).await.unwrap(), &admin());
    connected.asks("ask", upstream.address).await;
    let mut events = connected.stream("ask").await.unwrap();
    events.message().await.unwrap().unwrap();

    // Half of a change must not count: the key does not fit the certificate yet.
    let next = new.issue(&["localhost"]);
    fs::write(folder.path().join("server.pem"), &next.certificate).unwrap();
    assert!(old.connect(space.address, None).await.is_ok());
    fs::write(folder.path().join("server.key"), &next.key).unwrap();
    eventually("the new certificate is served", async || new.connect(space.address, None).await.is_ok())
        .await;
    assert!(old.connect(space.address, None).await.is_err(), "the old one is served too");
    for _ in 0..20 {
        events.message().await.unwrap().expect("the stream was dropped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_speaks_tls() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, &authority.pem).unwrap();
    let (certificate, key) = authority.issue(&["client"]).write(folder.path(), "client");
    let space = space(&authority, folder.path(), &[("tls.client_ca", ca.to_str().unwrap())]).await;
    let server = format!("https://{}", space.address);
    let run = |arguments: Vec<String>| {
        tokio::task::spawn_blocking(move || command().args(arguments).output().unwrap())
    };
    let trusted = ["--server", &server, "--ca", ca.to_str().unwrap(), "--server-name", "localhost"];
    let identity =
        ["--certificate", certificate.to_str().unwrap(), "--certificate-key", key.to_str().unwrap()];
    let words = |parts: &[&[&str]]| parts.concat().into_iter().map(str::to_owned).collect::<Vec<_>>();

    let checked = run(words(&[&["check"], &trusted, &identity])).await.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let listed = run(words(&[&["key", "list", "--key", ADMIN_KEY], &trusted, &identity])).await.unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));

    let untrusted = run(words(&[&["check", "--server", &server], &identity])).await.unwrap();
    let said = String::from_utf8_lossy(&untrusted.stderr).into_owned();
    assert!(!untrusted.status.success() && said.contains("certificate"), "{said}");
    let plain = run(words(&[&["check", "--server", "http://127.0.0.1:1"], &["--ca", ca.to_str().unwrap()]]));
    let said = String::from_utf8_lossy(&plain.await.unwrap().stderr).into_owned();
    assert!(said.contains("not https"), "{said}");
}
