//! The service as a process of its own.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use tonic::transport::Channel;

use super::{
    database::{Database, SECRET_KEY},
    eventually,
    space::{ADMIN_KEY, Clients, clients},
};

pub struct Process {
    child: Child,
    pub server: String,
    /// What it wrote to standard error.
    pub log: PathBuf,
}

/// The command, with what every test wants.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syft-endpoints"));
    command.env_clear().env("HOME", "/nonexistent");
    command
}

impl Process {
    pub fn start(database: &Database, arguments: &[&str]) -> Self {
        let log = database.folder.path().join(format!("{}.log", uuid::Uuid::now_v7()));
        let mut child = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url])
            .args(["--data-dir", database.folder.path().join("data").to_str().unwrap()])
            .args(arguments)
            .env("SYFT_ADMIN_API_KEY", ADMIN_KEY)
            .env("SYFT_SECRET_KEY", SECRET_KEY)
            .env("SYFT_METRICS_LISTEN", "127.0.0.1:0")
            .env("SYFT_DRAIN_GRACE_MS", "500")
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("it did not start: {}", std::fs::read_to_string(&log).unwrap()));
        Self { server: format!("http://{address}"), child, log }
    }

    pub async fn admin(&self) -> Clients {
        clients(self.channel().await, &[("authorization", &format!("Bearer {ADMIN_KEY}"))])
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.server.clone()).unwrap().connect().await.unwrap()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
