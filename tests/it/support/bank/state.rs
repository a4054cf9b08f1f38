//! What the service knows, and what it does.

use std::collections::{HashMap, VecDeque};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, Call, OWNER, PASSWORD, Transaction};

#[derive(Default)]
pub(super) struct State {
    pub(super) balances: HashMap<String, i64>,
    /// Payers, by the tokens that have not served yet.
    pub(super) tokens: HashMap<String, String>,
    pub(super) transactions: Vec<Transaction>,
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
                let rows = self.transactions.iter().rev().skip(call.skip).take(call.limit);
                let rows: Vec<Value> = rows.map(Transaction::shown).collect();
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

    pub(super) fn be_busy(&mut self, count: usize) {
        for _ in 0..count {
            self.serial += 1;
            let (id, name) = (format!("t-{}", self.serial), format!("other/{}", self.serial));
            let (payer, slug) = ("eve@example.org".to_owned(), "other".to_owned());
            let token = name.clone();
            let made =
                Transaction { id, payer, nano_units: 0, status: "CANCELLED", app_name: name, slug, token };
            self.transactions.push(made);
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
        let made = Transaction { id, payer, nano_units, status: "PENDING", app_name, slug, token };
        self.transactions.push(made.clone());
        Ok(json!({ "transaction": made.shown() }))
    }

    fn end(&mut self, call: &Call, confirms: bool) -> Result<Value, &'static str> {
        let id = call.transaction.clone().unwrap_or_else(|| call.text("transactionId"));
        let made = self.transactions.iter_mut().find(|made| made.id == id).ok_or("No such transaction")?;
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
               "createdAt": "2026-01-01T00:00:00Z"})
    }
}

/// The amount of a body, from its text: what JSON readers make of it is no whole number.
fn nano_units(body: &str) -> i64 {
    let (_, amount) = body.split_once("\"amount\":").expect("there is no amount");
    let text = amount.split([',', '}']).next().unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap_or_else(|_| panic!("{text} is no amount"))
}
