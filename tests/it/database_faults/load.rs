//! Calls of every kind, again and again, and what became of them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use syft_endpoints::proto::{
    ApiKey, CreateApiKeyRequest, CreateEndpointRequest, Endpoint, ListEndpointsRequest, Scope,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use crate::support::{
    eventually,
    space::{Clients, Space, reason},
    upstream::Upstream,
};

/// Kinds of calls: a limited query with an API key, a list, a write.
const KINDS: [Kind; 3] = [Kind::Query, Kind::List, Kind::Create];
/// When a client loses patience.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Query,
    List,
    Create,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Call {
    pub kind: Kind,
    pub begun: Instant,
    pub ended: Instant,
    /// What was created, if it was acknowledged; how it failed.
    pub end: Result<String, Status>,
}

/// Calls of one kind, one after the other.
struct Lane {
    clients: Clients,
    kind: Kind,
    model: Option<String>,
}

/// Calls that go on until they are stopped.
pub struct Load {
    calls: Arc<Mutex<Vec<Call>>>,
    stop: CancellationToken,
    lanes: TaskTracker,
    _upstream: Upstream,
}

impl Load {
    pub async fn start(space: &Space) -> Self {
        let upstream = Upstream::says(&["a"]).await;
        let mut admin = space.admin().await;
        let model = admin.asks("ask", upstream.address).await.model_id;
        admin.policy("ask", "rate_limit", json!({"limit": "999999/h"})).await;
        let key = ApiKey {
            name: "key".to_owned(),
            email: "bob@example.org".to_owned(),
            scopes: vec![Scope::Query.into()],
            ..ApiKey::default()
        };
        let key = admin.access.create_api_key(CreateApiKeyRequest { api_key: Some(key) }).await.unwrap();
        let bearer = format!("Bearer {}", key.into_inner().secret);
        let bob = space.clients(&[("authorization", &bearer)]).await;
        let load = Self {
            calls: Arc::default(),
            stop: CancellationToken::new(),
            lanes: TaskTracker::new(),
            _upstream: upstream,
        };
        for lane in 0..12 {
            let kind = KINDS[lane % KINDS.len()];
            let clients = if kind == Kind::Query { bob.clone() } else { admin.clone() };
            let lane = Lane { clients, kind, model: model.clone() };
            load.lanes.spawn(lane.run(Arc::clone(&load.calls), load.stop.clone()));
        }
        load.succeeds_after(Instant::now()).await;
        load
    }

    /// Returns once calls of every kind that began after `moment` have succeeded.
    pub async fn succeeds_after(&self, moment: Instant) {
        for kind in KINDS {
            let succeeded = || {
                let calls = self.calls.lock().unwrap();
                let good = |call: &&Call| call.kind == kind && call.begun >= moment && call.end.is_ok();
                calls.iter().filter(good).count() >= 20
            };
            // Longer than any promise: the caller says what it should have been.
            let waited = timeout(Duration::from_secs(60), async {
                while !succeeded() {
                    sleep(Duration::from_millis(10)).await;
                }
            });
            if waited.await.is_err() {
                let calls = self.take();
                panic!("{kind:?} does not succeed: {:?}", calls.iter().rfind(|call| call.kind == kind));
            }
        }
    }

    /// The calls that have ended since the last time.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Stops.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.lanes.close();
        self.lanes.wait().await;
    }
}

/// How long after `moment` calls failed or took unusually long. Failures are UNAVAILABLE, with the
/// store's reason, and nothing else.
pub fn trouble_after(calls: &[Call], moment: Instant) -> Duration {
    let (mut longest, mut failed, mut slow) = (Duration::ZERO, 0, 0);
    for call in calls {
        if let Err(status) = &call.end {
            let seen = (status.code(), reason(status));
            assert_eq!(seen, (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()), "{call:?}");
            failed += 1;
        } else if call.ended - call.begun > Duration::from_secs(1) {
            slow += 1;
        } else {
            continue;
        }
        longest = longest.max(call.ended.saturating_duration_since(moment));
    }
    println!("{} calls, {failed} failed, {slow} were slow, until {longest:?} after", calls.len());
    longest
}

/// Every endpoint whose creation was acknowledged is there.
pub async fn nothing_is_lost(space: &Space, calls: &[Call]) {
    let mut admin = space.admin().await;
    let (mut stored, mut page_token) = (HashSet::new(), String::new());
    loop {
        let page = ListEndpointsRequest { page_size: 1000, page_token };
        let page = admin.endpoints.list_endpoints(page).await.unwrap().into_inner();
        stored.extend(page.endpoints.into_iter().map(|endpoint| endpoint.slug));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let created = calls.iter().filter(|call| call.kind == Kind::Create);
    let created: Vec<&String> = created.filter_map(|call| call.end.as_ref().ok()).collect();
    assert!(created.len() > 40, "{}", created.len());
    for slug in created {
        assert!(stored.contains(slug), "{slug} was acknowledged and is lost");
    }
}

/// Writes end, whatever they hang on.
pub async fn no_write_is_left(space: &Space) {
    eventually("every write has ended", async || space.store.writes_in_flight() == 0).await;
}

impl Lane {
    async fn run(mut self, calls: Arc<Mutex<Vec<Call>>>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let end = timeout(PATIENCE, self.call()).await;
            let end = end.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client lost its patience")));
            calls.lock().unwrap().push(Call { kind: self.kind, begun, ended: Instant::now(), end });
            // A load, not a saturation.
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn call(&mut self) -> Result<String, Status> {
        match self.kind {
            Kind::Query => self.clients.query("ask").await.map(|_| String::new()),
            Kind::List => {
                let page = ListEndpointsRequest { page_size: 10, ..ListEndpointsRequest::default() };
                self.clients.endpoints.list_endpoints(page).await.map(|_| String::new())
            }
            Kind::Create => {
                let slug = format!("e-{}", uuid::Uuid::now_v7());
                let endpoint = Endpoint {
                    slug: slug.clone(),
                    name: slug.clone(),
                    model_id: self.model.clone(),
                    ..Endpoint::default()
                };
                let created = CreateEndpointRequest { endpoint: Some(endpoint) };
                self.clients.endpoints.create_endpoint(created).await.map(|_| slug)
            }
        }
    }
}
