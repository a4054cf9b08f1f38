//! kill -9 in the middle of an ingestion loses no acknowledged document.

use syft_endpoints::proto::{IngestDocumentsRequest, ListDocumentsRequest, SearchDatasetRequest};
use tokio_stream::wrappers::ReceiverStream;

use crate::support::{
    database::Database,
    on_both,
    process::Process,
    space::{Clients, document},
};

on_both! {
    async fn acknowledged_documents_survive(database: Database) {
        let process = Process::start(&database, &["--log-level", "debug"]);
        process.admin().await.dataset("docs").await;
        let (mut process, mut acknowledged) = (Some(process), 0);
        for round in 0..5 {
            let running = process.take().unwrap();
            let mut clients = running.admin().await;
            let (sender, messages) = tokio::sync::mpsc::channel(1);
            let mut answer =
                clients.datasets.ingest_documents(ReceiverStream::new(messages)).await.unwrap().into_inner();
            let feeding = async {
                for n in acknowledged.. {
                    let documents = vec![document(&format!("d{n:06}"), &format!("word number{n}"))];
                    let message = IngestDocumentsRequest { dataset: "docs".to_owned(), documents };
                    if sender.send(message).await.is_err() {
                        break;
                    }
                }
            };
            let listening = async {
                // Dies after a few acknowledgements, with more on the way.
                let mut stored = 0;
                for _ in 0..=round {
                    let batch = answer.message().await.unwrap_or_else(|broken| panic!("{broken:?}\n{}", std::fs::read_to_string(&running.log).unwrap()));
                    stored = batch.unwrap().acknowledged;
                }
                running.kill();
                stored
            };
            let stored = tokio::select! {
                stored = listening => stored,
                () = feeding => unreachable!(),
            };
            acknowledged += usize::try_from(stored).unwrap();
            process = Some(Process::start(&database, &["--log-level", "debug"]));
            let mut clients = process.as_ref().unwrap().admin().await;
            let stored = stored_ids(&mut clients).await;
            for n in 0..acknowledged {
                assert!(stored.contains(&format!("d{n:06}")), "round {round}: d{n:06} of {acknowledged} is lost");
            }
        }
        let mut clients = process.as_ref().unwrap().admin().await;
        let request = SearchDatasetRequest {
            name: "docs".to_owned(),
            text: format!("number{}", acknowledged - 1),
            ..SearchDatasetRequest::default()
        };
        let found = clients.datasets.search_dataset(request).await.unwrap().into_inner().references.unwrap();
        assert_eq!(found.documents.len(), 1, "the index lost what the rows have");
        process.unwrap().kill();
    }
}

async fn stored_ids(clients: &mut Clients) -> std::collections::HashSet<String> {
    let (mut ids, mut page_token) = (std::collections::HashSet::new(), String::new());
    loop {
        let page = ListDocumentsRequest { dataset: "docs".to_owned(), page_size: 1000, page_token };
        let page = clients.datasets.list_documents(page).await.unwrap().into_inner();
        ids.extend(page.documents.into_iter().map(|document| document.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return ids;
        }
    }
}
