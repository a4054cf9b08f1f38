//! `search`.

use std::process::ExitCode;

use clap::Args;
use syft_endpoints::{
    error::Cause,
    proto::{SearchDatasetRequest, stream_query_response::Event},
};

use super::{client::ClientArgs, output};

#[derive(Args)]
pub(super) struct Search {
    /// The dataset's name
    dataset: String,
    /// What to look for
    text: String,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of text
    #[arg(long)]
    json: bool,
    /// References at most
    #[arg(long, value_name = "N")]
    limit: Option<i32>,
    /// Lowest similarity of a reference, 0 to 1 [default: 0]
    #[arg(long, value_name = "X")]
    similarity_threshold: Option<f64>,
}

impl Search {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let client = self.client.connect().await?;
        let request = SearchDatasetRequest {
            name: self.dataset,
            text: self.text,
            similarity_threshold: self.similarity_threshold,
            limit: self.limit,
            include_metadata: None,
        };
        let found = client.datasets().search_dataset(request).await;
        let found = found.map_err(|status| output::failure(&status))?.into_inner().references;
        output::Answer::new(self.json).print(Event::References(found.unwrap_or_default()))?;
        Ok(ExitCode::SUCCESS)
    }
}
