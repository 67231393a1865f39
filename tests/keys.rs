//! The master key is rotated: nobody notices, and the former one opens nothing any more.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use account::{MasterKey, Sealed};
use serde_json::{Value, json};
use sqlx::Row;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::ON_POSTGRES;
use crate::import::nameless;
use crate::keeping::{Life, holds};
use crate::support::acknowledged::{PASSWORD, log_in, make_people};
use crate::support::app::App;
use crate::support::server::{hearthgate_on, operate, refuse, run};
use crate::support::{Fantem, Server};
use crate::watching::{change, until};

/// Rotates, after drawing the key where other nodes might need it.
fn rotate(data: &Path) -> Value {
    if ON_POSTGRES {
        let said = refuse(data, &["key", "rotate"], "");
        assert!(said.contains("other nodes") && said.contains("key draw"), "{said}");
        operate(data, &["key", "draw"], "");
    }
    operate(data, &["key", "rotate"], "")
}

/// What is in a file of the data folder.
fn read(data: &Path, name: &str) -> String {
    fs::read_to_string(data.join(name)).unwrap()
}

fn names_of_keys(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("master.key")).collect();
    names.sort();
    names
}

/// How many verifiers are peppered by each key, the one in force first.
fn verifiers(data: &Path) -> Vec<u64> {
    let keys = operate(data, &["key", "list"], "");
    keys.as_array().unwrap().iter().map(|key| key["verifiers"].as_u64().unwrap()).collect()
}

/// Tokens, codes and passwords of before are good, logins and guesses under way go through, and each login renews its verifier.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_rotation() {
    const PEOPLE: usize = 6;
    let server = Server::dev();
    make_people(&server, PEOPLE + 1);
    let mut life = Life::begin(&server).await;
    let app = App::new(&server);
    // The same refresh, asked for again as by an app that did not hear the answer.
    let rt = log_in(&app, PEOPLE, PASSWORD).await.text("/rt");
    let refreshed = app.v8_get("/api/user/refresh", &[("rt", &rt)]).await;
    let before = read(&server.data(), "master.key");
    // With the two sample accounts.
    assert_eq!(verifiers(&server.data()), [PEOPLE as u64 + 3]);

    let stop = Arc::new(AtomicBool::new(false));
    let mut logins = JoinSet::new();
    for person in 0..PEOPLE / 2 {
        let (app, stop) = (app.clone(), Arc::clone(&stop));
        logins.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = log_in(&app, person, PASSWORD).await;
                assert_eq!(answer.body["region"], "cn", "{person}: {answer:?}");
            }
        });
    }
    let folder = server.data();
    let rotations = tokio::task::spawn_blocking(move || [rotate(&folder), rotate(&folder)]).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    logins.join_all().await;

    let [first, second] = &rotations;
    assert_eq!((&first["key"], first["resealed"].as_u64()), (&second["former"], Some(1)), "the sample application's secret");
    assert_ne!(read(&server.data(), "master.key"), before);
    assert_eq!(read(&server.data(), &format!("master.key.{}", first["former"].as_str().unwrap())), before);
    life.looks_around(&server);
    life.goes_on(&server).await;
    let again = app.v8_get("/api/user/refresh", &[("rt", &rt)]).await;
    assert_eq!((&again.body["at"], &again.body["rt"]), (&refreshed.body["at"], &refreshed.body["rt"]));
    for person in 0..PEOPLE {
        assert_eq!(log_in(&app, person, "wrong password").await.body, json!({ "error": 401 }), "{person}");
        assert_eq!(log_in(&app, person, PASSWORD).await.body["region"], "cn", "{person}");
    }
    // Two sample accounts, the one that registered with a code, and these people.
    assert_eq!(verifiers(&server.data()).iter().sum::<u64>(), PEOPLE as u64 + 4);
    assert_eq!(verifiers(&server.data())[2], 2, "one of the samples and the last person have not logged in");
    assert_eq!(log_in(&app, PEOPLE, PASSWORD).await.body["region"], "cn");
    assert_eq!(verifiers(&server.data())[2], 1);

    let trail = server.operate(&["audit", "list", "--reason", "done"]);
    for rotation in &rotations {
        let what = format!("operator key rotate {}", rotation["key"].as_str().unwrap());
        assert_eq!(trail.as_array().unwrap().iter().filter(|entry| entry["what"] == what).count(), 1);
    }
    life.looks_around(&server);
    let server = Server::dev_in(server.stop(), &[]);
    life.goes_on(&server).await;
}

