//! Records are listed newest first, and stay where they are while others come.

use syft_endpoints::{
    domain::QueryRecord,
    proto::{ListQueryRecordsRequest, QueryOutcome, QueryRecordFilter},
};
use time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

use super::{BEGIN, at, listed, record, store_all};
use crate::support::{database::Database, on_both, space::Space};

on_both! {
    async fn pages_are_stable_while_records_come(database: Database) {
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        let tenant = space.store.tenant("root").await.unwrap().id;
        // SQLite would put `18.5Z` before `18Z` if it compared texts; and some start at once.
        let steps = [0, 1, 500_000, 1_000_000, 1_000_000, 1_000_000, 1_500_000, 60_000_000];
        let old: Vec<QueryRecord> =
            steps.iter().map(|micros| record(tenant, BEGIN + Duration::microseconds(*micros))).collect();
        store_all(&space.store, &old).await;
        let mut expected: Vec<String> = old.iter().map(|record| record.id.to_string()).collect();
        expected.reverse();
        let ids = |found: Vec<syft_endpoints::proto::QueryRecord>| -> Vec<String> {
            found.into_iter().map(|record| record.id).collect()
        };
        assert_eq!(ids(listed(&mut owner, QueryRecordFilter::default(), 3).await), expected);
        assert_eq!(ids(listed(&mut owner, QueryRecordFilter::default(), 0).await), expected);

        let (mut found, mut page_token, mut newer) = (Vec::new(), String::new(), 0);
        loop {
            let request = ListQueryRecordsRequest { page_size: 2, page_token, ..Default::default() };
            let page = owner.usage.list_query_records(request).await.unwrap().into_inner();
            found.extend(ids(page.query_records));
            newer += 1;
            store_all(&space.store, &[record(tenant, BEGIN + Duration::hours(newer))]).await;
            if page.next_page_token.is_empty() {
                break;
            }
            page_token = page.next_page_token;
        }
        assert_eq!(found, expected);
    }

    async fn filters_must_all_fit(database: Database) {
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        let tenant = space.store.tenant("root").await.unwrap().id;
        let (request_id, endpoint) = (uuid::Uuid::now_v7(), syft_endpoints::domain::EndpointId::new());
        let dataset = syft_endpoints::domain::AttachmentId(uuid::Uuid::now_v7());
        let plain = record(tenant, BEGIN);
        let special = QueryRecord {
            endpoint: Some(endpoint),
            endpoint_slug: "other".to_owned(),
            dataset: Some(dataset),
            caller: "eve@example.org".to_owned(),
            request_id: Some(request_id),
            correlation_id: Some("trace me!".to_owned()),
            outcome: "refused",
            ..record(tenant, BEGIN + Duration::SECOND)
        };
        store_all(&space.store, &[plain, special.clone()]).await;
        let nothing = QueryRecordFilter::default;
        for filter in [
            QueryRecordFilter { endpoint_slug: "other".to_owned(), ..nothing() },
            QueryRecordFilter { endpoint_id: endpoint.to_string(), ..nothing() },
            QueryRecordFilter { dataset_id: dataset.to_string(), ..nothing() },
            QueryRecordFilter { caller: "eve@example.org".to_owned(), ..nothing() },
            QueryRecordFilter { outcome: QueryOutcome::Refused.into(), ..nothing() },
            QueryRecordFilter { start_time: at(BEGIN + Duration::SECOND), ..nothing() },
            QueryRecordFilter { correlation_id: "trace me!".to_owned(), ..nothing() },
            QueryRecordFilter { request_id: request_id.to_string(), ..nothing() },
        ] {
            let found = listed(&mut owner, filter.clone(), 0).await;
            assert_eq!(found.len(), 1, "{filter:?}");
            assert_eq!(found[0].id, special.id.to_string(), "{filter:?}");
            let other = QueryRecordFilter { end_time: at(BEGIN + Duration::SECOND), ..filter.clone() };
            let other = QueryRecordFilter { start_time: None, ..other };
            let both = listed(&mut owner, other.clone(), 0).await;
            let is_range = filter.start_time.is_some();
            assert_eq!(both.len(), usize::from(is_range), "{other:?}");
        }
    }

    async fn what_is_wrong_is_told_at_once(database: Database) {
        let space = Space::start(database).await;
        let mut owner = space.admin().await;
        let tenant = space.store.tenant("root").await.unwrap().id;
        store_all(&space.store, &[record(tenant, BEGIN), record(tenant, BEGIN)]).await;
        let filter = QueryRecordFilter {
            endpoint_slug: "a".to_owned(),
            endpoint_id: "b".to_owned(),
            dataset_id: "c".to_owned(),
            caller: "\0".to_owned(),
            outcome: 77,
            start_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }),
            end_time: at(BEGIN),
            correlation_id: "x".repeat(129),
            request_id: "d".to_owned(),
        };
        let request = ListQueryRecordsRequest { filter: Some(filter), ..Default::default() };
        let refused = owner.usage.list_query_records(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let fields: Vec<String> = refused
            .get_details_bad_request().unwrap().field_violations.into_iter().map(|found| found.field).collect();
        let expected = ["outcome", "start_time", "endpoint_id", "caller", "correlation_id", "dataset_id", "request_id"];
        assert_eq!(fields, expected.map(|name| format!("filter.{name}")));

        // A token is of one list.
        let first = ListQueryRecordsRequest { page_size: 1, ..Default::default() };
        let page_token = owner.usage.list_query_records(first).await.unwrap().into_inner().next_page_token;
        let filter = Some(QueryRecordFilter { endpoint_slug: "ask".to_owned(), ..Default::default() });
        let other = ListQueryRecordsRequest { filter, page_size: 1, page_token };
        assert_eq!(owner.usage.list_query_records(other).await.unwrap_err().code(), Code::InvalidArgument);
    }
}
