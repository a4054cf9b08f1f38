//! Role `upstream`: a server with OpenAI's chat completions over HTTP/1.1 that answers as the model's
//! name says. `GET /closed` tells which answers were left before their end, and when; `GET /accepted` how
//! many connections there have been.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, tcp::WriteHalf},
};
use tokio_util::task::TaskTracker;

use crate::{
    Fault,
    asked::{between, read_request},
    clock::{Pacer, nanos},
    process::{announce, runtime},
    script::Script,
    token::token,
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const LAST: &str = "data: {\"id\":\"c1\",\"model\":\"m1\",\"choices\":[{\"index\":0,\"delta\":{},\
    \"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\
    \"completion_tokens\":1}}\n\ndata: [DONE]\n\n";

/// What connections share.
#[derive(Clone)]
struct Server {
    pacer: Pacer,
    /// When the client left the answer to the question with this number.
    closed: Arc<Mutex<HashMap<u64, u64>>>,
    accepted: Arc<AtomicUsize>,
}

pub fn run() -> Result<(), Fault> {
    runtime()?.block_on(serve())
}

async fn serve() -> Result<(), Fault> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    // Thousands connect at once.
    let listener = socket.listen(4096)?;
    announce(listener.local_addr()?)?;
    let server = Server { pacer: Pacer::start(), closed: Arc::default(), accepted: Arc::default() };
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        server.accepted.fetch_add(1, Ordering::Relaxed);
        let server = server.clone();
        connections.spawn(async move {
            // A client may leave at any moment.
            let _ = server.connection(stream).await;
        });
    }
}

impl Server {
    async fn connection(&self, mut stream: TcpStream) -> Result<(), Fault> {
        let mut buffer = Vec::new();
        while let Some(asked) = read_request(&mut stream, &mut buffer).await? {
            if let Some(told) = self.told(&asked.path) {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", told.len());
                stream.write_all((head + &told).as_bytes()).await?;
                continue;
            }
            let script = Script::parse(between(&asked.body, "\"model\":\"", '"').ok_or("no model")?)?;
            let (mut reader, mut writer) = stream.split();
            let mut byte = [0; 1];
            let played = tokio::select! {
                played = self.play(script, &mut writer) => played.is_ok(),
                // Nothing comes from a client that waits, except its end.
                _ = reader.read(&mut byte) => false,
            };
            if !played {
                self.left(&asked.body);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn play(&self, script: Script, writer: &mut WriteHalf<'_>) -> Result<(), Fault> {
        let start = Instant::now() + script.latency;
        self.pacer.at(start).await;
        if script.whole {
            let tokens = (0..script.tokens).map(|number| piece(&chunk(number)));
            let answer = [HEAD.to_owned()].into_iter().chain(tokens).chain([piece(LAST), piece("")]);
            return Ok(writer.write_all(answer.collect::<String>().as_bytes()).await?);
        }
        writer.write_all(HEAD.as_bytes()).await?;
        for number in 0..script.tokens {
            // On a fixed schedule: a client that takes its time is behind, not slower.
            self.pacer.at(start + script.every * u32::try_from(number)?).await;
            writer.write_all(piece(&chunk(number)).as_bytes()).await?;
        }
        Ok(writer.write_all((piece(LAST) + &piece("")).as_bytes()).await?)
    }

    fn left(&self, body: &str) {
        if let Some(number) = between(body, "number=", ';').and_then(|number| number.parse().ok()) {
            let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            closed.insert(number, nanos());
        }
    }

    /// What is asked about the server itself.
    fn told(&self, path: &str) -> Option<String> {
        let closed = || self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match path {
            "/accepted" => Some(self.accepted.load(Ordering::Relaxed).to_string()),
            // `number moment` in lines.
            "/closed" => Some(closed().iter().map(|(number, at)| format!("{number} {at}\n")).collect()),
            _ => None,
        }
    }
}

fn chunk(number: usize) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m1\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}},\"finish_reason\":null}}]}}\n\n",
        token(number, nanos())
    )
}

/// A piece of a chunked body; its end when there is no text.
fn piece(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
