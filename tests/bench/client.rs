//! The ways to one answer: through the service, over gRPC or REST, and straight from the scripted
//! upstream. All are read in the same way, so that what lies between them is the service.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use syft_endpoints::{
    proto::{
        self, QueryRequest, QueryResponse, StopSequences, StreamQueryRequest, StreamQueryResponse,
        endpoint_service_client::EndpointServiceClient, query::Messages, stream_query_response::Event,
    },
    upstream::sse,
};
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{Fault, process::Process, rest::Rest, script::Script, token::Watch};

pub type Header = MetadataValue<Ascii>;

/// One connection to a service, used as one caller of one endpoint.
#[derive(Clone)]
pub struct Caller {
    pub client: EndpointServiceClient<Channel>,
    pub authorization: Header,
    pub tenant: Option<Header>,
    pub slug: String,
}

/// The scripted upstream, asked as the service would ask it.
#[derive(Clone)]
pub struct Direct {
    http: reqwest::Client,
    url: String,
    body: String,
}

/// A way to an answer.
#[derive(Clone)]
pub enum Way {
    Service(Box<Caller>),
    Rest(Rest),
    Direct(Direct),
}

/// # Errors
/// When nobody listens there.
pub async fn connect(process: &Process) -> Result<Channel, Fault> {
    Ok(Endpoint::from_shared(process.url())?.tcp_nodelay(true).connect().await?)
}

/// # Errors
/// When the key is not ASCII.
pub fn bearer(key: &str) -> Result<Header, Fault> {
    Ok(format!("Bearer {key}").parse()?)
}

impl Caller {
    /// The same connection, used by another caller.
    pub fn with_authorization(&self, authorization: Header) -> Self {
        Self { authorization, ..self.clone() }
    }

    /// The same connection and caller, at another endpoint.
    pub fn at(&self, slug: &str) -> Self {
        Self { slug: slug.to_owned(), ..self.clone() }
    }

    /// # Errors
    /// What the service answers.
    pub async fn query(&self) -> Result<QueryResponse, Status> {
        let message =
            QueryRequest { slug: self.slug.clone(), query: Some(question("What?")), request_id: None };
        Ok(self.client.clone().query(self.request(message)).await?.into_inner())
    }

    /// Opens an answer to the question with this number.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn open(&self, number: usize) -> Result<Streaming<StreamQueryResponse>, Status> {
        let query = Some(question(&format!("number={number};")));
        let message = StreamQueryRequest { slug: self.slug.clone(), query, request_id: None };
        Ok(self.client.clone().stream_query(self.request(message)).await?.into_inner())
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// When it fails, or ends without its last word.
    pub async fn stream(&self, watch: &mut Watch) -> Result<(), Fault> {
        let mut events = self.open(0).await?;
        while next(&mut events, watch).await? {}
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-tenant-name", tenant.clone());
        }
        request
    }
}

/// Reads one event; false after the last word.
///
/// # Errors
/// When the answer fails, or ends without its last word.
pub async fn next(events: &mut Streaming<StreamQueryResponse>, watch: &mut Watch) -> Result<bool, Fault> {
    let message = events.message().await?.ok_or("an answer ended without its last word")?;
    match message.event {
        Some(Event::Delta(delta)) => watch.take(&delta.content).map(|()| true),
        Some(Event::Completed(_)) => Ok(false),
        _ => Ok(true),
    }
}

impl Direct {
    /// # Errors
    /// When the client cannot be made.
    pub fn new(upstream: &Process, script: Script) -> Result<Self, Fault> {
        let http = reqwest::Client::builder().http1_only().no_proxy().tcp_nodelay(true).build()?;
        // What the service sends, field by field.
        let body = json!({
            "model": script.to_string(),
            "messages": [{"role": "user", "content": "What?"}],
            "max_tokens": 100, "temperature": 0.7, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "stream": true, "stream_options": {"include_usage": true},
        });
        let url = format!("{}/v1/chat/completions", upstream.url());
        Ok(Self { http, url, body: body.to_string() })
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// When it fails or is cut short.
    pub async fn stream(&self, watch: &mut Watch) -> Result<(), Fault> {
        let request = self.http.post(&self.url).bearer_auth("k").body(self.body.clone());
        let response = request.header("content-type", "application/json").send().await?;
        let mut pieces = response.error_for_status()?.bytes_stream();
        let mut events = sse::Decoder::default();
        let mut done = false;
        // To the end of the body, so that the connection can be used again.
        while let Some(piece) = pieces.next().await {
            events.push(&piece?);
            while let Some(event) = events.next_event()? {
                done |= event == "[DONE]";
                if !done {
                    let chunk: Chunk = serde_json::from_str(event)?;
                    let texts = chunk.choices.into_iter().filter_map(|choice| choice.delta.content);
                    texts.into_iter().try_for_each(|text| watch.take(&text))?;
                }
            }
        }
        if done { Ok(()) } else { Err("the upstream's answer was cut short".into()) }
    }
}

impl Way {
    /// Reads a whole streamed answer.
    ///
    /// # Errors
    /// When it fails or is cut short.
    pub async fn stream(&self, watch: &mut Watch) -> Result<(), Fault> {
        match self {
            Self::Service(caller) => caller.stream(watch).await,
            Self::Rest(rest) => rest.stream(watch).await,
            Self::Direct(direct) => direct.stream(watch).await,
        }
    }

    /// The time that a whole answer of one token takes, in one piece where there is such a call.
    ///
    /// # Errors
    /// When it fails or is not the answer.
    pub async fn unary(&self) -> Result<Duration, Fault> {
        let (started, mut watch) = (Instant::now(), Watch::new(1));
        match self {
            Self::Service(caller) => watch.take(&content(&caller.query().await?))?,
            Self::Rest(rest) => watch.take(&rest.query().await?)?,
            Self::Direct(direct) => direct.stream(&mut watch).await?,
        }
        let took = started.elapsed();
        if watch.end().received == 1 { Ok(took) } else { Err("the answer is not the upstream's".into()) }
    }
}

/// The text of an answer.
pub fn content(answer: &QueryResponse) -> String {
    answer.summary.as_ref().map(|summary| summary.content.clone()).unwrap_or_default()
}

pub fn question(text: &str) -> proto::Query {
    proto::Query {
        messages: Some(Messages::Text(text.to_owned())),
        stop_sequences: Some(StopSequences::default()),
        ..proto::Query::default()
    }
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Piece,
}

#[derive(Deserialize)]
struct Piece {
    content: Option<String>,
}
