//! `accounting`: what an answer costs, paid with the caller's transaction token.
//!
//! A token serves once and for one account, so all policies of an endpoint are paid into one, with one reservation.
//! With prices per call it is made before the query runs. With prices per token it is made when the answer is
//! there: the service can neither confirm less than was reserved nor be asked twice with one token, so reserving
//! an upper bound would be charging it. Text therefore waits until it is paid for, unless the owner lets it stream
//! at the risk that some callers cannot pay.
//!
//! A charge is decided in the database before the service is told. From then on it *will* be carried out, by
//! this hook or by recovery, so a service that does not answer a confirmation fails no answer.

mod config;
mod ledger;
mod money;
mod recovery;
mod service;
mod till;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

pub use config::leaves_account_out;
pub(super) use config::{Config, conflicts};
pub(super) use money::{Price, decimal_of};

use super::{Outcome, Phase, Policy, Turn, share::Share};
use crate::{
    domain::{
        self, ChargeId, Cost, EndpointId, PolicyEntry, Transaction, Usage,
        schema::{self, TypeSpec},
    },
    error::{Cause, Error, Refusal, Resource},
    store::{Decision, NewCharge, Store},
    upstream,
};
use config::Tariff;
use service::{Reason, Service};
use till::{Clock, Reserved, Unpaid};

pub(super) fn spec() -> TypeSpec {
    TypeSpec::of::<Config>(NAME, DESCRIPTION, ICON, SECRETS).publishing(PUBLIC).checking(config::check)
}

pub(super) const NAME: &str = "accounting";
pub(super) const ICON: &str = "💳";
pub(super) const DESCRIPTION: &str = "Charges for answers, by call or by token, through an accounting \
    service. Callers pay with a transaction token. Refused and failed queries cost nothing.";
const SECRETS: &[&str] = &["accounting_email", "accounting_password"];
const PUBLIC: &[&str] = &["price", "pricing_mode", "input_price", "output_price", "currency"];

/// What charges. Clones share it.
#[derive(Clone)]
pub(super) struct Till(Arc<till::Till>);

/// All `accounting` policies of one endpoint: a caller pays each that applies to it.
pub(super) struct Accounting {
    tariffs: Vec<Tariff>,
    endpoint: EndpointId,
    slug: String,
    till: Arc<till::Till>,
}

/// What a query is to pay, kept between the hooks.
#[derive(Clone)]
struct Bill {
    /// Indices of its tariffs; one at least.
    tariffs: Vec<usize>,
    state: State,
}

#[derive(Clone)]
enum State {
    /// To be reserved and paid at the end.
    AtTheEnd,
    /// An intent is about to be written; the service may come to know of it.
    Intended(ChargeId),
    Reserved(Reserved, Cost),
    /// Nothing that applies costs anything.
    Free,
}

/// An amount that is to be reserved.
struct Due {
    charge: ChargeId,
    cost: Cost,
    /// What becomes of it, where that is known before.
    decision: Option<Decision>,
}

impl Till {
    /// Queries take `longest` at most, with their hooks.
    pub(super) fn new(store: &Store, config: &upstream::Config, longest: Duration) -> Result<Self, Cause> {
        let service = Service::new(config, till::CALL)?;
        Ok(Self(Arc::new(till::Till::new(store.clone(), service, longest))))
    }

    /// Settles what crashes and silent services have left, until `until`.
    pub(super) async fn recover(self, until: CancellationToken) {
        recovery::run(&self.0, until).await;
    }
}

impl Accounting {
    pub(super) fn new(policies: &[domain::Policy], till: Till) -> Result<Self, Cause> {
        let first = policies.first().ok_or("there is no policy")?;
        let tariff = |policy: &domain::Policy| {
            Tariff::new(policy.id, policy.name.clone(), schema::read(&policy.configuration)?)
        };
        let tariffs: Vec<Tariff> = policies.iter().map(tariff).collect::<Result<_, _>>()?;
        let is_one = |tariff: &Tariff| {
            tariff.account.is(&tariffs[0].account) && tariff.currency == tariffs[0].currency
        };
        if !tariffs.iter().all(is_one) {
            return Err("an endpoint's policies are paid into one account, in one currency".into());
        }
        Ok(Self { tariffs, endpoint: first.endpoint_id, slug: first.endpoint_slug.clone(), till: till.0 })
    }

    /// What a caller will have to pay; `None` when no policy applies to it.
    fn bill(&self, email: &str) -> Option<Bill> {
        let applies: Vec<usize> =
            (0..self.tariffs.len()).filter(|i| self.tariffs[*i].applies_to(email)).collect();
        let free = applies.iter().all(|i| self.tariffs[*i].pricing.is_free());
        let state = if free { State::Free } else { State::AtTheEnd };
        (!applies.is_empty()).then_some(Bill { tariffs: applies, state })
    }

