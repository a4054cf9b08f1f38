//! REST over HTTP/1.1, on bare hyper connections: a caller of one endpoint, in JSON and in server-sent
//! events.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use syft_endpoints::upstream::sse;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::{Fault, client::Header, process::Process, token::Watch};

/// One caller of one endpoint. Clones share its connections.
#[derive(Clone)]
pub struct Rest {
    pool: Arc<Pool>,
    path: String,
    authorization: HeaderValue,
    query: Bytes,
    streamed: Bytes,
}

/// A connection carries one call at a time: there are as many as there were calls at once.
struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
    tasks: TaskTracker,
}

type Connection = SendRequest<Full<Bytes>>;

/// What is read of an answer.
#[derive(Deserialize)]
struct Answer {
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event<'e> {
    #[serde(borrow)]
    content: Option<Cow<'e, str>>,
    detail: Option<String>,
}

impl Rest {
    /// # Errors
    /// When the key is no header.
    pub fn new(service: &Process, key: &Header, slug: &str) -> Result<Self, Fault> {
        let pool = Pool { address: service.address, idle: Mutex::default(), tasks: TaskTracker::new() };
        let body = |stream: bool| {
            let body = json!({"messages": "What?", "stream": stream, "stop_sequences": []});
            Bytes::from(body.to_string())
        };
        Ok(Self {
            pool: Arc::new(pool),
            path: path(slug),
            authorization: key.to_str()?.parse()?,
            query: body(false),
            streamed: body(true),
        })
    }

    /// The same connections and caller, at another endpoint.
    pub fn at(&self, slug: &str) -> Self {
        Self { path: path(slug), ..self.clone() }
    }

    /// The text of an answer in JSON.
    ///
    /// # Errors
    /// When there is none.
    pub async fn query(&self) -> Result<String, Fault> {
        let (connection, response) = self.ask(&self.query).await?;
        let body = response.into_body().collect().await?.to_bytes();
        self.pool.put(connection);
        let answer: Answer = serde_json::from_slice(&body)?;
        Ok(answer.summary.message.content)
    }

    /// Reads a whole answer in events.
    ///
    /// # Errors
    /// When it fails, or ends without its last word.
    pub async fn stream(&self, watch: &mut Watch) -> Result<(), Fault> {
        let (connection, response) = self.ask(&self.streamed).await?;
        let (mut body, mut events, mut done) = (response.into_body(), sse::Decoder::default(), false);
        // To the end of the body, so that the connection can be used again.
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            events.push(&piece);
            while let Some(event) = events.next_event()? {
                done |= event == "[DONE]";
                if done {
                    continue;
                }
                let event: Event<'_> = serde_json::from_str(event)?;
                if let Some(detail) = event.detail {
                    return Err(detail.into());
                }
                watch.take(&event.content.unwrap_or_default())?;
            }
        }
        if !done {
            return Err("an answer ended without its last word".into());
        }
        self.pool.put(connection);
        Ok(())
    }

    async fn ask(&self, body: &Bytes) -> Result<(Connection, Response<Incoming>), Fault> {
        let mut connection = self.pool.take().await?;
        let request = Request::post(&self.path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, &self.authorization)
            .body(Full::new(body.clone()))?;
        let response = connection.send_request(request).await?;
        if response.status() == StatusCode::OK {
            return Ok((connection, response));
        }
        let (status, said) = (response.status(), response.into_body().collect().await?.to_bytes());
        Err(format!("{status}: {}", String::from_utf8_lossy(&said)).into())
    }
}

impl Pool {
    async fn take(&self) -> Result<Connection, Fault> {
        while let Some(mut connection) = self.last() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn(async move {
            // Whoever uses the connection learns of its end.
            let _ = driver.await;
        });
        Ok(connection)
    }

    /// The one that was used last.
    fn last(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

fn path(slug: &str) -> String {
    format!("/api/v1/endpoints/{slug}/query")
}
