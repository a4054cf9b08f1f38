//! Files on their way into a dataset, from the command line.

use std::fs;

use syft_endpoints::proto::ListDocumentsRequest;

use super::{run, stderr, stdout};
use crate::{
    extract::fixtures::{Shape, docx, pdf},
    support::{database::Database, process::Process, space::ADMIN_KEY},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_become_shorter_leaves_nothing_behind() {
    let database = Database::sqlite();
    let process = Process::start(&database, &[]);
    let folder = database.folder.path().join("files");
    fs::create_dir(&folder).unwrap();
    let mut clients = process.admin().await;
    let write = |name: &str, sections: usize| {
        let text: String = (1..=sections).map(|n| format!("# Section {n}\n\nwords\n\n")).collect();
        fs::write(folder.join(name), text).unwrap();
    };
    let mut ingested = async |failed: usize| {
        let folder = folder.to_str().unwrap();
        let server = ["--server", process.server.as_str(), "--key", ADMIN_KEY];
        let output = run(&[&["ingest", "docs", folder, "--create", "--json"], &server[..]].concat());
        assert!(stdout(&output).contains(&format!("\"failed\":{failed}")), "{}", stderr(&output));
        let request = ListDocumentsRequest { dataset: "docs".into(), page_size: 1000, ..Default::default() };
        let page = clients.datasets.list_documents(request.clone()).await.unwrap().into_inner();
        let mut ids: Vec<_> = page.documents.into_iter().map(|document| document.id).collect();
        let rest = ListDocumentsRequest { page_token: page.next_page_token, ..request };
        if !rest.page_token.is_empty() {
            let page = clients.datasets.list_documents(rest).await.unwrap().into_inner();
            ids.extend(page.documents.into_iter().map(|document| document.id));
        }
        ids
    };
    write("long.md", 1100);
    write("other.md", 3);
    write("gone.md", 2);
    assert_eq!(ingested(0).await.len(), 1105);
    write("long.md", 1);
    write("other.md", 2);
    // What cannot be read keeps what it had.
    fs::write(folder.join("gone.md"), b"\xff").unwrap();
    assert_eq!(ingested(1).await, ["gone.md#1", "gone.md#2", "long.md#1", "other.md#1", "other.md#2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pdf_and_word_files_are_loaded_and_a_scan_is_told() {
    let database = Database::sqlite();
    let process = Process::start(&database, &[]);
    let folder = database.folder.path().join("files");
    fs::create_dir(&folder).unwrap();
    let paragraph = "<w:p><w:r><w:t>Patents last twenty years.</w:t></w:r></w:p>";
    for (name, bytes) in [
        ("law.pdf", pdf(&[&["The copyright term is seventy years."]], Shape::Streams)),
        ("patents.docx", docx(paragraph)),
        ("scan.pdf", pdf(&[&[]], Shape::Packed)),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let server = ["--server", process.server.as_str(), "--key", ADMIN_KEY];
    let folder = folder.to_str().unwrap();
    let output = run(&[&["ingest", "docs", folder, "--create", "--json"], &server[..]].concat());
    assert_eq!(stdout(&output).trim(), r#"{"documents":2,"failed":1,"files":2}"#, "{}", stderr(&output));
    assert!(stderr(&output).contains("scan.pdf: has no text"), "{}", stderr(&output));
    for (question, expected) in [("copyright term", "law.pdf#1"), ("patents last", "patents.docx#1")] {
        let found = run(&[&["search", "docs", question], &server[..]].concat());
        assert!(stdout(&found).contains(expected), "{}{}", stdout(&found), stderr(&found));
    }
}