/// Verifiers of before they named their key are of the first one, however often it was rotated since.
#[tokio::test]
async fn verifiers_that_name_no_key_are_of_the_first() {
    let server = Server::dev();
    let (people, app) = (2, App::new(&server));
    make_people(&server, people);
    let beside = server.database().await;
    let all: Vec<(i64, String)> = sqlx::query_as("SELECT number, verifier FROM accounts").fetch_all(&beside).await.unwrap();
    for (number, verifier) in &all {
        let update = sqlx::query("UPDATE accounts SET verifier = $1 WHERE number = $2");
        update.bind(nameless(verifier)).bind(*number).execute(&beside).await.unwrap();
    }
    beside.close().await;
    assert_eq!(verifiers(&server.data()), [4]);
    assert_eq!(log_in(&app, 0, PASSWORD).await.body["region"], "cn");
    rotate(&server.data());
    rotate(&server.data());
    assert_eq!(verifiers(&server.data()), [0, 0, 4]);
    for person in 0..people {
        assert_eq!(log_in(&app, person, "wrong password").await.body, json!({ "error": 401 }));
        assert_eq!(log_in(&app, person, PASSWORD).await.body["region"], "cn");
    }
    assert_eq!(verifiers(&server.data()), [2, 0, 2], "renewed");
}

/// A server that can send no mail, with an application and a message that waits.
fn sealing_server() -> Server {
    let folder = Arc::new(TempDir::new().unwrap());
    let settings = [
        ("HEARTHGATE_MAIL__HOST", "127.0.0.1"),
        ("HEARTHGATE_MAIL__PORT", "1"),
        ("HEARTHGATE_MAIL__TLS", "none"),
        ("HEARTHGATE_MAIL__FROM", "id@example.com"),
        ("HEARTHGATE_MESSAGES__RETRY_PAUSE", "1h"),
    ];
    let server = Server::serve(folder, &["--http", "127.0.0.1:0"], &settings);
    server.operate(&["app", "create"]);
    server.create_account(&["--email", "anna@example.com"], "correct horse");
    server.operate_with(&["account", "set-password", "anna@example.com"], "battery staple");
    server
}

/// Whatever is sealed in the database, with its owner.
async fn sealed(server: &Server) -> Vec<(String, Sealed)> {
    let beside = server.database().await;
    let query = "SELECT id, secret FROM applications UNION ALL SELECT id, sealed FROM messages \
                 UNION ALL SELECT fingerprint, sealed FROM former_keys";
    let rows = sqlx::query(query).fetch_all(&beside).await.unwrap();
    beside.close().await;
    rows.iter().map(|row| (row.get(0), Sealed::from_stored(row.get(1)))).collect()
}

fn key(data: &Path, name: &str) -> MasterKey {
    MasterKey::parse(&read(data, name)).unwrap()
}

