//! Jobs are stopped, tried again, and taken over from processes that die; two never run one job.

use syft_endpoints::{
    domain::{Document, FileOrigin},
    error::{Error, Resource},
    proto::{self, Ingestion, IngestionFileState, IngestionState, start_ingestion_request::Source},
    store::{Embedding, FilePlace, LateEmbedding, StoredFile},
};

use super::{Files, Rig, counts, ended, files, get, lapse, of_urls, start, state};
use crate::support::{
    database::Database,
    eventually, on_both,
    space::{Clients, Space},
};

/// A server with two files, the second and third of which wait for the gate.
async fn gated() -> (Files, Vec<String>) {
    let names = ["/one.md", "/gated/two.md", "/gated/three.md"];
    let server = Files::start(&names.map(|name| (name, "text/markdown", "some words"))).await;
    let urls = names.iter().map(|name| server.url(name)).collect();
    (server, urls)
}

async fn stop(clients: &mut Clients, id: &str) -> Ingestion {
    let request = proto::StopIngestionRequest { id: id.to_owned() };
    clients.ingestions.stop_ingestion(request).await.unwrap().into_inner().ingestion.unwrap()
}

async fn retry(clients: &mut Clients, id: &str) -> Ingestion {
    let request = proto::RetryIngestionRequest { id: id.to_owned() };
    clients.ingestions.retry_ingestion(request).await.unwrap().into_inner().ingestion.unwrap()
}

