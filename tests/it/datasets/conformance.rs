//! One suite for all types of dataset. A new engine is one line in `engines!`.

use tonic::Code;

use syft_endpoints::proto::{self, QueryRequest};

use super::{Found, Rig, slugs};
use crate::support::{
    engines::{
        Engine, Filter, KEY, documents,
        gate::Trouble,
        local::{Hybrid, Local},
        qdrant::Qdrant,
        started::{Chroma, PgVector},
        weaviate::Weaviate,
    },
    space::{asking, reason},
    upstream::Upstream,
};

/// What finds something in every document, by words and by meaning.
const ALL: &str = "copyright fish dogs café books of";
/// What would leave its place in a query, a path or a filter.
const ATTACKS: [&str; 9] = [
    "Full){_additional{vector}}}#",
    "Full(limit:1)",
    "x\"}}){text}}",
    "topic\",\"x\"],operator:Like,valueText:\"*",
    "../../v1/meta",
    "..",
    "a/../Empty",
    "Robert'); DROP TABLE datasets;--",
    "x\u{0}y",
];

macro_rules! promises {
    ($($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            super::$name(super::Rig::start(start().await).await).await;
        }
    )+};
}

macro_rules! engines {
    ($($name:ident: $engine:ty = $start:expr;)+) => {$(
        mod $name {
            use super::*;

            async fn start() -> $engine {
                $start.await
            }

            promises!(
                the_most_alike_come_first,
                the_threshold_and_the_limit_are_kept,
                metadata_comes_when_it_is_asked_for,
                an_empty_collection_is_no_fault,
                what_is_not_there_or_not_let_in_is_told,
                filters_are_kept,
                any_text_is_a_question,
                no_name_and_no_value_becomes_syntax,
                faults_are_faults_and_never_nothing_found,
                a_key_leaves_for_no_other_host
            );
        }
    )+};
}

engines! {
    chroma: Chroma = Chroma::start();
    local: Local = Local::start();
    local_hybrid: Hybrid = Hybrid::start();
    pgvector: PgVector = PgVector::start();
    weaviate: Weaviate = Weaviate::near_text();
    weaviate_hybrid: Weaviate = Weaviate::hybrid();
    weaviate_bm25: Weaviate = Weaviate::bm25();
    weaviate_near_vector: Weaviate = Weaviate::near_vector();
    qdrant: Qdrant = Qdrant::embedded();
    qdrant_inferring: Qdrant = Qdrant::inferring();
}

async fn the_most_alike_come_first<E: Engine>(mut rig: Rig<E>) {
    let found = rig.search("docs", "the copyright term of books").await.unwrap();
    assert_eq!(found[0].slug, "books", "{found:?}");
    assert!(found.len() > 1 && found[0].similarity > 0.5, "{found:?}");
    for pair in found.windows(2) {
        assert!(pair[0].similarity >= pair[1].similarity, "{found:?}");
    }
    for one in &found {
        assert!((0.0..=1.0).contains(&one.similarity), "{one:?}");
        let doc = documents().into_iter().find(|doc| doc.slug == one.slug).unwrap();
        assert_eq!(one.content, doc.text);
        assert!(
            ["slug", "topic", "year", "price", "open"].iter().all(|name| one.metadata.contains_key(*name))
        );
        for (name, value) in doc.properties() {
            // Not every engine keeps lists. Numbers of a `Struct` have no type.
            let Some(found) = one.metadata.get(&name) else { continue };
            let number = value.as_f64();
            let same = *found == value || number.is_some() && found.as_f64() == number;
            assert!(same, "{name}: {found:?} {value:?}");
        }
    }
    let health = rig.health("docs").await;
    assert!(health.healthy, "{health:?}");
}

async fn the_threshold_and_the_limit_are_kept<E: Engine>(mut rig: Rig<E>) {
    let text = "the copyright term of books";
    let all = rig.search("docs", text).await.unwrap();
    let steps = all.iter().map(|one| one.similarity).chain([0.0, 0.5, 1.0]);
    for threshold in steps {
        let kept = rig.search_with("docs", text, threshold, 100).await.unwrap();
        let expected: Vec<Found> = all.iter().filter(|one| one.similarity >= threshold).cloned().collect();
        assert_eq!(kept, expected, "{threshold}");
    }
    for limit in 1..=all.len() {
        let first = rig.search_with("docs", text, 0.0, i32::try_from(limit).unwrap()).await.unwrap();
        let similarities = |found: &[Found]| found.iter().map(|one| one.similarity).collect::<Vec<_>>();
        assert_eq!(similarities(&first), similarities(&all[..limit]), "{limit}");
        // Of those that are as alike as the last, any may have a place.
        let last = all[limit - 1].similarity;
        let surely: Vec<Found> = all.iter().filter(|one| one.similarity > last).cloned().collect();
        assert_eq!(first[..surely.len()], surely, "{limit}");
    }
}

