//! `key`.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use syft_endpoints::{
    error::Cause,
    proto::{self, ApiKey, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest},
};

use super::{
    client::ClientArgs,
    output::{failure, plain},
};

#[derive(Subcommand)]
pub(super) enum Key {
    /// Create a key and print it, this once
    Create(Create),
    /// List keys, revoked ones included
    List(List),
    /// Revoke a key, now
    Revoke(Revoke),
}

#[derive(Args)]
pub(super) struct Create {
    /// A name for people
    name: String,
    /// The identity that policies see
    #[arg(long)]
    email: String,
    /// What it may do; may be repeated
    #[arg(long, value_enum, default_value = "query")]
    scope: Vec<Scope>,
    /// Days until it ends [default: never]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..36_500))]
    expires: Option<u32>,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object per key instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// The key's id
    id: String,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of a word
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scope {
    Query,
    Manage,
}

impl Key {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        match self {
            Self::Create(create) => create.run().await?,
            Self::List(list) => list.run().await?,
            Self::Revoke(revoke) => revoke.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self) -> Result<(), Cause> {
        let scope = |scope: &Scope| match scope {
            Scope::Query => proto::Scope::Query.into(),
            Scope::Manage => proto::Scope::Manage.into(),
        };
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let expire_time = self
            .expires
            .map(|days| prost_types::Timestamp { seconds: now + i64::from(days) * 86_400, nanos: 0 });
        let key = ApiKey {
            name: self.name,
            email: self.email,
            scopes: self.scope.iter().map(scope).collect(),
            expire_time,
            ..ApiKey::default()
        };
        let mut access = self.client.connect().await?.access();
        let created = access.create_api_key(CreateApiKeyRequest { api_key: Some(key) }).await;
        let created = created.map_err(|status| failure(&status))?.into_inner();
        let id = created.api_key.unwrap_or_default().id;
        if self.json {
            say!("{}", serde_json::json!({"id": id, "key": created.secret}))?;
        } else {
            say!("{}", created.secret)?;
            eprintln!("id {id}; the key cannot be shown again");
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Cause> {
        let mut access = self.client.connect().await?.access();
        let mut page_token = String::new();
        loop {
            let page = access.list_api_keys(ListApiKeysRequest { page_size: 1000, page_token }).await;
            let page = page.map_err(|status| failure(&status))?.into_inner();
            for key in &page.api_keys {
                self.print(key)?;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(());
            }
        }
    }

    fn print(&self, key: &ApiKey) -> Result<(), Cause> {
        let scopes: Vec<&str> =
            key.scopes().map(|scope| scope.as_str_name().trim_start_matches("SCOPE_")).collect();
        let scopes = scopes.join(",").to_lowercase();
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let state = match (&key.revoke_time, &key.expire_time) {
            (Some(_), _) => "revoked",
            (None, Some(at)) if at.seconds <= now => "expired",
            _ => "active",
        };
        if self.json {
            let object = serde_json::json!({
                "id": key.id, "name": key.name, "email": key.email, "scopes": scopes, "state": state,
                "expires": key.expire_time.map(|at| at.seconds),
            });
            say!("{object}")?;
        } else {
            say!("{}  {state:7}  {scopes:12}  {}  {}", key.id, key.email, plain(&key.name))?;
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> Result<(), Cause> {
        let mut access = self.client.connect().await?.access();
        let revoked = access.revoke_api_key(RevokeApiKeyRequest { id: self.id.clone() }).await;
        revoked.map_err(|status| failure(&status))?;
        match self.json {
            true => say!("{}", serde_json::json!({"id": self.id, "state": "revoked"}))?,
            false => say!("revoked")?,
        }
        Ok(())
    }
}
