//! What the service knows, and what it does.

use std::collections::{HashMap, VecDeque};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Answer, Call, OWNER, PASSWORD, Transaction};

#[derive(Default)]
pub(super) struct State {
    pub(super) balances: HashMap<String, i64>,
    /// Payers, by the tokens that have not served yet.
    pub(super) tokens: HashMap<String, String>,
    pub(super) transactions: Vec<Transaction>,
    /// Where they are, by id.
    places: HashMap<String, usize>,
    pub(super) oldest_first: bool,
    pub(super) calls: HashMap<&'static str, usize>,
    pub(super) serial: usize,
    pub(super) wrong_password: bool,
    /// Transactions of others that come right after the next lists, in front of what is there.
    pub(super) arrivals: VecDeque<usize>,
}

impl State {
    pub(super) fn act(&mut self, call: &Call) -> Answer {
        let bearer = call.authorization.strip_prefix("Bearer ").filter(|_| call.name == "create");
        let basic = format!("Basic {}", STANDARD.encode(format!("{OWNER}:{PASSWORD}")));
        if bearer.is_none() && (call.authorization != basic || self.wrong_password) {
            return (401, json!({"detail": "Invalid credentials"}));
        }
        let done = match call.name {
            "create" => self.create(call, bearer),
            "list" => {
                let rows = self.page(call.skip, call.limit);
                if let Some(count) = self.arrivals.pop_front() {
                    self.be_busy(count);
                }
                Ok(json!({ "transactions": rows }))
            }
            ending => self.end(call, ending == "confirm"),
        };
        match done {
            Ok(body) => (200, body),
            Err(detail) => (400, json!({ "detail": detail })),
        }
    }

    fn page(&self, skip: usize, limit: usize) -> Vec<Value> {
        let rows = self.transactions.iter();
        match self.oldest_first {
            true => rows.skip(skip).take(limit).map(Transaction::shown).collect(),
            false => rows.rev().skip(skip).take(limit).map(Transaction::shown).collect(),
        }
    }

    pub(super) fn lose_everything(&mut self) {
        self.places.clear();
        for made in std::mem::take(&mut self.transactions) {
            if made.status == "PENDING" {
                *self.balances.entry(made.payer).or_default() += made.nano_units;
            }
        }
    }

    fn add(&mut self, made: Transaction) {
        self.places.insert(made.id.clone(), self.transactions.len());
        self.transactions.push(made);
    }

    pub(super) fn be_busy(&mut self, count: usize) {
        for _ in 0..count {
            self.serial += 1;
            let (id, name) = (format!("t-{}", self.serial), format!("other/{}", self.serial));
            let (payer, slug) = ("eve@example.org".to_owned(), "other".to_owned());
            let token = name.clone();
            let (nano_units, status, app_name) = (0, "CANCELLED", name);
            let created_at = OffsetDateTime::now_utc();
            self.add(Transaction { id, payer, nano_units, status, app_name, slug, token, created_at });
        }
    }

    fn create(&mut self, call: &Call, bearer: Option<&str>) -> Result<Value, &'static str> {
        let token = bearer.map_or_else(|| call.text("token"), ToOwned::to_owned);
        let payer = self.tokens.remove(&token).ok_or("Invalid or used token")?;
        if call.text("senderEmail") != payer || call.text("recipientEmail") != OWNER {
            return Err("The token is another's");
        }
        let nano_units = nano_units(&call.raw);
        let balance = self.balances.get_mut(&payer).ok_or("No such account")?;
        if *balance < nano_units {
            return Err("Insufficient balance");
        }
        *balance -= nano_units;
        self.serial += 1;
        let (app_name, slug) = (call.text("appName"), call.text("appEpPath"));
        let id = format!("t-{}", self.serial);
        let (status, created_at) = ("PENDING", OffsetDateTime::now_utc());
        let made = Transaction { id, payer, nano_units, status, app_name, slug, token, created_at };
        let shown = made.shown();
        self.add(made);
        Ok(json!({ "transaction": shown }))
    }

    fn end(&mut self, call: &Call, confirms: bool) -> Result<Value, &'static str> {
        let id = call.transaction.clone().unwrap_or_else(|| call.text("transactionId"));
        let made = self.places.get(&id).and_then(|place| self.transactions.get_mut(*place));
        let made = made.ok_or("No such transaction")?;
        if made.status != "PENDING" {
            return Err("The transaction is not pending");
        }
        made.status = if confirms { "CONFIRMED" } else { "CANCELLED" };
        let to = if confirms { OWNER.to_owned() } else { made.payer.clone() };
        *self.balances.entry(to).or_default() += made.nano_units;
        Ok(json!({ "transaction": made.shown() }))
    }
}

impl Transaction {
    fn shown(&self) -> Value {
        json!({"id": self.id, "senderEmail": self.payer, "recipientEmail": OWNER, "status": self.status,
               "amount": self.nano_units as f64 / 1e9, "appName": self.app_name, "appEpPath": self.slug,
               "createdAt": self.created_at.format(&Rfc3339).unwrap()})
    }
}

/// The amount of a body, from its text: what JSON readers make of it is no whole number.
fn nano_units(body: &str) -> i64 {
    let (_, amount) = body.split_once("\"amount\":").expect("there is no amount");
    let text = amount.split([',', '}']).next().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap_or_else(|_| panic!("{text} is no amount"))
}
