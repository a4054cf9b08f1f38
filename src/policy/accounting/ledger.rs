//! The list of an account's transactions, in which reservations are found again whose answers were lost.
//!
//! Services sort it by time, either way, or not at all, and give as much of it at once as they like. Ours are among
//! the newest, so it is read from there, and only as far back as what is sought can be.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;
use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::well_known::{Iso8601, Rfc3339},
};
use tokio::time::Instant;

use super::service::{APP, Fault, Status, name, unknown};
use crate::domain::ChargeId;

/// Transactions of a page that we ask for. Services give fewer.
pub(super) const PAGE: usize = 500;
/// Where no list has anything.
const BEYOND: usize = 1_000_000_000;
/// How far the service's clock may be from ours.
const SKEW: time::Duration = time::Duration::minutes(10);

/// So many neighbours in order are no chance.
const EVIDENCE: usize = 16;

/// A reservation that is looked for.
#[derive(Clone)]
pub(super) struct Sought {
    pub(super) charge: ChargeId,
    /// What the service calls it, when that is known.
    pub(super) transaction: Option<String>,
    pub(super) made_at: OffsetDateTime,
}

/// What the service has of what was sought.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    found: HashMap<ChargeId, (String, Status)>,
    absent: HashSet<ChargeId>,
}

/// A transaction as it is listed.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    pub(super) id: Value,
    #[serde(default)]
    pub(super) status: String,
    #[serde(alias = "app_name")]
    pub(super) app_name: Option<String>,
    #[serde(alias = "created_at", default)]
    pub(super) created_at: Value,
}

/// Where pages come from.
pub(super) trait Pages: Sync {
    /// Up to `limit` transactions after the first `skip`. None: there are no more.
    fn page(&self, skip: usize, limit: usize) -> impl Future<Output = Result<Vec<Listed>, Fault>> + Send;
}

/// From when on a list was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nothing,
    Since(OffsetDateTime),
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// How the times of neighbours on a page compare.
#[derive(Default)]
struct Neighbours {
    falling: usize,
    rising: usize,
    /// Of one or both the time is not known.
    unknown: usize,
}

/// A list that is being read.
struct Reading<'a, P> {
    pages: &'a P,
    sought: Vec<Sought>,
    /// What the next page is not asked for after.
    until: Instant,
    neighbours: Neighbours,
    /// The time of the oldest that was read.
    oldest: Option<OffsetDateTime>,
    found: HashMap<ChargeId, (String, Status)>,
}

impl Ledger {
    /// Looks for reservations for as long as `limit`. What was not read by then is not known to be absent.
    pub(super) async fn read(
        pages: &impl Pages,
        sought: Vec<Sought>,
        limit: Duration,
    ) -> Result<Self, Fault> {
        let until = Instant::now() + limit;
        let mut reading = Reading {
            pages,
            sought,
            until,
            neighbours: Neighbours::default(),
            oldest: None,
            found: HashMap::new(),
        };
        let first = pages.page(0, PAGE).await?;
        let mut reach = Reach::Nothing;
        if Neighbours::of(&first).allow(Order::OldestFirst) && pages.page(BEYOND, 1).await?.is_empty() {
            reach = reading.backwards(first.len()).await?;
        }
        // Also when it turned out not to be sorted.
        if reach == Reach::Nothing {
            reach = reading.forwards(first).await?;
        }
        let missing = reading.sought.iter().filter(|sought| !reading.found.contains_key(&sought.charge));
        let absent =
            missing.filter(|sought| reach.covers(sought.made_at)).map(|sought| sought.charge).collect();
        Ok(Self { found: reading.found, absent })
    }

    /// What the service has of a reservation.
    pub(super) fn find(&self, charge: ChargeId) -> Option<(String, Status)> {
        self.found.get(&charge).cloned()
    }

    /// Whether a reservation was sought and is not there.
    pub(super) fn lacks(&self, charge: ChargeId) -> bool {
        self.absent.contains(&charge)
    }
}

