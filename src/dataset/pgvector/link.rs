//! Connections to other people's PostgreSQL servers: a few for each stored configuration, closed when
//! nobody has it any more, and only to addresses that may be called.

use std::{
    collections::HashMap,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use sea_orm::sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use super::{
    config::Config,
    fault::{self, fault},
};
use crate::{
    domain::AttachmentId,
    error::{Cause, UpstreamError},
    upstream::Upstream,
};

/// How long an address is believed to be the host's.
const ADDRESS_KEPT: Duration = Duration::from_secs(30);
/// How long a search waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a connection lives that nobody needs.
const IDLE: Duration = Duration::from_secs(60);
/// A connection that has been idle for longer is tried before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_secs(2);

/// The links of all datasets. A configuration that is opened again, as after any change of the catalog,
/// finds its connections.
#[derive(Clone)]
pub(in crate::dataset) struct Links {
    upstream: Upstream,
    open: Arc<Mutex<HashMap<AttachmentId, Weak<Link>>>>,
}

impl Links {
    pub(in crate::dataset) fn new(upstream: Upstream) -> Self {
        Self { upstream, open: Arc::default() }
    }

    /// The link of a dataset.
    ///
    /// # Errors
    /// When its URL is not valid.
    pub(super) fn open(&self, id: AttachmentId, config: &Config) -> Result<Arc<Link>, Cause> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |link: &Arc<Link>| {
            link.url.expose_secret() == config.url.expose_secret()
                && link.pool.options().get_max_connections() == config.max_connections
        };
        if let Some(link) = open.get(&id).and_then(Weak::upgrade).filter(same) {
            return Ok(link);
        }
        let link = Arc::new(Link::new(self.upstream.clone(), config)?);
        open.retain(|_, link| link.strong_count() > 0);
        open.insert(id, Arc::downgrade(&link));
        Ok(link)
    }
}

/// Where a URL leads.
pub(super) struct Target {
    host: String,
    port: u16,
    options: PgConnectOptions,
    /// The server proves that it has the name; it must be connected to by it.
    by_name: bool,
}

impl Target {
    /// Reads a URL. Unlike libpq, nothing but `sslmode` may follow it: other parameters name files of ours.
    ///
    /// # Errors
    /// What is wrong, without quoting it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a valid URL")?;
        let host = url
            .host_str()
            .filter(|host| !host.is_empty() && !host.contains(['%', '/']))
            .ok_or("has no host")?;
        if url.username().is_empty() {
            return Err("has no user");
        }
        if url.path().trim_start_matches('/').is_empty() {
            return Err("has no database");
        }
        let mut mode = PgSslMode::Prefer;
        for (name, value) in url.query_pairs() {
            let known =
                ["disable", "prefer", "require", "verify-ca", "verify-full"].contains(&value.as_ref());
            if name != "sslmode" || !known {
                return Err("may have no parameter but `sslmode`");
            }
            mode = PgSslMode::from_str(&value).map_err(|_| "has an `sslmode` that is not known")?;
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| "is not a valid URL")?;
        // Else the environment's or `~/.pgpass`'s would be sent to a host that somebody else has chosen.
        let options = if url.password().is_none() { options.password("") } else { options };
        let by_name = matches!(mode, PgSslMode::VerifyFull);
        let options = options.ssl_mode(mode).application_name("syft-endpoints");
        Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(5432), options, by_name })
    }
}

/// The connections to one server.
pub(super) struct Link {
    upstream: Upstream,
    url: SecretString,
    target: Target,
    pool: PgPool,
    /// When the host's address was last looked up.
    aimed: Mutex<Option<Instant>>,
}

impl Link {
    fn new(upstream: Upstream, config: &Config) -> Result<Self, Cause> {
        let target = Target::parse(config.url.expose_secret())?;
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(IDLE)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move { Ok(state.idle_for < TRUSTED || answers(connection).await) })
            })
            // What a search left behind when it was dropped is waited for, but not for ever; and whoever has
            // no server any more goes.
            .after_release(|connection, _| Box::pin(async move { Ok(answers(connection).await) }))
            .connect_lazy_with(target.options.clone());
        Ok(Self { upstream, url: config.url.clone(), target, pool, aimed: Mutex::new(None) })
    }

    /// Begins a transaction with this statement. One that is dropped in the middle costs its connection a
    /// rollback, and nothing is lost: it only reads.
    ///
    /// # Errors
    /// `Unavailable` when there is no connection; `Rejected` when the server or the guard refuses.
    pub(super) async fn begin(
        &self,
        statement: &str,
    ) -> Result<Transaction<'static, Postgres>, UpstreamError> {
        self.aim().await?;
        let begin = || self.pool.begin_with(AssertSqlSafe(statement.to_owned()));
        let mut begun = begin().await;
        // The server had closed these connections, as when it restarts; in the end a new one is made.
        for _ in 0..self.pool.options().get_max_connections() {
            if !begun.as_ref().is_err_and(fault::is_gone) {
                break;
            }
            begun = begin().await;
        }
        begun.map_err(|error| {
            // Perhaps it has moved.
            *self.aimed.lock().unwrap_or_else(PoisonError::into_inner) = None;
            fault(error)
        })
    }

    /// Points new connections to an address of the host that may be called. A server that proves its name
    /// is called by it all the same: whoever turns the name elsewhere in between cannot prove it.
    async fn aim(&self) -> Result<(), UpstreamError> {
        let last = *self.aimed.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < ADDRESS_KEPT) {
            return Ok(());
        }
        let address: SocketAddr = self.upstream.reach(&self.target.host, self.target.port).await?;
        if !self.target.by_name {
            let options = self.target.options.clone().host(&address.ip().to_string()).port(address.port());
            self.pool.set_connect_options(options);
        }
        *self.aimed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(timeout(MOMENT, connection.ping()).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_one_host_and_name_no_file() {
        for good in [
            "postgres://u:p@db.example/d",
            "postgresql://u:p%40%2F@10.0.0.1:6432/d?sslmode=verify-full",
            "postgres://u@[::1]/d?sslmode=disable",
        ] {
            assert!(Target::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "nonsense",
            "postgres:///d",
            "postgres://u:p@/d",
            "postgres://host/d",
            "postgres://u:p@host",
            "postgres://u:p@%2Fvar%2Frun/d",
            "postgres://u:p@host/d?host=/var/run",
            "postgres://u:p@host/d?hostaddr=169.254.169.254",
            "postgres://u:p@host/d?sslrootcert=/etc/passwd",
            "postgres://u:p@host/d?sslmode=odd",
            "postgres://u:p@host/d?sslmode=require&options=-c%20x=y",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        assert!(
            Target::parse("postgres://u:p@db.example/d?sslmode=verify-full")
                .is_ok_and(|target| target.by_name)
        );
    }
}
