//! Configuration: flags over environment over a TOML file over defaults, as one value that is
//! consumed. Every key is also a variable: `pipeline.max_running` is `SYFT_PIPELINE_MAX_RUNNING`.

mod check;

use std::{fmt, path::PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use toml::{Table, Value};

use crate::{
    gateway::cors,
    grpc, hub, identity, ingestion, pipeline, server, store,
    telemetry::{logs, traces},
    upstream::{self, PrivateAddresses},
};

/// The whole configuration.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the embedded database, the search indexes and generated keys are.
    pub data_dir: PathBuf,
    /// The owner's key. Empty: generated into the data folder; required with Postgres.
    #[serde(serialize_with = "hidden")]
    pub admin_api_key: SecretString,
    /// Seals secrets in the database: 32 bytes in base64; more keys after commas open what they have
    /// sealed. Empty: generated into the data folder; required with Postgres.
    #[serde(serialize_with = "hidden")]
    pub secret_key: SecretString,
    /// The URL at which marketplaces' users reach this space, unless its owner has set another one: scheme,
    /// host and port. Empty: none.
    pub public_url: String,
    /// From the signal to stop until calls are refused, in milliseconds: what a balancer needs to notice.
    pub drain_delay_ms: u64,
    /// How long running calls may go on after that, in milliseconds.
    pub drain_grace_ms: u64,
    pub server: server::Config,
    pub tls: server::tls::Config,
    pub grpc: grpc::Config,
    pub cors: cors::Config,
    pub metrics: server::metrics::Config,
    pub traces: traces::Config,
    pub store: store::Config,
    pub records: store::RecordsConfig,
    pub pipeline: pipeline::Config,
    pub upstream: upstream::Config,
    pub ingestion: ingestion::Config,
    pub identity: identity::Config,
    pub hub: hub::Config,
    pub log: logs::Config,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

/// Names that the service's predecessor knows, and short ones, with the keys they stand for.
const ALIASES: [(&str, &str); 9] = [
    ("SYFT_DATABASE_URL", "store.url"),
    ("SYFT_RECORD_QUERIES", "records.text"),
    ("SYFT_LISTEN", "server.listen"),
    ("SYFT_OWNER_EMAIL", "identity.owner_email"),
    ("SYFT_ENABLE_MULTI_TENANCY", "identity.enable_multi_tenancy"),
    ("SYFT_DEFAULT_TENANT_NAME", "identity.default_tenant_name"),
    ("SYFT_DEFAULT_MARKETPLACE_URL", "hub.default_url"),
    ("SYFT_LOG_LEVEL", "log.level"),
    ("SYFT_LOG_JSON", "log.json"),
];

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            admin_api_key: SecretString::default(),
            secret_key: SecretString::default(),
            public_url: String::new(),
            drain_delay_ms: 0,
            drain_grace_ms: 30_000,
            server: server::Config::default(),
            tls: server::tls::Config::default(),
            grpc: grpc::Config::default(),
            cors: cors::Config::default(),
            metrics: server::metrics::Config::default(),
            traces: traces::Config::default(),
            store: store::Config::default(),
            records: store::RecordsConfig::default(),
            pipeline: pipeline::Config::default(),
            upstream: upstream::Config::default(),
            ingestion: ingestion::Config::default(),
            identity: identity::Config::default(),
            hub: hub::Config::default(),
            log: logs::Config::default(),
        }
    }
}

