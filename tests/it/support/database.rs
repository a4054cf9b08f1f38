//! Real databases, one a test.

pub mod cluster;
pub mod wire;

use sea_orm::{ConnectOptions, ConnectionTrait, Database as SeaOrm, DatabaseConnection};
use syft_endpoints::{
    domain::{Configuration, Credential, NewAttachment, NewEndpoint, NewMarketplace, ResponseType, Tenant},
    store::{Config, RecordsConfig, SecretBox, Store},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A key that every process of a test shares.
pub const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// An empty database, deleted with its folder, or with the cluster.
pub struct Database {
    pub url: String,
    /// For files beside the database.
    pub folder: TempDir,
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}", folder.path().join("test.db").display()), folder }
    }

    /// Needs the cluster that `tests/run` starts.
    pub async fn postgres() -> Self {
        let cluster = std::env::var("SYFT_TEST_POSTGRES_URL").expect(
            "SYFT_TEST_POSTGRES_URL is not set: run tests/run, which starts a PostgreSQL for the tests",
        );
        Self::postgres_on(&cluster).await
    }

    /// A new database of this cluster.
    async fn postgres_on(cluster: &str) -> Self {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let admin = connect(cluster).await;
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        admin.close().await.unwrap();
        let (server, _) = cluster.rsplit_once('/').unwrap();
        Self { url: format!("{server}/{name}"), folder: tempfile::tempdir().unwrap() }
    }

    /// A store that has not been migrated.
    pub async fn connect(&self) -> Store {
        let config =
            Config { url: self.url.clone(), max_connections: 8, poll_interval_ms: 50, ..Config::default() };
        Store::connect(config, SecretBox::parse(SECRET_KEY).unwrap()).await.unwrap()
    }

    /// A store that has been migrated and follows changes.
    pub async fn store(&self) -> Store {
        let store = self.connect().await;
        store.migrate().await.unwrap();
        store.follow(RecordsConfig::default(), CancellationToken::new());
        crate::support::eventually("the feed is fresh", async || store.feed().catalog_revision().is_some())
            .await;
        store
    }

    /// A connection past the store, to see or to spoil what it keeps.
    pub async fn raw(&self) -> DatabaseConnection {
        connect(&self.url).await
    }
}

/// Connections that are never looked at for being idle: see `store/connect.rs`.
pub async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.idle_timeout(None).max_lifetime(None);
    SeaOrm::connect(options).await.unwrap()
}

pub async fn root(store: &Store) -> Tenant {
    store.ensure_tenant("root").await.unwrap()
}

pub fn attachment(name: &str, dtype: &str) -> NewAttachment {
    NewAttachment {
        name: name.to_owned(),
        dtype: dtype.to_owned(),
        configuration: Configuration::new(),
        summary: String::new(),
        tags: Vec::new(),
    }
}

pub fn endpoint(slug: &str) -> NewEndpoint {
    NewEndpoint {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        summary: String::new(),
        description: String::new(),
        dataset_id: None,
        model_id: None,
        response_type: ResponseType::Both,
        published: true,
        tags: Vec::new(),
    }
}

/// An account `owner` on a hub that nobody asks.
pub fn marketplace(url: &str) -> NewMarketplace {
    NewMarketplace {
        name: "Hub".to_owned(),
        username: "owner".to_owned(),
        url: url.to_owned(),
        issuers: Vec::new(),
        email: "owner@hub.example".to_owned(),
        credential: Credential::Password("s3cret-of-the-hub".to_owned().into()),
    }
}
