//! Answers that come before the whole request has.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    database::Database,
    space::{ADMIN_KEY, Space},
};

fn post(headers: &str, length: usize) -> String {
    let body = "x".repeat(length);
    format!(
        "POST /api/v1/endpoints/ask/query HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// A client that writes its whole body before it reads must still get the answer that came before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_refusals_reach_who_is_still_sending() {
    let space = Space::configured(Database::sqlite(), &[("grpc.max_request_bytes", "4096")]).await;
    let authorized = format!("authorization: Bearer {ADMIN_KEY}\r\n");
    for (headers, expected) in [("", "HTTP/1.1 401"), (authorized.as_str(), "HTTP/1.1 413")] {
        for length in [100_000, 3 << 20] {
            let mut stream = TcpStream::connect(space.address).await.unwrap();
            let request = post(headers, length);
            let mut answer = Vec::new();
            for piece in request.as_bytes().chunks(16 << 10) {
                stream.write_all(piece).await.unwrap();
                // As fast as a network, not as fast as memory.
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            stream.read_to_end(&mut answer).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(expected), "{length}: {answer}");
        }
    }
}
