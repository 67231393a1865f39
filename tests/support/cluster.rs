//! PostgreSQL servers of a test's own: to be killed, cloned, promoted, encrypted.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::ports::free_port;
use crate::support::postgres::psql;
use crate::support::server::Lines;

/// A PostgreSQL server.
pub struct Postgres {
    pub port: u16,
    folder: TempDir,
    child: Child,
    pub log: Lines,
}

impl Postgres {
    /// Starts a new one with these settings, at a free port.
    pub fn start(settings: &[&str]) -> Self {
        let folder = own_folder();
        run(program("initdb", folder.path())
            .args(["--pgdata=data", "--username=postgres", "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--no-locale"]));
        Self::start_in(folder, free_port(), settings)
    }

    /// Starts a standby of this one at `port`.
    pub fn clone_at(&self, port: u16, settings: &[&str]) -> Self {
        let folder = own_folder();
        let from = format!("--dbname=host=127.0.0.1 port={} user=postgres", self.port);
        run(program("pg_basebackup", folder.path()).args(["--pgdata=data", "-R", "-X", "stream", "-c", "fast", &from]));
        Self::start_in(folder, port, settings)
    }

    fn start_in(folder: TempDir, port: u16, settings: &[&str]) -> Self {
        let mut command = program("postgres", folder.path());
        command.args(["-D", "data", "-p", &port.to_string(), "-k", "."]);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=200", "fsync=off"].iter().chain(settings) {
            command.args(["-c", setting]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Lines::follow(child.stderr.take().unwrap());
        log.wait_for(|line| line.contains("ready to accept"));
        Self { port, folder, child, log }
    }

    /// The URL of a database on it.
    pub fn url(&self, database: &str) -> String {
        url_at(self.port, database)
    }

    /// Runs a statement, which must succeed.
    pub fn run(&self, database: &str, statement: &str) -> String {
        psql(&self.url(database), statement).unwrap()
    }

    /// From here on nothing is committed before a standby has it too, and one has.
    pub fn wait_for_its_standby(&self) {
        self.run("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.run("postgres", "SELECT pg_reload_conf()");
        self.log.wait_for(|line| line.contains("parameter \"synchronous_standby_names\" changed"));
        // A commit that waits for the standby.
        self.run("postgres", "SELECT pg_logical_emit_message(true, 'test', 'are you there?')");
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        assert_eq!(self.run("postgres", "SELECT pg_promote(true, 60)"), "t");
    }

    /// All its processes.
    fn processes(&self) -> Vec<Pid> {
        let own = self.child.id().to_string();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let ids = children.split_whitespace().map(|id| id.parse().unwrap());
        ids.map(|id| Pid::from_raw(id).unwrap()).chain([Pid::from_child(&self.child)]).collect()
    }

    /// What happens when a machine dies.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Sends a signal to all its processes.
    pub fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // It may be gone already.
            kill_process(process, signal).ok();
        }
    }

    /// Puts a file where the server can read it.
    pub fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        protect(&path);
        path
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.signal(Signal::KILL);
        drop(self.child.wait());
    }
}

/// The URL of a database at a port of this machine.
pub fn url_at(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// A folder of PostgreSQL's user.
fn own_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    if let Some((uid, gid)) = user() {
        chown(folder.path(), Some(uid), Some(gid)).unwrap();
    }
    folder
}

fn protect(path: &Path) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if let Some((uid, gid)) = user() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// Whom to run PostgreSQL's programs as: they refuse to run as root.
fn user() -> Option<(u32, u32)> {
    rustix::process::getuid().is_root().then(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.starts_with("postgres:")).unwrap();
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        (fields.next().unwrap(), fields.next().unwrap())
    })
}

/// One of PostgreSQL's programs, in a folder.
pub fn program(name: &str, folder: &Path) -> Command {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap());
    let mut command = Command::new(versions.last().unwrap().join("bin").join(name));
    command.current_dir(folder);
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
