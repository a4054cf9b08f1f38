//! An accounting service on loopback that follows the contract of both eras: accounts with passwords, tokens that
//! serve once, for one recipient, balances, transactions that are pending, confirmed or cancelled. It can lose
//! answers, be slow, failing or wrong, one call at a time.

mod state;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use state::State;

pub const OWNER: &str = "owner@bank.example";
pub const PASSWORD: &str = "canary-bank-Password-4731";

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and the connection breaks without an answer.
    Lost,
    /// It never arrives, and the connection breaks.
    Dropped,
    /// Nothing is done, and this is the answer, with all that was received in it.
    Refused(u16),
    /// It is done, and this is the answer.
    Failed(u16),
    /// It is done twice, as a proxy may that repeats; the second answer counts.
    Twice,
    /// It is done after a while, when nobody waits any more.
    Late(Duration),
    /// It waits until it is abandoned, and is never done.
    Held,
    /// It is done, and the answer waits until it is abandoned.
    DoneAndHeld,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub id: String,
    pub payer: String,
    pub nano_units: i64,
    pub status: &'static str,
    pub app_name: String,
    pub slug: String,
    pub token: String,
    pub created_at: time::OffsetDateTime,
}

/// A service. It stops when it is dropped.
pub struct Bank {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    faults: Mutex<HashMap<&'static str, VecDeque<Fault>>>,
    /// Calls that are being held.
    held: watch::Sender<usize>,
}

struct Call {
    name: &'static str,
    /// The transaction of a path.
    transaction: Option<String>,
    authorization: String,
    skip: usize,
    limit: usize,
    body: Value,
    raw: String,
}

type Answer = (u16, Value);

impl Drop for Bank {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bank {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (inner, stop, tasks) = (Arc::new(Inner::default()), CancellationToken::new(), TaskTracker::new());
        let (serving, stopped, spawner) = (Arc::clone(&inner), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (inner, stopped, tasks) = (Arc::clone(&serving), stopped.clone(), spawner.clone());
                spawner.spawn(async move {
                    stopped.run_until_cancelled(serve(stream, &inner, &tasks)).await;
                });
            }
        });
        Self { address, inner, stop }
    }

    /// A policy's configuration that pays into [`OWNER`]'s account here.
    pub fn charging(&self, pricing: Value) -> Value {
        let mut configuration = json!({
            "accounting_url": format!("http://{}", self.address),
            "accounting_email": OWNER,
            "accounting_password": PASSWORD,
        });
        configuration.as_object_mut().unwrap().extend(pricing.as_object().unwrap().clone());
        configuration
    }

    /// A token of this payer, who has a thousand units at first.
    pub fn token(&self, payer: &str) -> String {
        let mut state = self.state();
        state.balances.entry(payer.to_owned()).or_insert(1_000_000_000_000_000);
        state.serial += 1;
        let token = format!("canary-token-4732-{}", state.serial);
        state.tokens.insert(token.clone(), payer.to_owned());
        token
    }

    pub fn set_balance(&self, payer: &str, nano_units: i64) {
        self.state().balances.insert(payer.to_owned(), nano_units);
    }

    pub fn change_password(&self) {
        self.state().wrong_password = true;
    }

    /// Others pay so often.
    pub fn be_busy(&self, count: usize) {
        self.state().be_busy(count);
    }

    /// Others pay so often right after the next page of the list has been read.
    pub fn be_busy_after_a_page(&self, count: usize) {
        self.state().arrivals.push_back(count);
    }

    /// Loses every transaction, and gives back what was reserved.
    pub fn lose_everything(&self) {
        self.state().lose_everything();
    }

    /// Lists what came first first.
    pub fn list_oldest_first(&self) {
        self.state().oldest_first = true;
    }

    /// Plans what becomes of the next `create`, `confirm`, `cancel` or `list`.
    pub fn fault(&self, call: &'static str, fault: Fault) {
        self.inner.faults.lock().unwrap().entry(call).or_default().push_back(fault);
    }

    /// Waits until a call is held.
    pub async fn holds(&self) {
        let mut held = self.inner.held.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), held.wait_for(|held| *held > 0)).await;
        waited.expect("no call came that is to be held").unwrap();
    }

    pub fn calls(&self, call: &'static str) -> usize {
        self.state().calls.get(call).copied().unwrap_or_default()
    }

    pub fn transactions(&self) -> Vec<Transaction> {
        self.state().transactions.clone()
    }

    pub fn pending(&self) -> usize {
        self.state().transactions.iter().filter(|made| made.status == "PENDING").count()
    }

    /// What the owner has got.
    pub fn earned(&self) -> i64 {
        self.state().balances.get(OWNER).copied().unwrap_or_default()
    }

    /// Fails when a token was taken for twice, or money was made or lost.
    pub fn audit(&self) {
        let state = self.state();
        let confirmed = state.transactions.iter().filter(|made| made.status == "CONFIRMED");
        let mut seen = HashSet::new();
        let mut earned = 0;
        for made in confirmed {
            assert!(seen.insert(&made.token), "a token was charged twice: {made:?}");
            assert!(seen.insert(&made.app_name), "a reservation was charged twice: {made:?}");
            earned += made.nano_units;
        }
        assert_eq!(state.balances.get(OWNER).copied().unwrap_or_default(), earned);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self, call: &'static str) -> Option<Fault> {
        self.faults.lock().unwrap().get_mut(call)?.pop_front()
    }
}