#[tokio::test]
async fn the_former_key_opens_nothing() {
    let server = sealing_server();
    let data = server.data();
    let former = key(&data, "master.key");
    let of_before = sealed(&server).await;
    assert_eq!(of_before.len(), 2);
    assert!(of_before.iter().all(|(owner, sealed)| former.open(owner, sealed).is_ok()));
    assert_eq!(rotate(&data)["resealed"], 2);
    let waiting = server.operate(&["outbox", "list"]);
    assert_eq!((&waiting[0]["state"], &waiting[0]["to"]), (&json!("waiting"), &json!("anna@example.com")));
    let of_now = sealed(&server).await;
    assert_eq!(of_now.len(), 3, "and the former key");
    let in_force = key(&data, "master.key");
    for (owner, sealed) in &of_now {
        assert!(in_force.open(owner, sealed).is_ok() && former.open(owner, sealed).is_err(), "{owner}");
    }
    // What somebody was sealing meanwhile is sealed anew a little later.
    let (owner, late) = &of_before[0];
    let beside = server.database().await;
    let update = sqlx::query("UPDATE applications SET secret = $1 WHERE id = $2").bind(late.as_str()).bind(owner);
    assert_eq!(update.execute(&beside).await.unwrap().rows_affected(), 1);
    beside.close().await;
    let found = || async { sealed(&server).await };
    until(found, |found| found.iter().all(|(owner, sealed)| former.open(owner, sealed).is_err())).await;
    // Nor is anything left in a free place of the database, or in its log.
    let is_kept = |sealed: &Sealed| holds(&server.kept(), sealed.as_str());
    assert!(is_kept(&of_now[1].1), "the search finds what is there");
    until(|| async { of_before.iter().any(|(_, sealed)| is_kept(sealed)) }, |kept| !kept).await;
    // Whoever has the database and the former key has no pepper of today.
    let stranger = Arc::new(TempDir::new().unwrap());
    fs::create_dir(stranger.path().join("data")).unwrap();
    fs::copy(data.join(format!("master.key.{}", former.fingerprint())), stranger.path().join("data/master.key")).unwrap();
    let backup = server.folder().path().join("backup");
    server.operate(&["key", "list"]);
    assert!(run(&mut hearthgate_on(&data, ["backup", backup.to_str().unwrap()]), "").status.success());
    let said = refuse(&stranger.path().join("data"), &["restore", backup.to_str().unwrap()], "");
    assert!(said.contains("not the one that the backup was made with"), "{said}");
}

