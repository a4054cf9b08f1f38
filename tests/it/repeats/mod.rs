//! A query that comes again under one name waits for itself, and is counted and charged once.

mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use syft_endpoints::{
    domain::{self, EndpointId, Health, PolicyId, Query, QueryDraft},
    error::{Error, UpstreamError},
    model::{ChatEvent, ChatRequest, ChatStream, Model},
    pipeline::{Call, Config, Plan},
    policy::Policies,
    store::Repeats,
    upstream,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::support::{
    database::Database,
    eventually, on_both,
    rig::{Rig, call, completion, plan},
};

/// A model that answers when it is let, and fails when it is told.
#[derive(Default)]
struct Answers {
    asked: AtomicUsize,
    failures: AtomicUsize,
    gate: Option<Semaphore>,
}

struct Shared(Arc<Answers>);

#[async_trait]
impl Model for Shared {
    async fn chat(&self, _request: ChatRequest) -> Result<ChatStream, UpstreamError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.0.gate {
            gate.acquire().await.unwrap().forget();
        }
        let fails = self.0.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if fails.is_ok() {
            return Err(UpstreamError::unavailable("was told to fail"));
        }
        let said = [ChatEvent::Delta("hi".to_owned()), ChatEvent::Finished(completion())];
        Ok(stream::iter(said.map(Ok)).boxed())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }
}

/// Replicas of one endpoint on one database.
struct Replicas {
    rigs: Vec<Rig>,
    model: Arc<Answers>,
}

impl Replicas {
    /// Two, with these policies.
    async fn start(database: &Database, model: Answers, policies: &[(&str, Value)]) -> Self {
        let (model, endpoint, tenant_policies) = (Arc::new(model), EndpointId::new(), stored(policies));
        let mut rigs = Vec::new();
        for _ in 0..2 {
            let store = database.store().await;
            let types =
                Policies::new(&store, &upstream::Config::default(), Duration::from_secs(300)).unwrap();
            let plan = Plan {
                endpoint,
                policies: types.build(&tenant_policies).unwrap(),
                ..plan(Some(Arc::new(Shared(Arc::clone(&model)))), Vec::new())
            };
            let mut rig = Rig::new(Config::default(), plan);
            rig.pipeline = rig.pipeline.knowing(Repeats::start(&store));
            rigs.push(rig);
        }
        Self { rigs, model }
    }

    async fn ask(&self, replica: usize, call: Call) -> Result<domain::Answer, Error> {
        let answered = self.rigs[replica].pipeline.run(call).unwrap().answer().await;
        answered.map_err(|failure| failure.error)
    }

    fn asked(&self) -> usize {
        self.model.asked.load(Ordering::SeqCst)
    }
}

fn stored(policies: &[(&str, Value)]) -> Vec<domain::Policy> {
    let endpoint_id = EndpointId::new();
    let policy = |(policy_type, configuration): &(&str, Value)| domain::Policy {
        id: PolicyId::new(),
        endpoint_id,
        endpoint_slug: "x".to_owned(),
        name: (*policy_type).to_owned(),
        policy_type: (*policy_type).to_owned(),
        configuration: configuration.as_object().unwrap().clone(),
        created_at: time::OffsetDateTime::UNIX_EPOCH,
        updated_at: time::OffsetDateTime::UNIX_EPOCH,
    };
    policies.iter().map(policy).collect()
}

/// One question an hour.
fn limited(count: u32) -> [(&'static str, Value); 1] {
    [("rate_limit", json!({"limit": format!("{count}/h")}))]
}

/// Calls of one caller.
struct Asker(Call);

impl Asker {
    fn new() -> Self {
        Self(call("x"))
    }

    fn asks(&self, text: &str) -> Call {
        let draft =
            QueryDraft { messages: vec![("user".to_owned(), text.to_owned())], ..QueryDraft::default() };
        let query = Query::parse(draft).unwrap();
        Call { caller: self.0.caller.clone(), query, ..call("x") }
    }

    fn correlated(&self, text: &str, correlation: &str) -> Call {
        Call { correlation_id: Some(correlation.to_owned()), ..self.asks(text) }
    }

    fn named(&self, text: &str, request: Uuid) -> Call {
        Call { request_id: Some(request), ..self.asks(text) }
    }
}

fn statuses(answer: &domain::Answer) -> Vec<&'static str> {
    answer.entries.iter().map(|entry| entry.status).collect()
}

/// Makes what is known of queries so much older.
async fn time_passes(database: &Database, hours: u64) {
    let raw = database.raw().await;
    let micros = hours * 3_600_000_000;
    raw.execute_unprepared(&format!("UPDATE repeats SET until = until - {micros}")).await.unwrap();
    raw.close().await.unwrap();
}

