//! Several nodes on one database, which do not talk to one another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use account::MasterKey;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::cluster::Postgres;
use crate::keeping::folder_with_key_of;
use crate::support::app::App;
use crate::support::calls::md5;
use crate::support::guard::Guard;
use crate::support::postgres::psql;
use crate::support::server::{hearthgate, operate, run};
use crate::support::{Answer, Fantem, Server, client, postgres};
use crate::watching::until;

const KEY: &str = "ab3f0bfa1c1d0e7e9a6f5d4c3b2a190817263544536271809f8e7d6c5b4a3928";
const PHONE: &str = "+8613123456789";

/// A database of its own, by the name of the test.
fn database(test: &str) -> String {
    postgres::database(&format!("nodes_{test}_{}", std::process::id()))
}

fn node(database: &str, settings: &[(&str, &str)]) -> Server {
    let own = [
        ("HEARTHGATE_STORE", database),
        ("HEARTHGATE_MASTER_KEY", KEY),
        ("HEARTHGATE_HASH__MAX_WAIT", "10m"),
        ("HEARTHGATE_DATABASE__ACQUIRE_TIMEOUT", "10m"),
        ("HEARTHGATE_DATABASE__TIMEOUT", "10m"),
    ];
    Server::dev_with(&[own.as_slice(), settings].concat())
}

/// Nodes that start at the same time.
fn nodes<const N: usize>(test: &str) -> [Server; N] {
    nodes_with(test, &[])
}

fn nodes_with<const N: usize>(test: &str, settings: &[(&str, &str)]) -> [Server; N] {
    let database = database(test);
    std::thread::scope(|scope| {
        let starting = [(); N].map(|()| scope.spawn(|| node(&database, settings)));
        starting.map(|starting| starting.join().unwrap())
    })
}

async fn log_in(app: &App) -> Answer {
    let answer = app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": "12345678" })).await;
    assert_eq!(answer.body["region"], "cn", "{}", answer.body);
    answer
}

async fn is_in(app: &App, at: &str) -> bool {
    match app.v2_as(at, Method::GET, "/v2/user/profile", Value::Null).await.body["error"].as_u64() {
        Some(0) => true,
        Some(401) => false,
        other => panic!("{other:?}"),
    }
}