/// Answers calls until one breaks the connection.
async fn serve(mut stream: TcpStream, inner: &Arc<Inner>, tasks: &TaskTracker) {
    while let Some(call) = Call::read(&mut stream).await {
        *inner.state().calls.entry(call.name).or_default() += 1;
        let (status, body) = match inner.next_fault(call.name) {
            None => inner.state().act(&call),
            Some(Fault::Dropped) => return,
            Some(Fault::Refused(status)) => (status, json!({ "detail": call.raw })),
            Some(Fault::Lost) => {
                inner.state().act(&call);
                return;
            }
            Some(Fault::Failed(status)) => {
                inner.state().act(&call);
                (status, json!({"detail": "oops"}))
            }
            Some(Fault::Twice) => {
                inner.state().act(&call);
                inner.state().act(&call)
            }
            Some(Fault::Late(time)) => {
                let inner = Arc::clone(inner);
                tasks.spawn(async move {
                    tokio::time::sleep(time).await;
                    inner.state().act(&call);
                });
                return;
            }
            Some(held @ (Fault::Held | Fault::DoneAndHeld)) => {
                if held == Fault::DoneAndHeld {
                    inner.state().act(&call);
                }
                inner.held.send_modify(|held| *held += 1);
                let _ = stream.read(&mut [0; 1]).await;
                inner.held.send_modify(|held| *held -= 1);
                return;
            }
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Word\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Call {
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&piece[..read]);
            let raw = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = raw.split_once("\r\n\r\n") else { continue };
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let length = header("content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() < length {
                continue;
            }
            let (line, authorization) = (head.lines().next()?, header("authorization").unwrap_or_default());
            let mut words = line.split(' ');
            let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
            let body = serde_json::from_str(body).unwrap_or_default();
            return Some(Self::route(&method, &path, (authorization, body, raw.clone())));
        }
    }

    fn route(method: &str, path: &str, (authorization, body, raw): (String, Value, String)) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let number = |name: &str, or| {
            let found = url::form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name);
            found.map_or(or, |(_, value)| value.parse().unwrap())
        };
        let path: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (name, transaction) = match (method, path.as_slice()) {
            ("POST", ["transaction", "create"]) | ("POST", ["transactions"]) => ("create", None),
            ("POST", ["transaction", "confirm"]) => ("confirm", None),
            ("POST", ["transaction", "cancel"]) => ("cancel", None),
            ("POST", ["transactions", id, "confirm"]) => ("confirm", Some((*id).to_owned())),
            ("POST", ["transactions", id, "cancel"]) => ("cancel", Some((*id).to_owned())),
            ("GET", ["transactions"]) => ("list", None),
            other => panic!("no such call: {other:?}"),
        };
        // As the real one, which shows ten and gives a hundred.
        let (skip, limit) = (number("skip", 0), number("limit", usize::MAX).min(100));
        let limit = if query.is_empty() { 10 } else { limit };
        Self { name, transaction, authorization, skip, limit, body, raw }
    }

    fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }
}
