//! Values that are of the right type and make no sense.

use std::path::Path;

use super::Config;
use crate::{domain::rules, identity, store};

/// Everything that is wrong.
pub(super) fn problems(config: &Config) -> Vec<String> {
    [
        bad_counts(config),
        bad_ingestion(config),
        bad_values(config),
        bad_certificates(config),
        bad_keys(config),
        config.cors.problems(),
        config.hub.problems(),
    ]
    .concat()
}

fn bad_ingestion(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if config.ingestion.max_running > 64 {
        problems.push("ingestion.max_running must be 0 to 64".to_owned());
    }
    let root = &config.ingestion.root;
    if !root.as_os_str().is_empty() && !root.is_absolute() {
        problems.push("ingestion.root must be an absolute path".to_owned());
    }
    problems
}

fn bad_counts(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let counts = [
        ("pipeline.max_running", config.pipeline.max_running, 1),
        ("server.max_connections", config.server.max_connections, 1),
        ("server.control_frames", config.server.control_frames as usize, 100),
        ("server.max_streams_per_connection", config.server.max_streams_per_connection as usize, 1),
        ("server.handshake_timeout_ms", millis(config.server.handshake_timeout_ms), 1),
        ("server.keepalive_interval_ms", millis(config.server.keepalive_interval_ms), 1),
        ("server.keepalive_timeout_ms", millis(config.server.keepalive_timeout_ms), 1),
        ("tls.reload_interval_ms", millis(config.tls.reload_interval_ms), 1),
        ("grpc.max_waiting", config.grpc.max_waiting, 1),
        ("upstream.attempts", config.upstream.attempts, 1),
        // A lock and the change feed need one each.
        ("store.max_connections", config.store.max_connections as usize, 3),
        ("store.poll_interval_ms", millis(config.store.poll_interval_ms), 1),
    ];
    for (key, value, least) in counts {
        if value < least || value > 1_000_000 {
            problems.push(format!("{key} must be {least} to 1000000"));
        }
    }
    if config.store.charges_kept_days > 100_000 {
        problems.push("store.charges_kept_days must be 0 to 100000".to_owned());
    }
    let sizes = [
        ("server.max_header_bytes", config.server.max_header_bytes as usize),
        ("server.send_buffer_bytes", config.server.send_buffer_bytes),
        ("grpc.max_request_bytes", config.grpc.max_request_bytes),
        ("grpc.max_response_bytes", config.grpc.max_response_bytes),
    ];
    for (key, bytes) in sizes {
        if !(1 << 10..=1 << 30).contains(&bytes) {
            problems.push(format!("{key} must be 1024 to {}", 1 << 30));
        }
    }
    problems
}

fn bad_values(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let named = [
        ("identity.owner_email", rules::email("", &config.identity.owner_email)),
        ("identity.default_tenant_name", rules::slug("", &config.identity.default_tenant_name)),
    ];
    for (key, checked) in named {
        problems.extend(checked.err().map(|violation| format!("{key} {}", violation.message)));
    }
    if !config.public_url.is_empty() {
        let checked = rules::origin("", &config.public_url);
        problems.extend(checked.err().map(|violation| format!("public_url {}", violation.message)));
    }
    if !(0.0..=1.0).contains(&config.traces.sample_ratio) {
        problems.push("traces.sample_ratio must be 0 to 1".to_owned());
    }
    if config.log.level.parse::<tracing::Level>().is_err() {
        problems.push("log.level must be error, warn, info, debug or trace".to_owned());
    }
    problems
}

fn bad_certificates(config: &Config) -> Vec<String> {
    let (tls, mut problems) = (&config.tls, Vec::new());
    let set = |path: &Path| !path.as_os_str().is_empty();
    if set(&tls.certificate) != set(&tls.key) {
        problems.push("tls.certificate and tls.key must be set together".to_owned());
    }
    if set(&tls.client_ca) && !set(&tls.certificate) {
        problems.push("tls.client_ca needs tls.certificate".to_owned());
    }
    let callers = &config.identity.certificates;
    if !callers.is_empty() && !set(&tls.client_ca) {
        problems.push("identity.certificates needs tls.client_ca".to_owned());
    }
    for (i, caller) in callers.iter().enumerate() {
        let at = |what| format!("identity.certificates.{i}.{what}");
        if caller.name.is_empty() || caller.name == "*" || caller.name.matches('*').count() > 1 {
            problems.push(format!("{} must be a name, with one * at most", at("name")));
        }
        let email = rules::email("", &caller.email).err();
        problems.extend(email.map(|violation| format!("{} {}", at("email"), violation.message)));
        let unknown = |scope: &String| identity::CertificateCaller::scope(scope).is_none();
        if caller.scopes.is_empty() || caller.scopes.iter().any(unknown) {
            problems.push(format!("{} must be query, manage or both", at("scopes")));
        }
    }
    problems
}

fn bad_keys(config: &Config) -> Vec<String> {
    use secrecy::ExposeSecret;

    let mut problems = Vec::new();
    let url = &config.store.url;
    let postgres = url.starts_with("postgres:") || url.starts_with("postgresql:");
    if !postgres && !url.starts_with("sqlite:") {
        problems.push("store.url must begin with sqlite: or postgres:".to_owned());
    }
    let keys = [("SYFT_ADMIN_API_KEY", &config.admin_api_key), ("SYFT_SECRET_KEY", &config.secret_key)];
    for (name, key) in keys {
        if postgres && key.expose_secret().is_empty() {
            problems.push(format!("{name} is required with Postgres: all replicas share it"));
        }
    }
    let admin_key = config.admin_api_key.expose_secret();
    if !admin_key.is_empty() && admin_key.len() < 16 {
        problems.push("admin_api_key must be 16 characters or more: it opens everything".to_owned());
    }
    let secret_key = config.secret_key.expose_secret();
    if !secret_key.is_empty() && store::SecretBox::parse(secret_key).is_err() {
        problems.push(format!("secret_key: {}", store::BadKey));
    }
    problems
}

fn millis(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
