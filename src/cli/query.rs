//! `query`.

use std::process::ExitCode;

use clap::Args;
use syft_endpoints::{
    error::Cause,
    proto::{self, StopSequences, StreamQueryRequest, query::Messages, stream_query_response::Event},
};

use super::{client::ClientArgs, output};

#[derive(Args)]
pub(super) struct Query {
    /// The endpoint's slug
    slug: String,
    /// The question
    text: String,
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object per event instead of text
    #[arg(long)]
    json: bool,
    /// References at most
    #[arg(long, value_name = "N")]
    limit: Option<i32>,
    /// Lowest similarity of a reference, 0 to 1
    #[arg(long, value_name = "X")]
    similarity_threshold: Option<f64>,
    /// Tokens the model may write
    #[arg(long, value_name = "N", default_value_t = 500)]
    max_tokens: i32,
    /// Sampling temperature, 0 to 2
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Text at which the model stops; may be repeated [default: nowhere]
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

impl Query {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let client = self.client.connect().await?;
        let query = proto::Query {
            messages: Some(Messages::Text(self.text)),
            limit: self.limit,
            similarity_threshold: self.similarity_threshold,
            max_tokens: Some(self.max_tokens),
            temperature: self.temperature,
            stop_sequences: Some(StopSequences { values: self.stop }),
            ..proto::Query::default()
        };
        let request = StreamQueryRequest { slug: self.slug, query: Some(query), request_id: None };
        let answer = output::Answer::new(self.json);
        let call = client.endpoints().stream_query(request).await;
        let mut events = call.map_err(|status| output::failure(&status))?.into_inner();
        let mut completed = false;
        while let Some(message) = events.message().await.map_err(|status| output::failure(&status))? {
            if let Some(event) = message.event {
                completed = matches!(event, Event::Completed(_));
                answer.print(event)?;
            }
        }
        if completed { Ok(ExitCode::SUCCESS) } else { Err("the answer was cut off".into()) }
    }
}
