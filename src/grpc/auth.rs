//! The layer that every call passes: who is calling, what the call needs, how long it may take.
//! It runs before any body is read.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, HeaderName, Request, Response, header::AUTHORIZATION};
use tokio::sync::Semaphore;
use tonic::Status;
use tower::Service;

use super::{
    Config, deadline,
    status::{status, unreadable},
};
use crate::{
    domain::{Caller, Peer, Scope, rules::violation},
    error::{Ended, Error, Rule},
    identity::{Credentials, Identity},
};

const SERVICES: &str = "/syft.space.v1.";
const TENANT: HeaderName = HeaderName::from_static("x-tenant-name");
/// When to ask again that was refused because too many were waiting.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest time a call that is not a query may take to answer.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Longest time from a query's headers to those of its answer.
const QUERY_LIMIT: Duration = Duration::from_secs(3600);

/// Authenticates and authorizes every call to our services; health and reflection pass.
#[derive(Clone)]
pub struct Auth<S> {
    identity: Arc<Identity>,
    /// Of calls whose answer has not begun.
    places: Arc<Semaphore>,
    inner: S,
}

impl<S> Auth<S> {
    pub(super) fn new(inner: S, identity: Identity, config: &Config) -> Self {
        Self { identity: Arc::new(identity), places: Arc::new(Semaphore::new(config.max_waiting)), inner }
    }
}

impl<S, B, R> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let Some(method) = request.uri().path().strip_prefix(SERVICES).map(str::to_owned) else {
            return inner.call(request).boxed();
        };
        let (identity, places) = (Arc::clone(&self.identity), Arc::clone(&self.places));
        async move {
            // Free again once the answer begins.
            let Ok(_place) = places.try_acquire() else {
                return Ok(status(Error::Overloaded { retry_after: RETRY_AFTER }).into_http());
            };
            let peer = request.extensions().get::<Peer>().cloned();
            let (caller, timeout) = match admit(&identity, &method, request.headers(), peer.as_ref()).await {
                Ok(admitted) => admitted,
                Err(error) => return Ok(status(error).into_http()),
            };
            request.extensions_mut().insert(caller);
            if let Some(timeout) = timeout {
                request.extensions_mut().insert(timeout);
            }
            let answer = inner.call(request).map(|response| response.map(clear));
            // The pipeline keeps the deadlines of queries; here only a request that never ends is bounded.
            let limit = match timeout {
                _ if method.ends_with("Query") => QUERY_LIMIT,
                Some(timeout) => timeout.0.min(CALL_LIMIT),
                None => CALL_LIMIT,
            };
            let late = || Ok(status(Error::Ended(Ended::DeadlineExceeded)).into_http());
            tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| late())
        }
        .boxed()
    }
}

async fn admit(
    identity: &Identity,
    method: &str,
    headers: &HeaderMap,
    peer: Option<&Peer>,
) -> Result<(Caller, Option<deadline::ClientTimeout>), Error> {
    let scope = needed(method);
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (authorizations.next(), authorizations.next());
    // Two credentials are none: somebody between us might read the other one.
    let token = first.filter(|_| second.is_none()).and_then(|value| bearer(value.to_str().ok()?));
    let mut tenants = headers.get_all(TENANT).iter();
    let (tenant, other) = (tenants.next().map(|value| value.to_str()), tenants.next());
    let unclear = other.is_some() || matches!(tenant, Some(Err(_)));
    let (tenant, tenant_scoped) = (tenant.and_then(Result::ok), scope != Scope::Admin);
    // A certificate speaks for who shows nothing else; a bad token is not made good by it.
    let peer = peer.filter(|_| first.is_none());
    let credentials = Credentials { token, peer, tenant, tenant_scoped };
    let caller = identity.identify(credentials).await?;
    if unclear {
        return Err(Error::Invalid(vec![violation(
            "x-tenant-name",
            Rule::Pattern,
            "must be one name in ASCII",
        )]));
    }
    if !caller.may(scope) {
        return Err(Error::ScopeMissing(scope.name()));
    }
    Ok((caller, deadline::parse(headers)?))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What a method needs. A method that is not named here needs `manage`.
fn needed(method: &str) -> Scope {
    match method {
        "EndpointService/Query" | "EndpointService/StreamQuery" => Scope::Query,
        "AccessService/CreateTenant" | "AccessService/GetTenant" | "AccessService/ListTenants" => {
            Scope::Admin
        }
        _ => Scope::Manage,
    }
}

/// Says of a request that cannot be read what is wrong with it.
fn clear<R: Default>(response: Response<R>) -> Response<R> {
    let unreadable = Status::from_header_map(response.headers()).and_then(|found| unreadable(&found));
    unreadable.map_or(response, Status::into_http)
}
