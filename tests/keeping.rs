//! Moving and keeping a store: migrations between databases, backups, and what PostgreSQL's own tools make.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ON_POSTGRES;
use crate::support::app::App;
use crate::support::postgres::{self, psql};
use crate::support::server::{hearthgate, hearthgate_on, operate, run, store_of, url_of};
use crate::support::{Ewelink, Fantem, Server};

const PHONE: &str = "+8613123456789";
const PASSWORD: &str = "12345678";

/// A database of its own for each test, beside the one that belongs to a data folder.
pub fn another_database(folder: &TempDir) -> String {
    postgres::database(&format!("keeping_{}", crate::support::calls::md5(&folder.path().display().to_string())))
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

/// A folder whose data folder has nothing but another one's master key.
pub fn folder_with_key_of(other: &TempDir) -> Arc<TempDir> {
    let folder = Arc::new(TempDir::new().unwrap());
    fs::create_dir(data(&folder)).unwrap();
    fs::copy(data(other).join("master.key"), data(&folder).join("master.key")).unwrap();
    folder
}

/// A block of commands under a heading of the operators' page.
pub fn documented(heading: &str, block: usize) -> String {
    let page = include_str!("../docs/operating.md").split(heading).nth(1).unwrap();
    page.split("```sh\n").nth(block + 1).unwrap().split("```").next().unwrap().to_owned()
}

fn migrate(from: &str, to: &str) -> Command {
    hearthgate(["migrate-store", "--from", from, "--to", to, "--json"])
}

/// Runs a command that must succeed, and returns its JSON.
fn succeed(command: &mut Command) -> Value {
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that must fail with one sentence, and returns that.
fn fail(command: &mut Command) -> String {
    let output = run(command, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn rows_of(table: &str, sums: &Value) -> u64 {
    sums.as_array().unwrap().iter().find(|sum| sum["table"] == table).unwrap()["rows"].as_u64().unwrap()
}

/// What somebody has who uses a server: tokens, a cube, codes that were sent.
pub struct Life {
    access: String,
    refresh: String,
    codes: Vec<(String, String)>,
    contents: Value,
}

impl Life {
    pub async fn begin(server: &Server) -> Self {
        let app = App::new(server);
        Fantem::new(server).login(&[]).await;
        let mut codes = Vec::new();
        for email in ["first@example.com", "second@example.com"] {
            assert_eq!(app.v8("/api/sms", json!({ "sendType": "0", "email": email })).await.body["error"], 0);
            codes.push((email.to_owned(), server.code_for(email)));
        }
        let login = app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await;
        Self { access: login.text("/at"), refresh: login.text("/rt"), codes, contents: server.contents() }
    }

    /// Others have been busy: what is there now is to be there at the other server.
    pub fn looks_around(&mut self, server: &Server) {
        self.contents = server.contents();
    }

    /// The same person at another server, who notices nothing.
    pub async fn goes_on(&mut self, server: &Server) {
        let app = App::new(server);
        assert_eq!(server.contents(), self.contents);
        let profile = app.get("/v2/user/profile", "", &format!("Bearer {}", self.access)).await;
        assert_eq!(profile.body["error"], 0, "the access token from before");
        let refreshed = app.v8_get("/api/user/refresh", &[("rt", &self.refresh)]).await;
        (self.access, self.refresh) = (refreshed.text("/at"), refreshed.text("/rt"));
        let (email, code) = self.codes.remove(0);
        let body = json!({ "email": email, "phoneNumber": "", "verificationCode": code, "password": "correct horse battery" });
        assert_eq!(app.v8("/api/user/register", body).await.body["user"]["email"], email, "the code from before");
        assert_eq!(Fantem::new(server).login(&[]).await.body["code"], 1, "with the cube that is bound to somebody");
        self.looks_around(server);
    }
}

#[tokio::test]
async fn a_store_moves_and_moves_back() {
    let server = Server::dev();
    let mut life = Life::begin(&server).await;
    let first = server.stop();
    let database = another_database(&first);
    let moved = succeed(&mut migrate(&url_of(&data(&first)), &database));
    assert_eq!((rows_of("accounts", &moved), rows_of("sessions", &moved)), (2, 2), "{moved}");

    let server = Server::dev_in(folder_with_key_of(&first), &[("HEARTHGATE_STORE", &database)]);
    life.goes_on(&server).await;
    server.stop();
    let third = folder_with_key_of(&first);
    // The URL with a password in it from a file, and the target from the configuration.
    let file = third.path().join("url");
    fs::write(&file, format!("{database}\n")).unwrap();
    let mut back = hearthgate_on(&data(&third), ["migrate-store", "--json", "--from-file", file.to_str().unwrap()]);
    assert_eq!(rows_of("accounts", &succeed(&mut back)), 3);
    life.goes_on(&Server::dev_in(third, &[])).await;
}

#[tokio::test]
async fn without_its_key_a_store_that_was_moved_is_of_no_use() {
    let first = Server::dev().stop();
    let database = another_database(&first);
    succeed(&mut migrate(&url_of(&data(&first)), &database));
    let elsewhere = TempDir::new().unwrap();
    let mut serve = hearthgate_on(&data(&elsewhere), ["serve", "--http", "127.0.0.1:0"]);
    let said = fail(serve.env("HEARTHGATE_STORE", &database));
    assert!(said.contains("master.key is missing"), "{said}");
}

const MANY: u64 = 60_000;

/// A time that is not over when it is looked for what is of no more use, in milliseconds.
const LATER: u64 = 4_102_444_800_000;

/// Puts so many rows into a server's database that copying them takes a while.
async fn add_many_rows(server: &Server) {
    let insert = format!(
        "INSERT INTO sendings (id, address, sent_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) \
         SELECT 'sending ' || i, 'an address', {LATER} + i FROM n"
    );
    server.change_database(&insert).await;
}

/// Killed in the middle, a migration leaves what nobody can serve from, and goes on where it was.
#[tokio::test]
async fn a_migration_that_was_killed_goes_on() {
    let server = Server::dev();
    add_many_rows(&server).await;
    let first = server.stop();
    let (source, target) = (url_of(&data(&first)), another_database(&first));
    let mut migration = migrate(&source, &target).stdout(Stdio::null()).spawn().unwrap();
    let ask = |query: &str| psql(&target, query).unwrap_or_default();
    while !ask("SELECT count(*) > 0 FROM sendings").starts_with('t') {
        assert!(migration.try_wait().unwrap().is_none(), "it ended before it could be killed");
    }
    migration.kill().unwrap();
    migration.wait().unwrap();
    let oldest = || ask(&format!("SELECT id, xmin FROM sendings WHERE sent_at IN ({LATER} + 1, {LATER} + 10)"));
    let (there, begun) = (ask("SELECT count(*) FROM sendings"), oldest());
    assert!(there.parse::<u64>().unwrap() < MANY, "it was killed in the middle: {there}");

    let mut serve = hearthgate_on(&data(&first), ["serve", "--http", "127.0.0.1:0"]);
    let said = fail(serve.env("HEARTHGATE_STORE", &target));
    assert!(said.contains("was not filled to the end from") && said.contains("run that migrate-store again"), "{said}");
    let other = Server::dev().stop();
    let said = fail(&mut migrate(&url_of(&data(&other)), &target));
    assert!(said.contains("was not filled to the end from"), "another source: {said}");
    let said = fail(&mut migrate(&target, &url_of(&data(&TempDir::new().unwrap()))));
    assert!(said.contains("was not filled to the end from"), "half a source: {said}");

    let done = succeed(&mut migrate(&source, &target));
    assert_eq!(rows_of("sendings", &done), MANY);
    assert_eq!(oldest(), begun, "what was there already was not copied again");
    let server = Server::dev_in(folder_with_key_of(&first), &[("HEARTHGATE_STORE", &target)]);
    assert_eq!(server.operate(&["account", "list"]).as_array().unwrap().len(), 2);
}

/// What changed between two runs is found out, and the next run begins anew.
#[tokio::test]
async fn a_source_that_changed_is_found_out() {
    let first = Server::dev().stop();
    let (source, target) = (url_of(&data(&first)), another_database(&first));
    succeed(&mut migrate(&source, &target));
    let shown = match source.rsplit_once('/') {
        Some((_, name)) if ON_POSTGRES => format!("postgres://127.0.0.1/{name}"),
        _ => data(&first).join("hearthgate.db").display().to_string(),
    };
    // As if it had been killed just before its end, and an account was registered since.
    let mark = json!({ "from": shown, "last": ["imports", ["x"]] });
    psql(&target, &format!("INSERT INTO settings (name, value) VALUES ('filled_from', '{mark}')")).unwrap();
    operate(&data(&first), &["account", "create", "--username", "late"], "long enough");
    let said = fail(&mut migrate(&source, &target));
    assert!(said.contains("has changed while it was copied"), "{said}");
    assert_eq!(rows_of("accounts", &succeed(&mut migrate(&source, &target))), 3);
}

#[tokio::test]
async fn a_migration_that_cannot_be_is_refused() {
    let server = Server::dev();
    let (source, target) = (url_of(&server.data()), another_database(&server.folder()));
    let said = fail(&mut migrate(&source, &target));
    assert!(said.contains("is in use by another hearthgate: stop it"), "{said}");
    let idle = Server::dev().stop();
    let said = fail(&mut migrate(&url_of(&data(&idle)), &source));
    assert!(said.contains("in use by another hearthgate") || said.contains("is not empty"), "{said}");
    let _kept = server.stop();
    let said = fail(&mut migrate(&url_of(&data(&idle)), &source));
    assert!(said.contains("is not empty: name an empty one"), "{said}");
    let missing = idle.path().join("nothing.db");
    for (from, to, says) in [
        ("mysql://anna:secret@localhost/x", target.as_str(), "--from: store: it is neither of the form sqlite:PATH"),
        (&source, "secret", "--to: store: it is neither of the form sqlite:PATH"),
        (&source, "postgres://postgres:secret@127.0.0.1:1/x", "cannot open the database postgres://127.0.0.1/x"),
        (&source, "postgres://a:secret@db.example.com/x?sslmode=disable", "the sslmode does not check who db.example.com is"),
        (&format!("sqlite:{}", missing.display()), &target, "there is no database"),
        (&target, &source, "is not of this version of hearthgate, or not one of its databases"),
    ] {
        let said = fail(&mut migrate(from, to));
        assert!(said.contains(says) && !said.contains("secret"), "{said}");
    }
    if !ON_POSTGRES {
        assert!(fail(&mut migrate(&source, &source)).contains("is both source and target"));
    }
    let nothing = run(&mut hearthgate(["migrate-store"]), "");
    assert!(!nothing.status.success());
}

fn backup(data: &Path, arguments: &[&str], file: &Path) -> Command {
    let mut command = hearthgate_on(data, ["backup", "--json"].iter().chain(arguments).map(OsStr::new));
    command.arg(file);
    command
}

fn restore(data: &Path, file: &Path) -> Command {
    let mut command = hearthgate_on(data, ["restore", "--json"]);
    command.arg(file);
    command
}

/// While people log in, a backup is made of one moment, and nobody notices.
#[tokio::test]
async fn a_backup_of_a_running_server_is_restored_elsewhere() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    let stop = Arc::new(AtomicBool::new(false));
    let logins = tokio::spawn({
        let (ewelink, stop) = (ewelink.clone(), Arc::clone(&stop));
        async move {
            let mut tokens: Vec<String> = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                tokens.push(ewelink.login(json!({})).await.text("/at"));
            }
            tokens
        }
    });
    let (folder, file) = (server.folder(), server.folder().path().join("a.backup"));
    let backups = tokio::task::spawn_blocking({
        let (data, file) = (server.data(), file.clone());
        move || {
            (0..3).map(|number| succeed(&mut backup(&data, &[], &file.with_extension(number.to_string())))).collect::<Vec<_>>()
        }
    });
    let backups = backups.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    let tokens = logins.await.unwrap();
    assert!(tokens.len() > 3, "people logged in meanwhile");
    assert!(backups.iter().all(|sums| rows_of("accounts", sums) == 2), "{backups:?}");

    succeed(&mut backup(&server.data(), &[], &file));
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let kept = fs::read(&file).unwrap();
    let said = fail(&mut backup(&server.data(), &[], &file));
    assert!(said.contains("no backup is overwritten"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), kept);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("unfinished")), "{left:?}");

    let contents = server.contents();
    server.stop();
    let elsewhere = folder_with_key_of(&folder);
    let sums = succeed(&mut restore(&data(&elsewhere), &file));
    assert_eq!(rows_of("sessions", &sums), 1);
    let said = fail(&mut restore(&data(&elsewhere), &file));
    assert!(said.contains("there is a database already") || said.contains("is not empty"), "{said}");
    let server = Server::dev_in(elsewhere, &[]);
    assert_eq!(server.contents(), contents);
    let profile = App::new(&server).get("/v2/user/profile", "", &format!("Bearer {}", tokens.last().unwrap())).await;
    assert_eq!(profile.body["error"], 0, "the last token before the backup");
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
    assert!(fail(&mut restore(&server.data(), &file)).contains("in use by another hearthgate"));
}

