//! Searches past endpoints and policies: over REST, and on the command line.

use serde_json::json;

use super::Rig;
use crate::support::{
    engines::{local::Local, weaviate::Weaviate},
    process::command,
    rest::Rest,
    space::ADMIN_KEY,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_shows_what_is_found_with_its_scores() {
    let mut rig = Rig::start(Local).await;
    let expected = rig.search("docs", "copyright of books").await.unwrap();
    let rest = Rest::admin(&rig.space);
    let search = async |body| rest.post("/api/v1/datasets/docs/search", body).await;
    let found = search(json!({"text": "copyright of books", "limit": 100})).await.expect(200);
    assert_eq!(found["provider_info"]["search_engine"], "local");
    let documents = found["documents"].as_array().unwrap();
    assert_eq!(documents.len(), expected.len());
    for (one, expected) in documents.iter().zip(&expected) {
        assert_eq!(one["similarity_score"].as_f64(), Some(expected.similarity));
        assert_eq!(
            (one["content"].as_str(), &one["metadata"]["slug"]),
            (Some(&*expected.content), &json!(expected.slug))
        );
    }
    let asked = json!({"text": "copyright of books", "similarity_threshold": 1, "include_metadata": false});
    assert_eq!(search(asked).await.expect(200)["documents"], json!([]));
    let bare = search(json!({"text": "copyright", "limit": 1, "include_metadata": false})).await.expect(200);
    assert_eq!(bare["documents"][0]["metadata"], json!({}));
    for wrong in [
        json!({}),
        json!({"text": ""}),
        json!({"text": "a", "limit": 0}),
        json!({"text": "a", "similarity_threshold": 2}),
    ] {
        search(wrong).await.expect(422);
    }
    rest.post("/api/v1/datasets/nowhere/search", json!({"text": "a"})).await.expect(404);
    Rest::with(&rig.space, &[]).post("/api/v1/datasets/docs/search", json!({"text": "a"})).await.expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_says_whose_fault_it_was() {
    let mut rig = Rig::start(Weaviate::near_text().await).await;
    rig.add("missing", rig.engine.of("Nowhere")).await.unwrap();
    let rest = Rest::admin(&rig.space);
    rest.post("/api/v1/datasets/missing/search", json!({"text": "a"})).await.expect(424);
    rig.engine.kill().await;
    rest.post("/api/v1/datasets/docs/search", json!({"text": "a"})).await.expect(502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_prints_scores() {
    let rig = Rig::start(Local).await;
    let search = |more: &[&str]| {
        let mut command = command();
        command.args([
            "search",
            "docs",
            "copyright of books",
            "--server",
            &rig.space.url(),
            "--key",
            ADMIN_KEY,
        ]);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = search(&["--limit", "1"]);
    assert!(shown.starts_with("0.") && shown.contains("books  The copyright term of books"), "{shown}");
    let found: serde_json::Value = serde_json::from_str(&search(&["--json"])).unwrap();
    assert_eq!(found["references"][0]["document_id"], "books");
    assert!(search(&["--similarity-threshold", "1"]).contains("no references above the threshold"));
}