impl Config {
    /// Puts a configuration together. `flags` are keys and values, as `store.url`.
    ///
    /// # Errors
    /// Every key that is unknown, of the wrong type, or missing.
    pub fn load(
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
        flags: Vec<(&'static str, String)>,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let known = keys();
        let mut table = file.parse::<Table>().unwrap_or_else(|error| {
            let line =
                error.span().map_or(1, |span| file[..span.start.min(file.len())].lines().count().max(1));
            problems.push(format!("the configuration file is not TOML, at line {line}"));
            Table::new()
        });
        for (name, value) in environment.filter(|(name, _)| name.starts_with("SYFT_")) {
            match key_of(&name, &known) {
                Some(key) => set(&mut table, key, scalar(key, &value)),
                None if is_not_ours(&name) => {}
                None => problems.push(format!("unknown environment variable {name}")),
            }
        }
        for (key, value) in flags {
            set(&mut table, key, scalar(key, &value));
        }
        problems.extend(leaves(&table).into_iter().filter_map(|(key, value)| problem_with(&key, value)));
        let config: Self = match Value::Table(table).try_into() {
            Ok(config) if problems.is_empty() => config,
            Err(error) if problems.is_empty() => return Err(Problems(vec![first_line(&error)])),
            _ => return Err(Problems(problems)),
        };
        config.complete()
    }

    /// Rules that concern several keys.
    fn complete(mut self) -> Result<Self, Problems> {
        if self.upstream.private_addresses == PrivateAddresses::Auto && self.identity.enable_multi_tenancy {
            // One tenant's model must not be a way into the network of all.
            self.upstream.private_addresses = PrivateAddresses::Refuse;
        }
        if self.store.url.is_empty() {
            self.store.url = format!("sqlite://{}", self.data_dir.join("syft.db").display());
        }
        let problems = check::problems(&self);
        if problems.is_empty() { Ok(self) } else { Err(Problems(problems)) }
    }
}

/// The database URL and the keys are secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Every key, dotted.
fn keys() -> Vec<String> {
    match Value::try_from(Config::default()) {
        Ok(Value::Table(table)) => leaves(&table).into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

/// Variables of the command line's clients and of our tests, and those that Kubernetes sets for a
/// service named `syft-endpoints`.
fn is_not_ours(name: &str) -> bool {
    let clients = [
        "SYFT_CONFIG",
        "SYFT_SERVER",
        "SYFT_SERVER_NAME",
        "SYFT_CA",
        "SYFT_CERTIFICATE",
        "SYFT_CERTIFICATE_KEY",
        "SYFT_API_KEY",
        "SYFT_TENANT",
        "SYFT_MARKETPLACE_PASSWORD",
        "SYFT_MARKETPLACE_API_TOKEN",
    ];
    clients.contains(&name) || name.starts_with("SYFT_TEST_") || name.starts_with("SYFT_ENDPOINTS_")
}

fn key_of<'k>(variable: &str, known: &'k [String]) -> Option<&'k str> {
    if let Some((_, key)) = ALIASES.iter().find(|(alias, _)| *alias == variable) {
        return Some(key);
    }
    let named = |key: &&String| format!("SYFT_{}", key.replace('.', "_").to_uppercase()) == variable;
    known.iter().find(named).map(String::as_str)
}

/// A value from a text: of the type its key has by default.
fn scalar(key: &str, text: &str) -> Value {
    let default = Value::try_from(Config::default()).ok();
    let default =
        default.as_ref().and_then(|table| key.split('.').try_fold(table, |table, part| table.get(part)));
    let parsed = match default {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).ok(),
        Some(Value::Float(_)) => text.parse().map(Value::Float).ok(),
        // A list is written as in the file.
        Some(Value::Array(_)) => format!("x = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("x")),
        Some(Value::Boolean(_)) => match text.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Value::Boolean(true)),
            "false" | "0" | "no" | "off" | "" => Some(Value::Boolean(false)),
            _ => None,
        },
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let section = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        set(section, rest, value);
    }
}

fn leaves(table: &Table) -> Vec<(String, Value)> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(inner) if !inner.is_empty() => {
                leaves(inner).into_iter().map(|(key, value)| (format!("{name}.{key}"), value)).collect()
            }
            value => vec![(name.clone(), value.clone())],
        })
        .collect()
}

/// What is wrong with one key, looked at alone: so that all are told at once.
fn problem_with(key: &str, value: Value) -> Option<String> {
    let mut alone = Table::new();
    set(&mut alone, key, value);
    let error = Value::Table(alone).try_into::<Config>().err()?;
    Some(format!("{key}: {}", first_line(&error)))
}

/// What an error says without the value that it quotes: it may be a secret in the wrong place.
fn first_line(error: &toml::de::Error) -> String {
    let text = error.message().lines().next().unwrap_or_default();
    match text.split_once(", expected ") {
        _ if text.starts_with("unknown field") => text.to_owned(),
        Some((_, "usize" | "u64" | "u32")) => "must be a whole number, 0 or more".to_owned(),
        Some((_, expected)) => format!("must be {expected}"),
        None if text.contains("socket address") => {
            "must be an address and a port, such as 127.0.0.1:8080".to_owned()
        }
        None if text.starts_with("missing field") => text.to_owned(),
        None => "is not valid".to_owned(),
    }
}

