use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-25 12:00 UTC);

/// A service with transactions of these ages in seconds, of which some are ours.
#[derive(Debug, Clone)]
struct Scripted {
    listed: Vec<(i64, Option<ChargeId>)>,
    /// Transactions of a page at most; none: it knows no pages.
    largest: Option<usize>,
    /// Transactions of others that come after each of the first pages, and where.
    arriving: usize,
    at_the_end: bool,
    /// How long a page takes.
    pause: Duration,
}

struct Asked<'a> {
    service: &'a Scripted,
    pages: AtomicUsize,
}

impl Pages for Asked<'_> {
    async fn page(&self, skip: usize, limit: usize) -> Result<Vec<Listed>, Fault> {
        tokio::time::sleep(self.service.pause).await;
        let pages = self.pages.fetch_add(1, Ordering::Relaxed);
        assert!(pages < 1_500, "it is read on and on: {:?}", (skip, limit));
        let arrived = (0..pages.min(20) * self.service.arriving).map(|_| &(0, None));
        let (first, last) = match self.service.at_the_end {
            true => (None, Some(arrived)),
            false => (Some(arrived), None),
        };
        let all = first.into_iter().flatten().chain(&self.service.listed);
        let all = all.chain(last.into_iter().flatten()).enumerate();
        let (skip, limit) = match self.service.largest {
            Some(largest) => (skip, limit.min(largest)),
            None => (0, usize::MAX),
        };
        Ok(all.skip(skip).take(limit).map(|(n, (age, charge))| listed(n, *age, *charge)).collect())
    }
}

fn listed(n: usize, age: i64, charge: Option<ChargeId>) -> Listed {
    let created_at = (NOW - time::Duration::seconds(age)).format(&Rfc3339).unwrap();
    let app_name = charge.map_or_else(|| "other/app".to_owned(), |charge| format!("{APP}{charge}"));
    let (id, status) = (json!(n), "PENDING".to_owned());
    Listed { id, status, app_name: Some(app_name), created_at: json!(created_at) }
}

fn sought(charge: ChargeId, age: i64) -> Sought {
    Sought { charge, transaction: None, made_at: NOW - time::Duration::seconds(age) }
}

async fn read(service: &Scripted, sought: Vec<Sought>) -> (Result<Ledger, Fault>, usize) {
    let asked = Asked { service, pages: AtomicUsize::new(0) };
    let read = Ledger::read(&asked, sought, Duration::from_secs(20)).await;
    (read, asked.pages.into_inner())
}

fn scripted() -> impl Strategy<Value = (Scripted, Vec<(i64, ChargeId, bool)>)> {
    let ours = proptest::collection::vec((0i64..20_000, any::<bool>()), 0..6);
    let others = proptest::collection::vec(0i64..40_000, 0..120);
    let paging = (proptest::option::of(1usize..40), prop_oneof![Just(0), Just(0), 1usize..4]);
    (ours, others, 0..3, paging).prop_map(|(ours, others, order, (largest, arriving))| {
        let ours: Vec<_> = ours.into_iter().map(|(age, is_made)| (age, ChargeId::new(), is_made)).collect();
        let made = ours.iter().filter(|(_, _, is_made)| *is_made);
        let mut listed: Vec<_> = made.map(|(age, charge, _)| (*age, Some(*charge))).collect();
        listed.extend(others.into_iter().map(|age| (age, None)));
        match order {
            0 => listed.sort_by_key(|(age, _)| *age),
            1 => listed.sort_by_key(|(age, _)| -age),
            _ => listed.sort_by_key(|(age, _)| age % 97),
        }
        // A list of no order grows where its pages are not read, or could not be read at all.
        let at_the_end = order != 0;
        let arriving = if largest.is_none_or(|largest| largest <= arriving) { 0 } else { arriving };
        (Scripted { listed, largest, arriving, at_the_end, pause: Duration::from_millis(1) }, ours)
    })
}

proptest! {
    #[test]
    fn what_is_there_is_found_and_nothing_else_is_absent((service, ours) in scripted()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let wanted = ours.iter().map(|(age, charge, _)| sought(*charge, *age)).collect();
        let (read, _) = runtime.block_on(read(&service, wanted));
        let ledger = read.unwrap();
        for (_, charge, is_made) in ours {
            prop_assert_eq!(ledger.find(charge).is_some(), is_made);
            prop_assert_eq!(ledger.lacks(charge), !is_made);
        }
    }
}

/// A hundred thousand, and the only one that is ours is of this age.
fn many(charge: ChargeId, age: i64, newest_first: bool) -> Scripted {
    let mut listed: Vec<_> = (0..100_000).map(|n| (n, None)).collect();
    listed[age as usize].1 = Some(charge);
    if !newest_first {
        listed.reverse();
    }
    let pause = Duration::from_millis(30);
    Scripted { listed, largest: Some(100), arriving: 0, at_the_end: false, pause }
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_read_from_its_newest_and_no_further_than_needed() {
    for newest_first in [true, false] {
        let (made, never_made) = (ChargeId::new(), ChargeId::new());
        let service = many(made, 900, newest_first);
        let (found, pages) = read(&service, vec![sought(made, 900)]).await;
        assert!(found.unwrap().find(made).is_some());
        assert!(pages < 60, "{pages} pages for one of the newest thousand");
        let (found, pages) = read(&service, vec![sought(never_made, 900)]).await;
        assert!(found.unwrap().lacks(never_made));
        assert!(pages < 60, "{pages} pages for one that is not there");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_in_time_is_not_absent() {
    for newest_first in [true, false] {
        let (made, old, new) = (ChargeId::new(), ChargeId::new(), ChargeId::new());
        let service = many(made, 90_000, newest_first);
        let wanted = vec![sought(made, 90_000), sought(old, 90_000), sought(new, 900)];
        let ledger = read(&service, wanted).await.0.unwrap();
        assert!(ledger.find(made).is_none() && !ledger.lacks(made));
        assert!(!ledger.lacks(old));
        assert!(ledger.lacks(new), "its time was read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_without_times_is_read_to_its_end_or_not_at_all() {
    let charge = ChargeId::new();
    let mut service = many(charge, 90_000, true);
    service.listed.iter_mut().for_each(|(age, _)| *age = 5);
    let wanted = vec![sought(charge, 90_000)];
    assert!(matches!(read(&service, wanted.clone()).await.0, Err(Fault::Unknown(_))));
    service.pause = Duration::from_millis(1);
    assert!(read(&service, wanted).await.0.unwrap().find(charge).is_some());
}

#[test]
fn times_are_read_as_services_write_them() {
    let time = |created_at: Value| Listed { created_at, ..listed(0, 0, None) }.made_at();
    for written in ["2026-11-25T12:00:00Z", "2026-11-25T13:00:00.000000+01:00", "2026-11-25T12:00:00"] {
        assert_eq!(time(json!(written)), Some(NOW), "{written}");
    }
    assert_eq!(time(json!("yesterday")), None);
    assert_eq!(time(json!(1_764_072_000)), None);
}
