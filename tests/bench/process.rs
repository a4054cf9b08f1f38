//! Processes: the measured service and our own roles, and what the kernel says about them.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Fault;

/// The admin key of every service that is started here.
pub const ADMIN_KEY: &str = "bench-admin-key-4711";

/// What the measured service is told besides what a group wants.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("SYFT_ADMIN_API_KEY", ADMIN_KEY),
    ("SYFT_UPSTREAM_PRIVATE_ADDRESSES", "allow"),
    ("SYFT_LOG_LEVEL", "warn"),
    ("SYFT_METRICS_LISTEN", "127.0.0.1:0"),
];

/// Ticks of a second in `/proc`.
const TICKS: f64 = 100.0;

/// A process that listens. It is killed when it is dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// The service, with its data in `folder`.
    ///
    /// # Errors
    /// When it does not start; what it said is part of the error.
    pub fn service(binary: &Path, folder: &Path, settings: &[(&str, &str)]) -> Result<Self, Fault> {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("HOME", folder)
            .envs(ENVIRONMENT.iter().copied())
            .envs(settings.iter().copied())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("data"));
        Self::spawn(command, folder.join("service.log"))
    }

    /// This program in another role.
    ///
    /// # Errors
    /// When it does not start.
    pub fn role(name: &str, folder: &Path) -> Result<Self, Fault> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(name).arg(folder);
        Self::spawn(command, folder.join(format!("{name}.log")))
    }

    fn spawn(mut command: Command, log: PathBuf) -> Result<Self, Fault> {
        let stderr = File::options().create(true).append(true).open(&log)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address, log }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{command:?} did not start: {line}{}", fs::read_to_string(&log)?).into())
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Time on processors, of all its threads, in user space and in the kernel.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration, Fault> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold spaces. After it, user and system time are 12th and 13th.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<_, _>>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
    }

    /// Memory that is resident, in KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_kib(&self) -> Result<u64, Fault> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Ends it as an operator would, and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(mut self) -> Result<(), Fault> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if !sent.success() {
            return Err("the signal was not sent".into());
        }
        let limit = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > limit {
                return Err("the service does not stop".into());
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        if let Some(first) = said.lines().next() {
            eprintln!("  {} has {} lines: {first}", self.log.display(), said.lines().count());
        }
    }
}

/// Says where a role listens, and ends the role when whoever started it is gone.
///
/// # Errors
/// When nobody hears it.
pub fn announce(address: SocketAddr) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {address}")?;
    out.flush()?;
    thread::spawn(|| {
        let mut rest = Vec::new();
        let _ = std::io::stdin().lock().read_to_end(&mut rest);
        std::process::exit(0);
    });
    Ok(())
}

/// A runtime with a worker for each of the two processors that the figures are given for.
///
/// # Errors
/// When the system has no threads left.
pub fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