/// The files in a folder that are there for a while only.
fn unfinished(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".unfinished")).collect()
}

/// Broken off, a backup is not there, and a restore has not been.
#[tokio::test]
async fn what_was_broken_off_is_not_there() {
    let server = Server::dev();
    add_many_rows(&server).await;
    let folder = server.folder();
    let file = folder.path().join("a.backup");
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let mut broken = backup(&server.data(), &[], &file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while unfinished(folder.path()).is_empty() {
            assert!(broken.try_wait().unwrap().is_none(), "it ended before it could be broken off");
        }
        kill_process(Pid::from_child(&broken), signal).unwrap();
        assert!(!broken.wait().unwrap().success());
        assert!(!file.exists());
        assert_eq!(unfinished(folder.path()).len(), usize::from(signal == Signal::KILL));
    }
    let said = fail(&mut backup(&server.data(), &[], Path::new("/nowhere/a.backup")));
    assert!(said.contains("cannot write /nowhere/a.backup"), "{said}");
    succeed(&mut backup(&server.data(), &[], &file));
    server.stop();

    let elsewhere = folder_with_key_of(&folder);
    let target = url_of(&data(&elsewhere));
    let mut broken = restore(&data(&elsewhere), &file).stdout(Stdio::null()).spawn().unwrap();
    let writes =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'INSERT INTO sendings%'";
    while if ON_POSTGRES { psql(&target, writes).unwrap() == "0" } else { unfinished(&data(&elsewhere)).is_empty() } {
        assert!(broken.try_wait().unwrap().is_none(), "it ended before it could be broken off");
    }
    broken.kill().unwrap();
    broken.wait().unwrap();
    assert_eq!(rows_of("sendings", &succeed(&mut restore(&data(&elsewhere), &file))), MANY);
}

pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn an_encrypted_backup_can_be_read_with_its_key_only() {
    let server = Server::dev();
    Ewelink::new(&server).login(json!({})).await;
    let contents = server.contents();
    let folder = server.folder();
    let (plain, sealed) = (folder.path().join("plain"), folder.path().join("sealed"));
    succeed(&mut backup(&server.data(), &[], &plain));
    succeed(&mut backup(&server.data(), &["--encrypt"], &sealed));
    server.stop();
    let (plain, bytes) = (fs::read(plain).unwrap(), fs::read(&sealed).unwrap());
    for text in ["apilogin@example.com", "apilogin", PHONE, "argon2id", "accounts", "SQLite"] {
        assert!(holds(&plain, text) && !holds(&bytes, text), "{text}");
    }
    let left = fs::read_dir(data(&folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.contains("unfinished")));

    let elsewhere = folder_with_key_of(&folder);
    let damaged = folder.path().join("damaged");
    let flipped = |bytes: &[u8], place: usize| {
        let mut bytes = bytes.to_vec();
        bytes[place] ^= 0x20;
        bytes
    };
    let email = plain.windows(8).rposition(|window| window == b"apilogin").unwrap();
    for (changed, says) in [
        (flipped(&bytes, bytes.len() / 2), "damaged"),
        (bytes[..bytes.len() / 2].to_vec(), "damaged or cut off"),
        (bytes[..bytes.len() - 1].to_vec(), "damaged or cut off"),
        (flipped(&plain, email), "is damaged: use another backup"),
        (plain[..plain.len() / 2].to_vec(), "is damaged: use another backup"),
        (b"a letter".to_vec(), "is not a backup that hearthgate made"),
        (Vec::new(), "is not a backup that hearthgate made"),
    ] {
        fs::write(&damaged, &changed).unwrap();
        let said = fail(&mut restore(&data(&elsewhere), &damaged));
        assert!(said.contains(says), "{said}");
    }
    let strangers = Server::dev().stop();
    for (bytes, says) in
        [(&bytes, "not the one that it was encrypted under"), (&plain, "not the one that the backup was made with")]
    {
        fs::write(&damaged, bytes).unwrap();
        let stranger = folder_with_key_of(&strangers);
        let said = fail(&mut restore(&data(&stranger), &damaged));
        assert!(said.contains(says), "{said}");
    }
    let keyless = TempDir::new().unwrap();
    assert!(fail(&mut restore(&data(&keyless), &sealed)).contains("master.key is missing"));

    let mut left: Vec<_> =
        fs::read_dir(data(&elsewhere)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["lock", "master.key"], "nothing is restored by halves");
    // Which a restore into the same place shows for a database as well.
    succeed(&mut restore(&data(&elsewhere), &sealed));
    assert_eq!(Server::dev_in(elsewhere, &[]).contents(), contents);
}

/// The documented commands can be pasted one after another.
#[test]
fn the_documented_commands_work() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (folder.path().join("hearthgate-data"), folder.path().join("new-home"));
    operate(&old, &["account", "create", "--username", "anna"], "long enough");
    fs::write(folder.path().join("postgres.url"), another_database(&folder)).unwrap();
    let paste = |script: &str, data: &Path| {
        let mut shell = Command::new("sh");
        shell.args(["-euc", &format!("hearthgate() {{ \"$PROGRAM\" \"$@\"; }}\n{script}")]).current_dir(folder.path());
        shell.env("PROGRAM", env!("CARGO_BIN_EXE_hearthgate")).envs(store_of(data));
        let output = run(&mut shell, "");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    paste(&documented("### Backup", 0), &old);
    paste(&documented("### Restore", 0), &new);
    assert_eq!(operate(&new, &["account", "list"], ""), operate(&old, &["account", "list"], ""));
    if !ON_POSTGRES {
        paste(&documented("### Moving", 0), &old);
        paste(&documented("### Moving", 1), &old);
        let back = folder.path().join("back-home");
        assert_eq!(operate(&back, &["account", "list"], ""), operate(&old, &["account", "list"], ""));
    }
}
