//! Role `embedder`: an embeddings endpoint whose vectors point wherever the hash of a text says, of
//! [`DIMENSIONS`] numbers. What is measured with it is how fast vectors are searched, not what they mean.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

use crate::{
    Fault,
    asked::read_request,
    process::{announce, runtime},
};

/// As many as small models of sentences have.
pub const DIMENSIONS: usize = 384;

pub fn run() -> Result<(), Fault> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?)?;
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(async move {
            // A client may leave at any moment.
            let _ = connection(stream).await;
        });
    }
}

async fn connection(mut stream: TcpStream) -> Result<(), Fault> {
    let mut buffer = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut buffer).await? {
        let body: Value = serde_json::from_str(&asked.body)?;
        let texts = body["input"].as_array().ok_or("no texts")?.iter();
        let data: Vec<Value> =
            texts.map(|text| json!({"embedding": vector(text.as_str().unwrap_or_default())})).collect();
        let told = json!({ "data": data }).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            told.len()
        );
        stream.write_all((head + &told).as_bytes()).await?;
    }
    Ok(())
}

/// The base64 of a text's vector.
fn vector(text: &str) -> String {
    // FNV-1a, and xorshift from there on.
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) | 1;
    let mut bytes = Vec::with_capacity(DIMENSIONS * 4);
    for _ in 0..DIMENSIONS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let number = (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5;
        bytes.extend(number.to_le_bytes());
    }
    STANDARD.encode(bytes)
}