/// Killed at any moment of a rotation, the files are what they were before it, or one of these.
#[tokio::test]
async fn a_start_finishes_what_was_broken_off() {
    let server = sealing_server();
    let data = server.data();
    operate(&data, &["key", "draw"], "");
    let said = refuse(&data, &["key", "draw"], "");
    assert!(said.contains("there is one already"), "{said}");
    let folder = server.stop();
    // Drawn, not yet committed: nothing has changed.
    assert_eq!(verifiers(&data), [1, 0]);
    assert_eq!(names_of_keys(&data), ["master.key", "master.key.next"]);
    let rotated = operate(&data, &["key", "rotate"], "");
    let kept = format!("master.key.{}", rotated["former"].as_str().unwrap());
    let in_order = ["master.key".to_owned(), kept.clone()];
    assert_eq!(names_of_keys(&data), in_order);
    let (now, before) = (read(&data, "master.key"), read(&data, &kept));
    // Committed, and no file or only the first has its new name; copied from another node while it waits here.
    for (place, next, former) in
        [(Some(&before), Some(&now), None), (None, Some(&now), Some(&before)), (Some(&now), Some(&now), Some(&before))]
    {
        for (name, text) in [("master.key", place), ("master.key.next", next), (&*kept, former)] {
            let path = data.join(name);
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => drop(fs::remove_file(&path)),
            }
            if path.exists() {
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
        let server = Server::serve(Arc::clone(&folder), &["--http", "127.0.0.1:0"], &[]);
        assert_eq!(verifiers(&data), [0, 1]);
        server.stop();
        assert_eq!(read(&data, "master.key"), now);
        assert!(!data.join("master.key.next").exists());
    }
}

/// A backup from before opens with the key of before, which is still there.
#[tokio::test]
async fn backups_of_before_are_good() {
    let server = Server::dev();
    let files = ["plain", "sealed"].map(|name| server.folder().path().join(name));
    for (file, encrypt) in files.iter().zip([&[][..], &["--encrypt"]]) {
        let command = [&["backup", file.to_str().unwrap()], encrypt].concat();
        assert!(run(&mut hearthgate_on(&server.data(), command), "").status.success());
    }
    rotate(&server.data());
    let source = server.data();
    let folder = server.stop();
    for file in files {
        let other = Arc::new(TempDir::new().unwrap());
        let data = other.path().join("data");
        fs::create_dir(&data).unwrap();
        for name in names_of_keys(&source) {
            fs::copy(source.join(&name), data.join(&name)).unwrap();
        }
        assert!(run(&mut hearthgate_on(&data, ["restore", file.to_str().unwrap()]), "").status.success());
        let server = Server::dev_in(other, &[]);
        assert_eq!(Fantem::new(&server).login(&[]).await.body["code"], 1);
        assert_eq!(verifiers(&data), [2, 0], "the key of before is in force there");
    }
    drop(folder);
}

/// A key from the configuration is not replaced behind the operator's back.
#[tokio::test]
async fn a_configured_key_is_rotated_too() {
    const KEY: &str = "ab3f0bfa1c1d0e7e9a6f5d4c3b2a190817263544536271809f8e7d6c5b4a3928";
    let configured = |key: &str| [("HEARTHGATE_MASTER_KEY", key.to_owned())];
    let dev = |folder, key: &str| {
        let settings = configured(key);
        Server::dev_in(folder, &[(settings[0].0, &settings[0].1)])
    };
    let server = dev(Arc::new(TempDir::new().unwrap()), KEY);
    let data = server.data();
    let said = refuse(&data, &["key", "rotate"], "");
    assert!(said.contains("is configured") && said.contains("key draw"), "{said}");
    let drawn = server.operate(&["key", "draw"]);
    let next = fs::read_to_string(drawn["file"].as_str().unwrap()).unwrap();
    server.operate(&["key", "rotate"]);
    assert_eq!(read(&data, "master.key"), next);
    // Before the operator has come to configure it, and after.
    let server = dev(server.stop(), KEY);
    server.log.wait_for(|line| line.contains("is a former one: configure "));
    assert_eq!(Fantem::new(&server).login(&[]).await.body["code"], 1);
    let server = dev(server.stop(), &"7c".repeat(32));
    server.log.wait_for(|line| line.contains("was never in force here: unless it is the one to rotate to, configure "));
    let folder = server.stop();
    fs::remove_file(data.join("master.key")).unwrap();
    let server = dev(Arc::clone(&folder), next.trim());
    assert_eq!(Fantem::new(&server).login(&[]).await.body["code"], 1);
    assert!(!server.log.all().iter().any(|line| line.contains("former one")));
    drop(server);
    let output = run(hearthgate_on(&data, ["account", "list"]).env("HEARTHGATE_MASTER_KEY", KEY), "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("the master key is not the one"), "{said}");
}

/// A rotation is done, and told as done, whatever becomes of what follows it.
#[tokio::test]
async fn a_rotation_that_cannot_seal_anew_is_one() {
    let server = Server::dev();
    server.operate(&["key", "draw"]);
    change(&server, "ALTER TABLE applications RENAME TO gone").await;
    let said = refuse(&server.data(), &["key", "rotate"], "");
    change(&server, "ALTER TABLE gone RENAME TO applications").await;
    let key = server.operate(&["key", "list"])[0]["key"].clone();
    let told = format!("the master key is rotated to {}, but not all is sealed anew", key.as_str().unwrap());
    assert!(said.contains(&told), "{said}");
    let trail = server.operate(&["audit", "list"]);
    let entry = trail.as_array().unwrap().iter().find(|entry| entry["what"] == "operator key rotate").unwrap();
    assert!(entry["refused"] == false && entry["outcome"].as_str().unwrap().contains(&told), "{entry}");
}

/// Keys that are of no use are refused before anything is changed.
#[tokio::test]
async fn a_key_that_cannot_be_next_is_refused() {
    let server = Server::dev();
    let data = server.data();
    let next = data.join("master.key.next");
    for (text, mode, why) in [("abc", 0o600, "64 hex digits"), (&*"5e".repeat(32), 0o644, "chmod 600")] {
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        for command in ["draw", "rotate"] {
            let said = refuse(&data, &["key", command], "");
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(verifiers(&data), [2]);
        fs::remove_file(&next).unwrap();
    }
    let rotated = rotate(&data);
    fs::copy(data.join(format!("master.key.{}", rotated["former"].as_str().unwrap())), &next).unwrap();
    let said = refuse(&data, &["key", "rotate"], "");
    assert!(said.contains("was before"), "{said}");
    assert_eq!(Fantem::new(&server).login(&[]).await.body["code"], 1);
}

/// Makes what a key is kept in private again.
fn write_key(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// A rotation after which the files could not be put in order: the next key is the one in force, and nobody is told to remove it.
#[tokio::test]
async fn the_key_in_force_is_never_to_be_removed() {
    let server = sealing_server();
    let data = server.data();
    operate(&data, &["key", "draw"], "");
    let (first, next) = (read(&data, "master.key"), read(&data, "master.key.next"));
    // In the place where the former key is to be kept.
    let former = key(&data, "master.key").fingerprint();
    let in_the_way = data.join(format!("master.key.{former}"));
    fs::create_dir(&in_the_way).unwrap();
    let rotated = operate(&data, &["key", "rotate"], "");
    assert_eq!((&rotated["former"], &rotated["file"]), (&json!(former), &Value::Null));
    for command in ["draw", "rotate"] {
        let said = refuse(&data, &["key", command], "");
        assert!(said.contains(&former) && !said.contains("remove"), "{said}");
        assert_eq!((read(&data, "master.key"), read(&data, "master.key.next")), (first.clone(), next.clone()));
    }
    fs::remove_dir(&in_the_way).unwrap();
    until(|| async { names_of_keys(&data) }, |names| *names == ["master.key".to_owned(), format!("master.key.{former}")]).await;
    assert_eq!((read(&data, "master.key"), read(&data, &format!("master.key.{former}"))), (next, first));
}

/// Whatever somebody copies a key to beside it is their own, and a former one that cannot be read is in nobody's way.
#[tokio::test]
async fn only_keys_are_read_as_such() {
    let server = Server::dev();
    let data = server.data();
    let kept = read(&data, "master.key");
    for name in ["master.key~", "master.key.bak", "master.key.gpg", "master.key.0123456789ABCDEF", "master.keys"] {
        fs::write(data.join(name), "abc").unwrap();
    }
    let former = data.join("master.key.0123456789abcdef");
    fs::write(&former, &kept).unwrap();
    fs::set_permissions(&former, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    server.log.wait_for(|line| line.contains("not taken") && line.contains("0123456789abcdef"));
    let server = Server::dev_in(server.stop(), &[]);
    rotate(&data);
    assert_eq!(Fantem::new(&server).login(&[]).await.body["code"], 1);
    assert_eq!(read(&data, "master.key.bak"), "abc");
    // A copy of the key in force, where the next one waits, is not the next one.
    let in_force = read(&data, "master.key");
    write_key(&data.join("master.key.next"), &in_force);
    until(|| async { data.join("master.key.next").exists() }, |there| !there).await;
    assert_eq!(read(&data, "master.key"), in_force);
}

/// Rotated again and again, while the server looks at the files as well: no key is lost, and the one in force is always in its place.
#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_kept() {
    const TIMES: usize = 10;
    let server = Server::dev();
    let (data, stop) = (server.data(), Arc::new(AtomicBool::new(false)));
    let (place, stopped) = (data.join("master.key"), Arc::clone(&stop));
    let watching = tokio::task::spawn_blocking(move || {
        while !stopped.load(Ordering::Relaxed) {
            assert!(place.exists(), "it is there at any time");
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let folder = data.clone();
    let rotations = tokio::task::spawn_blocking(move || (0..TIMES).map(|_| rotate(&folder)).collect::<Vec<_>>()).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    watching.await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(key(&data, "master.key").fingerprint(), text(&rotations[TIMES - 1]["key"]));
    for rotation in &rotations {
        let former = text(&rotation["former"]);
        assert_eq!(key(&data, &format!("master.key.{former}")).fingerprint(), former);
    }
    assert_eq!(names_of_keys(&data).len(), TIMES + 1);
}
