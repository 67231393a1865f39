//! A real server, on a data folder and ports of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::AnyPool;
use tempfile::TempDir;

use super::postgres;

/// The longest that a server may take to start or to say something on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cheap hash: what is tested is everything around it.
const CHEAP: [(&str, &str); 2] = [("HEARTHGATE_HASH__MEMORY_KIB", "8"), ("HEARTHGATE_HASH__ITERATIONS", "1")];

/// As many wrong guesses as a test likes, all of which come from one address.
const PATIENT: [(&str, &str); 4] = [
    ("HEARTHGATE_THROTTLE__FAILURES", "1000000"),
    ("HEARTHGATE_THROTTLE__SOURCE_FAILURES", "1000000"),
    ("HEARTHGATE_THROTTLE__DAILY", "1000000"),
    ("HEARTHGATE_THROTTLE__REGISTRATIONS", "1000000"),
];

/// `hearthgate` with these arguments, on a data folder and the database that belongs to it.
pub fn hearthgate_on(data: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = hearthgate(arguments);
    command.arg("--data").arg(data).envs(store_of(data));
    command
}

/// The setting that names the database that belongs to a data folder, if it is not in it.
pub fn store_of(data: &Path) -> Option<(&'static str, String)> {
    crate::ON_POSTGRES.then(|| ("HEARTHGATE_STORE", postgres::database(&name_of(data))))
}

/// The URL of the database that belongs to a data folder.
pub fn url_of(data: &Path) -> String {
    if crate::ON_POSTGRES {
        postgres::database(&name_of(data))
    } else {
        format!("sqlite://{}", data.join("hearthgate.db").display())
    }
}

/// A name of a database for each data folder.
fn name_of(data: &Path) -> String {
    format!("end_to_end_{}", super::calls::md5(&data.display().to_string()))
}

/// `hearthgate` with these arguments.
pub fn hearthgate(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearthgate"));
    command.args(arguments).envs(CHEAP).envs(PATIENT);
    command
}

/// A command, started by another one.
pub fn under(starter: &[&str], command: Command) -> Command {
    let [program, arguments @ ..] = starter else { return command };
    let mut started = Command::new(program);
    started.args(arguments).arg(command.get_program()).args(command.get_args());
    started.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    started
}

