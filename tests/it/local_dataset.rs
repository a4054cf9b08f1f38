//! The dataset `local`: rows, and an index derived from them.

use std::time::Duration;

use syft_endpoints::proto::{
    self, DeleteDocumentsRequest, IngestDocumentsRequest, ListDocumentsRequest, SearchDatasetRequest,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{
    database::Database,
    eventually, on_both,
    space::{Clients, Space, document},
};

async fn search(clients: &mut Clients, text: &str, threshold: f64) -> Vec<(String, f64)> {
    let request = SearchDatasetRequest {
        name: "docs".to_owned(),
        text: text.to_owned(),
        similarity_threshold: Some(threshold),
        limit: Some(100),
        include_metadata: None,
    };
    let found = clients.datasets.search_dataset(request).await.unwrap().into_inner().references.unwrap();
    found.documents.into_iter().map(|found| (found.document_id, found.similarity_score)).collect()
}

fn ids(found: &[(String, f64)]) -> Vec<&str> {
    found.iter().map(|(id, _)| id.as_str()).collect()
}

on_both! {
    async fn documents_are_found_replaced_and_deleted(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        clients.ingest("docs", &[
            ("b", "copyright terms"), ("a", "copyright terms"), ("c", "copyright of dogs"), ("d", "nothing of it"),
        ]).await;
        let found = search(&mut clients, "the copyright term", 0.0).await;
        assert_eq!(ids(&found), ["a", "b", "c"], "ties by id, stems and stop words do not count: {found:?}");
        assert!(found.iter().all(|(_, similarity)| (0.0..=1.0).contains(similarity)));
        // Half of the weight is 0.5: all of it is more, a part of it less.
        let strict = search(&mut clients, "the copyright term", 0.5).await;
        assert_eq!(ids(&strict), ["a", "b"], "{found:?}");
        clients.ingest("docs", &[("a", "something else")]).await;
        assert_eq!(ids(&search(&mut clients, "copyright term", 0.5).await), ["b"]);
        let delete = DeleteDocumentsRequest { dataset: "docs".to_owned(), ids: vec!["b".to_owned(), "x".to_owned()] };
        assert_eq!(clients.datasets.delete_documents(delete).await.unwrap().into_inner().deleted, 1);
        // No live document has `term` any more, so `copyright` is all that can be matched.
        assert_eq!(ids(&search(&mut clients, "copyright term", 0.5).await), ["c"]);
        assert!(search(&mut clients, "zebra", 0.0).await.is_empty());
    }

    async fn many_small_messages_are_no_attack(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        // One by one, each in a frame of its own, and faster than they can be stored: HTTP/2 counts small
        // frames that pile up.
        let messages = async_stream::stream! {
            for i in 0..20_000 {
                tokio::task::yield_now().await;
                let documents = vec![document(&format!("{i}"), "w")];
                yield IngestDocumentsRequest { dataset: "docs".to_owned(), documents };
            }
        };
        let call = clients.datasets.ingest_documents(messages).await;
        let (mut acknowledged, mut stored) = (call.unwrap().into_inner(), 0);
        while let Some(batch) = acknowledged.message().await.unwrap() {
            stored = batch.acknowledged;
        }
        assert_eq!(stored, 20_000);
    }

    async fn deleting_nothing_changes_nothing(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        clients.ingest("docs", &[("a", "words")]).await;
        for ids in [vec![], vec!["x".to_owned()], vec!["nul\0".to_owned()]] {
            let delete = DeleteDocumentsRequest { dataset: "docs".to_owned(), ids };
            let deleted = tokio::time::timeout(Duration::from_secs(20), clients.datasets.delete_documents(delete)).await;
            assert_eq!(deleted.expect("it waits for an index").unwrap().into_inner().deleted, 0);
        }
        let database = space.stop().await;
        let space = Space::start(database).await;
        assert_eq!(ids(&search(&mut space.admin().await, "words", 0.0).await), ["a"]);
    }

    async fn an_index_that_is_ahead_of_its_rows_is_made_anew(database: Database) {
        use sea_orm::ConnectionTrait;

        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        for text in ["first", "second", "third"] {
            clients.ingest("docs", &[(text, "words")]).await;
        }
        let database = space.stop().await;
        // As after a backup of the database was restored.
        let raw = database.raw().await;
        raw.execute_unprepared("DELETE FROM documents WHERE revision > 1").await.unwrap();
        raw.execute_unprepared("UPDATE datasets SET document_revision = 1").await.unwrap();
        raw.close().await.unwrap();
        let space = Space::start(database).await;
        assert_eq!(ids(&search(&mut space.admin().await, "words", 0.0).await), ["first"]);
    }

    async fn many_ties_are_cut_by_id(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        for round in 0..3 {
            let texts: Vec<String> = (0..50).map(|i| format!("d{:03}", i * 3 + round)).collect();
            let texts: Vec<(&str, &str)> = texts.iter().map(|id| (id.as_str(), "same words")).collect();
            clients.ingest("docs", &texts).await;
        }
        let request = SearchDatasetRequest { name: "docs".to_owned(), text: "words".to_owned(), ..Default::default() };
        let found = clients.datasets.search_dataset(request).await.unwrap().into_inner().references.unwrap();
        let found: Vec<&str> = found.documents.iter().map(|found| found.document_id.as_str()).collect();
        assert_eq!(found, ["d000", "d001", "d002", "d003", "d004"]);
    }

    async fn a_restart_and_a_lost_index_change_no_score(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        for round in 0..4 {
            let texts: Vec<(String, String)> = (0..40)
                .map(|i| (format!("d{i}"), format!("word{} shared round{round} {}", i % 7, "filler ".repeat(i))))
                .collect();
            let texts: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
            clients.ingest("docs", &texts).await;
        }
        let before = search(&mut clients, "word3 shared round3", 0.0).await;
        assert_eq!(before.len(), 40);
        let database = space.stop().await;
        let space = Space::start(database).await;
        assert_eq!(search(&mut space.admin().await, "word3 shared round3", 0.0).await, before);
        let database = space.stop().await;
        std::fs::remove_dir_all(database.folder.path().join("data/indexes")).unwrap();
        let space = Space::start(database).await;
        assert_eq!(search(&mut space.admin().await, "word3 shared round3", 0.0).await, before);
    }

    async fn another_replica_finds_what_was_stored_here(database: Database) {
        let space = Space::start(database).await;
        let twin = Database { url: space.database.url.clone(), folder: tempfile::tempdir().unwrap() };
        let replica = Space::start(twin).await;
        let (mut here, mut there) = (space.admin().await, replica.admin().await);
        here.dataset("docs").await;
        here.ingest("docs", &[("a", "first words"), ("b", "second words")]).await;
        let found = search(&mut here, "first words", 0.0).await;
        eventually("the replica finds it", async || search(&mut there.clone(), "first words", 0.0).await == found).await;
        here.ingest("docs", &[("c", "first words")]).await;
        eventually("the replica catches up", async || search(&mut there.clone(), "first", 0.0).await.len() == 2).await;
        there.ingest("docs", &[("d", "first words")]).await;
        eventually("and the other way", async || search(&mut here.clone(), "first", 0.0).await.len() == 3).await;
    }

    async fn batches_are_acknowledged_as_they_are_stored(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        let (sender, messages) = tokio::sync::mpsc::channel(4);
        let mut acknowledged =
            clients.datasets.ingest_documents(ReceiverStream::new(messages)).await.unwrap().into_inner();
        let message = |from: usize| IngestDocumentsRequest {
            dataset: "docs".to_owned(),
            documents: (from..from + 200).map(|i| document(&format!("d{i:04}"), "text")).collect(),
        };
        sender.send(message(0)).await.unwrap();
        sender.send(message(200)).await.unwrap();
        // The stream is still open, and says what is safe.
        let first = acknowledged.message().await.unwrap().unwrap();
        assert_eq!((first.acknowledged, first.revision), (256, 1));
        // A document that is refused ends the stream; what came before it is stored and acknowledged.
        let bad = IngestDocumentsRequest { dataset: String::new(), documents: vec![document("ok", "x"), document("", "x")] };
        sender.send(bad).await.unwrap();
        let second = acknowledged.message().await.unwrap().unwrap();
        assert_eq!(second.acknowledged, 401);
        let refused = acknowledged.message().await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("documents.401.id"), "{refused:?}");

        // Exactly one page: the last one has no token.
        let whole = ListDocumentsRequest { dataset: "docs".to_owned(), page_size: 401, ..Default::default() };
        let whole = clients.datasets.list_documents(whole).await.unwrap().into_inner();
        assert_eq!((whole.documents.len(), whole.next_page_token.as_str()), (401, ""));
        let (mut listed, mut page_token) = (0, String::new());
        loop {
            let page = ListDocumentsRequest { dataset: "docs".to_owned(), page_size: 100, page_token };
            let page = clients.datasets.list_documents(page).await.unwrap().into_inner();
            listed += page.documents.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_local_datasets_take_documents_and_only_one_a_stream() {
    let space = Space::sqlite().await;
    let mut clients = space.admin().await;
    clients.dataset("docs").await;
    clients.dataset("other").await;
    let send = async |messages: Vec<IngestDocumentsRequest>, clients: &mut Clients| {
        let mut answer = clients.datasets.ingest_documents(tokio_stream::iter(messages)).await?.into_inner();
        while answer.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let to = |dataset: &str| IngestDocumentsRequest {
        dataset: dataset.to_owned(),
        documents: vec![proto::Document { id: "a".to_owned(), content: "x".to_owned(), metadata: None }],
    };
    assert_eq!(send(vec![to("nowhere")], &mut clients).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(send(vec![], &mut clients).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(
        send(vec![to("docs"), to("other")], &mut clients).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let answered = tokio::time::timeout(Duration::from_secs(10), send(vec![to("docs")], &mut clients)).await;
    answered.unwrap().unwrap();
}
