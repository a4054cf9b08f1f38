//! Who is asked, and that everybody who was asked is settled once, as its verdict was.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Map;
use time::OffsetDateTime;

use super::{Composite, Kind};
use crate::{
    domain::{Caller, Query, QueryDraft, QueryId, Scope, Tenant, TenantId},
    error::{Error, Refusal},
    policy::{Foresight, Outcome, Phase, Policy, PolicySet, Turn},
    telemetry::TraceContext,
};

type Log = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Copy)]
enum Deed {
    Admit,
    Refuse,
    Fail,
    Panic,
}

struct Probe {
    name: &'static str,
    phase: Phase,
    pre: Deed,
    post: Deed,
    log: Log,
}

/// What a probe keeps; each must find its own.
struct Kept(&'static str);

impl Probe {
    fn act(&self, deed: Deed) -> Result<(), Error> {
        match deed {
            Deed::Admit => Ok(()),
            Deed::Fail => Err(Error::StoreUnavailable("down".into())),
            Deed::Panic => panic!("a planned panic"),
            Deed::Refuse => Err(Error::from(Refusal {
                policy_type: self.name,
                kind: "access",
                code: "TEST",
                message: String::new(),
                retry_after: None,
                details: Map::new(),
            })),
        }
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

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        self.log.lock().unwrap().push(format!("pre {}", self.name));
        turn.keep(Kept(self.name));
        self.act(self.pre)
    }

    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        assert_eq!(turn.take::<Kept>().unwrap().0, self.name);
        let admitted = if turn.admitted() { "" } else { ", not admitted" };
        self.log.lock().unwrap().push(format!("post {} {}{admitted}", self.name, outcome.name()));
        self.act(self.post)
    }
}

struct Bench {
    log: Log,
}

impl Bench {
    fn probe(&self, name: &'static str, pre: Deed) -> Arc<dyn Policy> {
        self.with(name, Phase::Access, pre, Deed::Admit)
    }

    fn with(&self, name: &'static str, phase: Phase, pre: Deed, post: Deed) -> Arc<dyn Policy> {
        Arc::new(Probe { name, phase, pre, post, log: Arc::clone(&self.log) })
    }
}

fn of(kind: Kind, children: Vec<Arc<dyn Policy>>) -> Arc<dyn Policy> {
    Arc::new(Composite { kind, groups: vec![children] })
}

fn turn() -> Turn {
    let tenant = Tenant {
        id: TenantId::new(),
        name: String::new(),
        display_name: String::new(),
        active: true,
        created_at: OffsetDateTime::UNIX_EPOCH,
    };
    let draft = QueryDraft { messages: vec![("user".to_owned(), "?".to_owned())], ..QueryDraft::default() };
    let query = Arc::new(Query::parse(draft).unwrap());
    let id = QueryId::new();
    Turn::new(id, Caller::new(tenant, "a@b.c", vec![Scope::Query]), query, false, TraceContext::root(id.0))
}

/// Runs a query that is answered when it is admitted: how it ended, and the log.
async fn run(make: impl FnOnce(&Bench) -> Vec<Arc<dyn Policy>>) -> (Result<(), Error>, Vec<String>) {
    let bench = Bench { log: Log::default() };
    let (set, mut turn) = (PolicySet::new(make(&bench)), turn());
    let admitted = set.admit(&mut turn, || None).await;
    let outcome = admitted.as_ref().err().map_or(Outcome::Completed, Error::outcome);
    let settled = set.settle(&mut turn, outcome).await;
    let log = bench.log.lock().unwrap().clone();
    (admitted.and(settled), log)
}

#[tokio::test]
async fn any_of_stops_at_the_first_that_admits_and_settles_the_others_as_refused() {
    let (ended, log) = run(|bench| {
        let late = bench.with("late", Phase::Payment, Deed::Admit, Deed::Admit);
        let [a, b] = [bench.probe("a", Deed::Refuse), bench.probe("b", Deed::Admit)];
        vec![of(Kind::AnyOf, vec![a, b, late])]
    })
    .await;
    assert!(ended.is_ok());
    assert_eq!(log, ["pre a", "pre b", "post b completed", "post a refused, not admitted"]);
}

