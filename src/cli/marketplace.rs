//! `marketplace`, `marketplaces` and `public-url`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;
use syft_endpoints::{
    error::Cause,
    proto::{
        ConnectMarketplaceRequest, DeleteMarketplaceRequest, GetPublicUrlRequest, Marketplace,
        RegisterMarketplaceRequest, SetPublicUrlRequest, VerifyOtpRequest,
    },
};
use time::OffsetDateTime;

use super::{
    client::ClientArgs,
    named,
    output::{failure, plain},
    secret,
};

const PASSWORD: &str = "SYFT_MARKETPLACE_PASSWORD";
const API_TOKEN: &str = "SYFT_MARKETPLACE_API_TOKEN";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Connect to an account that exists, by its password or an API token
    Connect(Connect),
    /// Create an account and connect to it
    Register(Register),
    /// Prove the e-mail address of a new account by the code that was sent there
    Verify(Verify),
    /// Disconnect a marketplace; what is published there is taken away
    Remove(Remove),
}

#[derive(Args)]
pub(super) struct Connect {
    /// The account's name or e-mail address; none with an API token
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    password: PasswordArgs,
    /// Read an API token from standard input [default: SYFT_MARKETPLACE_API_TOKEN, if there is no name]
    #[arg(long, conflicts_with_all = ["username", "password_stdin"])]
    api_token_stdin: bool,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Register {
    /// Your full name
    #[arg(long)]
    name: String,
    /// The account's name
    #[arg(long, value_name = "NAME")]
    username: String,
    /// Your e-mail address
    #[arg(long)]
    email: String,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The code: six digits, good once
    code: String,
    /// The account's e-mail address
    #[arg(long)]
    email: String,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Remove {
    /// The marketplace's id
    id: String,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of a word
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    client: ClientArgs,
    /// One JSON object per marketplace instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct PublicUrl {
    /// Scheme, host and port, as https://space.example.org; empty: what the configuration says
    url: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// A JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct HubArgs {
    /// Where the SyftHub is [default: the server's]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Args)]
struct PasswordArgs {
    /// Read the password from standard input [default: SYFT_MARKETPLACE_PASSWORD, or asked for]
    #[arg(long)]
    password_stdin: bool,
}

impl Command {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        match self {
            Self::Connect(connect) => connect.run().await?,
            Self::Register(register) => register.run().await?,
            Self::Verify(verify) => verify.run().await?,
            Self::Remove(remove) => remove.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Connect {
    async fn run(self) -> Result<(), Cause> {
        let mut request =
            ConnectMarketplaceRequest { url: self.hub.url.clone().unwrap_or_default(), ..Default::default() };
        match &self.username {
            Some(username) => {
                request.username.clone_from(username);
                request.password = self.password.read()?;
            }
            None => {
                let token = secret::read("API token", self.api_token_stdin, API_TOKEN)?;
                request.api_token = token.expose_secret().to_owned();
            }
        }
        let mut marketplaces = self.client.connect().await?.marketplaces();
        let connected = marketplaces.connect_marketplace(request).await;
        let connected = connected.map_err(|status| failure(&status))?.into_inner();
        connected_to(&connected.marketplace.unwrap_or_default(), self.json)
    }
}

impl Register {
    async fn run(self) -> Result<(), Cause> {
        let request = RegisterMarketplaceRequest {
            name: self.name,
            username: self.username,
            email: self.email,
            password: self.password.read()?,
            url: self.hub.url.unwrap_or_default(),
        };
        let mut marketplaces = self.client.connect().await?.marketplaces();
        let registered = marketplaces.register_marketplace(request).await;
        let registered = registered.map_err(|status| failure(&status))?.into_inner();
        match registered.marketplace {
            Some(marketplace) => connected_to(&marketplace, self.json)?,
            None if self.json => say!("{}", json!({"verification_required": true}))?,
            None => {
                say!("a code has been sent to the e-mail address: hand it to `marketplace verify`")?;
            }
        }
        Ok(())
    }
}

impl Verify {
    async fn run(self) -> Result<(), Cause> {
        let request = VerifyOtpRequest {
            email: self.email,
            password: self.password.read()?,
            code: self.code,
            url: self.hub.url.unwrap_or_default(),
        };
        let mut marketplaces = self.client.connect().await?.marketplaces();
        let connected = marketplaces.verify_otp(request).await.map_err(|status| failure(&status))?;
        connected_to(&connected.into_inner().marketplace.unwrap_or_default(), self.json)
    }
}

impl Remove {
    async fn run(self) -> Result<(), Cause> {
        let mut marketplaces = self.client.connect().await?.marketplaces();
        let removed = marketplaces.delete_marketplace(DeleteMarketplaceRequest { id: self.id.clone() }).await;
        removed.map_err(|status| failure(&status))?;
        match self.json {
            true => say!("{}", json!({"id": self.id, "state": "removed"}))?,
            false => say!("removed")?,
        }
        Ok(())
    }
}

impl List {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let all = named::all(&self.client.connect().await?).await?;
        if self.json {
            for one in &all {
                say!("{}", as_json(one))?;
            }
        } else if !all.is_empty() {
            print_table(&all)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl PublicUrl {
    pub(super) async fn run(self) -> Result<ExitCode, Cause> {
        let mut marketplaces = self.client.connect().await?.marketplaces();
        let counts = match self.url {
            Some(public_url) => {
                let set = marketplaces.set_public_url(SetPublicUrlRequest { public_url }).await;
                set.map(|set| set.into_inner().public_url)
            }
            None => {
                let found = marketplaces.get_public_url(GetPublicUrlRequest {}).await;
                found.map(|found| found.into_inner().public_url)
            }
        };
        let counts = counts.map_err(|status| failure(&status))?;
        match self.json {
            true => say!("{}", json!({"public_url": Some(&counts).filter(|url| !url.is_empty())}))?,
            false if counts.is_empty() => eprintln!("none is set"),
            false => say!("{counts}")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl PasswordArgs {
    fn read(&self) -> Result<String, Cause> {
        let password = secret::read("password", self.password_stdin, PASSWORD)?;
        Ok(password.expose_secret().to_owned())
    }
}

fn connected_to(marketplace: &Marketplace, as_object: bool) -> Result<(), Cause> {
    match as_object {
        true => say!("{}", as_json(marketplace))?,
        false => {
            say!("connected to {} as {}", plain(&marketplace.url), plain(&marketplace.username))?;
            eprintln!("id {}", marketplace.id);
        }
    }
    Ok(())
}

fn as_json(one: &Marketplace) -> serde_json::Value {
    json!({
        "id": one.id, "name": one.name, "username": one.username, "url": one.url, "state": state(one),
        "is_default": one.is_default, "is_configured": one.is_configured, "published": one.published,
        "pending": one.pending, "failed": one.failed, "reported": one.report_time.map(|at| at.seconds),
        "report_error": Some(&one.report_error).filter(|error| !error.is_empty()),
    })
}

fn print_table(all: &[Marketplace]) -> Result<(), Cause> {
    let head = ["ID", "NAME", "ACCOUNT", "STATE", "PUBLISHED/PENDING/FAILED", "LAST REPORT"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(all.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn row(one: &Marketplace) -> [String; 6] {
    let report = match (&one.report_time, one.report_error.as_str()) {
        (None, "") => "never".to_owned(),
        (None, error) => plain(error),
        (Some(at), "") => moment(at.seconds),
        (Some(at), error) => format!("{}, then: {}", moment(at.seconds), plain(error)),
    };
    [
        one.id.clone(),
        plain(&one.name),
        plain(&one.username),
        state(one).to_owned(),
        format!("{}/{}/{}", one.published, one.pending, one.failed),
        report,
    ]
}

fn state(one: &Marketplace) -> &'static str {
    match (one.is_active, one.is_default) {
        (true, true) => "default",
        (true, false) => "active",
        (false, _) => "inactive",
    }
}

fn moment(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let at = at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok());
    at.unwrap_or_default()
}