/// Does the same at every node, several times, all at once.
async fn everywhere<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    nodes: &[Server],
    times: usize,
    call: impl Fn(App, usize) -> F,
) -> Vec<T> {
    let mut calls = JoinSet::new();
    for time in 0..times {
        for (index, node) in nodes.iter().enumerate() {
            calls.spawn(call(App::new(node), time * nodes.len() + index));
        }
    }
    calls.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_one_ends_the_session_on_another() {
    let nodes: [Server; 5] = nodes("sessions");
    let mut before: Option<String> = None;
    for node in nodes.iter().chain(&nodes) {
        let at = log_in(&App::new(node)).await.text("/at");
        for other in &nodes {
            assert!(is_in(&App::new(other), &at).await);
            if let Some(before) = &before {
                assert!(!is_in(&App::new(other), before).await);
            }
        }
        before = Some(at);
    }
    nodes[0].operate(&["app", "disable", crate::support::calls::APPID]);
    assert!(!is_in(&App::new(&nodes[1]), &before.unwrap()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_race_for_one_session() {
    let nodes: [Server; 3] = nodes("logins");
    let mut tokens = everywhere(&nodes, 30, async |app, _| log_in(&app).await.text("/at")).await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 90, "each login has a token of its own");
    let mut good = 0;
    for at in &tokens {
        good += usize::from(is_in(&App::new(&nodes[1]), at).await);
    }
    assert_eq!(good, 1);
}

/// Guesses at one account are as many as allowed, on whichever nodes they are made.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_on_all_are_five() {
    let limits = [("HEARTHGATE_THROTTLE__FAILURES", "5"), ("HEARTHGATE_THROTTLE__SOURCE_FAILURES", "5")];
    let nodes: [Server; 3] = nodes_with("guesses", &limits);
    let answers = everywhere(&nodes, 50, async |app, guess| {
        let app = app.from(&format!("127.0.1.{}", 1 + guess));
        app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": "wrong password" })).await
    })
    .await;
    let wrong = answers.iter().filter(|answer| answer.body["error"] == 401).count();
    let held_back = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((wrong, held_back), (5, 145));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_race_for_one_cube() {
    let nodes: [Server; 3] = nodes("cubes");
    for person in 0..30 {
        nodes[person % 3].create_account(&["--username", &format!("person{person}")], "correct horse");
    }
    nodes[0].operate(&["device", "register", "phone", "--kind", "android_phone"]);
    nodes[1].operate(&["cube", "register", "FREE"]);
    let mut logins = JoinSet::new();
    for person in 0..30 {
        let fantem = Fantem::new(&nodes[person % 3]);
        logins.spawn(async move {
            let (name, password) = (format!("person{person}"), md5("correct horse"));
            let login = [("username", name.as_str()), ("password", &password), ("uuid", "phone"), ("cubeSn", "FREE")];
            fantem.login(&login).await.body["code"].as_i64().unwrap()
        });
    }
    let codes = logins.join_all().await;
    let count = |code: i64| codes.iter().filter(|seen| **seen == code).count();
    assert_eq!((count(1), count(114)), (1, 29), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_race_for_one_code() {
    let nodes: [Server; 3] = nodes("codes");
    let new = "+8613100000077";
    let sent = App::new(&nodes[0]).v8("/api/sms", json!({ "sendType": "0", "to": new })).await;
    assert_eq!(sent.body["error"], 0);
    let body = json!({ "phoneNumber": new, "verificationCode": nodes[0].code_for(new), "password": "a new password" });
    let register = |app: App, _| {
        let body = body.clone();
        async move { app.v8("/api/user/register", body).await.body }
    };
    let answers = everywhere(&nodes, 1, register).await;
    assert_eq!(answers.iter().filter(|answer| answer["at"].is_string()).count(), 1, "{answers:?}");

    // Five tries, wherever they are made.
    let other = "+8613100000078";
    assert_eq!(App::new(&nodes[1]).v8("/api/sms", json!({ "sendType": "0", "to": other })).await.body["error"], 0);
    let right = nodes[1].code_for(other);
    let wrong = |app: App, guess: usize| {
        let code = (guess..).map(|code| format!("{code:06}")).find(|code| *code != right).unwrap();
        let body = json!({ "phoneNumber": other, "verificationCode": code, "password": "a new password" });
        async move { app.v8("/api/user/register", body).await.body }
    };
    let refused = everywhere(&nodes, 2, wrong).await;
    assert!(refused.iter().all(|answer| answer["error"] == 498), "{refused:?}");
    let body = json!({ "phoneNumber": other, "verificationCode": right, "password": "a new password" });
    assert_eq!(App::new(&nodes[2]).v8("/api/user/register", body).await.body, json!({ "error": 498 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_no_more_messages_from_many_nodes() {
    let nodes: [Server; 3] = nodes("limits");
    let send = async |app: App, _| app.v8("/api/sms", json!({ "sendType": "0", "to": "+8613100000079" })).await.body;
    let answers = everywhere(&nodes, 3, send).await;
    assert_eq!(answers.iter().filter(|answer| answer["error"] == 0).count(), 3, "three a minute: {answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_race_for_one_refresh_token() {
    let nodes: [Server; 3] = nodes("refreshes");
    let rt = log_in(&App::new(&nodes[0])).await.text("/rt");
    let refresh = |app: App, _| {
        let rt = rt.clone();
        async move { app.v8_get("/api/user/refresh", &[("rt", &rt)]).await }
    };
    let mut pairs =
        everywhere(&nodes, 3, refresh).await.iter().map(|pair| [pair.text("/at"), pair.text("/rt")]).collect::<Vec<_>>();
    pairs.sort();
    pairs.dedup();
    let [[at, next]] = &pairs[..] else { panic!("one pair for all: {pairs:?}") };
    assert!(is_in(&App::new(&nodes[1]), at).await);
    let newer = App::new(&nodes[2]).v8_get("/api/user/refresh", &[("rt", next)]).await.text("/at");
    // Who still has the first one is somebody else: the session ends, on every node.
    assert_eq!(App::new(&nodes[0]).v8_get("/api/user/refresh", &[("rt", &rt)]).await.body, json!({ "error": 401 }));
    assert!(!is_in(&App::new(&nodes[1]), &newer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_seen_on_every_node() {
    let nodes: [Server; 3] = nodes("replays");
    let made = nodes[0].operate(&["app", "create", "--name", "strict", "--profile", "strict"]);
    let (appid, secret) = (made["appid"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let body = json!({ "phoneNumber": PHONE, "password": "12345678", "ts": now, "nonce": "abcd1234" });
    let replay = |app: App, _| {
        let (app, body) = (app.as_application(&appid, &secret), body.clone());
        async move { app.v8("/api/user/login", body).await.body }
    };
    let answers = everywhere(&nodes, 3, replay).await;
    assert_eq!(answers.iter().filter(|answer| answer["at"].is_string()).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer["error"] == 406).count(), 8, "{answers:?}");
}

/// What resource servers ask at one node is true of all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_on_one_is_told_on_all() {
    let nodes: [Server; 2] = nodes("events");
    let guards = nodes.each_ref().map(Guard::new);
    let mut followers = Vec::new();
    for guard in &guards {
        let mut events = guard.follow(None).await;
        events.next().await;
        followers.push(events);
    }
    for time in 0..10 {
        let (here, there) = (time % 2, (time + 1) % 2);
        let at = log_in(&App::new(&nodes[here])).await.text("/at");
        let sid = guards[there].introspect(&at).await["sid"].clone();
        App::new(&nodes[here]).v2_as(&at, Method::DELETE, "/v2/user/logout", Value::Null).await;
        assert!(!guards[there].is_good(&at).await, "at the next request");
        for events in &mut followers {
            let event = events.next().await;
            assert_eq!((&event.data["sid"], &event.data["reason"]), (&sid, &json!("logged_out")));
        }
    }
}

/// A follower that loses its node goes on at another one, and misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_at_another_node() {
    let nodes: [Server; 2] = nodes("follower");
    let guards = nodes.each_ref().map(Guard::new);
    let mut last = guards[0].follow(None).await.next().await.id;
    let (mut expected, mut heard) = (Vec::new(), Vec::new());
    for time in 0..6 {
        let (guard, app) = (&guards[time % 2], App::new(&nodes[(time + 1) % 2]));
        let mut events = guard.follow(Some(&last)).await;
        for _ in 0..2 {
            let at = log_in(&app).await.text("/at");
            expected.push(guard.introspect(&at).await["sid"].clone());
            app.v2_as(&at, Method::DELETE, "/v2/user/logout", Value::Null).await;
        }
        // It goes away with the second one unheard.
        while heard.last() != Some(&expected[time * 2]) {
            let event = events.next().await;
            heard.push(event.data["sid"].clone());
            last = event.id;
        }
    }
    assert_eq!(heard[..], expected[..heard.len()]);
}

/// Every node must have the same master key, and is told so before it does anything.
#[test]
fn a_node_without_the_key_does_not_start() {
    let database = database("keys");
    drop(node(&database, &[]));
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let start = |key: Option<&str>| {
        let mut command = hearthgate(["serve", "--http", "127.0.0.1:0"]);
        command.arg("--data").arg(&data).env("HEARTHGATE_STORE", &database);
        command.envs(key.map(|key| ("HEARTHGATE_MASTER_KEY", key)));
        let output = run(&mut command, "");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = start(None);
    assert!(said.contains("is missing") && said.contains("copy another node's"), "{said}");
    assert!(!data.join("master.key").exists(), "none was made up");
    assert!(start(Some(&"ab".repeat(32))).contains("the master key is not the one that the database was made with"));
}

/// A newer version may add to the tables while this one runs and starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_may_run_beside() {
    let database = database("versions");
    let old = node(&database, &[]);
    let app = App::new(&old);
    let before = log_in(&app).await;
    for statement in [
        "ALTER TABLE accounts ADD COLUMN future TEXT",
        "ALTER TABLE sessions ADD COLUMN future BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE applications ADD COLUMN future TEXT",
        "ALTER TABLE gateways ADD COLUMN future TEXT",
        "ALTER TABLE devices ADD COLUMN future TEXT",
        "ALTER TABLE messages ADD COLUMN future TEXT",
        "CREATE TABLE future (id TEXT PRIMARY KEY)",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', true, '', 1)",
    ] {
        postgres::psql(&database, statement).unwrap();
    }
    assert!(is_in(&app, &before.text("/at")).await);
    assert_eq!(app.v8_get("/api/user/refresh", &[("rt", &before.text("/rt"))]).await.text("/at").len(), 40);
    assert_eq!(Fantem::new(&old).login(&[]).await.body["code"], 1);
    assert_eq!(app.v8("/api/sms", json!({ "sendType": "0", "to": "+8613100000080" })).await.body["error"], 0);

    let again = node(&database, &[]);
    let at = log_in(&App::new(&again)).await.text("/at");
    assert!(is_in(&app, &at).await);
    postgres::psql(&database, "UPDATE settings SET value = '9999' WHERE name = 'needs_migration'").unwrap();
    drop(again);
    let folder = TempDir::new().unwrap();
    let said = run(hearthgate(["account", "list", "--data"]).arg(folder.path()).env("HEARTHGATE_STORE", &database), "");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("is a newer version's") && said.contains("update hearthgate"), "{said}");
    assert!(is_in(&app, &at).await, "who runs already goes on");
}

/// An operator's mistakes are one sentence, which does not repeat the password.
#[test]
fn a_database_that_cannot_be_used() {
    let folder = TempDir::new().unwrap();
    let refused = |store: &str| {
        let output = run(hearthgate(["serve", "--data"]).arg(folder.path().join("data")).env("HEARTHGATE_STORE", store), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.lines().count() == 1 && !said.contains("hush"), "{said}");
        said
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(refused(&format!("postgres://me:hush@{closed}/x")).contains("cannot open the database postgres://127.0.0.1/x"));
    assert!(refused("postgres://me:hush@db.example.com/x?sslmode=require").contains("use sslmode=verify-full"));
    assert!(refused(&format!("postgres://me@{closed}/x?pasword=hush")).contains("an unknown parameter, \"pasword\": known are"));
    assert!(refused("mysql://me:hush@db.example.com/x").contains("is not of the form postgres://"));
    let missing = format!("{}/there_is_no_such_database", std::env::var("TEST_POSTGRES").unwrap());
    assert!(refused(&missing).contains("does not exist"));
}

/// Beyond this machine nothing is told to a server that cannot prove who it is.
#[test]
fn a_database_proves_who_it_is() {
    let dev = Server::dev();
    let server = Postgres::start(&[]);
    for name in ["cert.pem", "key.pem"] {
        server.put(name, &std::fs::read(dev.data().join(name)).unwrap());
    }
    for setting in ["ssl_cert_file = '../cert.pem'", "ssl_key_file = '../key.pem'", "ssl = on"] {
        server.run("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    server.run("postgres", "SELECT pg_reload_conf()");
    server.log.wait_for(|line| line.contains("parameter \"ssl\" changed to \"on\""));
    let authority = dev.data().join("ca.pem").display().to_string();
    let stranger = Server::dev();
    let other = stranger.data().join("ca.pem").display().to_string();

    let folder = TempDir::new().unwrap();
    let list = |sslmode: &str, authority: &str| {
        let store = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode={sslmode}&sslrootcert={authority}", server.port);
        let output = run(hearthgate(["app", "list", "--data"]).arg(folder.path()).env("HEARTHGATE_STORE", store), "");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(list("verify-full", &authority), (true, String::new()));
    assert_eq!(server.run("postgres", "SELECT count(*) > 0 FROM applications"), "f");
    for (mode, authority) in [("verify-full", other.as_str()), ("verify-ca", &other), ("verify-full", "/nowhere.pem")] {
        let (worked, said) = list(mode, authority);
        assert!(!worked && said.starts_with("hearthgate: cannot open the database postgres://127.0.0.1/postgres: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// The key is rotated on one node. Another one that has the next key already takes it up, and refuses nobody meanwhile; one that has not
/// says that it cannot serve, until it is given the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_reaches_every_node() {
    let database = database("rotation");
    let settings = [("HEARTHGATE_STORE", &*database), ("HEARTHGATE_HASH__MAX_WAIT", "10m")];
    let first = Server::dev_with(&settings);
    let [second, third] = [(); 2].map(|()| Server::dev_in(folder_with_key_of(&first.folder()), &settings));
    first.operate(&["key", "draw"]);
    let next = second.data().join("master.key.next");
    // First another one by mistake, under the same name.
    std::fs::write(&next, KEY).unwrap();
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    second.log.wait_for(|line| line.contains("the next master key is there"));
    std::fs::copy(first.data().join("master.key.next"), &next).unwrap();
    let drawn = MasterKey::parse(&std::fs::read_to_string(&next).unwrap()).unwrap().fingerprint();
    second.log.wait_for(|line| line.contains("the next master key is there") && line.contains(&drawn));

    let stop = Arc::new(AtomicBool::new(false));
    let mut logins = JoinSet::new();
    for node in [&first, &second] {
        let (app, stop) = (App::new(node), Arc::clone(&stop));
        logins.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                log_in(&app).await;
            }
        });
    }
    let sealed = psql(&database, "SELECT secret FROM applications").unwrap();
    let data = first.data();
    tokio::task::spawn_blocking(move || operate(&data, &["key", "rotate"], "")).await.unwrap();
    second.log.wait_for(|line| line.contains("the master key was rotated"));
    stop.store(true, Ordering::Relaxed);
    logins.join_all().await;
    let key = |node: &Server| std::fs::read_to_string(node.data().join("master.key")).unwrap();
    until(|| async { key(&second) }, |found| *found == key(&first)).await;

    let ready = || async { client().get(format!("{}/health/ready", third.http)).send().await.unwrap().status() };
    until(ready, |status| *status == 503).await;
    third.log.wait_for(|line| line.contains("the master key is not the one"));
    // What is right under the new key is not wrong there, and costs nobody anything; not even in the moment before everything is sealed
    // anew, when that node can still check signatures.
    let not_resealed = || psql(&database, &format!("UPDATE applications SET secret = '{sealed}'")).unwrap();
    let rt = log_in(&App::new(&first)).await.text("/rt");
    let refresh = async |node: &Server| App::new(node).v8_get("/api/user/refresh", &[("rt", &rt)]).await.body;
    let pair = refresh(&first).await;
    let new = "+8613100000077";
    assert_eq!(App::new(&first).v8("/api/sms", json!({ "sendType": "0", "to": new })).await.body["error"], 0);
    let body = json!({ "phoneNumber": new, "verificationCode": first.code_for(new), "password": "a new password" });
    let register = async |node: &Server| App::new(node).v8("/api/user/register", body.clone()).await.body;
    not_resealed();
    assert_eq!(refresh(&third).await["error"], 500);
    for _ in 0..6 {
        not_resealed();
        assert_eq!(register(&third).await["error"], 500);
    }
    assert!(is_in(&App::new(&first), pair["at"].as_str().unwrap()).await);
    assert_eq!((&refresh(&first).await["at"], &register(&second).await["region"]), (&pair["at"], &json!("cn")));
    std::fs::copy(first.data().join("master.key"), third.data().join("master.key.next")).unwrap();
    until(ready, |status| *status == 200).await;
    for node in [&first, &second, &third] {
        log_in(&App::new(node)).await;
    }
    assert_eq!(key(&third), key(&first));
}
