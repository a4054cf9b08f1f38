//! A pipeline without a database, for clocks that stand still and faults that are exact.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use syft_endpoints::{
    dataset::{Dataset, SearchRequest},
    domain::{
        Caller, Completion, EndpointId, FinishReason, Health, Query, QueryDraft, QueryRecord, Reference,
        References, Scope, Tenant, TenantId, Usage,
    },
    error::{Error, Refusal, UpstreamError},
    model::{ChatEvent, ChatRequest, ChatStream, Model},
    pipeline::{Call, Config, Lifetime, Pipeline, Plan, Plans, QueryStream},
    policy::{AnswerFilter, Outcome, Phase, Policy, PolicySet, Turn},
    store::{Recorder, RecordsConfig},
    telemetry::Metrics,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub struct Rig {
    pub pipeline: Pipeline,
    pub records: mpsc::Receiver<QueryRecord>,
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
}

impl Rig {
    /// A pipeline with one endpoint, `x`.
    pub fn new(config: Config, plan: Plan) -> Self {
        let (recorder, records) =
            Recorder::channel(&RecordsConfig { text: true, ..RecordsConfig::default() });
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let plans = Plans::fixed([("x".to_owned(), plan)]);
        let lifetime = Lifetime { tasks: tasks.clone(), shutdown: shutdown.clone() };
        let pipeline = Pipeline::new(config, plans, recorder, lifetime, Metrics::default());
        Self { pipeline, records, tasks, shutdown }
    }

    pub fn ask(&self) -> QueryStream {
        self.pipeline.run(call("x")).unwrap()
    }

    /// Waits until every query has been settled and recorded.
    pub async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub fn outcome(&mut self) -> &'static str {
        self.records.try_recv().expect("the query was not recorded").outcome
    }
}

pub fn call(slug: &str) -> Call {
    let tenant = Tenant {
        id: TenantId::new(),
        name: "root".to_owned(),
        display_name: String::new(),
        active: true,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    };
    let draft =
        QueryDraft { messages: vec![("user".to_owned(), "what?".to_owned())], ..QueryDraft::default() };
    Call {
        caller: Caller::new(tenant, "bob@example.org", vec![Scope::Query]),
        slug: slug.to_owned(),
        query: Query::parse(draft).unwrap(),
        preview: false,
        request_id: None,
        correlation_id: None,
        timeout: None,
        trace: None,
    }
}

pub fn plan(model: Option<Arc<dyn Model>>, policies: Vec<Arc<dyn Policy>>) -> Plan {
    Plan {
        endpoint: EndpointId::new(),
        published: true,
        dataset: None,
        dataset_id: None,
        dataset_name: String::new(),
        model,
        policies: PolicySet::new(policies),
    }
}

/// A dataset with one document, after some yields.
pub struct OneDocument {
    pub yields: usize,
}

#[async_trait]
impl Dataset for OneDocument {
    async fn search(&self, _request: &SearchRequest) -> Result<References, UpstreamError> {
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
        let document = Reference {
            document_id: "d".to_owned(),
            content: "text".to_owned(),
            similarity_score: 1.0,
            metadata: None,
        };
        Ok(References { documents: vec![document], search_engine: "test".to_owned() })
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}

/// A model that says `tok ` again and again.
#[derive(Default)]
pub struct Tokens {
    pub count: usize,
    /// Pause before each token.
    pub every: Duration,
    /// Fails instead of finishing.
    pub fails: bool,
    /// Panics instead of finishing.
    pub panics: bool,
    pub produced: Arc<AtomicUsize>,
    /// Whether the answer was dropped before its end.
    pub abandoned: Arc<AtomicBool>,
}

/// Notes when a stream is dropped before its end.
struct Alive {
    abandoned: Arc<AtomicBool>,
    finished: bool,
}

impl Alive {
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.abandoned.store(!self.finished, Ordering::SeqCst);
    }
}

#[async_trait]
impl Model for Tokens {
    async fn chat(&self, _request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        let (count, every, fails, panics) = (self.count, self.every, self.fails, self.panics);
        let produced = Arc::clone(&self.produced);
        let mut alive = Alive { abandoned: Arc::clone(&self.abandoned), finished: false };
        let events = async_stream::try_stream! {
            for _ in 0..count {
                if every.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(every).await;
                }
                produced.fetch_add(1, Ordering::SeqCst);
                yield ChatEvent::Delta("tok ".to_owned());
            }
            assert!(!panics, "a planned panic");
            if fails {
                Err(UpstreamError::unavailable("was told to fail"))?;
            }
            alive.finish();
            yield ChatEvent::Finished(completion());
        };
        Ok(events.boxed())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}

pub fn completion() -> Completion {
    let usage = Usage { prompt_tokens: 7, completion_tokens: 3, estimated: false };
    Completion { id: "c".to_owned(), model: "m".to_owned(), finish_reason: FinishReason::Stop, usage }
}

/// A model that says these pieces.
pub struct Says(pub &'static [&'static str]);

#[async_trait]
impl Model for Says {
    async fn chat(&self, _request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        let pieces = self.0.iter().map(|piece| ChatEvent::Delta((*piece).to_owned()));
        Ok(stream::iter(pieces.chain([ChatEvent::Finished(completion())]).map(Ok)).boxed())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}

/// What happened to the policies of a test, in order: `pre a`, `post a completed`, ….
pub type Log = Arc<Mutex<Vec<String>>>;

/// A policy that notes its hooks, and does as it is told.
#[derive(Clone)]
pub struct Probe {
    pub name: &'static str,
    pub phase: Phase,
    pub log: Log,
    pub pre: Deed,
    pub post: Deed,
    pub withholds: bool,
    pub filter: Option<fn() -> Box<dyn AnswerFilter>>,
    /// Yields inside each hook.
    pub yields: usize,
    /// How many `pre_hook`s ran to their end.
    pub passed: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Nothing,
    Refuse,
    Panic,
    Hang,
}

impl Probe {
    pub fn new(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            phase: Phase::Content,
            log: Arc::clone(log),
            pre: Deed::Nothing,
            post: Deed::Nothing,
            withholds: false,
            filter: None,
            yields: 0,
            passed: Arc::default(),
        }
    }

    async fn act(&self, deed: Deed) -> Result<(), Error> {
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
        match deed {
            Deed::Nothing => Ok(()),
            Deed::Refuse => Err(refusal(self.name).into()),
            Deed::Panic => panic!("a planned panic"),
            Deed::Hang => std::future::pending().await,
        }
    }
}

pub fn refusal(policy_type: &'static str) -> Refusal {
    Refusal {
        policy_type,
        kind: "transform",
        code: "TEST",
        message: "no".to_owned(),
        retry_after: None,
        details: serde_json::Map::new(),
    }
}

#[async_trait]
impl Policy for Probe {
    fn policy_type(&self) -> &'static str {
        self.name
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    async fn pre_hook(&self, _turn: &mut Turn) -> Result<(), Error> {
        self.log.lock().unwrap().push(format!("pre {}", self.name));
        let done = self.act(self.pre).await;
        self.passed.fetch_add(1, Ordering::SeqCst);
        done
    }

    async fn post_hook(&self, _turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        self.log.lock().unwrap().push(format!("post {} {}", self.name, outcome.name()));
        self.act(self.post).await
    }

    fn answer_filter(&self, _turn: &mut Turn) -> Option<Box<dyn AnswerFilter>> {
        self.filter.map(|make| make())
    }

    fn withholds_answer(&self, _turn: &Turn) -> bool {
        self.withholds
    }
}
