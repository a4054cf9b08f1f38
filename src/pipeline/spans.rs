//! The spans of a query, under the names of OpenTelemetry's conventions for generative AI. Nothing of
//! what is asked or answered is in them.

use tracing::{Span, field::Empty, info_span};

use crate::{
    domain::{ChatOptions, Completion, FinishReason},
    error::Error,
    model::About,
    telemetry::traces::TARGET,
};

pub(super) fn search(dataset: &str) -> Span {
    info_span!(
        target: TARGET,
        "search",
        otel.name = format_args!("retrieval {dataset}"),
        gen_ai.operation.name = "retrieval",
        gen_ai.data_source.id = dataset,
        error.type = Empty,
    )
}

pub(super) fn chat(about: About<'_>, options: &ChatOptions) -> Span {
    info_span!(
        target: TARGET,
        "chat",
        otel.name = format_args!("chat {}", about.model),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = about.provider,
        gen_ai.request.model = about.model,
        gen_ai.request.max_tokens = options.max_tokens,
        gen_ai.request.temperature = options.temperature,
        gen_ai.request.stream = true,
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        error.type = Empty,
    )
}

/// Notes how a chat ended.
pub(super) fn chatted(span: &Span, done: &Result<(), Error>, completion: Option<&Completion>) {
    failed(span, done);
    let Some(completion) = completion else { return };
    let reason = match completion.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other => "other",
    };
    span.record("gen_ai.response.model", completion.model.as_str());
    span.record("gen_ai.response.finish_reasons", reason);
    span.record("gen_ai.usage.input_tokens", completion.usage.prompt_tokens);
    span.record("gen_ai.usage.output_tokens", completion.usage.completion_tokens);
}

/// Notes that a part failed.
pub(super) fn failed<T>(span: &Span, done: &Result<T, Error>) {
    if let Err(error) = done {
        span.record("error.type", error.reason());
    }
}