on_both! {
    async fn a_job_that_is_stopped_keeps_what_it_has_stored(database: Database) {
        let mut rig = Rig::start(database).await;
        let (server, urls) = gated().await;
        let id = start(&mut rig.clients, of_urls(&urls)).await.unwrap().id;
        server.asked_for(2).await;
        assert_eq!(state(&get(&mut rig.clients, &id).await), IngestionState::Running);
        let stopped = stop(&mut rig.clients, &id).await;
        assert_eq!((state(&stopped), counts(&stopped)), (IngestionState::Stopped, [3, 1, 0, 0, 0]));
        assert!(stopped.end_time.is_some());
        server.open(2);
        // The next job of the dataset can begin only when nobody runs this one; what comes late is not stored.
        rig.write("a.md", "a");
        assert_eq!(state(&rig.folder("").await), IngestionState::Done);
        assert_eq!(counts(&get(&mut rig.clients, &id).await), [3, 1, 0, 0, 0]);
        assert_eq!(rig.documents().await.len(), 2);
        assert_eq!(stop(&mut rig.clients, &id).await, get(&mut rig.clients, &id).await, "it has ended already");

        // Tried again, it reads what was not done.
        let asked = server.asked().len();
        server.open(2);
        assert_eq!(state(&retry(&mut rig.clients, &id).await), IngestionState::Pending);
        let done = ended(&mut rig.clients, &id).await;
        assert_eq!((state(&done), counts(&done)), (IngestionState::Done, [3, 3, 0, 0, 0]));
        assert_eq!(server.asked()[asked..], ["/gated/two.md", "/gated/three.md"]);
        assert_eq!(retry(&mut rig.clients, &id).await, done, "there is nothing to be done again");
        assert_eq!(rig.documents().await.len(), 4);
    }

    async fn a_retry_reads_what_has_failed_and_nothing_else(database: Database) {
        let mut rig = Rig::start(database).await;
        let server = Files::start(&[("/one.md", "text/markdown", "one")]).await;
        let urls = ["/one.md", "/two.md"].map(|path| server.url(path));
        let failed = rig.urls(&urls).await;
        assert_eq!((state(&failed), counts(&failed)), (IngestionState::Failed, [2, 1, 0, 1, 0]));
        server.put("/two.md", "text/markdown", "two");
        let asked = server.asked().len();
        retry(&mut rig.clients, &failed.id).await;
        let done = ended(&mut rig.clients, &failed.id).await;
        assert_eq!((state(&done), counts(&done), done.attempt), (IngestionState::Done, [2, 2, 0, 0, 0], 2));
        assert_eq!(done.error, "");
        assert_eq!(server.asked()[asked..], ["/two.md"]);
    }

    async fn a_job_whose_process_dies_goes_on_after_the_last_file(database: Database) {
        let mut rig = Rig::start(database).await;
        let (server, urls) = gated().await;
        let id = start(&mut rig.clients, of_urls(&urls)).await.unwrap().id;
        server.asked_for(2).await;
        // It holds the job no more and does not know; what it does from now on must not count. As its process
        // lives, it is the one that takes the job over, as somebody else.
        let raw = rig.space.database.raw().await;
        lapse(&raw).await;
        server.asked_for(3).await;
        server.open(3);
        let done = ended(&mut rig.clients, &id).await;
        assert_eq!((state(&done), counts(&done), done.attempt), (IngestionState::Done, [3, 3, 0, 0, 0], 2));
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|path| *path == "/one.md").count(), 1, "{asked:?}");
        assert_eq!(rig.documents().await.len(), 3);
    }

    async fn a_replica_that_stops_leaves_its_jobs_to_others_at_once(database: Database) {
        let mut rig = Rig::start(database).await;
        let (server, urls) = gated().await;
        let id = start(&mut rig.clients, of_urls(&urls)).await.unwrap().id;
        server.asked_for(2).await;
        let database = rig.space.stop().await;
        let stopped = std::time::Instant::now();
        let space = Space::start(database).await;
        server.open(2);
        let done = ended(&mut space.admin().await, &id).await;
        assert!(stopped.elapsed().as_secs() < 10, "it has waited for the lease to run out");
        assert_eq!((state(&done), counts(&done)), (IngestionState::Done, [3, 3, 0, 0, 0]));
        assert_eq!(server.asked().iter().filter(|path| *path == "/one.md").count(), 1);
    }

    async fn a_file_that_ends_its_process_again_and_again_is_given_up(database: Database) {
        use sea_orm::ConnectionTrait;

        let mut rig = Rig::configured(database, &[("ingestion.max_running", "0")]).await;
        rig.write("bad.md", "bad");
        rig.write("good.md", "good");
        let id = start(&mut rig.clients, Source::Folder(String::new())).await.unwrap().id;
        // As three processes leave it that died of it.
        let raw = rig.space.database.raw().await;
        let (run, job) = rig.space.store.claim_ingestion().await.unwrap().unwrap();
        let of = (job.tenant_id, job.dataset_id, FileOrigin::Folder);
        let names = ["bad.md".to_owned(), "good.md".to_owned()];
        assert!(rig.space.store.plan_ingestion(run, of, &names).await.unwrap());
        raw.execute_unprepared("UPDATE ingested_files SET state = 'running', tries = 3 WHERE name = 'bad.md'").await.unwrap();
        lapse(&raw).await;
        let root = rig.root.display().to_string();
        let space = Space::configured(rig.space.stop().await, &[("ingestion.root", &root)]).await;
        let mut clients = space.admin().await;
        let job = ended(&mut clients, &id).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [2, 1, 0, 1, 0]), "{job:?}");
        let files = files(&mut clients, "docs").await;
        assert_eq!(files["bad.md"].state(), IngestionFileState::Failed);
        assert!(files["bad.md"].reason.contains("has stopped"), "{files:?}");
    }

    async fn two_replicas_never_run_one_job(database: Database) {
        let mut rig = Rig::configured(database, &[("ingestion.max_running", "0")]).await;
        let stores = [rig.space.store.clone(), rig.space.database.store().await];
        rig.clients.dataset("others").await;
        let mut ids = Vec::new();
        for dataset in ["docs", "docs", "others"] {
            let urls = proto::IngestionUrls { urls: vec!["http://x.invalid/a.md".to_owned()] };
            let request = proto::StartIngestionRequest { dataset: dataset.to_owned(), source: Some(Source::Urls(urls)) };
            let started = rig.clients.ingestions.start_ingestion(request).await.unwrap().into_inner();
            ids.push(started.ingestion.unwrap().id);
        }
        let claim = async || {
            let claims = (0..8).map(|i| stores[i % 2].claim_ingestion());
            let claims = futures_util::future::join_all(claims).await;
            claims.into_iter().filter_map(Result::unwrap).collect::<Vec<_>>()
        };
        let claimed = async || {
            let mut claimed = Vec::new();
            eventually("both datasets have one", async || {
                claimed.extend(claim().await);
                claimed.len() >= 2
            }).await;
            assert!(claim().await.is_empty(), "a dataset has two");
            claimed.sort_by_key(|(_, job)| job.id);
            let jobs: Vec<String> = claimed.iter().map(|(_, job)| job.id.to_string()).collect();
            // Of two that race, either may be the first of its dataset: the index lets one pass.
            assert!(ids[..2].contains(&jobs[0]) && jobs[1..] == ids[2..], "one of each dataset: {jobs:?} of {ids:?}");
            claimed
        };
        let first = claimed().await;
        lapse(&rig.space.database.raw().await).await;
        let second = claimed().await;

        // The one before can do nothing, and the one that has it can.
        let job = &first[0].1;
        let of = (job.tenant_id, job.dataset_id, FileOrigin::Folder);
        let place = FilePlace { tenant: of.0, dataset: of.1, name: "a.md".to_owned(), origin: of.2 };
        for ((run, _), holds) in [(&first[0], false), (&second[0], true)] {
            let (run, store) = (*run, &stores[0]);
            assert_eq!(store.renew_ingestion(run).await.unwrap(), holds);
            assert_eq!(store.holds_ingestion(run).await.unwrap(), holds);
            assert_eq!(store.plan_ingestion(run, of, &["a.md".to_owned()]).await.unwrap(), holds);
            assert_eq!(store.begin_file(Some(run), place.clone()).await.unwrap().is_some(), holds);
            assert_eq!(store.fail_file(run, (of.1, "a.md"), "it".to_owned()).await.unwrap(), holds);
            assert_eq!(store.remove_file(Some(run), (of.0, of.1), "a.md").await.unwrap(), holds);
            assert_eq!(store.end_ingestion(run, "").await.unwrap(), holds);
        }
    }

    async fn who_has_lost_a_file_writes_no_more_of_it(database: Database) {
        let mut rig = Rig::configured(database, &[("ingestion.max_running", "0")]).await;
        start(&mut rig.clients, of_urls(&["http://x.invalid/a.md".to_owned()])).await.unwrap();
        let (store, raw) = (rig.space.store.clone(), rig.space.database.raw().await);
        let (first, job) = store.claim_ingestion().await.unwrap().unwrap();
        let of = (job.tenant_id, job.dataset_id);
        let place = FilePlace { tenant: of.0, dataset: of.1, name: "a.md".to_owned(), origin: FileOrigin::Url };
        let (before, _) = store.begin_file(Some(first), place.clone()).await.unwrap().unwrap();
        let document = |text: &str| Document { id: "a.md#1".to_owned(), content: text.to_owned(), metadata: serde_json::Map::new() };
        store.put_documents(of.0, of.1, Some(before), vec![document("old").into()]).await.unwrap();
        lapse(&raw).await;
        let (second, _) = store.claim_ingestion().await.unwrap().unwrap();
        let (after, tries) = store.begin_file(Some(second), place.clone()).await.unwrap().unwrap();
        assert_eq!(tries, 2);
        let since = store.put_documents(of.0, of.1, Some(after), vec![document("new").into()]).await.unwrap();
        let late = store.put_documents(of.0, of.1, Some(before), vec![document("old").into()]).await;
        assert!(matches!(late, Err(Error::NotFound(Resource::File, _))));
        let stored = StoredFile { hash: "h".to_owned(), format: "text", size: 3, documents: 1, since: Some(since) };
        assert!(!store.finish_file(Some(first), (place.clone(), before), stored.clone()).await.unwrap());
        assert!(store.finish_file(Some(second), (place, after), stored).await.unwrap());
        assert_eq!(rig.documents().await["a.md#1"], "new");
    }

    async fn a_piece_that_gets_a_vector_meanwhile_goes_with_its_version(database: Database) {
        let mut rig = Rig::start(database).await;
        let store = rig.space.store.clone();
        let tenant = store.ensure_tenant("root").await.unwrap().id;
        let of = (tenant, rig.dataset);
        let place = FilePlace { tenant, dataset: of.1, name: "a.md".to_owned(), origin: FileOrigin::Upload };
        let document = |id: &str| Document { id: id.to_owned(), content: "text".to_owned(), metadata: serde_json::Map::new() };
        let stored = |since| StoredFile { hash: "h".to_owned(), format: "text", size: 3, documents: 1, since: Some(since) };
        let (writer, _) = store.begin_file(None, place.clone()).await.unwrap().unwrap();
        let both = vec![document("a.md#1").into(), document("a.md#2").into()];
        let revision = store.put_documents(of.0, of.1, Some(writer), both).await.unwrap();
        assert!(store.finish_file(None, (place.clone(), writer), stored(revision)).await.unwrap());

        let (writer, _) = store.begin_file(None, place.clone()).await.unwrap().unwrap();
        let since = store.put_documents(of.0, of.1, Some(writer), vec![document("a.md#1").into()]).await.unwrap();
        let embedding = Embedding { made_by: "m".to_owned(), vector: vec![1.0] };
        let late = LateEmbedding { document: "a.md#2".to_owned(), revision, embedding };
        assert!(store.put_embeddings(of.1, vec![late]).await.unwrap() > since);
        assert!(store.finish_file(None, (place, writer), stored(since)).await.unwrap());
        assert_eq!(rig.documents().await.into_keys().collect::<Vec<_>>(), ["a.md#1"]);
    }
}
