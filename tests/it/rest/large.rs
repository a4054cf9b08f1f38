//! Long lists, and lists of long things.

use serde_json::json;
use syft_endpoints::proto::{
    Document, IngestDocumentsRequest, ListDocumentsRequest, ListEndpointsRequest, ListModelsRequest,
};

use crate::support::{database::Database, on_both, rest::Rest, space::Space};

/// More than any answer of an RPC may have.
const MANY: usize = 70;

on_both! {
    async fn lists_of_long_things_come_whole(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        let config = json!({"base_url": "http://127.0.0.1:1/v1", "model": "m", "api_key": "k".repeat(250 << 10)});
        let model = clients.model("gpt", "openai", config).await;
        let dataset = clients.dataset("law").await;
        let rest = Rest::admin(&space);
        for number in 0..MANY {
            let new = json!({"name": "n", "slug": format!("slug-{number}"), "dataset_id": dataset.id,
                "model_id": model.id, "description": "d".repeat(250 << 10)});
            rest.post("/api/v1/endpoints", new).await.expect(201);
        }
        let listed = rest.get("/api/v1/endpoints").await.expect(200);
        assert_eq!(listed.as_array().unwrap().len(), MANY);
        for path in ["/api/v1/datasets/law", "/api/v1/models/gpt"] {
            let changed = rest.call("PATCH", path, Some(json!({"summary": "new"}))).await.expect(200);
            assert_eq!(changed["connected_endpoints"].as_array().unwrap().len(), MANY);
            assert_eq!(rest.get(path).await.expect(200)["connected_endpoints"], changed["connected_endpoints"]);
        }
        let listed = rest.get("/api/v1/datasets").await.expect(200);
        assert_eq!(listed[0]["connected_endpoints"].as_array().unwrap().len(), MANY);

        // A client that has not been told otherwise takes 4 MiB.
        let (mut slugs, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = ListEndpointsRequest { page_size: 1000, page_token };
            let page = clients.endpoints.list_endpoints(page).await.unwrap().into_inner();
            assert!(page.endpoints.len() > 8, "a page is not filled: {}", page.endpoints.len());
            slugs.extend(page.endpoints.into_iter().map(|endpoint| endpoint.slug));
            (page_token, pages) = (page.next_page_token, pages + 1);
            if page_token.is_empty() {
                break;
            }
        }
        let all: Vec<String> = (0..MANY).map(|number| format!("slug-{number}")).collect();
        assert_eq!((slugs, pages), (all, MANY.div_ceil(12)));
    }

    async fn one_long_item_is_a_page(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        let lengths = [[10; 40].as_slice(), &[1 << 20; 9], &[10; 3]].concat();
        for (number, length) in lengths.iter().enumerate() {
            let document = Document { id: format!("{number:03}"), content: "x".repeat(*length), metadata: None };
            let request = IngestDocumentsRequest { dataset: "docs".to_owned(), documents: vec![document] };
            let sent = clients.datasets.ingest_documents(tokio_stream::once(request)).await.unwrap();
            let mut acknowledged = sent.into_inner();
            while acknowledged.message().await.unwrap().is_some() {}
        }
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = ListDocumentsRequest { dataset: "docs".to_owned(), page_size: 1000, page_token };
            let page = clients.datasets.list_documents(page).await.unwrap().into_inner();
            found.extend(page.documents.iter().map(|document| document.content.len()));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, lengths);
        let base = "http://127.0.0.1:1/v1";
        for name in ["a", "b"] {
            let prompt = "y".repeat(3 << 20);
            clients.model(name, "openai", json!({"base_url": base, "model": prompt})).await;
        }
        let page = ListModelsRequest { page_size: 2, ..ListModelsRequest::default() };
        let page = clients.models.list_models(page).await.unwrap().into_inner();
        assert_eq!((page.models.len(), page.next_page_token.is_empty()), (1, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_is_not_the_callers_fault() {
    let space = Space::configured(Database::sqlite(), &[("grpc.max_response_bytes", "4096")]).await;
    let mut clients = space.admin().await;
    let dataset = clients.dataset("law").await;
    let rest = Rest::admin(&space);
    let new =
        json!({"name": "n", "slug": "long", "dataset_id": dataset.id, "description": "s3cret".repeat(1000)});
    let made = rest.post("/api/v1/endpoints", new).await;
    for answer in [made, rest.get("/api/v1/endpoints/long").await] {
        let told = answer.expect(500);
        assert_eq!(told, json!({"detail": "The answer is larger than this service may give"}));
    }
}
