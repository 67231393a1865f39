//! A server's life: start, stop, and what it refuses to start on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::server::{hearthgate, operate, refuse};
use crate::support::{Ewelink, Fantem, Server, assert_answer};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Begins a login, and returns what to send to complete it.
fn half_a_login(server: &Server) -> (TcpStream, String) {
    let body = Fantem::form(&[]);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (first, rest) = body.split_at(10);
    write!(stream, "POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{first}", body.len()).unwrap();
    (stream, rest.to_owned())
}

#[tokio::test]
async fn a_graceful_stop_finishes_what_is_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::dev();
        let idle = TcpStream::connect(server.address()).unwrap();
        let (mut stream, rest) = half_a_login(&server);
        // The server has read the beginning when a later request on another connection is answered.
        assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
        server.signal(signal);
        server.log.wait_for(|line| line.contains("stopping"));
        stream.write_all(rest.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("OPERATE_SUCCESS"), "{answer}");
        assert!(server.wait().success());
        assert!(TcpStream::connect(server.address()).is_err(), "nothing new is accepted");
        assert!(!server.data().join("hearthgate.sock").exists());
        let sessions = operate(&server.data(), &["session", "list"], "");
        assert_eq!(sessions.as_array().unwrap().len(), 2, "what was in flight is durable: {sessions}");
        drop(idle);
    }
}

#[test]
fn a_second_server_on_the_folder_is_refused() {
    let server = Server::dev();
    let data = server.data();
    let second = hearthgate(["serve", "--http", "127.0.0.1:0", "--data"]).arg(&data).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!(
        "hearthgate: the data folder {} is in use by another hearthgate: stop it, or choose another with --data\n",
        data.display()
    );
    assert_eq!(said, expected);
    assert_eq!(server.operate(&["account", "list"]).as_array().unwrap().len(), 2, "the first one goes on");
}

#[test]
fn what_it_keeps_is_private() {
    let server = Server::dev();
    assert_eq!(mode(&server.data()), 0o700);
    for file in ["master.key", "hearthgate.sock", "hearthgate.db", "hearthgate.db-wal", "lock", "key.pem"] {
        assert_eq!(mode(&server.data().join(file)), 0o600, "{file}");
    }
}

/// Each refusal is one sentence that says what is wrong.
#[test]
fn what_it_does_not_start_on() {
    let folder = Server::dev().stop();
    let data = folder.path().join("data");
    let key = data.join("master.key");
    let good = std::fs::read(&key).unwrap();
    let start = || refuse(&data, &["serve", "--http", "127.0.0.1:0"], "");
    let expect = |what: &str| {
        let said = start();
        assert!(said.contains(what), "expected {what:?} in {said:?}");
    };

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    expect("can be read by others: run chmod 600");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "short").unwrap();
    expect("is not a key of 64 hex digits");
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    expect("the master key is not the one that the database");
    std::fs::remove_file(&key).unwrap();
    expect("is missing, and without it the database beside it is of no use");
    std::fs::write(&key, &good).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    let database = data.join("hearthgate.db");
    let kept = std::fs::read(&database).unwrap();
    std::fs::write(&database, "this is not a database, but long enough to be looked at as one. ".repeat(20)).unwrap();
    expect("cannot open the database");
    std::fs::write(&database, &kept).unwrap();

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refuse(&data, &["serve", "--http", &address], "");
    assert!(said.contains(&format!("cannot listen at {address}")), "{said}");
    let long = folder.path().join("x".repeat(100));
    assert!(refuse(&long, &["serve", "--http", "127.0.0.1:0"], "").contains("choose a shorter data folder"));
    for arguments in [
        &["serve", "--https", "127.0.0.1:0"][..],
        &["serve", "--cert", "cert.pem"],
        &["serve", "--cert", "cert.pem", "--key", "key.pem"],
    ] {
        assert!(refuse(&data, arguments, "").contains("HTTPS needs all three"));
    }
    let missing = ["serve", "--https", "127.0.0.1:0", "--cert", "/nowhere.pem", "--key", "/nowhere.pem"];
    assert!(refuse(&data, &missing, "").contains("cannot read the certificate /nowhere.pem"));
    assert!(refuse(&data, &["serve", "--http", "0.0.0.0:0"], "").contains("passwords would travel in the clear"));

    let server = Server::serve(folder, &["--http", "127.0.0.1:0"], &[]);
    assert_eq!(server.operate(&["account", "list"]).as_array().unwrap().len(), 2, "nothing was lost");
}

/// A store that fails is never a success, and the server recovers when the cause is gone.
#[tokio::test]
async fn a_failing_store_is_never_a_success() {
    let server = Server::dev();
    let (ewelink, fantem) = (Ewelink::new(&server), Fantem::new(&server));
    let url = format!("sqlite://{}", server.database().display());
    let beside = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("ALTER TABLE sessions RENAME TO elsewhere").execute(&beside).await.unwrap();
    let ours: Value = json!({ "code": 2, "note": "OPERATE_FAIL", "data": null });
    let answer = ewelink.login(json!({})).await;
    assert_answer("eWeLink", &answer, 500, &json!({ "error": 500 }));
    assert!(server.log_line(&answer.request_id)["outcome"].as_str().unwrap().starts_with("the database failed: "));
    let answer = fantem.login(&[]).await;
    assert_answer("Fantem", &answer, 500, &ours);
    assert_eq!(server.log_line(&answer.request_id)["level"], "ERROR");
    let cube = &server.operate(&["cube", "list"])[0];
    assert_eq!(cube["account"], Value::Null, "the binding that came with the failed login was undone");

    sqlx::query("ALTER TABLE elsewhere RENAME TO sessions").execute(&beside).await.unwrap();
    assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
    assert_eq!(fantem.login(&[]).await.body["code"], 1);

    // A row that cannot be is a failure too, not a guess.
    sqlx::query("UPDATE accounts SET region = 'NOWHERE!' WHERE number = 1").execute(&beside).await.unwrap();
    let answer = ewelink.login(json!({})).await;
    assert_answer("an impossible row", &answer, 500, &json!({ "error": 500 }));
    let outcome = server.log_line(&answer.request_id)["outcome"].clone();
    assert!(outcome.as_str().unwrap().starts_with("the database is inconsistent: accounts.region"), "{outcome}");
}

/// What was acknowledged is there after the process was killed.
#[tokio::test]
async fn acknowledged_is_durable() {
    let mut server = Server::dev();
    for _ in 0..5 {
        assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
    }
    let session = server.operate(&["session", "list"]);
    server.signal(Signal::KILL);
    server.wait();
    let again = Server::dev_in(server.folder(), &[]);
    assert_eq!(again.operate(&["session", "list"]), session);
}

#[tokio::test]
async fn serve_listens_with_the_operators_certificate() {
    let dev = Server::dev();
    let own = Arc::new(TempDir::new().unwrap());
    let [cert, key, authority] = ["cert.pem", "key.pem", "ca.pem"].map(|name| dev.data().join(name).display().to_string());
    let server = Server::serve(own, &["--https", "127.0.0.1:0", "--cert", &cert, "--key", &key], &[]);
    assert_eq!(server.http, "", "no plain HTTP unless it was asked for");
    let ask = |more: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-s", "--cacert", &authority])
            .args(more)
            .arg(format!("{}/x", server.https))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http2"]] {
        assert_eq!(ask(version), r#"{"code":2,"note":"NOT_FOUND","data":null}"#, "{version:?}");
    }
    assert_eq!(ask(&["--tls-max", "1.1"]), "", "nothing older than TLS 1.2");
}
