//! The server that is measured.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use tempfile::TempDir;

use crate::Outcome;
use crate::population::{APPLICATION, PASSWORD};

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
    pub url: String,
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

    fn hearthgate(&self, arguments: &[&str]) -> Outcome<Command> {
        let beside = std::env::current_exe()?.with_file_name("hearthgate");
        if !beside.exists() {
            return Err(format!("there is no {}: run cargo build --release first", beside.display()).into());
        }
        let mut command = Command::new(beside);
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
        let log = BufReader::new(child.stderr.take().ok_or("no log")?);
        let mut lines = log.lines();
        for line in lines.by_ref() {
            let line: Value = serde_json::from_str(&line?)?;
            if let Some(address) = line["http"].as_str() {
                // The log is read to its end, or the server would wait for somebody to do so.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Serving { url: format!("http://{address}"), child });
            }
        }
        Err("the server did not start".into())
    }
}

impl Serving {
    /// How much memory it takes: now, and at its peak, in KiB.
    pub fn memory(&self) -> Outcome<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line in /proc")?;
            Outcome::Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