impl<P: Pages> Reading<'_, P> {
    /// From the first page on, until everything is found or too old, or to the end.
    async fn forwards(&mut self, first: Vec<Listed>) -> Result<Reach, Fault> {
        (self.neighbours, self.oldest) = (Neighbours::default(), None);
        let (mut page, mut before, mut skip) = (first, Vec::new(), 0);
        loop {
            self.take(&page);
            skip += page.len();
            let ids: Vec<_> = page.into_iter().map(|listed| listed.id).collect();
            // Services have smaller pages than we ask for, so only an empty one is the last.
            if ids.is_empty() {
                return Ok(Reach::Everything);
            }
            if let Some(reach) = self.enough(Order::NewestFirst) {
                return Ok(reach);
            }
            // The same again can be what others have moved here meanwhile, or a service without pages. Such a one
            // has something also where nothing can be.
            if ids == before && !self.pages.page(BEYOND, 1).await?.is_empty() {
                return without_pages(ids.len());
            }
            if Instant::now() >= self.until {
                return self.too_long(Order::NewestFirst);
            }
            before = ids;
            page = self.pages.page(skip, PAGE).await?;
        }
    }

    /// From the last page on, until everything is found or too old, or to the first. Reaches nothing when the list
    /// is not sorted after all.
    async fn backwards(&mut self, step: usize) -> Result<Reach, Fault> {
        // What comes behind it meanwhile is too new to be sought.
        let mut skip = self.end(step).await?;
        while skip > 0 {
            if Instant::now() >= self.until {
                return self.too_long(Order::OldestFirst);
            }
            skip = skip.saturating_sub(step);
            let page = self.pages.page(skip, PAGE).await?;
            self.take(&page);
            if self.neighbours.falling + self.neighbours.unknown > 0 {
                return Ok(Reach::Nothing);
            }
            if let Some(reach) = self.enough(Order::OldestFirst) {
                return Ok(reach);
            }
        }
        Ok(Reach::Everything)
    }

    /// How many transactions there are, `known` at least.
    async fn end(&self, known: usize) -> Result<usize, Fault> {
        let (mut low, mut high) = (known, known.saturating_mul(2));
        while !self.pages.page(high, 1).await?.is_empty() {
            (low, high) = (high, high.saturating_mul(2));
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.pages.page(middle, 1).await?.is_empty() {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }

    fn take(&mut self, page: &[Listed]) {
        self.neighbours.add(page);
        self.oldest = page.iter().filter_map(Listed::made_at).chain(self.oldest).min();
        for listed in page {
            let Some(id) = name(&listed.id) else { continue };
            let charge = listed.app_name.as_deref().and_then(|app| app.strip_prefix(APP));
            let found = self.sought.iter().find(|sought| {
                sought.transaction.as_ref() == Some(&id)
                    || charge.is_some_and(|charge| charge == sought.charge.to_string())
            });
            if let Some(sought) = found {
                self.found.insert(sought.charge, (id, Status::read(&listed.status)));
            }
        }
    }

    /// How far a list of this order was read, if nothing more can be found in it.
    fn enough(&self, order: Order) -> Option<Reach> {
        let missing = self.sought.iter().filter(|sought| !self.found.contains_key(&sought.charge));
        let Some(since) = missing.map(|sought| earliest(sought.made_at)).min() else {
            return Some(Reach::Everything);
        };
        let is_older = self.neighbours.show(order) && self.oldest.is_some_and(|oldest| oldest < since);
        is_older.then_some(Reach::Since(since))
    }

    fn too_long(&self, order: Order) -> Result<Reach, Fault> {
        match self.oldest.filter(|_| self.neighbours.show(order)) {
            Some(oldest) => Ok(Reach::Since(oldest)),
            None => Err(unknown("the list of transactions cannot be read to its end in time")),
        }
    }
}

impl Reach {
    fn covers(self, made_at: OffsetDateTime) -> bool {
        match self {
            Self::Nothing => false,
            Self::Since(since) => earliest(made_at) >= since,
            Self::Everything => true,
        }
    }
}

impl Neighbours {
    fn of(page: &[Listed]) -> Self {
        let mut neighbours = Self::default();
        neighbours.add(page);
        neighbours
    }

    fn add(&mut self, page: &[Listed]) {
        let times: Vec<_> = page.iter().map(Listed::made_at).collect();
        for pair in times.windows(2) {
            match *pair {
                [Some(a), Some(b)] if a > b => self.falling += 1,
                [Some(a), Some(b)] if a < b => self.rising += 1,
                [Some(_), Some(_)] => {}
                _ => self.unknown += 1,
            }
        }
    }

    /// Whether they may be a part of a list of this order.
    fn allow(&self, order: Order) -> bool {
        let (with, against) = match order {
            Order::NewestFirst => (self.falling, self.rising),
            Order::OldestFirst => (self.rising, self.falling),
        };
        with > 0 && against + self.unknown == 0
    }

    /// Whether they can hardly be a part of any other.
    fn show(&self, order: Order) -> bool {
        self.allow(order) && self.falling + self.rising >= EVIDENCE
    }
}

impl Listed {
    /// A time without a zone is in UTC.
    fn made_at(&self) -> Option<OffsetDateTime> {
        let text = self.created_at.as_str()?;
        let zoned = OffsetDateTime::parse(text, &Rfc3339).ok();
        zoned.or_else(|| Some(PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).ok()?.assume_utc()))
    }
}

/// The same `count` transactions come again and again.
fn without_pages(count: usize) -> Result<Reach, Fault> {
    // Had it more than we ask for, it would keep the rest to itself.
    if count == PAGE {
        return Err(unknown("the list of transactions has no pages"));
    }
    Ok(Reach::Everything)
}

/// No transaction of a reservation is older.
fn earliest(made_at: OffsetDateTime) -> OffsetDateTime {
    made_at.checked_sub(SKEW).unwrap_or(made_at)
}

#[cfg(test)]
mod tests;
