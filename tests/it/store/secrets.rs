//! Secrets at rest.

use sea_orm::ConnectionTrait;
use serde_json::json;
use syft_endpoints::{
    error::Part,
    store::{Config, SecretBox, Store},
};

use crate::support::{
    database::{Database, SECRET_KEY, attachment, root},
    on_both,
};

const NEW_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

async fn with_keys(database: &Database, keys: &str) -> Store {
    let config = Config { url: database.url.clone(), ..Config::default() };
    Store::connect(config, SecretBox::parse(keys).unwrap()).await.unwrap()
}

on_both! {
    async fn they_are_sealed_for_their_row_and_keys_rotate(database: Database) {
        let store = database.store().await;
        let tenant = root(&store).await.id;
        for name in ["one", "two"] {
            let mut new = attachment(name, "openai");
            new.configuration = json!({"api_key": format!("s3cret-{name}"), "model": "m"}).as_object().unwrap().clone();
            store.create_attachment(Part::Model, tenant, new, &["api_key"]).await.unwrap();
        }
        let raw = database.raw().await;
        let sql = "SELECT CAST(configuration AS TEXT) AS text FROM models ORDER BY name";
        let rows = raw.query_all_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await.unwrap();
        for row in &rows {
            let text: String = row.try_get("", "text").unwrap();
            assert!(!text.contains("s3cret") && text.contains("$sealed"), "{text}");
        }
        let key_of = async |store: &Store, name: &str| {
            store.attachment(Part::Model, tenant, name).await.map(|found| found.configuration["api_key"].clone())
        };
        assert_eq!(key_of(&store, "one").await.unwrap(), "s3cret-one");
        let rotated = with_keys(&database, &format!("{NEW_KEY},{SECRET_KEY}")).await;
        assert_eq!(key_of(&rotated, "one").await.unwrap(), "s3cret-one");
        assert!(key_of(&with_keys(&database, NEW_KEY).await, "one").await.is_err(), "opened with another key");
        // A sealed value that is moved to another row does not open there.
        raw.execute_unprepared(
            "UPDATE models SET configuration = (SELECT configuration FROM models WHERE name = 'one') WHERE name = 'two'",
        ).await.unwrap();
        assert!(key_of(&store, "two").await.is_err());
    }
}
