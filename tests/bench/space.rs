//! A measured service with what a group needs in it: keys, endpoints, policies, models on a scripted
//! upstream.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use syft_endpoints::proto::{
    ApiKey, CreateApiKeyRequest, CreateDatasetRequest, CreateEndpointRequest, CreateModelRequest,
    CreatePolicyRequest, CreateTenantRequest, Dataset, Endpoint, Model, Policy, Scope, Tenant,
    access_service_client::AccessServiceClient, dataset_service_client::DatasetServiceClient,
    endpoint_service_client::EndpointServiceClient, model_service_client::ModelServiceClient,
    policy_service_client::PolicyServiceClient, to_struct,
};
use tonic::{Request, transport::Channel};

use crate::{
    Bench, Fault,
    client::{Caller, Direct, Header, Way, bearer, connect},
    process::{ADMIN_KEY, Process},
    rest::Rest,
    script::Script,
};

/// The endpoint of groups that need one.
pub const SLUG: &str = "measured";

/// A service, the upstream of its models, and its owner.
pub struct Space {
    pub service: Process,
    pub upstream: Process,
    pub owner: Owner,
    /// The key of the one caller that most groups need.
    key: Header,
}

/// Manages a service, in one tenant.
#[derive(Clone)]
pub struct Owner {
    pub channel: Channel,
    authorization: Header,
    tenant: Option<Header>,
}

impl Space {
    /// Starts a service with its data in a folder of its own, named after the group.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(bench: &Bench, name: &str, settings: &[(&str, &str)]) -> Result<Self, Fault> {
        let folder = bench.folder(name)?;
        let service = Process::service(&bench.binary, &folder, settings)?;
        let upstream = Process::role("upstream", &folder)?;
        let owner = Owner::new(&service).await?;
        let key = owner.key("bench@example.org").await?;
        Ok(Self { service, upstream, owner, key })
    }

    /// An endpoint with one access policy and a model that does what the script says.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn endpoint(&self, slug: &str, script: Script) -> Result<(), Fault> {
        self.owner.endpoint(slug, &self.upstream, script).await
    }

    /// Callers on as many connections. Their plan is warm.
    ///
    /// # Errors
    /// When the service cannot be reached.
    pub async fn callers(&self, slug: &str, connections: usize) -> Result<Vec<Caller>, Fault> {
        callers(&self.service, &self.key, slug, connections).await
    }

    /// A caller over REST.
    ///
    /// # Errors
    /// When the key is no header.
    pub fn rest(&self, slug: &str) -> Result<Rest, Fault> {
        Rest::new(&self.service, &self.key, slug)
    }

    /// Connections that the upstream has accepted.
    ///
    /// # Errors
    /// When the upstream is gone.
    pub async fn upstream_connections(&self) -> Result<usize, Fault> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let told = http.get(format!("{}/accepted", self.upstream.url())).send().await?.text().await?;
        // Without this one.
        Ok(told.parse::<usize>()? - 1)
    }

    /// Through the service on as many connections, and past it.
    ///
    /// # Errors
    /// When the service cannot be reached.
    pub async fn ways(&self, slug: &str, script: Script, connections: usize) -> Result<[Vec<Way>; 2], Fault> {
        let service = self.callers(slug, connections).await?.into_iter();
        let service = service.map(|caller| Way::Service(Box::new(caller))).collect();
        let direct = Direct::new(&self.upstream, script)?;
        Ok([vec![Way::Direct(direct)], service])
    }
}

/// Callers with one key, each on a connection of its own.
///
/// # Errors
/// When nobody listens there.
pub async fn callers(
    service: &Process,
    key: &Header,
    slug: &str,
    connections: usize,
) -> Result<Vec<Caller>, Fault> {
    let mut callers = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = EndpointServiceClient::new(connect(service).await?);
        callers.push(Caller { client, authorization: key.clone(), tenant: None, slug: slug.to_owned() });
    }
    Ok(callers)
}

