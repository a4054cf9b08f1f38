//! Search and chat: the part of a query that can be cancelled.

use std::sync::Arc;

use futures_util::TryStreamExt;
use tracing::Instrument;

use super::{Config, Plan, context::CallContext, prompt, spans, stream::EventSink};
use crate::{
    dataset::SearchRequest,
    domain::{Completion, QueryEvent, References, Usage},
    error::{Error, Part, UpstreamError},
    model::{ChatEvent, ChatRequest, Model},
    policy::{Filters, Turn},
};

/// Bytes of references in one answer: gRPC's clients take messages of 4 MiB unless they are told.
const MAX_REFERENCES: usize = 3 << 20;
/// Bytes of text that was withheld and leaves at once: clients take messages of 4 MiB unless they are told.
const MAX_PIECE: usize = 256 << 10;
/// Bytes of text that may be withheld; more cannot be an answer.
const MAX_WITHHELD: usize = 4 << 20;

/// An answer as far as it has come. Lives outside the cancellable part.
pub(super) struct Draft {
    filters: Filters,
    /// Text kept back until the answer has been settled; `None` when it may leave at once.
    withheld: Option<String>,
    pub(super) completion: Option<Completion>,
}

impl Draft {
    pub(super) fn new(plan: &Plan, turn: &mut Turn) -> Self {
        let withheld = plan.policies.withholds_answer(turn).then(String::new);
        Self { filters: plan.policies.filters(turn), withheld, completion: None }
    }

    /// Makes the answer, sending it as it is made.
    pub(super) async fn answer(
        &mut self,
        plan: &Plan,
        config: &Config,
        turn: &mut Turn,
        sink: &mut EventSink,
    ) -> Result<(), Error> {
        let references = self.search(plan, turn, sink).await?;
        if let Some(model) = &plan.model {
            let request = prompt::chat_request(turn, references, config.context_bytes);
            let span = spans::chat(model.about(), &request.options);
            let chatted = self.chat(model.as_ref(), request, turn, sink).instrument(span.clone()).await;
            spans::chatted(&span, &chatted, self.completion.as_ref());
            chatted?;
        }
        Ok(())
    }

    /// Whether text is kept back until the answer has been settled.
    pub(super) fn withholds(&self) -> bool {
        self.withheld.is_some()
    }

    /// Sends what was withheld. What there is room for leaves also when the deadline has passed meanwhile: it
    /// has been paid for.
    pub(super) async fn release(&mut self, sink: &mut EventSink, cx: &CallContext) -> Result<(), Error> {
        let text = self.withheld.take().unwrap_or_default();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_PIECE));
            if let Some(waiting) = sink.send_now(QueryEvent::Delta(piece.to_owned())) {
                cx.bound(sink.send(waiting)).await?;
            }
            rest = after;
        }
        Ok(())
    }

    async fn search(
        &mut self,
        plan: &Plan,
        turn: &mut Turn,
        sink: &mut EventSink,
    ) -> Result<Option<Arc<References>>, Error> {
        let Some(dataset) = &plan.dataset else { return Ok(None) };
        let request =
            SearchRequest { text: turn.query.search_text().to_owned(), options: turn.query.search() };
        let span = spans::search(&plan.dataset_name);
        let found = dataset.search(&request).instrument(span.clone()).await;
        let found = found.map_err(|fault| fault.of(Part::Dataset));
        spans::failed(&span, &found);
        let mut references = found?;
        references.cut(MAX_REFERENCES);
        self.filters.references(&mut references)?;
        if !self.filters.is_empty() {
            // What stands in the place of something may be longer.
            references.cut(MAX_REFERENCES);
        }
        turn.documents = references.documents.len();
        let references = Arc::new(references);
        sink.send(QueryEvent::References(Arc::clone(&references))).await?;
        Ok(Some(references))
    }

    async fn chat(
        &mut self,
        model: &dyn Model,
        request: ChatRequest,
        turn: &mut Turn,
        sink: &mut EventSink,
    ) -> Result<(), Error> {
        let read = request.messages.iter().map(|message| message.content.chars().count()).sum();
        let mut written = 0;
        let failed = |fault: UpstreamError| fault.of(Part::Model);
        let mut events = model.chat(request).await.map_err(failed)?;
        while let Some(event) = events.try_next().await.map_err(failed)? {
            match event {
                ChatEvent::Delta(text) => {
                    written += text.chars().count();
                    turn.usage = Usage::estimate(read, written);
                    let text = self.filters.delta(text)?;
                    self.emit(text, sink).await?;
                }
                ChatEvent::Finished(completion) => {
                    turn.usage = completion.usage;
                    self.completion = Some(completion);
                    let rest = self.filters.finish()?;
                    return self.emit(rest, sink).await;
                }
            }
        }
        Err(failed(UpstreamError::unavailable("its answer broke off")))
    }

    async fn emit(&mut self, text: String, sink: &mut EventSink) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let Some(withheld) = &mut self.withheld else {
            return sink.send(QueryEvent::Delta(text)).await;
        };
        if withheld.len() + text.len() > MAX_WITHHELD {
            return Err(UpstreamError::unavailable("its answer is too large").of(Part::Model));
        }
        withheld.push_str(&text);
        Ok(())
    }
}
