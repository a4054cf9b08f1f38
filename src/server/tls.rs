//! TLS and mutual TLS. Certificates are read again when they change; what is connected stays.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, ServerConnection,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{domain::Peer, error::Cause};

/// Certificates of the listener. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// File of the certificate and its chain. Empty: no TLS.
    pub certificate: PathBuf,
    /// File of the certificate's private key.
    pub key: PathBuf,
    /// File of the authorities whose client certificates are accepted. Empty: none are asked for.
    pub client_ca: PathBuf,
    /// Whether a client must have a certificate, if any are accepted: `required` or `optional`.
    pub client_certificates: ClientCertificates,
    /// How often the files are looked at for changes, in milliseconds.
    pub reload_interval_ms: u64,
}

/// Whether a client must have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    Required,
    /// Health checks and callers with a key may come without.
    Optional,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            client_certificates: ClientCertificates::Required,
            reload_interval_ms: 10_000,
        }
    }
}

/// The listener's certificates as they are now. Clones share them.
#[derive(Clone)]
pub struct Tls {
    config: Arc<Config>,
    current: Arc<RwLock<Current>>,
}

struct Current {
    files: Files,
    server: Arc<ServerConfig>,
}

/// What was read.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the certificates; `None` when none are configured.
    ///
    /// # Errors
    /// Which file is missing, or is not what it should be.
    pub fn load(config: &Config) -> Result<Option<Self>, Cause> {
        if config.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let files = Files::read(config)?;
        let server = files.server_config(config)?;
        let current = Arc::new(RwLock::new(Current { files, server }));
        Ok(Some(Self { config: Arc::new(config.clone()), current }))
    }

    /// Reads the certificates again whenever they have changed, until `stop`. Connections that are open
    /// keep what they have; files that cannot be used change nothing.
    pub async fn follow(self, stop: CancellationToken) {
        let interval = Duration::from_millis(self.config.reload_interval_ms);
        // What is wrong is said once, not at every look.
        let mut known = String::new();
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            let tls = self.clone();
            let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
            let wrong = match reloaded.unwrap_or_else(|error| Err(error.into())) {
                Ok(changed) => {
                    if changed {
                        tracing::info!("the certificates have changed");
                    }
                    String::new()
                }
                Err(error) => error.to_string(),
            };
            if !wrong.is_empty() && wrong != known {
                tracing::error!(error = wrong, "the certificates have changed and cannot be used");
            }
            known = wrong;
        }
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.server))
    }

    fn reload(&self) -> Result<bool, Cause> {
        let files = Files::read(&self.config)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(false);
        }
        let server = files.server_config(&self.config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { files, server };
        Ok(true)
    }
}

impl Files {
    fn read(config: &Config) -> Result<Self, Cause> {
        let client_ca = (!config.client_ca.as_os_str().is_empty()).then(|| read(&config.client_ca));
        Ok(Self {
            certificate: read(&config.certificate)?,
            key: read(&config.key)?,
            client_ca: client_ca.transpose()?,
        })
    }

    fn server_config(&self, config: &Config) -> Result<Arc<ServerConfig>, Cause> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&self.certificate, &config.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| format!("no private key is in {}", config.key.display()))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(authorities, &config.client_ca)? {
                    roots.add(authority)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match config.client_certificates {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("{} and its key: {error}", config.certificate.display()))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }
}

/// The names in the certificate of a connection's peer, which its authority has vouched for.
pub(super) fn peer(connection: &ServerConnection) -> Option<Peer> {
    let certificate = webpki::EndEntityCert::try_from(connection.peer_certificates()?.first()?).ok()?;
    let names = certificate.valid_uri_names().chain(certificate.valid_dns_names());
    Some(Peer::new(names.map(str::to_owned).collect()))
}

fn read(path: &Path) -> Result<Vec<u8>, Cause> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("no certificate is in {}", path.display()).into()),
    }
}
