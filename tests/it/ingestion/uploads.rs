//! Files that a client sends are stored as those of a job.

use futures_util::future::select_all;
use syft_endpoints::proto::{self, UploadFileRequest, UploadFileResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{Rig, counts, found};
use crate::support::{database::Database, on_both, space::Clients};

fn pieces(name: &str, media_type: &str, data: &[u8]) -> Vec<UploadFileRequest> {
    let mut pieces: Vec<_> = data
        .chunks(1 << 20)
        .map(|data| UploadFileRequest { data: data.to_vec(), ..Default::default() })
        .collect();
    if pieces.is_empty() {
        pieces.push(UploadFileRequest::default());
    }
    pieces[0].dataset = "docs".to_owned();
    pieces[0].name = name.to_owned();
    pieces[0].media_type = media_type.to_owned();
    pieces
}

async fn upload(clients: &mut Clients, pieces: Vec<UploadFileRequest>) -> Result<UploadFileResponse, Status> {
    let mut answer = clients.ingestions.upload_file(tokio_stream::iter(pieces)).await?.into_inner();
    Ok(answer.message().await?.unwrap())
}

on_both! {
    async fn an_upload_is_stored_replaced_and_deleted(database: Database) {
        let mut rig = Rig::start(database).await;
        let csv = |words: &[&str]| format!("word\n{}", words.join("\n"));
        let first = upload(&mut rig.clients, pieces("in/rows.csv", "", csv(&["one", "two", "three"]).as_bytes())).await.unwrap();
        let file = first.file.unwrap();
        assert_eq!((file.documents, first.unchanged, file.ingestion_id.as_str()), (3, false, ""));
        assert_eq!(found(&mut rig.clients, "three").await[0].0, "in/rows.csv#3", "it is found when the answer comes");
        let revision = rig.revision().await;
        let again = upload(&mut rig.clients, pieces("in/rows.csv", "text/csv", csv(&["one", "two", "three"]).as_bytes())).await;
        assert!(again.unwrap().unchanged);
        assert_eq!(rig.revision().await, revision);
        upload(&mut rig.clients, pieces("in/rows.csv", "", csv(&["uno"]).as_bytes())).await.unwrap();
        assert_eq!(rig.documents().await.into_iter().collect::<Vec<_>>(), [("in/rows.csv#1".into(), "word: uno".into())]);
        let delete = proto::DeleteIngestionFileRequest { dataset: "docs".to_owned(), name: "in/rows.csv".to_owned() };
        rig.clients.ingestions.delete_ingestion_file(delete.clone()).await.unwrap();
        assert!(rig.documents().await.is_empty() && found(&mut rig.clients, "uno").await.is_empty());
        let gone = rig.clients.ingestions.delete_ingestion_file(delete).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        // After a deletion the same bytes are new.
        let back = upload(&mut rig.clients, pieces("in/rows.csv", "", csv(&["uno"]).as_bytes())).await.unwrap();
        assert!(!back.unchanged);
    }

    async fn what_cannot_be_read_touches_nothing(database: Database) {
        let mut rig = Rig::start(database).await;
        upload(&mut rig.clients, pieces("a.json", "", b"{\"content\":\"good\"}")).await.unwrap();
        let revision = rig.revision().await;
        let mut unknown = pieces("a.md", "", b"x");
        unknown[0].dataset = "none".to_owned();
        let long = "x".repeat(481);
        for (pieces, code) in [
            (pieces("a.json", "", b"{\"content\": s3cret"), Code::InvalidArgument),
            (pieces("a.png", "", b"x"), Code::InvalidArgument),
            (pieces("a", "image/png", b"x"), Code::InvalidArgument),
            (pieces("", "text/plain", b"x"), Code::InvalidArgument),
            (pieces("a\0b.md", "", b"x"), Code::InvalidArgument),
            (pieces(&format!("{long}.md"), "", b"x"), Code::InvalidArgument),
            (pieces("a.txt", "", &vec![b'x'; (64 << 20) + 1]), Code::InvalidArgument),
            (vec![], Code::InvalidArgument),
            (unknown, Code::NotFound),
        ] {
            let refused = upload(&mut rig.clients, pieces).await.unwrap_err();
            assert_eq!(refused.code(), code, "{refused:?}");
            assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
        }
        assert_eq!(rig.revision().await, revision);
        assert_eq!(rig.files().await.len(), 1);
    }

    async fn folders_leave_uploads_alone(database: Database) {
        let mut rig = Rig::start(database).await;
        upload(&mut rig.clients, pieces("up.md", "", b"uploaded")).await.unwrap();
        rig.write("a.md", "a");
        assert_eq!(counts(&rig.folder("").await), [1, 1, 0, 0, 0]);
        assert_eq!(rig.documents().await.len(), 2, "no folder has it, and it stays");
    }

    async fn one_tenant_holds_only_so_many_uploads(database: Database) {
        let mut rig = Rig::start(database).await;
        let (mut held, mut answers) = (Vec::new(), Vec::new());
        for name in ["a.md", "b.md", "c.md"] {
            let (sender, messages) = mpsc::channel(4);
            sender.send(pieces(name, "", b"begun").remove(0)).await.unwrap();
            held.push(sender);
            let answer = rig.clients.ingestions.upload_file(ReceiverStream::new(messages)).await;
            let mut answer = answer.unwrap().into_inner();
            answers.push(Box::pin(async move { answer.message().await }));
        }
        // None of them ends, so the first that does was refused.
        let (refused, _, others) = select_all(answers).await;
        assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
        held.clear();
        for answer in others {
            assert!(answer.await.unwrap().is_some());
        }
        upload(&mut rig.clients, pieces("next.md", "", b"next")).await.unwrap();
        assert_eq!(rig.documents().await.len(), 3);
    }
}
