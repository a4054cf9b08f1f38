//! `check`: for people, containers and scripts.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use syft_endpoints::error::Cause;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::channel::ServerArgs;

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    server: ServerArgs,
    /// How long to wait for its answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
    /// A JSON object instead of a word
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Status 0 when the server is serving, else 1.
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let limit = Duration::from_secs(self.timeout);
        let asked = tokio::time::timeout(limit, ask(&self.server)).await;
        let asked = asked.unwrap_or_else(|_| Err("the server did not answer in time".into()));
        let status = match asked {
            Err(error) if !self.json => return Err(error),
            asked => asked.unwrap_or(ServingStatus::Unknown),
        };
        let name = status.as_str_name();
        if self.json {
            say!("{}", serde_json::json!({"server": self.server.server, "status": name}))?;
        } else {
            say!("{name}")?;
        }
        Ok(if status == ServingStatus::Serving { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn ask(server: &ServerArgs) -> Result<ServingStatus, Cause> {
    let mut health = HealthClient::new(server.connect().await?);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await?;
    Ok(answer.into_inner().status())
}
