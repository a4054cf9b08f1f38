//! A connection to a running server.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use syft_endpoints::error::Cause;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Bytes on their way to us. Many small pieces reach a slow terminal: a large window keeps the server
/// from closing on us.
const WINDOW: u32 = 16 << 20;

/// Where a server is, and how to be sure that it is the one.
#[derive(Args, Clone, Default)]
pub(super) struct ServerArgs {
    /// The server; https:// for one with a certificate
    #[arg(long, value_name = "URL", env = "SYFT_SERVER", default_value = "http://127.0.0.1:8080")]
    pub(super) server: String,
    /// Authorities of the server's certificate (PEM) [default: those of the system]
    #[arg(long, value_name = "FILE", env = "SYFT_CA")]
    ca: Option<PathBuf>,
    /// The name in the server's certificate, when it is not the one in the URL
    #[arg(long, value_name = "NAME", env = "SYFT_SERVER_NAME")]
    server_name: Option<String>,
    /// Certificate to show to the server (PEM)
    #[arg(long, value_name = "FILE", env = "SYFT_CERTIFICATE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "SYFT_CERTIFICATE_KEY", requires = "certificate")]
    certificate_key: Option<PathBuf>,
}

impl ServerArgs {
    /// A server without certificates.
    pub(super) fn at(server: String) -> Self {
        Self { server, ..Self::default() }
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Channel, Cause> {
        let url = with_scheme(&self.server);
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|_| format!("'{url}' is not a URL"))?;
        let mut endpoint = endpoint
            .connect_timeout(Duration::from_secs(5))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if url.starts_with("https:") {
            endpoint = endpoint.tls_config(self.tls()?)?;
        } else if self.ca.is_some() || self.certificate.is_some() {
            return Err(format!("certificates are of no use with {url}: it is not https://").into());
        }
        endpoint.connect().await.map_err(|error| explained(&self.server, &error).into())
    }

    fn tls(&self) -> Result<ClientTlsConfig, Cause> {
        let mut tls = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.certificate_key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(tls)
    }

    /// The key of a server that runs on this machine as this user. No other server is ever sent it.
    pub(super) fn local_admin_key(&self) -> Option<String> {
        if !self.is_this_machine() {
            return None;
        }
        let folder = syft_endpoints::config::Config::default().data_dir;
        let folder = std::env::var_os("SYFT_DATA_DIR").map_or(folder, PathBuf::from);
        std::fs::read_to_string(folder.join("admin.key")).ok().map(|key| key.trim().to_owned())
    }

    pub(super) fn is_this_machine(&self) -> bool {
        let server = url::Url::parse(&with_scheme(&self.server));
        match server.as_ref().map(url::Url::host) {
            Ok(Some(url::Host::Domain(name))) => name == "localhost",
            Ok(Some(url::Host::Ipv4(address))) => address.is_loopback(),
            Ok(Some(url::Host::Ipv6(address))) => address.is_loopback(),
            _ => false,
        }
    }
}

/// `127.0.0.1:8080` is as good as `http://127.0.0.1:8080`.
fn with_scheme(server: &str) -> String {
    if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Cause> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

/// What is wrong with a connection: that nobody answers, or what is wrong with a certificate.
fn explained(server: &str, error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    let text = last.to_string();
    if text.contains("certificate") || text.contains("Certificate") {
        return format!("no safe connection to {server}: {text}");
    }
    format!("no server answers at {server}")
}

#[cfg(test)]
mod tests {
    use super::ServerArgs;

    #[test]
    fn the_local_key_is_for_the_local_server() {
        let is_this_machine = |server: &str| ServerArgs::at(server.to_owned()).is_this_machine();
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
