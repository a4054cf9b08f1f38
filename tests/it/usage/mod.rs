//! What endpoints were used for: recorded for every outcome, added up right, shown to whom it concerns.

mod aggregates;
mod indexes;
mod migration;
mod paging;
mod recorded;
mod rest;
mod retention;
mod sums;
mod tenants;
mod text;

use std::{collections::BTreeSet, time::Duration};

use syft_endpoints::{
    domain::{Cost, QueryId, QueryRecord, RecordFilter, RecordedText, TenantId, Usage},
    proto::{
        ListQueryRecordsRequest, QueryRecord as Shown, QueryRecordFilter, SummarizeUsageRequest,
        SummarizeUsageResponse,
    },
    store::{Recorder, RecordsConfig, Store},
};
use time::{OffsetDateTime, macros::datetime};

use crate::support::{eventually, space::Clients};

/// A Wednesday.
pub const BEGIN: OffsetDateTime = datetime!(2026-03-04 00:00 UTC);

/// A query that was answered.
pub fn record(tenant: TenantId, started_at: OffsetDateTime) -> QueryRecord {
    QueryRecord {
        id: QueryId::new(),
        tenant,
        endpoint: None,
        endpoint_slug: "ask".to_owned(),
        dataset: None,
        caller: "bob@example.org".to_owned(),
        request_id: None,
        correlation_id: None,
        preview: false,
        outcome: "completed",
        reason: String::new(),
        documents: 0,
        usage: Usage::default(),
        cost: None,
        first_event: None,
        first_token: None,
        duration: Duration::from_millis(3),
        started_at,
        text: RecordedText::default(),
    }
}

pub fn cost(nano_units: i64, currency: &str) -> Cost {
    Cost { nano_units, currency: currency.to_owned() }
}

/// Stores records, and waits until they are there.
pub async fn store_all(store: &Store, records: &[QueryRecord]) {
    let recorder = Recorder::start(store, &RecordsConfig::default());
    for record in records {
        recorder.record(record.clone()).await;
    }
    let of = |tenant| records.iter().filter(move |record| record.tenant == tenant);
    let tenants: BTreeSet<TenantId> = records.iter().map(|record| record.tenant).collect();
    for tenant in tenants {
        eventually("the records are stored", async || {
            let found = store.query_records(tenant, &RecordFilter::default(), None, 1_000_000).await.unwrap();
            let found: BTreeSet<QueryId> = found.iter().map(|record| record.id).collect();
            of(tenant).all(|record| found.contains(&record.id))
        })
        .await;
    }
}

/// All records that a caller is shown, page by page.
pub async fn listed(clients: &mut Clients, filter: QueryRecordFilter, page_size: i32) -> Vec<Shown> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListQueryRecordsRequest { filter: Some(filter.clone()), page_size, page_token };
        let page = clients.usage.list_query_records(request).await.unwrap().into_inner();
        all.extend(page.query_records);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
    }
}

/// What the one record of a space shows, once it is there.
pub async fn only(clients: &mut Clients) -> Shown {
    let mut found = Vec::new();
    eventually("the query is recorded", async || {
        found = listed(clients, QueryRecordFilter::default(), 0).await;
        !found.is_empty()
    })
    .await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

pub async fn summary(clients: &mut Clients, request: SummarizeUsageRequest) -> SummarizeUsageResponse {
    clients.usage.summarize_usage(request).await.unwrap().into_inner()
}

pub fn at(moment: OffsetDateTime) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(moment.nanosecond()).unwrap();
    Some(prost_types::Timestamp { seconds: moment.unix_timestamp(), nanos })
}