impl Owner {
    /// # Errors
    /// When nobody listens there.
    pub async fn new(service: &Process) -> Result<Self, Fault> {
        Ok(Self { channel: connect(service).await?, authorization: bearer(ADMIN_KEY)?, tenant: None })
    }

    /// Makes a tenant, and its owner.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn tenant(&self, name: &str) -> Result<(Self, Header), Fault> {
        let tenant = Tenant { name: name.to_owned(), active: true, ..Tenant::default() };
        let request = self.request(CreateTenantRequest { tenant: Some(tenant) });
        AccessServiceClient::new(self.channel.clone()).create_tenant(request).await?;
        let header: Header = name.parse()?;
        Ok((Self { tenant: Some(header.clone()), ..self.clone() }, header))
    }

    /// Makes a key for a caller.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn key(&self, email: &str) -> Result<Header, Fault> {
        let key = ApiKey {
            name: email.to_owned(),
            email: email.to_owned(),
            scopes: vec![Scope::Query.into()],
            ..ApiKey::default()
        };
        let request = self.request(CreateApiKeyRequest { api_key: Some(key) });
        let made = AccessServiceClient::new(self.channel.clone()).create_api_key(request).await?;
        bearer(&made.into_inner().secret)
    }

    /// # Errors
    /// What the service answers.
    pub async fn endpoint(&self, slug: &str, upstream: &Process, script: Script) -> Result<(), Fault> {
        let configuration = json!({
            "base_url": format!("{}/v1", upstream.url()), "model": script.to_string(), "api_key": "k",
        });
        let model = Model {
            name: slug.to_owned(),
            dtype: "openai".to_owned(),
            configuration: Some(to_struct(configuration.as_object().cloned().unwrap_or_default())),
            ..Model::default()
        };
        let request = self.request(CreateModelRequest { model: Some(model) });
        let made = ModelServiceClient::new(self.channel.clone()).create_model(request).await?;
        let endpoint = Endpoint {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            model_id: made.into_inner().model.map(|model| model.id),
            published: true,
            ..Endpoint::default()
        };
        let request = self.request(CreateEndpointRequest { endpoint: Some(endpoint) });
        EndpointServiceClient::new(self.channel.clone()).create_endpoint(request).await?;
        self.policy(slug, "access", json!({"allowed_users": ["*@example.org"]})).await
    }

    /// # Errors
    /// What the service answers.
    pub async fn policy(&self, slug: &str, policy_type: &str, configuration: Value) -> Result<(), Fault> {
        let policy = Policy {
            name: policy_type.to_owned(),
            policy_type: policy_type.to_owned(),
            configuration: Some(to_struct(configuration.as_object().cloned().unwrap_or_default())),
            endpoint_slug: slug.to_owned(),
            ..Policy::default()
        };
        let request = self.request(CreatePolicyRequest { policy: Some(policy) });
        PolicyServiceClient::new(self.channel.clone()).create_policy(request).await?;
        Ok(())
    }

    /// Makes a `local` dataset.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn dataset(&self, name: &str) -> Result<(), Fault> {
        self.dataset_of(name, "local", json!({})).await
    }

    /// Makes a dataset of any type.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn dataset_of(&self, name: &str, dtype: &str, configuration: Value) -> Result<(), Fault> {
        let dataset = Dataset {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            configuration: Some(to_struct(configuration.as_object().cloned().unwrap_or_default())),
            ..Dataset::default()
        };
        let request = self.request(CreateDatasetRequest { dataset: Some(dataset) });
        DatasetServiceClient::new(self.channel.clone()).create_dataset(request).await?;
        Ok(())
    }

    /// A call with the owner's credentials.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-tenant-name", tenant.clone());
        }
        request
    }
}

/// Where the service keeps its database.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("data").join("syft.db")
}

/// Makes sure that keys and plans come from the cache: it is used once the change feed has been read.
pub async fn warm(caller: &Caller) -> Result<(), Fault> {
    tokio::time::sleep(Duration::from_millis(700)).await;
    for _ in 0..200 {
        caller.query().await?;
    }
    Ok(())
}
