//! A Postgres server of a test's own: it can be stalled, restarted and asked about its sessions.

use std::{
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sea_orm::{ConnectionTrait, Database as SeaOrm, DatabaseConnection, Statement};
use tempfile::TempDir;

use super::Database;

/// Not fsynced, which only a crash of the machine would show; acknowledged commits are in the log.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\nmax_connections = 100\nfsync = off\n";

/// A server. It stops, and its data goes, when it is dropped.
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

/// Backends that do nothing until this is dropped.
pub struct Stopped {
    pids: Vec<String>,
}

impl Cluster {
    pub fn start() -> Self {
        // A socket's path has room for 107 bytes, whatever TMPDIR says.
        let folder = tempfile::Builder::new().prefix("syft-cluster.").tempdir_in("/tmp").unwrap();
        let mut cluster = Self { folder, programs: programs(), port: 0 };
        if is_root() {
            let owned = Command::new("chown").arg(user()).arg(cluster.folder.path()).status().unwrap();
            assert!(owned.success());
        }
        let make = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
        cluster.run("initdb", &make);
        let settings = cluster.data().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&settings).unwrap();
        text.push_str(SETTINGS);
        text.push_str(&format!("unix_socket_directories = '{}'\n", cluster.folder.path().display()));
        std::fs::write(&settings, text).unwrap();
        cluster.port = free_port();
        cluster.run("pg_ctl", &["start", "--wait", &format!("--options=-p {}", cluster.port)]);
        cluster
    }

    pub async fn database(&self) -> Database {
        Database::postgres_on(&self.url()).await
    }

    /// Ends the server without ceremony, as a crash would, and starts it again.
    pub fn restart(&self) {
        self.run("pg_ctl", &["restart", "--wait", "--mode=immediate"]);
    }

    /// A connection that is not the service's.
    pub async fn outside(&self) -> DatabaseConnection {
        SeaOrm::connect(self.url()).await.unwrap()
    }

    /// Stops every backend of the service where it is, once none of them holds a row's lock: nobody
    /// could take it from a stopped process. (A server that lost its client takes it after 5 s.)
    pub async fn stop_backends(&self, outside: &DatabaseConnection) -> Stopped {
        loop {
            let pids = self.pids(outside, "").await;
            let stopped = Stopped::stop(pids);
            if self.pids(outside, "AND backend_xid IS NOT NULL").await.is_empty() {
                return stopped;
            }
            drop(stopped);
        }
    }

    async fn pids(&self, outside: &DatabaseConnection, which: &str) -> Vec<String> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'syft-endpoints %' \
             AND backend_type = 'client backend' {which}"
        );
        let rows = Statement::from_string(outside.get_database_backend(), sql);
        let rows = outside.query_all_raw(rows).await.unwrap();
        rows.iter().map(|row| row.try_get::<i32>("", "pid").unwrap().to_string()).collect()
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let log = self.folder.path().join("log");
        let mut command = Command::new(self.programs.join(program));
        if is_root() {
            // Postgres refuses to run as root.
            command = Command::new("runuser");
            command.args(["-u", &user(), "--"]).arg(self.programs.join(program));
        }
        command.args(arguments).arg("--pgdata").arg(self.data());
        if program == "pg_ctl" {
            command.arg("--log").arg(&log);
        }
        // Its user may not enter the folder that we are in. The server would keep a pipe open.
        command.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = command.status().unwrap();
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.success(), "{program} {arguments:?}: {ended}\n{}", log());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Not `run`: a panic here would hide the test's own.
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid]).status();
            while Path::new("/proc").join(pid).exists() {
                std::thread::yield_now();
            }
        }
    }
}

impl Stopped {
    fn stop(pids: Vec<String>) -> Self {
        assert!(!pids.is_empty(), "the service has no backends");
        let stopped = Self { pids };
        stopped.signal("-STOP");
        stopped
    }

    pub fn len(&self) -> usize {
        self.pids.len()
    }

    fn signal(&self, signal: &str) {
        // Some may have ended.
        let _ = Command::new("kill").arg(signal).args(&self.pids).stderr(Stdio::null()).status();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// The folder of the server's programs. Debian keeps them off the PATH, by version.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("SYFT_TEST_PG_BIN") {
        return folder.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let mut folders = std::env::split_paths(&path).chain(debian.into_iter().rev());
    folders.find(|folder| folder.join("initdb").exists()).expect("no PostgreSQL server is installed")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn user() -> String {
    let postgres = Command::new("id").arg("postgres").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if postgres.is_ok_and(|found| found.success()) { "postgres".to_owned() } else { "nobody".to_owned() }
}
