//! The layer that every call passes: who is calling, what the call needs, how long it may take.
//! It runs before any body is read.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use http::{Extensions, HeaderMap, HeaderName, Method, Request, Response, header::AUTHORIZATION};
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower::Service;

use super::{
    Config,
    arrival::{Arrivals, Arriving},
    deadline,
    status::{status, unreadable},
};
use crate::{
    domain::{Access, Caller, Peer, Scope, rules::violation},
    error::{Ended, Error, Rule},
    identity::{Credentials, Identity},
};

const TENANT: HeaderName = HeaderName::from_static("x-tenant-name");
/// When to ask again that was refused because too many were waiting.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest time a call that is not a query may take to answer.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Longest time from a query's headers to those of its answer.
const QUERY_LIMIT: Duration = Duration::from_secs(3600);

/// What a request to a path needs; `None`: nothing, not even a credential.
pub type Needs = fn(&Method, &str) -> Option<Access>;

/// Knows who may come in, and how many may wait. Clones share both.
#[derive(Clone)]
pub struct Door {
    identity: Arc<Identity>,
    /// Of calls whose answer has not begun.
    places: Arc<Semaphore>,
    arrivals: Arrivals,
}

/// Authenticates and authorizes every call to the service behind it. A refusal is a gRPC status in the
/// headers, whatever the service speaks.
#[derive(Clone)]
pub struct Auth<S> {
    door: Door,
    needs: Needs,
    inner: S,
}

/// A call that was let in.
struct Admitted {
    caller: Caller,
    timeout: Option<deadline::ClientTimeout>,
    /// Free again once the answer begins. A caller whom an outer door has let in has one already.
    place: Option<OwnedSemaphorePermit>,
}

impl Door {
    pub fn new(identity: Identity, config: &Config) -> Self {
        let places = Arc::new(Semaphore::new(config.max_waiting));
        Self { identity: Arc::new(identity), places, arrivals: Arrivals::default() }
    }

    /// Who knows the callers.
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Stands before a service whose paths need what `needs` says.
    pub fn before<S>(&self, inner: S, needs: Needs) -> Auth<S> {
        Auth { door: self.clone(), needs, inner }
    }

    async fn admit(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        access: Access,
    ) -> Result<Admitted, Error> {
        let (caller, place) = match extensions.get::<Caller>() {
            Some(caller) => (caller.clone(), None),
            None => {
                let place = Arc::clone(&self.places).try_acquire_owned();
                let place = place.map_err(|_| Error::Overloaded { retry_after: RETRY_AFTER })?;
                let caller = self.identify(headers, extensions.get::<Peer>(), access.scope).await?;
                (caller, Some(place))
            }
        };
        if !caller.may(access.scope) {
            return Err(Error::ScopeMissing(access.scope.name()));
        }
        Ok(Admitted { caller, timeout: deadline::parse(headers)?, place })
    }

    /// The request as the service behind gets it: with its caller, and with a body that must arrive.
    fn let_in<B: Body>(
        &self,
        request: Request<B>,
        admitted: &Admitted,
        access: Access,
    ) -> Result<Request<Arriving<B>>, Error> {
        let mut arrival = None;
        if admitted.place.is_some() && !access.sends_stream && !request.body().is_end_stream() {
            let begun = self.arrivals.begin(&admitted.caller, self.places.available_permits());
            arrival = Some(begun.ok_or(Error::Overloaded { retry_after: RETRY_AFTER })?);
        }
        let mut request = request.map(|body| match access.sends_stream {
            true => Arriving::patient(body),
            false => Arriving::new(body, arrival),
        });
        request.extensions_mut().insert(admitted.caller.clone());
        if let Some(timeout) = admitted.timeout {
            request.extensions_mut().insert(timeout);
        }
        Ok(request)
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        scope: Scope,
    ) -> Result<Caller, Error> {
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
        let caller = self.identity.identify(Credentials { token, peer, tenant, tenant_scoped }).await?;
        if unclear {
            let message = "must be one name in ASCII";
            return Err(Error::Invalid(vec![violation("x-tenant-name", Rule::Pattern, message)]));
        }
        Ok(caller)
    }
}

impl<S, B, R> Service<Request<B>> for Auth<S>
where
    S: Service<Request<Arriving<B>>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let Some(access) = (self.needs)(request.method(), request.uri().path()) else {
            return inner.call(request.map(Arriving::patient)).boxed();
        };
        let door = self.door.clone();
        async move {
            let late = || Ok(status(Error::Ended(Ended::DeadlineExceeded)).into_http());
            // A marketplace may have to be asked who it is.
            let patience = deadline::parse(request.headers()).ok().flatten();
            let patience = patience.map_or(CALL_LIMIT, |timeout| timeout.0.min(CALL_LIMIT));
            let admission = door.admit(request.headers(), request.extensions(), access);
            let admitted = match tokio::time::timeout(patience, admission).await {
                Ok(Ok(admitted)) => admitted,
                Ok(Err(error)) => return Ok(status(error).into_http()),
                Err(_) => return late(),
            };
            let request = match door.let_in(request, &admitted, access) {
                Ok(request) => request,
                Err(error) => return Ok(status(error).into_http()),
            };
            let answer = inner.call(request).map(|response| response.map(clear));
            // The pipeline keeps the deadlines of queries; here only a request that never ends is bounded.
            let limit = match admitted.timeout {
                _ if access.is_query => QUERY_LIMIT,
                Some(timeout) => timeout.0.min(CALL_LIMIT),
                None => CALL_LIMIT,
            };
            tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| late())
        }
        .boxed()
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Says of a request that cannot be read what is wrong with it.
fn clear<R: Default>(response: Response<R>) -> Response<R> {
    let unreadable = Status::from_header_map(response.headers()).and_then(|found| unreadable(&found));
    unreadable.map_or(response, Status::into_http)
}
