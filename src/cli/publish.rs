//! `publish`, `unpublish`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use syft_endpoints::{
    error::Cause,
    proto::{MarketplaceResult, PublishEndpointRequest, UnpublishEndpointRequest},
};

use super::{
    client::ClientArgs,
    named,
    output::{failure, plain},
};

#[derive(Args)]
pub(super) struct Publish {
    /// The endpoint's slug
    slug: String,
    /// Marketplaces, each by its name, host, URL or id
    #[arg(long, value_name = "NAME_OR_ID", num_args = 1.., required_unless_present = "all", conflicts_with = "all")]
    to: Vec<String>,
    /// All active marketplaces
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object per marketplace instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Unpublish {
    /// The endpoint's slug
    slug: String,
    /// Marketplaces, each by its name, host, URL or id [default: all that list it]
    #[arg(long, value_name = "NAME_OR_ID", num_args = 1..)]
    from: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object per marketplace instead of text
    #[arg(long)]
    json: bool,
}

impl Publish {
    /// Status 0 when every marketplace lists the endpoint now, else 1.
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let client = self.client.connect().await?;
        let request = PublishEndpointRequest {
            slug: self.slug,
            marketplace_ids: named::ids(&client, &self.to).await?,
            all_marketplaces: self.all,
        };
        let published = client.endpoints().publish_endpoint(request).await;
        let results = published.map_err(|status| failure(&status))?.into_inner().results;
        print(&results, "published", self.json)
    }
}

impl Unpublish {
    /// Status 0 when no marketplace of those lists the endpoint any more, else 1.
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let client = self.client.connect().await?;
        let marketplace_ids = named::ids(&client, &self.from).await?;
        let request = UnpublishEndpointRequest { slug: self.slug, marketplace_ids };
        let unpublished = client.endpoints().unpublish_endpoint(request).await;
        let results = unpublished.map_err(|status| failure(&status))?.into_inner().results;
        if results.is_empty() && !self.json {
            say!("it was not published there")?;
        }
        print(&results, "unpublished", self.json)
    }
}

/// A line for each marketplace: what has become of it, and why.
fn print(results: &[MarketplaceResult], done: &str, as_json: bool) -> Result<ExitCode, Cause> {
    for result in results {
        let state = match (result.success, result.is_pending) {
            (true, _) => done,
            (false, true) => "pending",
            (false, false) => "failed",
        };
        if as_json {
            let words = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
            let object = json!({
                "marketplace_id": result.marketplace_id, "marketplace_name": result.marketplace_name,
                "state": state, "message": words(&result.message), "error": words(&result.error),
            });
            say!("{object}")?;
        } else {
            let words = if result.success { &result.message } else { &result.error };
            say!("{state:11}  {}  {}", plain(&result.marketplace_name), plain(words))?;
        }
    }
    let is_done = results.iter().all(|result| result.success);
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
