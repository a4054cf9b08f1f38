//! The same over REST.

use std::time::Duration;

use futures_util::stream;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream};

use super::{Files, Rig};
use crate::support::{database::Database, eventually, on_both, rest::Rest, space::ADMIN_KEY};

const DATASET: &str = "/api/v1/ingestion/datasets/docs";

/// The jobs that a watcher is shown.
fn events(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

on_both! {
    async fn jobs_are_started_shown_stopped_and_tried_again(database: Database) {
        let rig = Rig::start(database).await;
        let rest = Rest::admin(&rig.space);
        assert_eq!(rest.get(&format!("{DATASET}/status")).await.expect(200), json!({"state": null, "job": null}));
        rest.post(&format!("{DATASET}/retry"), json!({})).await.expect(404);
        rig.write("a.md", "The copyright term");
        let job = rest.post(&format!("{DATASET}/start"), json!({"folder": ""})).await.expect(201);
        let id = job["id"].as_str().unwrap();
        assert_eq!((&job["state"], &job["folder"], &job["urls"]), (&json!("pending"), &json!(""), &Value::Null));
        let watched = rest.get(&format!("/api/v1/ingestion/jobs/{id}/watch")).await;
        assert_eq!(watched.header("content-type"), "text/event-stream");
        let seen = events(&watched.text);
        let last = seen.last().unwrap();
        assert_eq!((&last["state"], &last["total"], &last["done"], &last["failed"]), (&json!("done"), &json!(1), &json!(1), &json!(0)));
        assert_eq!(&rest.get(&format!("/api/v1/ingestion/jobs/{id}")).await.expect(200), last);
        let status = rest.get(&format!("{DATASET}/status")).await.expect(200);
        assert_eq!((&status["state"], &status["job"]), (&json!("done"), last));
        rest.post(&format!("{DATASET}/retry"), json!({})).await.expect(409);

        let server = Files::start(&[("/gated/a.md", "text/markdown", "x")]).await;
        let urls = json!({"urls": [server.url("/gated/a.md?key=s3cret")]});
        let second = rest.post(&format!("{DATASET}/start"), urls).await.expect(201);
        assert!(!second.to_string().contains("s3cret"));
        server.asked_for(1).await;
        let stopped = rest.post(&format!("{DATASET}/stop"), json!({})).await.expect(200);
        assert_eq!((stopped["jobs"].as_array().unwrap().len(), &stopped["jobs"][0]["state"]), (1, &json!("stopped")));
        server.open(2);
        let again = rest.post(&format!("{DATASET}/retry"), json!({})).await.expect(200);
        assert_eq!((&again["id"], &again["state"]), (&second["id"], &json!("pending")));
        let path = format!("/api/v1/ingestion/jobs/{}", second["id"].as_str().unwrap());
        eventually("it is done", async || rest.get(&path).await.expect(200)["state"] == "done").await;
        assert_eq!(rest.post(&format!("{path}/stop"), json!({})).await.expect(200)["state"], "done");
        assert_eq!(rest.post(&format!("{path}/retry"), json!({})).await.expect(200)["state"], "done");
        let jobs = rest.get(&format!("{DATASET}/jobs?page_size=1")).await.expect(200);
        assert_eq!(jobs["jobs"][0]["id"], second["id"]);
        let token = jobs["next_page_token"].as_str().unwrap();
        let jobs = rest.get(&format!("{DATASET}/jobs?page_size=1&page_token={token}")).await.expect(200);
        assert_eq!((&jobs["jobs"][0]["id"], &jobs["next_page_token"]), (&json!(id), &Value::Null));
        for body in [json!({}), json!({"folder": "", "urls": ["http://x.org/a"]}), json!({"urls": []}), json!({"folder": ".."})] {
            rest.post(&format!("{DATASET}/start"), body).await.expect(422);
        }
    }

    async fn files_are_sent_listed_and_deleted(database: Database) {
        let mut rig = Rig::start(database).await;
        let rest = Rest::admin(&rig.space);
        let send = async |name: &str, kind: &'static str, body: Vec<u8>| {
            let request = rest.request(http::Method::POST, &format!("{DATASET}/files?name={name}"));
            rest.send(request.header("content-type", kind).body(body)).await
        };
        let sent = send("in/rows.csv", "application/octet-stream", b"word\none\ntwo".to_vec()).await.expect(201);
        assert_eq!((&sent["unchanged"], &sent["file"]["documents"], &sent["file"]["job_id"]), (&json!(false), &json!(2), &Value::Null));
        assert_eq!(send("in/rows.csv", "text/csv", b"word\none\ntwo".to_vec()).await.expect(201)["unchanged"], true);
        send("page", "text/html", b"<p>hello".to_vec()).await.expect(201);
        let listed = rest.get(&format!("{DATASET}/files?state=done")).await.expect(200);
        let names: Vec<_> = listed["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["in/rows.csv", "page"]);
        assert_eq!(rig.documents().await.len(), 3);
        let deleted = rest.call("DELETE", &format!("{DATASET}/files?name=in/rows.csv"), None).await;
        deleted.expect(200);
        rest.call("DELETE", &format!("{DATASET}/files?name=in/rows.csv"), None).await.expect(404);
        assert_eq!(rig.documents().await.len(), 1);
        send("a.json", "application/json", b"{\"content\": s3cret".to_vec()).await.expect(422);
        send("a.png", "image/png", b"x".to_vec()).await.expect(422);
        rest.call("POST", &format!("{DATASET}/files"), None).await.expect(422);
    }

    async fn a_body_has_an_end(database: Database) {
        let mut rig = Rig::start(database).await;
        let rest = Rest::admin(&rig.space);
        // Far larger than a message of an RPC, and good.
        let large = "word and word\n".repeat(600_000);
        let request = rest.request(http::Method::POST, &format!("{DATASET}/files?name=large.txt"));
        rest.send(request.body(large)).await.expect(201);
        // Too large, and no length is told.
        let pieces = stream::iter((0..80).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 20])));
        let request = rest.request(http::Method::POST, &format!("{DATASET}/files?name=huge.txt"));
        let answer = rest.send(request.body(reqwest::Body::wrap_stream(pieces))).await;
        assert_eq!(answer.status, 413, "{}", answer.text);

        // What breaks off is no file.
        let mut socket = TcpStream::connect(rig.space.address).await.unwrap();
        let head = format!(
            "POST {DATASET}/files?name=part.txt HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
             content-length: 100\r\n\r\nhalf of it"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_string(&mut answer)).await;
        assert!(read.is_ok() && !answer.starts_with("HTTP/1.1 2"), "{answer}");
        let files = rig.files().await;
        assert_eq!(files.into_keys().collect::<Vec<_>>(), ["large.txt"]);
    }
}
