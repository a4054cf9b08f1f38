//! Two replicas on one Postgres ingest into one dataset, and agree.

use std::fs;

use syft_endpoints::proto::{IngestionState, start_ingestion_request::Source};

use super::{ended, found, start, state};
use crate::support::{database::Database, eventually, space::Space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_ingest_into_one_dataset_and_agree() {
    let database = Database::postgres().await;
    let root = database.folder.path().join("root");
    for (folder, word) in [("a", "harbour"), ("b", "lighthouse")] {
        fs::create_dir_all(root.join(folder)).unwrap();
        for i in 0..40 {
            let text = format!("The {word} number {i} of the {}", ["coast", "island", "river"][i % 3]);
            fs::write(root.join(folder).join(format!("{i}.md")), text).unwrap();
        }
    }
    let second = Database { url: database.url.clone(), folder: tempfile::tempdir().unwrap() };
    let root = root.display().to_string();
    let settings = [("ingestion.root", root.as_str())];
    let replicas = [Space::configured(database, &settings).await, Space::configured(second, &settings).await];
    let mut clients = [replicas[0].admin().await, replicas[1].admin().await];
    clients[0].dataset("docs").await;
    for _ in 0..2 {
        let [one, two] = &mut clients;
        let (one, two) = tokio::join!(
            async {
                let id = start(one, Source::Folder("a".to_owned())).await.unwrap().id;
                ended(one, &id).await
            },
            async {
                let id = start(two, Source::Folder("b".to_owned())).await.unwrap().id;
                ended(two, &id).await
            },
        );
        assert_eq!((state(&one), state(&two)), (IngestionState::Done, IngestionState::Done));
    }
    let [one, two] = &mut clients;
    for (text, count) in
        [("harbour", 40), ("lighthouse", 40), ("coast", 28), ("island number", 80), ("harbour river 17", 53)]
    {
        eventually("both have it", async || {
            found(one, text).await.len() == count && found(two, text).await.len() == count
        })
        .await;
        assert_eq!(
            found(one, text).await,
            found(two, text).await,
            "the same documents in the same order, scored alike"
        );
    }
}
