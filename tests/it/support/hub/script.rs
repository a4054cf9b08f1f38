//! What a scripted hub knows, and the trouble that it makes.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{
    API_TOKEN, KEY_ID, OWNER, OWNER_EMAIL, PASSWORD, Report, accounts::Account, routes, satellites::Satellite,
};

/// What a call is answered with instead.
#[derive(Clone)]
pub struct Fault {
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: String,
}

/// What becomes of a call instead of an answer.
#[derive(Clone)]
pub enum Trouble {
    /// Nothing is done.
    Answer(Fault),
    /// Nothing is done, and everything that was received is quoted in the refusal.
    Echo(u16),
    /// It is done, and half of the answer comes before the connection breaks.
    Cut,
    /// It is done, and the answer is half of the JSON.
    Half,
    /// It is done, and the connection ends without an answer.
    Vanish,
}

/// A call that has been received.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub route: &'static str,
    pub method: String,
    /// With its query.
    pub path: String,
    pub authorization: String,
    pub body: String,
}

pub(super) struct Inner {
    state: Mutex<State>,
    troubles: Mutex<HashMap<&'static str, VecDeque<(usize, Trouble)>>>,
    /// Routes whose answers are kept back.
    pub(super) held: watch::Sender<HashSet<&'static str>>,
    /// Calls that have been received.
    pub(super) count: watch::Sender<usize>,
}

#[derive(Default)]
pub(super) struct State {
    /// Names of keys, and which of them each is.
    pub(super) keys: Vec<(String, usize)>,
    /// E-mail addresses of those who ask, by subject.
    pub(super) users: HashMap<String, String>,
    pub(super) accounts: Vec<Account>,
    /// Names of accounts, by what enters them.
    pub(super) api_tokens: HashMap<String, String>,
    pub(super) access_tokens: HashMap<String, String>,
    pub(super) refresh_tokens: HashMap<String, String>,
    pub(super) asks_for_proof: bool,
    pub(super) knows_satellites: bool,
    /// The accounting account that the hub has made for its users; `None` for a hub that knows none.
    pub(super) accounting: Option<Value>,
    pub(super) satellites: Vec<Satellite>,
    pub(super) endpoints: BTreeMap<(String, String), Map<String, Value>>,
    pub(super) max_sync: usize,
    pub(super) reports: Vec<Report>,
    pub(super) skew: time::Duration,
    pub(super) received: Vec<Recorded>,
    pub(super) serial: u64,
}

impl Inner {
    pub(super) fn new() -> Self {
        let users = [("2", "Asker@example.com"), ("3", "other@example.com")];
        let mut state = State {
            keys: vec![(KEY_ID.to_owned(), 0)],
            users: users.map(|(sub, email)| (sub.to_owned(), email.to_owned())).into(),
            api_tokens: [(API_TOKEN.to_owned(), OWNER.to_owned())].into(),
            max_sync: 100,
            ..State::default()
        };
        state.add_account(OWNER, OWNER_EMAIL, PASSWORD);
        Self {
            state: Mutex::new(state),
            troubles: Mutex::default(),
            held: watch::Sender::default(),
            count: watch::Sender::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed meanwhile has said so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, call: Recorded) {
        self.state().received.push(call);
        self.count.send_modify(|count| *count += 1);
    }

    pub(super) fn trouble(&self, route: &'static str, times: usize, trouble: Trouble) {
        let mut troubles = self.troubles.lock().unwrap();
        let planned = troubles.entry(routes::known(route)).or_default();
        // What never ends is replaced.
        planned.retain(|(times, _)| *times < usize::MAX);
        planned.push_back((times, trouble));
    }

    pub(super) fn recover(&self) {
        self.troubles.lock().unwrap().clear();
    }

    pub(super) fn next_trouble(&self, route: &'static str) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().unwrap();
        let planned = troubles.get_mut(route)?;
        let (times, trouble) = planned.front_mut()?;
        let trouble = trouble.clone();
        if *times < usize::MAX {
            *times -= 1;
        }
        if *times == 0 {
            planned.pop_front();
        }
        Some(trouble)
    }
}

impl State {
    /// What time it is here.
    pub(super) fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.skew
    }

    /// A number that was never given before.
    pub(super) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
