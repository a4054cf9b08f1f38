//! Tenants see nothing of what others' endpoints were used for.

use syft_endpoints::{
    domain::{AttachmentId, EndpointId, QueryRecord, RecordedText},
    proto::{QueryRecordFilter, SummarizeUsageRequest, TimeBucket},
};
use time::Duration;
use uuid::Uuid;

use super::{BEGIN, at, cost, listed, record, store_all, summary};
use crate::support::{
    database::Database,
    on_both,
    rest::Rest,
    space::{ADMIN_KEY, Space},
};

on_both! {
    async fn nothing_is_seen_of_another_tenant(database: Database) {
        let space = Space::configured(database, &[("identity.enable_multi_tenancy", "true")]).await;
        let mut tenants = Vec::new();
        for name in ["acme", "umbrella"] {
            tenants.push(space.store.create_tenant(name.to_owned(), name.to_owned()).await.unwrap().id);
        }
        let (endpoint, dataset, request) = (EndpointId::new(), AttachmentId(Uuid::now_v7()), Uuid::now_v7());
        let of = |place: usize| QueryRecord {
            endpoint: Some(endpoint),
            dataset: Some(dataset),
            request_id: Some(request),
            correlation_id: Some("c".to_owned()),
            cost: Some(cost(7, "USD")),
            text: RecordedText { question: Some(format!("of {place}")), answer: None },
            ..record(tenants[place], BEGIN)
        };
        store_all(&space.store, &[of(0), of(0), of(1)]).await;
        let admin = format!("Bearer {ADMIN_KEY}");
        let nothing = QueryRecordFilter::default;
        let filters = [
            nothing(),
            QueryRecordFilter { endpoint_slug: "ask".to_owned(), ..nothing() },
            QueryRecordFilter { endpoint_id: endpoint.to_string(), ..nothing() },
            QueryRecordFilter { dataset_id: dataset.to_string(), ..nothing() },
            QueryRecordFilter { caller: "bob@example.org".to_owned(), ..nothing() },
            QueryRecordFilter { correlation_id: "c".to_owned(), ..nothing() },
            QueryRecordFilter { request_id: request.to_string(), ..nothing() },
        ];
        for (name, place, count) in [("acme", 0, 2), ("umbrella", 1, 1), ("root", 9, 0)] {
            let headers = [("authorization", admin.as_str()), ("x-tenant-name", name)];
            let mut clients = space.clients(&headers).await;
            for filter in &filters {
                let found = listed(&mut clients, filter.clone(), 0).await;
                assert_eq!(found.len(), count, "{name}: {filter:?}");
                assert!(found.iter().all(|record| record.question() == format!("of {place}")), "{found:?}");
                let range = QueryRecordFilter {
                    start_time: at(BEGIN),
                    end_time: at(BEGIN + Duration::DAY),
                    ..filter.clone()
                };
                let request = SummarizeUsageRequest {
                    filter: Some(range),
                    bucket: TimeBucket::Day.into(),
                    ..Default::default()
                };
                let told = summary(&mut clients, request).await;
                let (totals, count) = (told.totals.unwrap(), i64::try_from(count).unwrap());
                assert_eq!((totals.queries, totals.costs.len()), (count, usize::from(count > 0)));
                assert_eq!(told.buckets[0].totals.as_ref().unwrap().queries, count);
                for shares in [told.top_callers, told.top_endpoints] {
                    assert_eq!(shares.iter().map(|share| share.queries).sum::<i64>(), count);
                    assert!(shares.iter().all(|share| share.costs == [cost_of(7 * count)]));
                }
            }
            let rest = Rest::with(&space, &headers);
            assert_eq!(rest.get("/api/v1/usage").await.expect(200)["records"].as_array().unwrap().len(), count);
            let csv = rest.get("/api/v1/usage?format=csv").await.text;
            assert_eq!(csv.lines().count(), 1 + count);
        }
    }
}

fn cost_of(nano_units: i64) -> syft_endpoints::proto::Cost {
    syft_endpoints::proto::Cost { nano_units, currency: "USD".to_owned() }
}
