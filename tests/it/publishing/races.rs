//! Replicas that want the same thing, or the opposite, at once.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio_util::task::TaskTracker;

use super::*;
use crate::support::on_both;

/// Replicas of one space, with an endpoint `law`.
async fn replicas(database: Database, hub: &Hub) -> (Space, Space) {
    let second = Database { url: database.url.clone(), folder: tempfile::tempdir().unwrap() };
    let (first, _) = space(database, hub, &[]).await;
    (first, on(second, hub, &[]).await)
}

on_both! {
    async fn many_calls_on_two_replicas_list_an_endpoint_once(database: Database) {
        let hub = Hub::start().await;
        let (first, second) = replicas(database, &hub).await;
        let barrier = Arc::new(Barrier::new(8));
        let (tasks, mut callers) = (TaskTracker::new(), Vec::new());
        for n in 0..8 {
            let (mut owner, barrier) = (if n % 2 == 0 { first.admin().await } else { second.admin().await }, barrier.clone());
            callers.push(tasks.spawn(async move {
                barrier.wait().await;
                publish(&mut owner, "law").await.remove(0)
            }));
        }
        for caller in callers {
            let result = caller.await.unwrap();
            assert!(result.success, "{result:?}");
        }
        assert_eq!((hub.calls("publish"), hub.slugs().len()), (1, 1));
        let found = endpoint(&mut first.admin().await, "law").await;
        assert_eq!((found.listings.len(), found.published_to.len()), (1, 1));
    }

    async fn the_last_word_counts(database: Database) {
        let hub = Hub::start().await;
        let (first, second) = replicas(database, &hub).await;
        let (mut one, mut other) = (first.admin().await, second.admin().await);
        for round in 0..12 {
            let (mut publishing, mut unpublishing) = (one.clone(), other.clone());
            tokio::join!(
                async { publish(&mut publishing, "law").await },
                async { unpublish(&mut unpublishing, "law").await },
            );
            // Whatever they came to: then the last one, by the other replica.
            if round % 2 == 0 {
                published(&mut other, "law").await;
                assert_eq!(hub.slugs(), ["law"], "round {round}");
            } else {
                let results = unpublish(&mut one, "law").await;
                assert!(results.iter().all(|result| result.success), "round {round}: {results:?}");
                assert!(hub.slugs().is_empty(), "round {round}");
            }
        }
    }

    async fn every_edit_of_a_crowd_reaches_the_hub_in_the_end(database: Database) {
        let hub = Hub::start().await;
        let (first, second) = replicas(database, &hub).await;
        published(&mut first.admin().await, "law").await;
        let (tasks, mut editors) = (TaskTracker::new(), Vec::new());
        for n in 0..10 {
            let mut owner = if n % 2 == 0 { first.admin().await } else { second.admin().await };
            editors.push(tasks.spawn(async move { summarize(&mut owner, "law", &format!("edit {n}")).await }));
        }
        for editor in editors {
            editor.await.unwrap();
        }
        let last = endpoint(&mut first.admin().await, "law").await.summary;
        learns(&hub, "law", &last).await;
        let mut owner = first.admin().await;
        reaches(&mut owner, "law", syft_endpoints::proto::ListingState::Published).await;
        assert_eq!(shown(&hub, "law", "description").unwrap(), last);
    }
}
