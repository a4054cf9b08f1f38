//! Folders of the server are read below the configured one, and nowhere else.

use std::{fs, os::unix::fs::symlink};

use syft_endpoints::proto::{IngestionState, start_ingestion_request::Source};
use tonic::Code;

use super::{Rig, counts, ended, start, state};
use crate::support::{
    database::Database,
    on_both,
    space::{ADMIN_KEY, Space},
};

on_both! {
    async fn nothing_leads_out(database: Database) {
        let mut rig = Rig::start(database).await;
        let outside = rig.space.database.folder.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret.md"), "s3cret").unwrap();
        rig.write("in/a.md", "inside");
        symlink(&outside, rig.root.join("out")).unwrap();
        symlink(outside.join("secret.md"), rig.root.join("in/link.md")).unwrap();
        symlink(&outside, rig.root.join("in/folder")).unwrap();
        symlink(rig.root.join("in"), rig.root.join("same")).unwrap();
        let absolute = rig.root.join("in").display().to_string();
        for path in ["..", "../outside", "in/../../outside", "out", "out/secret.md", "in/link.md", "/", "/etc", &absolute, "none"] {
            let refused = start(&mut rig.clients, Source::Folder(path.to_owned())).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
            assert!(!format!("{refused:?}").contains("outside/secret"), "{refused:?}");
        }
        let job = rig.folder("").await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Done, [1, 1, 0, 0, 0]), "links are passed over");
        // A link that stays inside is another name for the same folder.
        assert_eq!(counts(&rig.folder("same").await), [1, 0, 1, 0, 0]);
        assert_eq!(rig.documents().await.into_keys().collect::<Vec<_>>(), ["in/a.md#1"]);
    }

    async fn a_folder_that_becomes_a_way_out_meanwhile_is_not_read(database: Database) {
        let mut rig = Rig::configured(database, &[("ingestion.max_running", "0")]).await;
        let outside = rig.space.database.folder.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret.md"), "s3cret").unwrap();
        rig.write("in/a.md", "inside");
        let id = start(&mut rig.clients, Source::Folder("in".to_owned())).await.unwrap().id;
        fs::rename(rig.root.join("in"), rig.root.join("before")).unwrap();
        symlink(&outside, rig.root.join("in")).unwrap();
        let root = rig.root.clone();
        let database = rig.space.stop().await;
        let space = Space::configured(database, &[("ingestion.root", &root.display().to_string())]).await;
        let job = ended(&mut space.admin().await, &id).await;
        assert_eq!((state(&job), counts(&job)), (IngestionState::Failed, [0; 5]), "{job:?}");
        assert!(!job.error.contains("outside"), "{job:?}");
    }

    async fn without_a_root_no_folder_is_read(database: Database) {
        let space = Space::start(database).await;
        let mut clients = space.admin().await;
        clients.dataset("docs").await;
        let refused = start(&mut clients, Source::Folder(String::new())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("ingestion.root"), "{refused:?}");
    }

    async fn tenants_have_folders_of_their_own(database: Database) {
        let root = database.folder.path().join("root");
        for name in ["acme", "umbrella"] {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join("a.md"), format!("words of {name}")).unwrap();
        }
        let settings = [("ingestion.root", root.display().to_string()), ("identity.enable_multi_tenancy", "true".to_owned())];
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let space = Space::configured(database, &settings).await;
        for name in ["acme", "umbrella"] {
            let new = syft_endpoints::proto::Tenant { name: name.to_owned(), ..Default::default() };
            let request = syft_endpoints::proto::CreateTenantRequest { tenant: Some(new) };
            space.admin().await.access.create_tenant(request).await.unwrap();
            let admin = format!("Bearer {ADMIN_KEY}");
            let mut clients = space.clients(&[("authorization", &admin), ("x-tenant-name", name)]).await;
            clients.dataset("docs").await;
            for path in ["umbrella", "acme", "../umbrella", "../acme"] {
                let refused = start(&mut clients, Source::Folder(path.to_owned())).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{path}");
            }
            let id = start(&mut clients, Source::Folder(String::new())).await.unwrap().id;
            assert_eq!(counts(&ended(&mut clients, &id).await), [1, 1, 0, 0, 0]);
            let request = syft_endpoints::proto::ListDocumentsRequest { dataset: "docs".to_owned(), ..Default::default() };
            let documents = clients.datasets.list_documents(request).await.unwrap().into_inner().documents;
            assert_eq!(documents[0].content, format!("words of {name}"));
        }
    }
}
