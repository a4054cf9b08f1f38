//! Models: what endpoints ask.
//!
//! A model type is one file or folder here and one line in [`registry`].

mod extractive;
mod openai;
mod registry;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub use registry::Models;

use crate::{
    domain::{ChatOptions, Completion, Health, Message, References},
    error::UpstreamError,
    telemetry::TraceContext,
};

/// What a model is asked.
pub struct ChatRequest {
    /// The conversation, with the references already written into it for models that read.
    pub messages: Vec<Message>,
    /// The caller's question alone.
    pub question: String,
    /// What the search found, for models that need more than its text.
    pub references: Option<Arc<References>>,
    pub options: ChatOptions,
    /// The trace that calls upstream belong to.
    pub trace: TraceContext,
}

/// What a model is, for traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct About<'a> {
    /// Its type.
    pub provider: &'a str,
    /// Its name at its provider.
    pub model: &'a str,
}

/// A model's answer as it is made. Ends after `Finished` or an error; an end without either is an
/// answer cut short. Dropping it abandons the call.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, UpstreamError>>;

/// One event of a model's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// The next piece of text; never empty.
    Delta(String),
    /// The answer is complete.
    Finished(Completion),
}

/// One configured model. Made once per stored configuration and shared by its queries.
#[async_trait]
pub trait Model: Send + Sync {
    /// Begins an answer. Dropping the future abandons the call.
    ///
    /// # Errors
    /// `Unavailable` or `Rejected`.
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, UpstreamError>;

    /// Whether a query could ask it now. Makes no paid call.
    async fn health(&self) -> Health;

    /// Bytes that it puts before every question by itself.
    fn prompt_bytes(&self) -> usize {
        0
    }

    /// What it is.
    fn about(&self) -> About<'_> {
        About::default()
    }
}
