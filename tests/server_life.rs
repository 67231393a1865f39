//! A server's life: start, stop, and what it refuses to start on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::App;
use crate::support::panel::Panel;
use crate::support::server::{hearthgate_on, operate, refuse};
use crate::support::{Ewelink, Fantem, Server, assert_answer};

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
    let second = hearthgate_on(&data, ["serve", "--http", "127.0.0.1:0"]).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!(
        "hearthgate: the data folder {} is in use by another hearthgate: stop it, or choose another with --data\n",
        data.display()
    );
    assert_eq!(said, expected);
    assert_eq!(server.operate(&["account", "list"]).as_array().unwrap().len(), 2, "the first one goes on");
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
    expect("is missing, and without it the database is of no use");
    std::fs::write(&key, &good).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

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
    let beside = server.database().await;
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

/// Whatever asks the store, in every dialect, says so in its own form when the store fails.
#[tokio::test]
async fn a_failing_store_fails_every_call() {
    let server = Server::dev();
    let (app, panel) = (App::new(&server), Panel::new(&server));
    let beside = server.database().await;
    for table in ["accounts", "sessions", "spent_tokens", "codes", "links", "devices", "gateways"] {
        let rename = format!("ALTER TABLE {table} RENAME TO no_{table}");
        sqlx::query(sqlx::AssertSqlSafe(rename)).execute(&beside).await.unwrap();
    }
    let (phone, password) = ("+8613123456789", "correct horse");
    let body = json!({
        "phoneNumber": phone, "password": password, "verificationCode": "123456", "oldPassword": password, "newPassword": "87654321",
        "nickname": "x", "rt": "x", "type": 1,
    });
    let v8 = json!({ "error": 500 });
    for path in ["/api/user/login", "/api/user/register", "/api/user/password/reset"] {
        assert_answer(path, &app.v8(path, body.clone()).await, 500, &v8);
    }
    assert_answer("sms", &app.v8("/api/sms", json!({ "sendType": "1", "to": phone })).await, 500, &v8);
    assert_answer("refresh", &app.v8_get("/api/user/refresh", &[("rt", "x")]).await, 500, &v8);
    let change = app.authorized(Method::POST, "/api/user/password", "Bearer x", body.to_string()).await;
    assert_answer("change", &change, 500, &v8);
    let v2 = json!({ "error": 500, "msg": "internal error", "data": {} });
    for path in ["login", "register", "sms-login", "verification-code", "reset-pwd", "refresh"] {
        assert_answer(path, &app.v2(&format!("/v2/user/{path}"), body.clone()).await, 200, &v2);
    }
    for (method, path) in [
        (Method::POST, "change-pwd"),
        (Method::GET, "profile"),
        (Method::POST, "profile"),
        (Method::DELETE, "logout"),
        (Method::POST, "close-account"),
    ] {
        assert_answer(path, &app.v2_as("x", method, &format!("/v2/user/{path}"), body.clone()).await, 200, &v2);
    }

    let (guid, digest) = ("F".repeat(32), "3cb4e732631f47e6eb961f34554b7cde");
    let panel = panel.with_cookies(&[("guid", &guid), ("aat", "x")]);
    let body = json!({
        "username": "apilogin", "email": "a@example.com", "phone": "13123456789", "countryCode": "+86", "password": digest,
        "confirmPassword": digest, "code": "123456", "guid": guid, "accountId": 1, "name": "x", "status": 1, "sn": "x", "wifiMac": "w",
        "bluetoothMac": "b", "uuid": "u", "type": "ios_phone", "manufacturer": "m", "model": "m", "systemType": "ios", "systemVersion": "1",
        "applicationVersion": "1",
    });
    let text = json!({ "code": "2", "note": "OPERATE_FAIL", "data": null });
    for path in [
        "/v2/accounts/login",
        "/client/register",
        "/client/get/info",
        "/client/name",
        "/client/accountGatewayList",
        "/v2/home/gateway",
        "/accounts/bindGateway",
        "/accounts/unbindGateway",
        "/accounts/resendEmail",
        "/sms/code",
        "/accounts/validatePhoneCode",
        "/accounts/registerByPhone",
        "/accounts/registerByEmail",
        "/accounts/resetPasswordByPhone",
        "/accounts/resetPasswordByEmail",
    ] {
        panel.json(path, &body).await.is(500, &text);
    }
    let number = json!({ "code": 2, "note": "OPERATE_FAIL", "data": null });
    panel.json("/email/code", &body).await.is(500, &number);
    let form = [
        ("username", "anna"),
        ("email", "a@example.com"),
        ("password", digest),
        ("rePassword", digest),
        ("accountId", "1"),
        ("uuid", "u"),
        ("accountToken", "x"),
        ("flushToken", "x"),
        ("sn", "x"),
        ("p2pUid", "p"),
        ("name", "x"),
    ];
    for path in ["/accounts", "/accounts/login", "/accounts/logout", "/accounts/flushToken"] {
        panel.form(path, &form).await.is(500, &number);
    }
    for path in ["/cube/register", "/cube/updateInfo"] {
        panel.form(path, &form).await.is(500, &text);
    }
    panel.get("/accounts/heart", &form).await.is(500, &text);
    panel.get("/accounts/forgetPw", &form).await.is(500, &number);
    for page in ["/user/verify", "/user/findLostEmail"] {
        let url = format!("{}{page}?email=a@example.com&code=x", server.http);
        let response = crate::support::client().get(url).send().await.unwrap();
        assert_eq!(response.status(), 500, "{page}");
        assert!(response.text().await.unwrap().contains("That did not work"), "{page}");
    }
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
