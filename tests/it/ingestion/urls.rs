//! URLs are fetched with the guard and the bounds of all upstreams, and are files like others.

use syft_endpoints::proto::IngestionState;
use tonic::Code;

use super::{Files, Rig, counts, of_urls, start, state};
use crate::support::{
    database::Database,
    on_both,
    upstream::{Step, Upstream, raw},
};

on_both! {
    async fn urls_are_files_like_others(database: Database) {
        let mut rig = Rig::start(database).await;
        let server = Files::start(&[
            ("/one.md", "text/plain", "# One\n\nfirst"),
            ("/page", "text/html; charset=utf-8", "<h1>Two</h1><p>second</p>"),
            ("/rows", "text/csv", "word\na\nb"),
        ]).await;
        let urls = [server.url("/one.md"), server.url("/page?token=s3cret"), server.url("/rows")];
        let job = rig.urls(&urls).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Done, [3, 3, 0, 0, 0]), "{job:?}");
        assert_eq!(rig.documents().await.len(), 4);
        let revision = rig.revision().await;
        assert_eq!(counts(&rig.urls(&urls).await), [3, 0, 3, 0, 0]);
        assert_eq!(rig.revision().await, revision);
        server.put("/rows", "text/csv", "word\na");
        assert_eq!(counts(&rig.urls(&urls).await), [3, 1, 2, 0, 0]);
        assert_eq!(rig.documents().await.len(), 3);
        // What is gone there fails here: a server's word for a moment must not empty a dataset.
        server.remove("/rows");
        let job = rig.urls(&urls).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [3, 0, 2, 1, 0]));
        assert_eq!(rig.documents().await.len(), 3);
        assert!(rig.files().await[&urls[2]].reason.contains("404"));
        // The query was sent, and is shown nowhere.
        assert!(server.asked().contains(&"/page?token=s3cret".to_owned()));
        let shown = format!("{job:?} {:?} {:?}", rig.files().await, rig.documents().await);
        assert!(!shown.contains("s3cret") && shown.contains("?[redacted]"), "{shown}");
    }

    async fn what_cannot_be_fetched_says_why(database: Database) {
        let mut rig = Rig::start(database).await;
        let server = Files::start(&[("/one.md", "text/markdown", "first"), ("/picture", "image/png", "x")]).await;
        let names = ["/one.md", "/elsewhere", "/picture", "/none"];
        let job = rig.urls(&names.map(|path| server.url(path))).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [4, 1, 0, 3, 0]));
        let files = rig.files().await;
        let reason = |path: &str| files[&server.url(path)].reason.clone();
        assert!(reason("/elsewhere").contains("redirect"), "{}", reason("/elsewhere"));
        assert!(reason("/picture").contains("content type"), "{}", reason("/picture"));
        assert!(reason("/none").contains("404"), "{}", reason("/none"));
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|path| *path == "/one.md").count(), 1, "no redirect is followed");
    }

    async fn the_guard_stands_before_urls(database: Database) {
        let settings = [("upstream.private_addresses", "refuse"), ("upstream.attempts", "1")];
        let mut rig = Rig::configured(database, &settings).await;
        let server = Files::start(&[("/one.md", "text/markdown", "first")]).await;
        for url in [server.url("/one.md"), "http://169.254.169.254/latest/".into(), "http://[::1]/a.md".into()] {
            let refused = start(&mut rig.clients, of_urls(std::slice::from_ref(&url))).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{url}");
        }
        // A name is looked at when it is called.
        let named = format!("http://localhost:{}/one.md", server.address.port());
        let job = rig.urls(&[named]).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [1, 0, 0, 1, 0]));
        assert!(server.asked().is_empty());
    }

    async fn urls_that_make_no_sense_are_refused(database: Database) {
        let mut rig = Rig::start(database).await;
        let long = format!("http://x.org/{}", "a".repeat(300 << 10));
        let many: Vec<String> = (0..1001).map(|i| format!("http://x.org/{i}")).collect();
        let texts = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        for urls in [
            vec![], many, texts(&[&long]), texts(&["ftp://x.org/a"]), texts(&["file:///etc/passwd"]), texts(&["nonsense"]),
            texts(&["http://amy:s3cret@x.org/a"]), texts(&["http://x.org/a", "http://x.org/a#b"]), texts(&["http://x.org/\0"]),
        ] {
            let refused = start(&mut rig.clients, of_urls(&urls)).await;
            // A NUL is escaped by whoever parses it.
            let Err(refused) = refused else { assert!(urls[0].contains('\0')); continue };
            assert_eq!(refused.code(), Code::InvalidArgument, "{:?}", urls.first());
            assert!(!format!("{refused:?}").contains("s3cret"));
        }
    }

    async fn a_huge_body_is_cut_off(database: Database) {
        let mut rig = Rig::start(database).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 99999999999\r\n\r\n";
        let endless = Step::Drip(vec![b'x'; 8 << 20], std::time::Duration::from_millis(1));
        let server = Upstream::start(vec![vec![raw(head), endless]]).await;
        let job = rig.urls(&[format!("http://{}/a.txt", server.address)]).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [1, 0, 0, 1, 0]));
        let reason = rig.files().await.into_values().next().unwrap().reason;
        assert!(reason.contains("too large"), "{reason}");
        assert!(rig.documents().await.is_empty());
    }
}