fn default_data_dir() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".syft-endpoints")
}

fn hidden<S: Serializer>(_secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("")
}

#[cfg(test)]
mod tests {
    use super::{Config, PrivateAddresses};

    fn load(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Result<Config, Vec<String>> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let flags = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        Config::load(file, environment, flags).map_err(|problems| problems.0)
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = "[pipeline]\nmax_running = 1\ntimeout_ms = 1\nbuffered_events = 1";
        let environment =
            [("SYFT_PIPELINE_MAX_RUNNING", "2"), ("SYFT_PIPELINE_TIMEOUT_MS", "2"), ("PATH", "x")];
        let config = load(file, &environment, &[("pipeline.max_running", "3")]).unwrap();
        let pipeline = config.pipeline;
        assert_eq!((pipeline.max_running, pipeline.timeout_ms, pipeline.buffered_events), (3, 2, 1));
    }

    #[test]
    fn all_problems_are_told_at_once_without_values() {
        let file = "typo = 1\nadmin_api_key = 47114711\n[server]\nlisten = \"nowhere\"\n[store]\nurl = 5";
        let problems = load(file, &[("SYFT_TYPO", "s3cret")], &[]).unwrap_err();
        for expected in ["SYFT_TYPO", "typo", "admin_api_key", "server.listen", "store.url"] {
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        }
        assert!(
            !problems.concat().contains("s3cret") && !problems.concat().contains("47114711"),
            "{problems:?}"
        );
    }

    #[test]
    fn postgres_needs_keys_that_replicas_share() {
        let problems = load("", &[("SYFT_DATABASE_URL", "postgres://x/y")], &[]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn tenants_reach_no_private_addresses_unless_the_owner_says_so() {
        let private =
            |environment: &[(&str, &str)]| load("", environment, &[]).unwrap().upstream.private_addresses;
        assert_eq!(private(&[]), PrivateAddresses::Auto);
        let tenants = ("SYFT_ENABLE_MULTI_TENANCY", "true");
        assert_eq!(private(&[tenants]), PrivateAddresses::Refuse);
        let allowed = ("SYFT_UPSTREAM_PRIVATE_ADDRESSES", "allow");
        assert_eq!(private(&[tenants, allowed]), PrivateAddresses::Allow);
    }

    #[test]
    fn a_marketplace_is_named_whole_or_not_at_all() {
        let whole = [
            ("SYFT_HUB_URL", "https://hub.example/"),
            ("SYFT_HUB_USERNAME", "Amy"),
            ("SYFT_HUB_API_TOKEN", "syft_pat_x"),
        ];
        let marketplace = load("", &whole, &[]).unwrap().hub.marketplace().unwrap();
        assert_eq!((marketplace.url.as_str(), marketplace.username.as_str()), ("https://hub.example", "amy"));
        assert!(load("", &[], &[]).unwrap().hub.marketplace().is_none());
        for without in 0..3 {
            let part: Vec<_> =
                whole.iter().enumerate().filter(|(i, _)| *i != without).map(|(_, v)| *v).collect();
            let problems = load("", &part, &[]).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
        for (key, value) in [
            ("hub.url", "hub.example"),
            ("hub.url", "https://u:p@hub.example"),
            ("hub.url", "https://hub.example/?x=1"),
            ("hub.username", "a b"),
            ("hub.api_token", "a\nb"),
            ("hub.issuers", "[\"\"]"),
            ("hub.clock_leeway_s", "61"),
        ] {
            let problems = load("", &whole, &[(key, value)]).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(key), "{key} {value}: {problems:?}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let secrets = [
            ("SYFT_ADMIN_API_KEY", "s3cret-s3cret-s3cret"),
            ("SYFT_HUB_URL", "https://hub.example"),
            ("SYFT_HUB_USERNAME", "amy"),
            ("SYFT_HUB_API_TOKEN", "s3cret-s3cret-s3cret"),
        ];
        let config = load("", &secrets, &[]).unwrap();
        let shown = toml::Value::try_from(&config).unwrap().to_string();
        assert!(!shown.contains("s3cret") && !format!("{config:?}").contains("s3cret"));
    }
}