/// Runs a command to its end with `input` on its standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may be gone already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// What a process has said so far, line by line.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads what a process says.
    pub fn follow(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let written = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                written.note(|said| said.lines.push(line));
            }
            written.note(|said| said.ended = true);
        });
        lines
    }

    fn note(&self, what: impl FnOnce(&mut Said)) {
        what(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits for the line that `is_it` after `before` others; `None` when the process has ended without it.
    fn find(&self, before: usize, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let (said, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut said = said.lock().unwrap();
        loop {
            let found = said.lines.iter().filter(|line| is_it(line)).nth(before).cloned();
            if found.is_some() || said.ended {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it never said so; it said: {:#?}", said.lines);
            said = changed.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Waits for a line that `is_it`, and returns it.
    pub fn wait_for(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.wait_for_another(0, is_it)
    }

    /// Waits for a line that `is_it` after `before` others, and returns it.
    pub fn wait_for_another(&self, before: usize, is_it: impl Fn(&str) -> bool) -> String {
        self.find(before, is_it).unwrap_or_else(|| panic!("it ended without saying so; it said: {:#?}", self.all()))
    }

    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// The last lines that tell of the server's own faults, for whoever looks into a test that failed.
    fn faults(&self) -> String {
        // Whoever failed may have held it.
        let said = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let faults: Vec<_> = said.lines.iter().filter(|line| line.contains("ERROR")).map(String::as_str).collect();
        faults[faults.len().saturating_sub(40)..].join("\n")
    }
}

pub struct Server {
    child: Child,
    folder: Arc<TempDir>,
    pub out: Lines,
    pub log: Lines,
    pub http: String,
    pub https: String,
    /// The listener for metrics and health, if it has one.
    pub metrics: String,
}

impl Server {
    /// `hearthgate dev` with its sample data.
    pub fn dev() -> Self {
        Self::dev_with(&[])
    }

    pub fn dev_with(settings: &[(&str, &str)]) -> Self {
        Self::dev_in(Arc::new(TempDir::new().unwrap()), settings)
    }

    /// `hearthgate dev` on the data folder of an earlier server.
    pub fn dev_in(folder: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        Self::dev_at(folder, &["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], settings)
    }

    /// `hearthgate dev` that listens where these arguments say; `http` and `https` are separated by commas when there are several.
    pub fn dev_at(folder: Arc<TempDir>, listen: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::dev_under(&[], folder, listen, settings)
    }

    /// `hearthgate dev`, started by another command that becomes it.
    pub fn dev_under(starter: &[&str], folder: Arc<TempDir>, listen: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = hearthgate_on(&folder.path().join("data"), ["dev", "--log-format", "json"]);
        command.args(listen).envs(settings.iter().copied());
        let mut server = Self::spawn(under(starter, command), folder);
        let ready = server.out.find(0, |line| line.starts_with("ready "));
        let ready = ready.unwrap_or_else(|| panic!("it did not start: {:#?}", server.log.all()));
        let find = |scheme: &str| ready.split(' ').find_map(|word| word.strip_prefix(&format!("{scheme}=")));
        let address = |scheme: &str| find(scheme).unwrap().to_owned();
        (server.http, server.https) = (address("http"), address("https"));
        server.metrics = find("metrics").unwrap_or_default().to_owned();
        server
    }

    /// `hearthgate serve` with these arguments and settings.
    pub fn serve(folder: Arc<TempDir>, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = hearthgate_on(&folder.path().join("data"), ["serve", "--log-format", "json"]);
        command.args(arguments).envs(settings.iter().copied());
        let mut server = Self::spawn(command, folder);
        let line = server.log.wait_for(|line| line.contains("\"listening\""));
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = |scheme: &str| line[scheme].as_str().map_or_else(String::new, |address| format!("{scheme}://{address}"));
        (server.http, server.https) = (address("http"), address("https"));
        server.metrics = line["metrics"].as_str().map_or_else(String::new, |address| format!("http://{address}"));
        server
    }

    /// `hearthgate serve` with the log for people.
    pub fn serve_in_text(folder: Arc<TempDir>) -> Self {
        let command = hearthgate_on(&folder.path().join("data"), ["serve", "--http", "127.0.0.1:0"]);
        let mut server = Self::spawn(command, folder);
        let line = server.log.wait_for(|line| line.contains("listening"));
        let address = line.split(' ').find_map(|word| word.strip_prefix("http=")).unwrap();
        server.http = format!("http://{}", address.trim_matches('"'));
        server
    }

    fn spawn(mut command: Command, folder: Arc<TempDir>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Lines::follow(child.stdout.take().unwrap());
        let log = Lines::follow(child.stderr.take().unwrap());
        Self { child, folder, out, log, http: String::new(), https: String::new(), metrics: String::new() }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder for a test's own files, beside the data folder.
    pub fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// Its database, from beside it.
    pub async fn database(&self) -> AnyPool {
        sqlx::any::install_default_drivers();
        AnyPool::connect(&self.database_url()).await.unwrap()
    }

    pub fn database_url(&self) -> String {
        url_of(&self.data())
    }

    /// Everything that it keeps, as it is written.
    pub fn kept(&self) -> Vec<u8> {
        Self::kept_by(&self.folder)
    }

    /// Everything that a server kept, which has stopped.
    pub fn kept_by(folder: &TempDir) -> Vec<u8> {
        let data = folder.path().join("data");
        let database = if crate::ON_POSTGRES { dump(&postgres::database(&name_of(&data))) } else { Vec::new() };
        [database, files(&data)].concat()
    }

    /// The address behind `http`.
    pub fn address(&self) -> &str {
        self.http.strip_prefix("http://").unwrap()
    }

    /// Runs an operator's command, which must succeed, and returns its JSON.
    pub fn operate(&self, arguments: &[&str]) -> Value {
        self.operate_with(arguments, "")
    }

    /// The same with something on its standard input.
    pub fn operate_with(&self, arguments: &[&str], input: &str) -> Value {
        operate(&self.data(), arguments, input)
    }

    /// Makes an account, active if nothing else is said.
    pub fn create_account(&self, arguments: &[&str], password: &str) -> Value {
        self.operate_with(&[&["account", "create"], arguments].concat(), password)
    }

    /// Everything in the store that a login can change.
    pub fn contents(&self) -> Value {
        let commands: [&[&str]; 4] = [&["account", "list"], &["session", "list"], &["cube", "list"], &["device", "list"]];
        commands.into_iter().map(|command| self.operate(command)).collect()
    }

    /// What was left in the outbox folder for this address, the newest last.
    pub fn messages_to(&self, to: &str) -> Vec<Value> {
        let listed = self.operate(&["outbox", "list", "--limit", "10000"]);
        let theirs = listed.as_array().unwrap().iter().filter(|message| message["to"] == to && message["state"] == "outbox");
        theirs.map(|message| self.operate(&["outbox", "show", message["id"].as_str().unwrap()])).collect()
    }

    /// The newest code that was sent to this address.
    pub fn code_for(&self, to: &str) -> String {
        let text = self.messages_to(to).last().unwrap_or_else(|| panic!("nothing to {to}"))["text"].as_str().unwrap().to_owned();
        let digits = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6);
        digits.unwrap_or_else(|| panic!("no code in {text}")).to_owned()
    }

    /// The newest link that was sent to this address.
    pub fn link_for(&self, to: &str) -> String {
        let text = self.messages_to(to).last().unwrap_or_else(|| panic!("nothing to {to}"))["text"].as_str().unwrap().to_owned();
        text.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_else(|| panic!("no link in {text}")).to_owned()
    }

    /// Changes what is in the database: what only time or an accident does otherwise.
    pub async fn change_database(&self, statement: &str) {
        let has_noticed = |line: &str| line.contains("somebody else has changed the database");
        let before = self.log.all().iter().filter(|line| has_noticed(line)).count();
        let beside = self.database().await;
        let changed = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&beside).await.unwrap();
        assert!(changed.rows_affected() > 0, "{statement} changed nothing");
        beside.close().await;
        if !crate::ON_POSTGRES {
            self.log.wait_for_another(before, has_noticed);
        }
    }

    /// The line in the log with this request id.
    pub fn log_line(&self, request_id: &str) -> Value {
        serde_json::from_str(&self.log.wait_for(|line| line.contains(request_id))).unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Stops it gracefully and returns its folder.
    pub fn stop(mut self) -> Arc<TempDir> {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
        Arc::clone(&self.folder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the server's own faults, the last of them:\n{}", self.log.faults());
        }
    }
}

/// Runs an operator's command on a data folder; it must succeed.
pub fn operate(data: &Path, arguments: &[&str], input: &str) -> Value {
    let output = run(hearthgate_on(data, arguments).arg("--json"), input);
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {shown}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs an operator's command on a data folder; it must fail, with one sentence, which is returned.
pub fn refuse(data: &Path, arguments: &[&str], input: &str) -> String {
    let output = run(&mut hearthgate_on(data, arguments), input);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    sentence.trim_end().to_owned()
}

/// All files of a data folder but the keys, one after another.
fn files(data: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !name.ends_with(".key") && !name.ends_with(".pem") {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// Everything in a database, as text.
pub fn dump(url: &str) -> Vec<u8> {
    let output = Command::new("pg_dump").arg(url).output().expect("pg_dump is installed by ./test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