async fn metadata_comes_when_it_is_asked_for<E: Engine>(mut rig: Rig<E>) {
    for (slug, wanted) in [("with-it", Some(true)), ("by-default", None), ("without-it", Some(false))] {
        let dataset = proto::GetDatasetRequest { name: "docs".to_owned() };
        let dataset = rig.clients.datasets.get_dataset(dataset).await.unwrap().into_inner().dataset.unwrap();
        rig.clients.endpoint(slug, Some(&dataset), None).await;
        let query = proto::Query { include_metadata: wanted, ..asking("the copyright term of books") };
        let request = QueryRequest { slug: slug.to_owned(), query: Some(query), request_id: None };
        let answer = rig.clients.endpoints.query(request).await.unwrap().into_inner();
        let found = answer.references.unwrap().documents;
        assert!(!found.is_empty());
        for one in found {
            assert_eq!(one.metadata.is_some(), wanted != Some(false), "{slug}");
        }
    }
}

async fn an_empty_collection_is_no_fault<E: Engine>(mut rig: Rig<E>) {
    rig.add("empty", rig.engine.empty()).await.unwrap();
    assert_eq!(rig.search("empty", ALL).await.unwrap(), []);
    let health = rig.health("empty").await;
    assert!(health.healthy, "{health:?}");
}

async fn what_is_not_there_or_not_let_in_is_told<E: Engine>(mut rig: Rig<E>) {
    let rejected = (Code::FailedPrecondition, "DATASET_REJECTED".to_owned());
    if let Some(missing) = rig.engine.missing() {
        rig.add("missing", missing).await.unwrap();
        let failed = rig.search("missing", ALL).await.unwrap_err();
        assert_eq!((failed.code(), reason(&failed)), rejected, "{failed:?}");
        let health = rig.health("missing").await;
        assert!(
            !health.healthy
                && ["Nowhere", "no such", "does not exist"].iter().any(|said| health.message.contains(said)),
            "{health:?}"
        );
    }
    if let Some(bad_key) = rig.engine.bad_key() {
        rig.add("locked", bad_key).await.unwrap();
        let failed = rig.search("locked", ALL).await.unwrap_err();
        assert_eq!((failed.code(), reason(&failed)), rejected, "{failed:?}");
        let health = rig.health("locked").await;
        assert!(!health.healthy && health.message.contains("refused"), "{health:?}");
        assert!(!format!("{failed:?} {health:?}").contains("canary"));
    }
}

async fn filters_are_kept<E: Engine>(mut rig: Rig<E>) {
    let all = rig.search("docs", ALL).await.unwrap();
    let filters = [
        Filter::Topic("law"),
        Filter::Topic("日本 🙂"),
        Filter::Topic("nothing \"}) has\\this"),
        Filter::Recent(2021, 3.0),
        Filter::Not("law", 2020),
    ];
    for (n, filter) in filters.into_iter().enumerate() {
        let Some(configuration) = rig.engine.filtered(filter) else { continue };
        let name = format!("filtered-{n}");
        rig.add(&name, configuration).await.unwrap();
        let found = rig.search(&name, ALL).await.unwrap();
        let kept = |one: &&Found| documents().iter().any(|doc| doc.slug == one.slug && doc.keeps(filter));
        let expected: Vec<Found> = all.iter().filter(kept).cloned().collect();
        assert_eq!(slugs(&found), slugs(&expected), "{filter:?}");
        assert!(rig.health(&name).await.healthy);
    }
}

async fn any_text_is_a_question<E: Engine>(mut rig: Rig<E>) {
    let found = rig.search("docs", "東京 café 🙂").await.unwrap();
    assert_eq!(found[0].content, "Übergröße 東京 café 🙂 für alle", "{found:?}");
    assert_eq!(found[0].metadata["topic"], "日本 🙂");
    let long = "copyright ".repeat(2000);
    for text in [
        "\"",
        "\\",
        "copyright\"}})",
        "{Get{Full{text}}}",
        "a\n\r\tb\u{1}\u{7f}\u{2028}c",
        "#",
        "🙂",
        "$x",
        &long,
    ] {
        rig.search("docs", text).await.unwrap_or_else(|failed| panic!("{text:?}: {failed:?}"));
    }
}

