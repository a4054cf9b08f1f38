//! A connection to a running server.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use syft_endpoints::{
    error::Cause,
    proto::{
        access_service_client::AccessServiceClient, dataset_service_client::DatasetServiceClient,
        endpoint_service_client::EndpointServiceClient, model_service_client::ModelServiceClient,
        policy_service_client::PolicyServiceClient,
    },
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// How long a server on this machine may take to start.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which server, and as whom.
#[derive(Args, Clone)]
pub(super) struct ClientArgs {
    /// The server
    #[arg(long, value_name = "URL", env = "SYFT_SERVER", default_value = "http://127.0.0.1:8080")]
    pub(super) server: String,
    /// API key or admin key [default: on this machine, the admin key in the data folder]
    #[arg(long, value_name = "KEY", env = "SYFT_API_KEY", hide_env_values = true)]
    pub(super) key: Option<String>,
    /// Tenant, on a server that has several
    #[arg(long, value_name = "NAME", env = "SYFT_TENANT")]
    pub(super) tenant: Option<String>,
}

/// A connection that carries credentials.
#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
    credentials: Credentials,
}

type Authorized = InterceptedService<Channel, Credentials>;

#[derive(Clone)]
pub(super) struct Credentials {
    authorization: MetadataValue<Ascii>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl ClientArgs {
    /// Waits a moment for a server that has just been started, and for the key that it makes.
    pub(super) async fn connect(&self) -> Result<Client, Cause> {
        let deadline = Instant::now() + PATIENCE;
        let (channel, key) = loop {
            let attempt = match (connect(&self.server).await, self.usable_key()) {
                (Ok(channel), Some(key)) => break (channel, key),
                (Ok(_), None) => {
                    "no key was given, by --key or SYFT_API_KEY, and none is in the data folder".into()
                }
                (Err(error), _) => error,
            };
            if Instant::now() >= deadline || !is_this_machine(&self.server) {
                return Err(attempt);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let authorization = format!("Bearer {key}").parse();
        let authorization = authorization.map_err(|_| "the key has characters that a header cannot carry")?;
        let tenant = self.tenant.as_deref().map(str::parse).transpose();
        let tenant = tenant.map_err(|_| "the tenant has characters that a header cannot carry")?;
        Ok(Client { channel, credentials: Credentials { authorization, tenant } })
    }

    fn usable_key(&self) -> Option<String> {
        self.key.clone().or_else(|| local_admin_key(&self.server))
    }
}

/// Opens a connection.
pub(super) async fn connect(server: &str) -> Result<Channel, Cause> {
    if server.starts_with("https:") {
        return Err("TLS is not offered yet: use http:// and a tunnel".into());
    }
    let endpoint = Endpoint::from_shared(with_scheme(server))
        .map_err(|_| format!("'{server}' is not a URL"))?
        .connect_timeout(Duration::from_secs(5))
        // Many small pieces reach a slow terminal: a large window keeps the server from closing on us.
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(16 << 20);
    endpoint.connect().await.map_err(|_| format!("no server answers at {server}").into())
}

impl Client {
    pub(super) fn endpoints(&self) -> EndpointServiceClient<Authorized> {
        EndpointServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
            .max_decoding_message_size(16 << 20)
    }

    pub(super) fn datasets(&self) -> DatasetServiceClient<Authorized> {
        DatasetServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    pub(super) fn models(&self) -> ModelServiceClient<Authorized> {
        ModelServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    pub(super) fn policies(&self) -> PolicyServiceClient<Authorized> {
        PolicyServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    pub(super) fn access(&self) -> AccessServiceClient<Authorized> {
        AccessServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-tenant-name", tenant.clone());
        }
        Ok(request)
    }
}

/// The key of a server that runs on this machine as this user. No other server is ever sent it.
fn local_admin_key(server: &str) -> Option<String> {
    if !is_this_machine(server) {
        return None;
    }
    let folder = syft_endpoints::config::Config::default().data_dir;
    let folder = std::env::var_os("SYFT_DATA_DIR").map_or(folder, PathBuf::from);
    std::fs::read_to_string(folder.join("admin.key")).ok().map(|key| key.trim().to_owned())
}

/// `127.0.0.1:8080` is as good as `http://127.0.0.1:8080`.
fn with_scheme(server: &str) -> String {
    if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
}

fn is_this_machine(server: &str) -> bool {
    let server = url::Url::parse(&with_scheme(server));
    match server.as_ref().map(url::Url::host) {
        Ok(Some(url::Host::Domain(name))) => name == "localhost",
        Ok(Some(url::Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(url::Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_this_machine;

    #[test]
    fn the_local_key_is_for_the_local_server() {
        for here in
            ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "localhost:8080", "127.0.0.1"]
        {
            assert!(is_this_machine(here), "{here}");
        }
        for elsewhere in
            ["http://10.0.0.1", "http://127.0.0.1.evil.org", "http://localhost@evil.org", "http://x", "x"]
        {
            assert!(!is_this_machine(elsewhere), "{elsewhere}");
        }
    }
}
