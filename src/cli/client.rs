//! Clients of a running server, with credentials.

use std::time::{Duration, Instant};

use clap::Args;
use syft_endpoints::{
    error::Cause,
    proto::{
        access_service_client::AccessServiceClient, dataset_service_client::DatasetServiceClient,
        endpoint_service_client::EndpointServiceClient, ingestion_service_client::IngestionServiceClient,
        marketplace_service_client::MarketplaceServiceClient, model_service_client::ModelServiceClient,
        policy_service_client::PolicyServiceClient, usage_service_client::UsageServiceClient,
    },
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::channel::ServerArgs;

/// How long a server on this machine may take to start.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which server, and as whom.
#[derive(Args, Clone)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
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
            let attempt = match (self.server.connect().await, self.usable_key()) {
                (Ok(channel), Some(key)) => break (channel, key),
                (Ok(_), None) => {
                    "no key was given, by --key or SYFT_API_KEY, and none is in the data folder".into()
                }
                (Err(error), _) => error,
            };
            if Instant::now() >= deadline || !self.server.is_this_machine() {
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
        self.key.clone().or_else(|| self.server.local_admin_key())
    }
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

    pub(super) fn marketplaces(&self) -> MarketplaceServiceClient<Authorized> {
        MarketplaceServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    pub(super) fn ingestions(&self) -> IngestionServiceClient<Authorized> {
        IngestionServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
    }

    pub(super) fn usage(&self) -> UsageServiceClient<Authorized> {
        UsageServiceClient::with_interceptor(self.channel.clone(), self.credentials.clone())
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