on_both! {
    async fn an_answered_query_may_come_again_twice(database: Database) {
        let (space, bob) = (Replicas::start(&database, Answers::default(), &limited(2)).await, Asker::new());
        let query = || bob.correlated("what?", "c1");
        assert!(space.ask(0, query()).await.unwrap().entries.is_empty());
        for replica in [1, 0] {
            assert_eq!(statuses(&space.ask(replica, query()).await.unwrap()), ["skipped"]);
        }
        // The third time it is a new query, and counts as the second of two.
        assert!(space.ask(1, query()).await.unwrap().entries.is_empty());
        assert_eq!(space.asked(), 4, "a repeat is answered anew");
        let refused = space.ask(0, bob.asks("what?")).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
        // But that one may come again, too.
        assert_eq!(statuses(&space.ask(0, query()).await.unwrap()), ["skipped"]);
        // After a day it is forgotten.
        time_passes(&database, 25).await;
        assert!(matches!(space.ask(0, query()).await, Err(Error::Refused(_))));
    }

    async fn only_the_same_question_of_the_same_caller_is_a_repeat(database: Database) {
        let (space, bob) = (Replicas::start(&database, Answers::default(), &limited(99)).await, Asker::new());
        space.ask(0, bob.correlated("what?", "c1")).await.unwrap();
        let defaults = QueryDraft {
            messages: vec![("user".to_owned(), "what?".to_owned())],
            temperature: Some(0.7),
            limit: Some(5),
            transaction_token: Some("new".to_owned()),
            ..QueryDraft::default()
        };
        let spelled = Call { query: Query::parse(defaults).unwrap(), ..bob.correlated("what?", "c1") };
        assert_eq!(statuses(&space.ask(0, spelled).await.unwrap()), ["skipped"], "it is asked for the same");
        let other = |change: fn(&mut QueryDraft)| {
            let mut draft = QueryDraft { messages: vec![("user".to_owned(), "what?".to_owned())], ..QueryDraft::default() };
            change(&mut draft);
            Call { query: Query::parse(draft).unwrap(), ..bob.correlated("what?", "c1") }
        };
        let carol = domain::Caller::new(
            bob.0.caller.tenant().clone(), "carol@example.org", vec![domain::Scope::Query],
        );
        let differing = [
            bob.asks("what?"),
            bob.correlated("what?", "c2"),
            bob.correlated("where?", "c1"),
            other(|draft| draft.messages.push(("assistant".to_owned(), "that".to_owned()))),
            other(|draft| draft.limit = Some(6)),
            other(|draft| draft.temperature = Some(0.8)),
            other(|draft| draft.stop_sequences = Some(Vec::new())),
            other(|draft| draft.extras = json!({"top_k": 1}).as_object().unwrap().clone()),
            Call { caller: carol, ..bob.correlated("what?", "c1") },
            bob.named("what?", Uuid::nil()),
        ];
        for (i, query) in differing.into_iter().enumerate() {
            assert!(space.ask(0, query).await.is_ok_and(|answer| answer.entries.is_empty()), "{i}");
        }
    }

    async fn a_request_id_names_one_question(database: Database) {
        let (space, bob) = (Replicas::start(&database, Answers::default(), &[]).await, Asker::new());
        let id = Uuid::now_v7();
        space.ask(0, bob.named("what?", id)).await.unwrap();
        let refused = space.ask(1, bob.named("where?", id)).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("A query with the request id '{id}' already exists"));
        assert_eq!(refused.reason(), "ALREADY_EXISTS");
        space.ask(1, bob.named("what?", id)).await.unwrap();
        time_passes(&database, 25).await;
        space.ask(1, bob.named("where?", id)).await.unwrap();
        assert_eq!(space.asked(), 3);
    }

    async fn repeats_wait_while_the_first_runs(database: Database) {
        let model = Answers { gate: Some(Semaphore::new(0)), ..Answers::default() };
        let (space, bob) = (Replicas::start(&database, model, &limited(1)).await, Asker::new());
        let asking = join_all((0..8).map(|i| space.ask(i % 2, bob.correlated("what?", "c1"))));
        let first = async {
            eventually("one is asked", async || space.asked() == 1).await;
            // The others are known to wait: a new name does not.
            let other = space.ask(0, bob.correlated("what?", "c2")).await;
            assert!(matches!(other, Err(Error::Refused(_))), "{other:?}");
            assert_eq!(space.asked(), 1);
            space.model.gate.as_ref().unwrap().add_permits(100);
        };
        let (answers, ()) = tokio::join!(asking, first);
        let answered: Vec<_> = answers.iter().flatten().map(statuses).collect();
        let free = answered.iter().filter(|statuses| **statuses == ["skipped"]).count();
        assert_eq!((answered.len(), free), (3, 2), "{answers:?}");
        assert!(answers.iter().filter_map(|a| a.as_ref().err()).all(|e| matches!(e, Error::Refused(_))));
    }

    async fn a_failed_query_is_counted_once_and_tried_again(database: Database) {
        for policy in [limited(2)[0].clone(), ("token_limit", json!({"period": "hour", "requests": 2}))] {
            let model = Answers { failures: AtomicUsize::new(3), ..Answers::default() };
            let (space, bob) = (Replicas::start(&database, model, &[policy]).await, Asker::new());
            let query = || bob.correlated("what?", "c1");
            // As SyftHub does: once, and twice again.
            for replica in [0, 1, 0] {
                let failed = space.ask(replica, query()).await.unwrap_err();
                assert!(matches!(failed, Error::Upstream { .. }), "{failed:?}");
            }
            // Counted once until now. This is the second.
            space.ask(0, query()).await.unwrap();
            assert!(matches!(space.ask(0, bob.asks("what?")).await, Err(Error::Refused(_))));
        }
    }

    async fn a_refused_query_leaves_nothing(database: Database) {
        let policies = [limited(1)[0].clone(), ("prompt_filter", json!({"words": ["bomb"], "mode": "block"}))];
        let (space, bob) = (Replicas::start(&database, Answers::default(), &policies).await, Asker::new());
        let refused = space.ask(0, bob.correlated("a bomb", "c1")).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
        let raw = database.raw().await;
        let sql = "SELECT key FROM repeats";
        let rows = raw.query_all_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await;
        assert!(rows.unwrap().is_empty());
        space.ask(1, bob.correlated("a rose", "c1")).await.unwrap();
    }

    async fn one_that_waits_keeps_its_deadline(database: Database) {
        let model = Answers { gate: Some(Semaphore::new(0)), ..Answers::default() };
        let (space, bob) = (Replicas::start(&database, model, &limited(9)).await, Asker::new());
        let first = space.rigs[0].pipeline.run(bob.correlated("what?", "c1")).unwrap();
        eventually("one is asked", async || space.asked() == 1).await;
        let hasty = Call { timeout: Some(Duration::from_millis(150)), ..bob.correlated("what?", "c1") };
        let late = space.ask(1, hasty).await.unwrap_err();
        assert_eq!(late.reason(), "DEADLINE_EXCEEDED");
        let mut waiting = Box::pin(space.ask(1, bob.correlated("what?", "c1")));
        assert!((&mut waiting).now_or_never().is_none());
        // The client of the first goes; nothing was delivered.
        drop(first);
        space.model.gate.as_ref().unwrap().add_permits(2);
        waiting.await.unwrap();
    }

    async fn a_crowd_of_named_queries_finds_room(database: Database) {
        let (space, bob) = (Replicas::start(&database, Answers::default(), &limited(9999)).await, Asker::new());
        let names: Vec<String> = (0..800).map(|n| format!("c{n}")).collect();
        let answers = join_all(names.iter().map(|name| space.ask(0, bob.correlated("what?", name)))).await;
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} of 800: {:?}", failed.len(), failed[0]);
    }

    async fn a_claim_keeps_the_deadline_and_is_given_back(database: Database) {
        let (space, bob) = (Replicas::start(&database, Answers::default(), &limited(9)).await, Asker::new());
        space.ask(0, bob.correlated("first", "c0")).await.unwrap();
        let raw = database.raw().await;
        let immediate = sea_orm::TransactionOptions {
            sqlite_transaction_mode: Some(sea_orm::SqliteTransactionMode::Immediate),
            ..sea_orm::TransactionOptions::default()
        };
        let standing = raw.begin_with_options(immediate).await.unwrap();
        if raw.get_database_backend() == sea_orm::DbBackend::Postgres {
            standing.execute_unprepared("LOCK TABLE repeats").await.unwrap();
        }
        let hasty = Call { timeout: Some(Duration::from_millis(200)), ..bob.correlated("what?", "c1") };
        let asked = tokio::time::timeout(Duration::from_secs(3), space.ask(0, hasty)).await;
        assert_eq!(asked.expect("it waits for the database").unwrap_err().reason(), "DEADLINE_EXCEEDED");
        standing.commit().await.unwrap();
        // Nobody runs it, and nobody waits for that.
        let answer = tokio::time::timeout(Duration::from_secs(10), space.ask(1, bob.correlated("what?", "c1")));
        assert!(answer.await.expect("it is held for nobody").unwrap().entries.is_empty());
    }

    async fn a_query_is_held_for_as_long_as_it_runs(database: Database) {
        let model = Answers { gate: Some(Semaphore::new(0)), ..Answers::default() };
        let (space, bob) = (Replicas::start(&database, model, &limited(9)).await, Asker::new());
        let running = space.rigs[0].pipeline.run(bob.correlated("what?", "c1")).unwrap();
        eventually("one is asked", async || space.asked() == 1).await;
        let raw = database.raw().await;
        raw.execute_unprepared("UPDATE repeats SET until = 1").await.unwrap();
        let renewed = "SELECT key FROM repeats WHERE until > 1";
        let renewed = || sea_orm::Statement::from_string(raw.get_database_backend(), renewed);
        eventually("it is renewed", async || raw.query_one_raw(renewed()).await.unwrap().is_some()).await;
        let hasty = Call { timeout: Some(Duration::from_millis(100)), ..bob.correlated("what?", "c1") };
        assert_eq!(space.ask(1, hasty).await.unwrap_err().reason(), "DEADLINE_EXCEEDED");
        drop(running);
    }

    async fn what_a_dead_replica_held_is_taken_over(database: Database) {
        let model = Answers { gate: Some(Semaphore::new(0)), ..Answers::default() };
        let (space, bob) = (Replicas::start(&database, model, &limited(9)).await, Asker::new());
        let store = database.store().await;
        let (stuck, gate) = (space.rigs[0].pipeline.run(bob.correlated("what?", "c1")).unwrap(), &space.model.gate);
        eventually("one is asked", async || space.asked() == 1).await;
        // As if its replica had stopped renewing.
        time_passes(&database, 1).await;
        let next = space.ask(1, bob.correlated("what?", "c1"));
        let end = async {
            eventually("the next is asked", async || space.asked() == 2).await;
            // The first lives after all, and ends first: the name is not its own any more.
            gate.as_ref().unwrap().add_permits(1);
            stuck.answer().await.unwrap();
            let hasty = Call { timeout: Some(Duration::from_millis(100)), ..bob.correlated("what?", "c1") };
            assert_eq!(space.ask(0, hasty).await.unwrap_err().reason(), "DEADLINE_EXCEEDED");
            gate.as_ref().unwrap().add_permits(3);
        };
        let (answer, ()) = tokio::join!(next, end);
        assert!(answer.unwrap().entries.is_empty(), "it is the first now");
        assert_eq!(statuses(&space.ask(1, bob.correlated("what?", "c1")).await.unwrap()), ["skipped"]);
        store.forget_stale_repeats(100).await.unwrap();
        assert_eq!(statuses(&space.ask(1, bob.correlated("what?", "c1")).await.unwrap()), ["skipped"]);
        time_passes(&database, 49).await;
        store.forget_stale_repeats(100).await.unwrap();
        let raw = database.raw().await;
        let sql = "SELECT key FROM repeats";
        let rows = raw.query_all_raw(sea_orm::Statement::from_string(raw.get_database_backend(), sql)).await;
        assert!(rows.unwrap().is_empty(), "what nobody asks for any more is kept");
    }

    async fn what_is_taken_while_it_is_forgotten_stays(database: Database) {
        let (space, bob) = (Replicas::start(&database, Answers::default(), &limited(9)).await, Asker::new());
        let (store, raw) = (database.store().await, database.raw().await);
        space.ask(0, bob.correlated("what?", "c1")).await.unwrap();
        time_passes(&database, 49).await;
        let immediate = sea_orm::TransactionOptions {
            sqlite_transaction_mode: Some(sea_orm::SqliteTransactionMode::Immediate),
            ..sea_orm::TransactionOptions::default()
        };
        let taking = raw.begin_with_options(immediate).await.unwrap();
        let claim = "UPDATE repeats SET state = 'running', until = until + 360000000000";
        taking.execute_unprepared(claim).await.unwrap();
        let forgetting = tokio_util::task::TaskTracker::new().spawn(async move { store.forget_stale_repeats(100).await });
        if raw.get_database_backend() == sea_orm::DbBackend::Postgres {
            let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM repeats%' \
                         AND datname = current_database()";
            let waits = || sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, waits);
            let other = database.raw().await;
            eventually("it waits", async || other.query_one_raw(waits()).await.unwrap().is_some()).await;
        }
        taking.commit().await.unwrap();
        assert_eq!(forgetting.await.unwrap().unwrap(), 0, "it runs again");
    }
}