async fn no_name_and_no_value_becomes_syntax<E: Engine>(mut rig: Rig<E>) {
    for (n, attack) in ATTACKS.into_iter().enumerate() {
        for (m, configuration) in rig.engine.attacked(attack).into_iter().enumerate() {
            let name = format!("attacked-{n}-{m}");
            match rig.add(&name, configuration).await {
                Err(refused) => assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}"),
                Ok(()) => match rig.search(&name, ALL).await {
                    Err(failed) => {
                        assert_eq!(reason(&failed), "DATASET_REJECTED", "{attack:?} {m}: {failed:?}")
                    }
                    Ok(found) => assert_eq!(found, [], "{attack:?} {m}"),
                },
            }
        }
    }
    let Some(gate) = rig.engine.gate() else { return };
    let ours = ["/v1/schema/", "/v1/graphql", "/collections/", "/api/v2/tenants/"];
    for asked in gate.passed() {
        let path = asked.uri.path();
        assert!(ours.iter().any(|ours| path.starts_with(ours)) && !path.contains(".."), "{path}");
    }
}

async fn faults_are_faults_and_never_nothing_found<E: Engine>(mut rig: Rig<E>) {
    if rig.engine.gate().is_none() {
        return;
    }
    let dataset = proto::GetDatasetRequest { name: "docs".to_owned() };
    let dataset = rig.clients.datasets.get_dataset(dataset).await.unwrap().into_inner().dataset.unwrap();
    rig.clients.endpoint("ask", Some(&dataset), None).await;
    let (unavailable, rejected) = ("DATASET_UNAVAILABLE", "DATASET_REJECTED");
    let faults = [
        (Trouble::Hang, unavailable),
        (Trouble::Cut, unavailable),
        (Trouble::Half, unavailable),
        (Trouble::Instead("garbage"), unavailable),
        (Trouble::Instead(""), unavailable),
        (Trouble::Instead("{}"), unavailable),
        (Trouble::Instead("[]"), unavailable),
        (Trouble::Instead("{\"result\": null, \"data\": {\"Get\": null}}"), unavailable),
        (
            Trouble::Instead("{\"result\": {\"points\": [{}]}, \"data\": {\"Get\": {\"Full\": [{}]}}}"),
            unavailable,
        ),
        (Trouble::Status(500), unavailable),
        (Trouble::Status(503), unavailable),
        (Trouble::Status(429), unavailable),
        (Trouble::Status(400), rejected),
        (Trouble::Status(403), rejected),
        (Trouble::Status(404), rejected),
        (Trouble::Redirect("http://127.0.0.1:9/".to_owned()), rejected),
    ];
    // What is known of the collection is kept from here on: the next call is the search itself.
    rig.clients.query("ask").await.unwrap();
    for (trouble, expected) in faults {
        rig.engine.gate().unwrap().trouble(Some(trouble.clone()));
        let failed = rig.search("docs", ALL).await.unwrap_err();
        assert_eq!(reason(&failed), expected, "{trouble:?}: {failed:?}");
        let failed = rig.clients.query("ask").await.unwrap_err();
        assert_eq!(reason(&failed), expected, "{trouble:?}, endpoint: {failed:?}");
        let health = rig.health("docs").await;
        assert!(!health.healthy && !health.message.is_empty(), "{trouble:?}");
        rig.engine.gate().unwrap().trouble(None);
        assert!(!rig.search("docs", ALL).await.unwrap().is_empty(), "after {trouble:?}");
        rig.clients.query("ask").await.unwrap();
    }
    rig.engine.gate().unwrap().die().await;
    let failed = rig.search("docs", ALL).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, unavailable), "{failed:?}");
    let health = rig.health("docs").await;
    assert!(!health.healthy && health.message.contains("reached"), "{health:?}");
}

async fn a_key_leaves_for_no_other_host<E: Engine>(mut rig: Rig<E>) {
    let other = Upstream::says(&[]).await;
    let elsewhere = Trouble::Redirect(format!("http://{}/", other.address));
    let Some(gate) = rig.engine.gate() else { return };
    gate.trouble(Some(elsewhere));
    rig.search("docs", ALL).await.unwrap_err();
    assert!(!rig.health("docs").await.healthy);
    assert_eq!(other.count(), 0);
    let sent = rig.engine.gate().unwrap().passed();
    let keyed = sent.iter().any(|asked| format!("{:?}", asked.headers).contains(KEY));
    assert!(keyed, "no key was sent at all: the check sees nothing");
}
