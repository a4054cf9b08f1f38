//! A dataset is as the folder is: what has not changed is not touched, what has is replaced, what is gone goes.

use std::fs;

use syft_endpoints::proto::{self, IngestionFileState, IngestionState};

use super::{Rig, counts, found, state};
use crate::support::{database::Database, on_both};

on_both! {
    async fn what_has_not_changed_is_not_touched(database: Database) {
        let mut rig = Rig::start(database).await;
        rig.write("a.md", "# Terms\n\nThe copyright term.");
        rig.write("b.csv", "name,age\nAmy,31\nBob,44");
        let first = rig.folder("").await;
        assert_eq!((state(&first), counts(&first)), (IngestionState::Done, [2, 2, 0, 0, 0]), "{first:?}");
        let (revision, files) = (rig.revision().await, rig.files().await);
        assert_eq!(rig.documents().await.into_keys().collect::<Vec<_>>(), ["a.md#1", "b.csv#1", "b.csv#2"]);
        assert_eq!(found(&mut rig.clients, "copyright").await[0].0, "a.md#1", "done is searchable");
        assert_eq!((files["b.csv"].documents, files["b.csv"].size, files["b.csv"].sha256.len()), (2, 22, 64));
        let again = rig.folder("").await;
        assert_eq!((state(&again), counts(&again)), (IngestionState::Done, [2, 0, 2, 0, 0]), "{again:?}");
        assert_eq!(rig.revision().await, revision, "nothing was written");
        assert_eq!(rig.files().await["a.md"].sha256, files["a.md"].sha256);
    }

    async fn what_has_changed_is_replaced_and_its_surplus_goes(database: Database) {
        let mut rig = Rig::start(database).await;
        rig.write("rows.csv", "word\none\ntwo\nthree");
        rig.write("given.jsonl", "{\"id\":\"x\",\"content\":\"old\"}\n{\"id\":\"y\",\"content\":\"same\"}");
        rig.write("same.md", "same");
        rig.folder("").await;
        assert_eq!(rig.documents().await.len(), 6);
        rig.write("rows.csv", "word\nchanged");
        rig.write("given.jsonl", "{\"id\":\"y\",\"content\":\"new\"}");
        let job = rig.folder("").await;
        assert_eq!(counts(&job), [3, 2, 1, 0, 0]);
        let documents: Vec<_> = rig.documents().await.into_iter().collect();
        let expected = [("rows.csv#1", "word: changed"), ("same.md#1", "same"), ("y", "new")];
        assert_eq!(documents, expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
        assert!(found(&mut rig.clients, "three").await.is_empty(), "the surplus is found no more");
        // Nothing at all is left of a file that says nothing any more.
        rig.write("rows.csv", "word\n");
        assert_eq!(counts(&rig.folder("").await), [3, 1, 2, 0, 0]);
        assert_eq!(rig.documents().await.len(), 2);
    }

    async fn deletions_follow_within_their_source(database: Database) {
        let mut rig = Rig::start(database).await;
        for name in ["a/one.md", "a/two.md", "a/deep/three.md", "ab/four.md", "five.md"] {
            rig.write(name, format!("text of {name}"));
        }
        rig.folder("").await;
        rig.clients.ingest("docs", &[("by-hand", "text")]).await;
        assert_eq!(rig.documents().await.len(), 6);
        fs::remove_file(rig.root.join("a/two.md")).unwrap();
        fs::remove_dir_all(rig.root.join("a/deep")).unwrap();
        fs::remove_file(rig.root.join("five.md")).unwrap();
        let job = rig.folder("a").await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Done, [1, 0, 1, 0, 2]), "only what is below `a`");
        let left: Vec<_> = rig.documents().await.into_keys().collect();
        assert_eq!(left, ["a/one.md#1", "ab/four.md#1", "by-hand", "five.md#1"]);
        fs::remove_file(rig.root.join("a/one.md")).unwrap();
        assert_eq!(counts(&rig.folder("a").await), [0, 0, 0, 0, 1], "an empty folder is a folder");
        assert_eq!(counts(&rig.folder("").await), [1, 0, 1, 0, 1]);
        assert_eq!(rig.documents().await.into_keys().collect::<Vec<_>>(), ["ab/four.md#1", "by-hand"]);
        assert_eq!(rig.files().await.len(), 1);
    }

    async fn a_file_that_fails_says_why_and_keeps_no_other(database: Database) {
        let mut rig = Rig::start(database).await;
        rig.write("good.md", "good");
        rig.write("bad.json", "{\"content\": \"first\"}");
        rig.folder("").await;
        rig.write("bad.json", "{\"content\": s3cret");
        rig.write("good.md", "better");
        let job = rig.folder("").await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [2, 1, 0, 1, 0]), "{job:?}");
        assert_eq!(job.error, "1 of 2 files failed");
        let request = proto::ListIngestionFilesRequest {
            dataset: "docs".to_owned(),
            ingestion_id: job.id.clone(),
            state: IngestionFileState::Failed.into(),
            ..Default::default()
        };
        let failed = rig.clients.ingestions.list_ingestion_files(request).await.unwrap().into_inner().files;
        assert_eq!(failed.len(), 1);
        assert!(!failed[0].reason.is_empty() && !failed[0].reason.contains("s3cret"), "{failed:?}");
        let documents = rig.documents().await;
        assert_eq!((documents["good.md#1"].as_str(), documents["bad.json#1"].as_str()), ("better", "first"),
            "what is stored of it stays");
        // The same bytes are tried again: they were never stored.
        assert_eq!(counts(&rig.folder("").await), [2, 0, 1, 1, 0]);
        rig.write("bad.json", "{\"content\": \"second\"}");
        let mended = rig.folder("").await;
        assert_eq!((state(&mended), counts(&mended)), (IngestionState::Done, [2, 1, 1, 0, 0]));
        assert_eq!(rig.files().await["bad.json"].reason, "");
    }

    async fn one_file_can_be_named_and_lists_have_pages(database: Database) {
        let mut rig = Rig::start(database).await;
        for i in 0..5 {
            rig.write(&format!("{i}.md"), format!("text {i}"));
        }
        let one = rig.folder("3.md").await;
        assert_eq!(counts(&one), [1, 1, 0, 0, 0]);
        let all = rig.folder("").await;
        assert_eq!(counts(&all), [5, 4, 1, 0, 0], "it has one name, however it is named");
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListIngestionFilesRequest {
                dataset: "docs".to_owned(),
                page_size: 2,
                page_token,
                ..Default::default()
            };
            let page = rig.clients.ingestions.list_ingestion_files(request).await.unwrap().into_inner();
            assert!(page.files.len() <= 2);
            names.extend(page.files.into_iter().map(|file| file.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["0.md", "1.md", "2.md", "3.md", "4.md"]);
        let request = proto::ListIngestionsRequest { dataset: "docs".to_owned(), page_size: 1, ..Default::default() };
        let page = rig.clients.ingestions.list_ingestions(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.ingestions[0].id, all.id, "newest first");
        let request = proto::ListIngestionsRequest { page_token: page.next_page_token, ..request };
        let page = rig.clients.ingestions.list_ingestions(request).await.unwrap().into_inner();
        assert_eq!((page.ingestions[0].id.as_str(), page.next_page_token.as_str()), (one.id.as_str(), ""));
    }

    async fn a_folder_that_is_not_mounted_deletes_nothing(database: Database) {
        let mut rig = Rig::start(database).await;
        rig.write("a.md", "text");
        rig.folder("").await;
        fs::remove_file(rig.root.join("a.md")).unwrap();
        let job = rig.folder("").await;
        let said = "The configured folder is empty: is it mounted?";
        assert_eq!((state(&job), job.error.as_str()), (IngestionState::Failed, said));
        assert_eq!(rig.documents().await.len(), 1);
        rig.write("other.log", "no kind of file that is read");
        assert_eq!(counts(&rig.folder("").await), [0, 0, 0, 0, 1]);
    }

    async fn of_two_files_that_claim_one_document_none_loses_it_for_good(database: Database) {
        let mut rig = Rig::start(database).await;
        rig.write("a.jsonl", "{\"id\":\"1\",\"content\":\"of a\"}");
        rig.write("b.jsonl", "{\"id\":\"1\",\"content\":\"of b\"}");
        rig.folder("").await;
        assert_eq!(rig.documents().await["1"], "of b", "the last is the one that counts");
        fs::remove_file(rig.root.join("b.jsonl")).unwrap();
        assert_eq!(counts(&rig.folder("").await), [1, 1, 0, 0, 1], "a is read again");
        assert_eq!(rig.documents().await["1"], "of a");
    }

    async fn what_others_have_changed_is_read_again(database: Database) {
        let mut rig = Rig::start(database).await;
        for name in ["a.md", "b.md", "c.md"] {
            rig.write(name, "as it is");
        }
        rig.folder("").await;
        rig.clients.ingest("docs", &[("a.md#1", "something else")]).await;
        let delete = proto::DeleteDocumentsRequest { dataset: "docs".to_owned(), ids: vec!["b.md#1".to_owned()] };
        rig.clients.datasets.delete_documents(delete).await.unwrap();
        assert_eq!(counts(&rig.folder("").await), [3, 2, 1, 0, 0]);
        assert!(rig.documents().await.values().all(|text| text == "as it is"));
        assert_eq!(rig.documents().await.len(), 3);
    }
}
