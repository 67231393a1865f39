//! `hearthgate doctor` finds what is wrong, and says what to do.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::Server;
use crate::support::server::{hearthgate_on, run, under};

/// What it finds, by check: state and sentence; and whether all is well.
fn doctor(data: &Path) -> (bool, BTreeMap<String, (String, String)>) {
    examine(&mut hearthgate_on(data, ["doctor", "--json"]))
}

pub fn examine(command: &mut Command) -> (bool, BTreeMap<String, (String, String)>) {
    let output = run(command, "");
    let findings: Vec<BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
    let by_check = |finding: BTreeMap<String, String>| {
        let [check, state, sentence] = ["check", "state", "finding"].map(|name| finding[name].clone());
        (check, (state, sentence))
    };
    (output.status.success(), findings.into_iter().map(by_check).collect())
}

/// One check is wrong, and nothing else; its sentence.
fn the_one_wrong(check: &str, (well, found): (bool, BTreeMap<String, (String, String)>)) -> String {
    let wrong: Vec<_> = found.iter().filter(|(_, (state, _))| state == "wrong").collect();
    assert!(!well && wrong.len() == 1 && wrong[0].0 == check, "{found:?}");
    wrong[0].1.1.clone()
}

#[test]
fn what_is_well_is_told() {
    let server = Server::dev();
    let (well, found) = doctor(&server.data());
    assert!(well, "{found:?}");
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["certificate", "data folder", "integrity", "master key", "open files", "server", "store"]);
    assert_eq!(found["server"].1, "one is running");
    let folder = server.stop();
    let (well, found) = doctor(&folder.path().join("data"));
    assert!(well && found["server"].1 == "none is running", "{found:?}");
}

#[test]
fn another_key_is_wrong() {
    let folder = Server::dev().stop();
    let data = folder.path().join("data");
    let key = data.join("master.key");
    let other = "00".repeat(32);
    std::fs::write(&key, &other).unwrap();
    let said = the_one_wrong("master key", doctor(&data));
    assert!(said.starts_with("the master key is not the one that the database was made with, or was rotated to"), "{said}");
    std::fs::remove_file(&key).unwrap();
    let said = the_one_wrong("master key", doctor(&data));
    assert!(said.contains("is missing") && said.ends_with("put it back, or copy another node's"), "{said}");
}

#[test]
fn what_others_can_look_into_is_a_warning() {
    let server = Server::dev();
    std::fs::set_permissions(server.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (well, found) = doctor(&server.data());
    let (state, sentence) = &found["data folder"];
    assert!(well && state == "warning" && sentence.contains("run chmod 700"), "{found:?}");
}

/// A disk that cannot be written to, while a server is running.
#[test]
fn a_disk_that_fails_is_wrong() {
    let server = Server::dev();
    let failing = ["strace", "-f", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "-o", "/dev/null"];
    let said = the_one_wrong("data folder", examine(&mut under(&failing, hearthgate_on(&server.data(), ["doctor", "--json"]))));
    assert!(said.contains("nothing can be written in") && said.contains("Input/output error"), "{said}");
    let left = std::fs::read_dir(server.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("unfinished")).count(), 0);
}

/// Somebody is writing to the database all the while.
#[tokio::test]
async fn a_busy_database_is_well() {
    let server = Server::dev();
    let beside = server.database().await;
    let mut busy = beside.begin().await.unwrap();
    sqlx::query("UPDATE accounts SET language = 'x'").execute(&mut *busy).await.unwrap();
    let (well, found) = doctor(&server.data());
    assert!(well && found["store"].0 == "fine" && found["integrity"].0 == "fine", "{found:?}");
    busy.rollback().await.unwrap();
    beside.close().await;
}

#[test]
fn people_are_told_in_a_table() {
    let server = Server::dev();
    let output = run(&mut hearthgate_on(&server.data(), ["doctor"]), "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("integrity") && !said.contains('{'), "{said}");
    let none: Value =
        serde_json::from_slice(&run(&mut hearthgate_on(&server.data(), ["session", "list", "--json"]), "").stdout).unwrap();
    assert!(none.as_array().unwrap().is_empty());
}
