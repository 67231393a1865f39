//! The server that is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use tempfile::TempDir;

use crate::Outcome;
use crate::population::{self, APPLICATION, PASSWORD, People};
use crate::usage::{self, Memory};

/// A cheap hash: what is measured is everything around it.
pub(crate) const CHEAP: [(&str, &str); 2] = [("HEARTHGATE_HASH__MEMORY_KIB", "8"), ("HEARTHGATE_HASH__ITERATIONS", "1")];

/// A server's data and database.
pub(crate) struct Place {
    folder: TempDir,
    /// The PostgreSQL database, if it is one.
    postgres: Option<String>,
    /// What its servers are told besides.
    settings: &'static [(&'static str, &'static str)],
}

/// A server that answers.
pub(crate) struct Serving {
    pub address: SocketAddr,
    child: Child,
}

impl Place {
    pub fn new(postgres: Option<String>, settings: &'static [(&'static str, &'static str)]) -> Outcome<Self> {
        Ok(Self { folder: TempDir::new()?, postgres, settings })
    }

    /// Makes the tables, the application and the first account.
    pub fn prepare(&self) -> Outcome<()> {
        let secret = self.file("secret.txt");
        std::fs::write(&secret, APPLICATION.1)?;
        let secret = secret.display().to_string();
        self.operate(&["app", "create", "--appid", APPLICATION.0, "--secret-file", &secret], "")?;
        self.operate(&["account", "create", "--email", "first@example.com", "--region", "eu"], PASSWORD).map(drop)
    }

    /// A place where all these people are, with what their clients need.
    pub async fn settled(
        postgres: Option<String>,
        settings: &'static [(&'static str, &'static str)],
        people: People,
    ) -> Outcome<Self> {
        let place = Self::new(postgres, settings)?;
        place.prepare()?;
        let pool = place.connect().await?;
        population::settle(&pool, people).await?;
        pool.close().await;
        Ok(place)
    }

    /// The URL of the database.
    pub fn database(&self) -> String {
        let file = self.folder.path().join("hearthgate.db");
        self.postgres.clone().unwrap_or_else(|| format!("sqlite://{}", file.display()))
    }

    pub fn is_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// A connection to the database.
    pub async fn connect(&self) -> Outcome<AnyPool> {
        sqlx::any::install_default_drivers();
        Ok(AnyPoolOptions::new().max_connections(1).connect(&self.database()).await?)
    }

    /// A file of one's own beside the data.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program() -> Outcome<PathBuf> {
        let beside = std::env::current_exe()?.with_file_name("hearthgate");
        if beside.exists() {
            Ok(beside)
        } else {
            Err(format!("there is no {}: run cargo build --release first", beside.display()).into())
        }
    }

    fn hearthgate(&self, arguments: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(Self::program()?);
        command.args(arguments).arg("--data").arg(self.folder.path()).envs(self.settings.iter().copied());
        command.envs(self.postgres.as_ref().map(|url| ("HEARTHGATE_STORE", url)));
        Ok(command)
    }

    /// Runs an operator's command and returns its answer.
    pub fn operate(&self, arguments: &[&str], input: &str) -> Outcome<Value> {
        let mut command = self.hearthgate(arguments)?;
        let mut child = command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().ok_or("no standard input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("hearthgate {} failed", arguments.join(" ")).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts the server.
    pub fn serve(&self) -> Outcome<Serving> {
        let mut command = self.hearthgate(&["serve", "--http", "127.0.0.1:0", "--log-format", "json"])?;
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no log")?);
        let mut line = String::new();
        while log.read_line(&mut line)? > 0 {
            let told: Value = serde_json::from_str(&line)?;
            if let Some(address) = told["http"].as_str() {
                let address = address.parse()?;
                // The log is read to its end, or the server would wait for somebody to do so.
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Ok(Serving { address, child });
            }
            line.clear();
        }
        Err("the server did not start".into())
    }

    /// The size of the server's program, in bytes.
    pub fn program_size() -> Outcome<u64> {
        Ok(std::fs::metadata(Self::program()?)?.len())
    }
}

impl Serving {
    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// How much memory it takes.
    pub fn memory(&self) -> Outcome<Memory> {
        usage::memory(self.process())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // As an operator would: after a crash, the next start would have the log to go through. It may have ended already.
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        process.and_then(|process| kill_process(process, Signal::TERM).ok());
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