#[tokio::test]
async fn any_of_refuses_when_all_do_and_fails_when_one_cannot_tell() {
    let (ended, log) = run(|bench| {
        vec![of(Kind::AnyOf, vec![bench.probe("a", Deed::Refuse), bench.probe("b", Deed::Refuse)])]
    })
    .await;
    assert!(matches!(ended, Err(Error::Refused(refusal)) if refusal.policy_type == "b"));
    assert_eq!(log.len(), 4);
    let (ended, log) =
        run(|bench| vec![of(Kind::AnyOf, vec![bench.probe("a", Deed::Fail), bench.probe("b", Deed::Admit)])])
            .await;
    assert!(matches!(ended, Err(Error::StoreUnavailable(_))));
    assert_eq!(log, ["pre a", "post a failed, not admitted"]);
}

#[tokio::test]
async fn not_admits_what_is_refused_and_gives_back_what_was_admitted() {
    let (ended, log) =
        run(|bench| vec![of(Kind::Not, vec![bench.probe("a", Deed::Refuse)]), bench.probe("b", Deed::Admit)])
            .await;
    assert!(ended.is_ok());
    assert_eq!(log, ["pre a", "pre b", "post b completed", "post a refused, not admitted"]);
    let (ended, log) = run(|bench| vec![of(Kind::Not, vec![bench.probe("a", Deed::Admit)])]).await;
    assert!(matches!(ended, Err(Error::Refused(refusal)) if refusal.policy_type == "not"));
    assert_eq!(log, ["pre a", "post a refused, not admitted"]);
}

#[tokio::test]
async fn a_branch_that_was_refused_is_settled_as_refused_to_its_leaves() {
    let (ended, log) = run(|bench| {
        let branch = of(Kind::AllOf, vec![bench.probe("a", Deed::Admit), bench.probe("b", Deed::Refuse)]);
        vec![of(Kind::AnyOf, vec![branch, bench.probe("c", Deed::Admit)])]
    })
    .await;
    assert!(ended.is_ok());
    // At once: what the branch took is not kept for as long as the query runs.
    let expected = [
        "pre a",
        "pre b",
        "post b refused, not admitted",
        "post a refused, not admitted",
        "pre c",
        "post c completed",
    ];
    assert_eq!(log, expected);
}

/// Reads what the question has become, and changes it.
struct Edits {
    says: &'static str,
    foresees: Foresight,
    seen: Log,
}

#[async_trait]
impl Policy for Edits {
    fn policy_type(&self) -> &'static str {
        "edits"
    }

    fn phase(&self) -> Phase {
        Phase::Content
    }

    async fn pre_hook(&self, _turn: &mut Turn) -> Result<(), Error> {
        Ok(())
    }

    async fn foresee(&self, turn: &mut Turn) -> Result<Foresight, Error> {
        self.seen.lock().unwrap().push(turn.query.search_text().to_owned());
        Arc::make_mut(&mut turn.query).rewrite(|text| self.says.clone_into(text));
        Ok(self.foresees.clone())
    }

    async fn post_hook(&self, _turn: &mut Turn, _outcome: &Outcome) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn what_may_refuse_leaves_the_question_to_the_next_as_it_was() {
    let refuses = || Foresight::Refuses(Box::new(super::refusal(Kind::Not)));
    for (kind, first, expected) in [
        (Kind::AnyOf, [Foresight::Unknown, refuses()], "?"),
        (Kind::AnyOf, [refuses(), Foresight::Unknown], "?"),
        (Kind::AllOf, [Foresight::Unknown, Foresight::Admits], "b"),
    ] {
        let seen = Log::default();
        let edits = |says, foresees| -> Arc<dyn Policy> {
            Arc::new(Edits { says, foresees, seen: Arc::clone(&seen) })
        };
        let [a, b] = first;
        let children = vec![edits("a", a), edits("b", b), edits("c", Foresight::Admits)];
        of(kind, children).foresee(&mut turn()).await.unwrap();
        assert_eq!(seen.lock().unwrap().last().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_child_that_panics_skips_nobody_and_payment_settles_last() {
    let (ended, log) = run(|bench| {
        let paid = bench.with("paid", Phase::Payment, Deed::Admit, Deed::Admit);
        let limit = bench.with("limit", Phase::RateLimit, Deed::Admit, Deed::Panic);
        vec![of(Kind::AllOf, vec![bench.probe("a", Deed::Admit), limit, paid])]
    })
    .await;
    assert!(matches!(ended, Err(Error::Internal(_))));
    let expected =
        ["pre a", "pre limit", "pre paid", "post limit completed", "post a panicked", "post paid panicked"];
    assert_eq!(log, expected);
    let (ended, log) = run(|bench| vec![of(Kind::AnyOf, vec![bench.probe("a", Deed::Panic)])]).await;
    assert!(matches!(ended, Err(Error::Internal(_))));
    assert_eq!(log, ["pre a", "post a panicked, not admitted"]);
}