    /// Whose account a charge goes through, from its reservation to its end.
    fn first(&self, bill: &Bill) -> &Tariff {
        &self.tariffs[bill.tariffs[0]]
    }

    /// What a bill comes to with these tokens, rounded once.
    fn cost(&self, bill: &Bill, tokens: Usage) -> Cost {
        let prices = bill.tariffs.iter().map(|i| self.tariffs[*i].pricing.cost(tokens));
        let total = prices.fold(Price::default(), Price::plus);
        Cost { nano_units: total.nano_units(), currency: self.first(bill).currency.clone() }
    }

    /// What a query will cost that completes; `None` when only its answer says.
    fn price(&self, bill: &Bill) -> Option<Cost> {
        let is_known = bill.tariffs.iter().all(|i| !self.tariffs[*i].pricing.is_per_token());
        Some(self.cost(bill, Usage::default())).filter(|cost| is_known && cost.nano_units > 0)
    }

    /// Reserves an amount.
    async fn reserve(
        &self,
        clock: Clock,
        // Exclusive, because a turn cannot be shared between threads.
        turn: &mut Turn,
        bill: &Bill,
        due: &Due,
    ) -> Result<Reserved, Unpaid> {
        let first = self.first(bill);
        let new = NewCharge {
            id: due.charge,
            tenant: turn.caller.tenant().id,
            endpoint: self.endpoint,
            policy: first.policy,
            query: turn.query_id,
            caller: turn.caller.email().to_owned(),
            nano_units: due.cost.nano_units,
            currency: due.cost.currency.clone(),
            account: first.account.written(),
            decision: due.decision,
            name: turn.name.as_deref().cloned(),
        };
        let token = turn.query.transaction_token().unwrap_or_default();
        self.till.reserve(clock, new, &first.account, (&self.slug, token)).await
    }

    /// Takes or returns what was reserved before the query ran.
    async fn settle(
        &self,
        clock: Clock,
        turn: &mut Turn,
        (bill, reserved, cost): (&Bill, &Reserved, Cost),
        share: Share,
    ) -> Result<(), Error> {
        let decision = if share == Share::Nothing { Decision::Cancel } else { Decision::Confirm };
        // Written before the service hears of it. Only this can fail an answer, and then recovery cancels.
        let is_ours = match decision {
            Decision::Confirm => self.till.confirm(clock, reserved.charge).await?,
            Decision::Cancel | Decision::Forget => self.till.cancel(clock, reserved.charge).await?,
        };
        if is_ours && decision == Decision::Confirm {
            charged(turn, cost, Some(reserved));
        } else {
            note(turn, "refunded", cost, Some(reserved));
        }
        if is_ours {
            self.till.carry_out(clock, &self.first(bill).account, reserved, decision).await;
        }
        Ok(())
    }

    /// Reserves and takes what the answer turned out to cost.
    async fn pay(&self, clock: Clock, turn: &mut Turn, bill: &Bill, share: Share) -> Result<(), Error> {
        if share == Share::Nothing {
            return Ok(());
        }
        let cost = self.cost(bill, share.tokens(turn));
        if cost.nano_units == 0 {
            note(turn, "free", cost, None);
            return Ok(());
        }
        turn.cost_is_part = share == Share::Delivered;
        // What has been read is owed, whatever happens now; what has not can still be kept back.
        let decision = turn.text_delivered.then_some(Decision::Confirm);
        let due = Due { charge: ChargeId::new(), cost, decision };
        let reserved = match self.reserve(clock, turn, bill, &due).await {
            Ok(reserved) => reserved,
            Err(Unpaid::Unknown(cause)) if decision.is_some() => {
                tracing::warn!(charge = %due.charge, %cause, "a charge is settled later");
                self.till.leave(clock, due.charge).await;
                charged(turn, due.cost, None);
                return Ok(());
            }
            Err(unpaid) => {
                self.till.give_up(clock, due.charge).await?;
                return Err(self.refusal(bill, &due.cost, unpaid));
            }
        };
        if decision.is_none() && !self.till.confirm(clock, due.charge).await? {
            return Err(Error::internal("a charge was cancelled while it was made"));
        }
        charged(turn, due.cost, Some(&reserved));
        self.till.carry_out(clock, &self.first(bill).account, &reserved, Decision::Confirm).await;
        Ok(())
    }

