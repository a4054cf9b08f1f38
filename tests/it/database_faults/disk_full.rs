//! A full disk is an error, and nothing worse.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sea_orm::{ConnectionTrait, Statement};
use syft_endpoints::proto::{CreateEndpointRequest, Endpoint, ListEndpointsRequest};
use tonic::{Code, Status, transport::Channel};

use crate::support::{
    database::{Database, SECRET_KEY},
    eventually,
    space::{ADMIN_KEY, Clients, Space, clients, reason},
    upstream::Upstream,
};

/// A service whose database is on a file system of a few megabytes, which nobody else sees and which
/// goes with the process.
struct Cramped {
    child: Child,
    server: String,
    /// The database's folder, as others reach it.
    folder: PathBuf,
}

impl Cramped {
    fn start(folder: &Path) -> Self {
        let small = folder.join("small");
        fs::create_dir(&small).unwrap();
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("--mount");
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            command.args(["--user", "--map-root-user"]);
        }
        let mount = "mount -t tmpfs -o size=16m none \"$1\" && shift && exec \"$@\"";
        let mut child = command
            .args(["sh", "-c", mount, "sh", small.to_str().unwrap(), env!("CARGO_BIN_EXE_syft-endpoints")])
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", folder.join("data").to_str().unwrap()])
            .args(["--database-url", &format!("sqlite://{}", small.join("test.db").display())])
            .env("SYFT_ADMIN_API_KEY", ADMIN_KEY)
            .env("SYFT_SECRET_KEY", SECRET_KEY)
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            panic!("it did not start: {}", fs::read_to_string(folder.join("log")).unwrap());
        };
        let seen = format!("/proc/{}/root{}", child.id(), small.display());
        Self { server: format!("http://{address}"), child, folder: seen.into() }
    }

    async fn admin(&self) -> Clients {
        let channel = Channel::from_shared(self.server.clone()).unwrap().connect().await.unwrap();
        clients(channel, &[("authorization", &format!("Bearer {ADMIN_KEY}"))])
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut ballast = File::create(self.folder.join("ballast")).unwrap();
        for size in [1 << 16, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.folder.join("ballast")).unwrap();
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn create(clients: &mut Clients, slug: &str, model: &str) -> Result<(), Status> {
    let endpoint = Endpoint {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        model_id: Some(model.to_owned()),
        ..Endpoint::default()
    };
    clients.endpoints.create_endpoint(CreateEndpointRequest { endpoint: Some(endpoint) }).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_goes_on_reading_and_writes_again_when_there_is_room() {
    let upstream = Upstream::says(&["a"]).await;
    let home = tempfile::tempdir().unwrap();
    let service = Cramped::start(home.path());
    let mut clients = service.admin().await;
    let model = clients.asks("ask", upstream.address).await.model_id.unwrap();
    clients.query("ask").await.unwrap();

    let mut acknowledged = Vec::new();
    for round in 0..3 {
        service.fill();
        let mut failures = 0;
        while failures < 5 {
            let slug = format!("full-{round}-{}-{failures}", acknowledged.len());
            match create(&mut clients, &slug, &model).await {
                Ok(()) => {
                    acknowledged.push(slug);
                    assert!(acknowledged.len() < 300, "writes are acknowledged without room for them");
                }
                Err(failed) => {
                    let seen = (failed.code(), reason(&failed));
                    assert_eq!(seen, (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()), "{failed:?}");
                    failures += 1;
                }
            }
            clients.query("ask").await.unwrap();
            clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
        }
        service.make_room();
        eventually("it writes again", async || {
            let slug = format!("again-{round}-{}", acknowledged.len());
            let created = create(&mut clients.clone(), &slug, &model).await.is_ok();
            acknowledged.extend(created.then_some(slug));
            created
        })
        .await;
        // A refusal rolls back: what is acknowledged after it must be committed all the same.
        let taken = create(&mut clients, "ask", &model).await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists);
        let slug = format!("then-{round}");
        create(&mut clients, &slug, &model).await.unwrap();
        acknowledged.push(slug);
    }
    everything_is_committed(&service, home.path(), &acknowledged).await;
}

/// Looks at a copy of the files: SQLite would resolve a path through another process's root to our own.
async fn everything_is_committed(service: &Cramped, home: &Path, acknowledged: &[String]) {
    let database = Database {
        url: format!("sqlite://{}", home.join("test.db").display()),
        folder: tempfile::tempdir().unwrap(),
    };
    for file in ["test.db", "test.db-wal"] {
        fs::copy(service.folder.join(file), home.join(file)).unwrap();
    }
    let raw = database.raw().await;
    let rows = |sql: &'static str| raw.query_all_raw(Statement::from_string(raw.get_database_backend(), sql));
    let sound: String = rows("PRAGMA integrity_check").await.unwrap()[0].try_get_by_index(0).unwrap();
    assert_eq!(sound, "ok");
    let stored = rows("SELECT slug FROM endpoints").await.unwrap();
    let stored: Vec<String> = stored.iter().map(|row| row.try_get("", "slug").unwrap()).collect();
    for slug in acknowledged {
        assert!(stored.contains(slug), "{slug} was acknowledged and is not committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_goes_on_reading() {
    let upstream = Upstream::says(&["a"]).await;
    let space = Space::start(Database::postgres().await).await;
    let mut clients = space.admin().await;
    let model = clients.asks("ask", upstream.address).await.model_id.unwrap();
    // What Postgres says when it cannot extend a file.
    let full = "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
                END $$;
                CREATE TRIGGER fill BEFORE INSERT ON endpoints FOR EACH ROW EXECUTE FUNCTION fill();";
    space.database.raw().await.execute_unprepared(full).await.unwrap();
    let failed = create(&mut clients, "more", &model).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    clients.query("ask").await.unwrap();
    clients.endpoints.list_endpoints(ListEndpointsRequest::default()).await.unwrap();
}
