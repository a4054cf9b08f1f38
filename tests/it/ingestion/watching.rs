//! Who watches a job sees it now, at its changes, and at its end.

use syft_endpoints::proto::{self, IngestionState};
use tonic::Code;

use super::{Files, Rig, counts, ended, of_urls, start, state};
use crate::support::{database::Database, on_both};

on_both! {
    async fn a_watcher_sees_the_job_to_its_end(database: Database) {
        let mut rig = Rig::start(database).await;
        let names = ["/gated/one.md", "/gated/two.md"];
        let server = Files::start(&names.map(|name| (name, "text/markdown", "words"))).await;
        let id = start(&mut rig.clients, of_urls(&names.map(|name| server.url(name)))).await.unwrap().id;
        server.asked_for(1).await;
        let request = proto::WatchIngestionRequest { id: id.clone() };
        let mut watched = rig.clients.ingestions.watch_ingestion(request.clone()).await.unwrap().into_inner();
        let mut slow = rig.clients.ingestions.watch_ingestion(request).await.unwrap().into_inner();
        let first = slow.message().await.unwrap().unwrap().ingestion.unwrap();
        assert_eq!(state(&first), IngestionState::Running, "it is shown as it is");
        let mut seen = Vec::new();
        let mut opened = 0;
        let limit = std::time::Duration::from_secs(20);
        while let Some(message) = tokio::time::timeout(limit, watched.message()).await.expect("it is not shown").unwrap() {
            let job = message.ingestion.unwrap();
            seen.push((state(&job), counts(&job)[1]));
            if opened <= counts(&job)[1] {
                server.open(1);
                opened += 1;
            }
        }
        assert!(seen.contains(&(IngestionState::Running, 1)), "{seen:?}");
        assert_eq!(seen.last().unwrap(), &(IngestionState::Done, 2), "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1] || pair[0].0 == IngestionState::Running), "{seen:?}");
        // One that has not read meanwhile hears of the end too.
        let mut last = first;
        while let Some(message) = slow.message().await.unwrap() {
            last = message.ingestion.unwrap();
        }
        assert_eq!(state(&last), IngestionState::Done);
        // One that comes when it has ended sees that, and the end.
        let seen = ended(&mut rig.clients, &id).await;
        assert_eq!(counts(&seen), [2, 2, 0, 0, 0]);
    }

    async fn a_service_that_stops_lets_watchers_go(database: Database) {
        let mut rig = Rig::start(database).await;
        let server = Files::start(&[("/gated/one.md", "text/markdown", "words")]).await;
        let id = start(&mut rig.clients, of_urls(&[server.url("/gated/one.md")])).await.unwrap().id;
        let request = proto::WatchIngestionRequest { id };
        let mut watched = rig.clients.ingestions.watch_ingestion(request).await.unwrap().into_inner();
        server.asked_for(1).await;
        watched.message().await.unwrap();
        rig.space.shutdown.cancel();
        let ended = loop {
            match watched.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the job has not ended"),
                Err(status) => break status,
            }
        };
        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    }

    async fn nobody_watches_what_is_not_there(database: Database) {
        let mut rig = Rig::start(database).await;
        for id in ["", "x", "0198e5a0-0000-7000-8000-000000000000"] {
            let request = proto::WatchIngestionRequest { id: id.to_owned() };
            assert_eq!(rig.clients.ingestions.watch_ingestion(request).await.unwrap_err().code(), Code::NotFound);
        }
    }
}