    fn refusal(&self, bill: &Bill, cost: &Cost, unpaid: Unpaid) -> Error {
        let (code, message) = match unpaid {
            Unpaid::Store(error) => return error,
            Unpaid::Refused(Reason::Account) => {
                let name = self.first(bill).name.clone();
                return Error::ConfigurationInvalid(Resource::Policy, name);
            }
            Unpaid::Refused(Reason::Balance) => {
                ("INSUFFICIENT_BALANCE", "The balance does not cover the price")
            }
            Unpaid::Refused(Reason::Other | Reason::Gone) => {
                ("PAYMENT_REQUIRED", "The payment was refused. Ask for a new transaction token.")
            }
            // A refusal and not a failure: SyftHub repeats failures, and the token may have been used.
            Unpaid::Unknown(cause) => {
                tracing::warn!(%cause, "a payment could not be reserved");
                ("PAYMENT_REQUIRED", "The accounting service does not answer. Nothing is charged.")
            }
        };
        refusal(code, message, Some(cost))
    }
}

#[async_trait]
impl Policy for Accounting {
    fn policy_type(&self) -> &'static str {
        NAME
    }

    fn phase(&self) -> Phase {
        Phase::Payment
    }

    async fn pre_hook(&self, turn: &mut Turn) -> Result<(), Error> {
        let Some(mut bill) = self.bill(turn.caller.email()) else { return Ok(()) };
        if matches!(bill.state, State::Free) {
            turn.keep(bill);
            return Ok(());
        }
        let price = self.price(&bill);
        if turn.query.transaction_token().is_none_or(str::is_empty) {
            let message = "Transaction token is required. Please add it to the request.";
            return Err(refusal("PAYMENT_REQUIRED", message, price.as_ref()));
        }
        let Some(price) = price else {
            turn.keep(bill);
            return Ok(());
        };
        let due = Due { charge: ChargeId::new(), cost: price, decision: None };
        // Kept before anything is written: a hook that is abandoned or refuses is settled too.
        turn.keep(Bill { state: State::Intended(due.charge), ..bill.clone() });
        let reserved = self.reserve(Clock::start(), turn, &bill, &due).await;
        let reserved = reserved.map_err(|unpaid| self.refusal(&bill, &due.cost, unpaid))?;
        bill.state = State::Reserved(reserved, due.cost);
        turn.keep(bill);
        Ok(())
    }

    async fn post_hook(&self, turn: &mut Turn, outcome: &Outcome) -> Result<(), Error> {
        let Some(bill) = turn.take::<Bill>() else { return Ok(()) };
        let (clock, share) = (Clock::start(), Share::of(turn, *outcome));
        match &bill.state {
            State::AtTheEnd => self.pay(clock, turn, &bill, share).await,
            State::Intended(charge) => self.till.give_up(clock, *charge).await,
            State::Reserved(reserved, cost) => {
                self.settle(clock, turn, (&bill, reserved, cost.clone()), share).await
            }
            State::Free => {
                if share != Share::Nothing {
                    note(turn, "free", self.cost(&bill, Usage::default()), None);
                }
                Ok(())
            }
        }
    }

    /// Not from those who pay nothing, or in another way.
    fn withholds_answer(&self, turn: &Turn) -> bool {
        let applies = self.tariffs.iter().filter(|tariff| tariff.applies_to(turn.caller.email()));
        applies.into_iter().any(|tariff| tariff.pricing.is_paid_first())
    }
}

fn charged(turn: &mut Turn, cost: Cost, reserved: Option<&Reserved>) {
    turn.cost = Some(cost.clone());
    note(turn, "charged", cost, reserved);
}

fn note(turn: &mut Turn, status: &'static str, cost: Cost, reserved: Option<&Reserved>) {
    let transaction = reserved.map(|reserved| Transaction {
        rail: NAME,
        id: reserved.transaction.clone(),
        reference: service::reference(reserved.charge),
    });
    turn.entries.push(PolicyEntry {
        policy_type: NAME,
        kind: "payment",
        status,
        cost: Some(cost),
        transaction,
        reason_code: None,
        reason: None,
        details: Map::new(),
    });
}

fn refusal(code: &'static str, message: &str, cost: Option<&Cost>) -> Error {
    let price = |cost: &Cost| {
        let amount = ("amount".to_owned(), json!(money::decimal(cost.nano_units)));
        [amount, ("currency".to_owned(), json!(cost.currency))]
    };
    Error::from(Refusal {
        policy_type: NAME,
        kind: "payment",
        code,
        message: message.to_owned(),
        retry_after: None,
        details: cost.map(price).into_iter().flatten().collect(),
    })
}
