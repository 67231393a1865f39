//! The audit trail.

use std::future::ready;
use std::net::SocketAddr;
use std::process::Child;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::app::App;
use crate::support::calls::{APPID, CUBE, TOUCH, md5};
use crate::support::panel::Panel;
use crate::support::server::{hearthgate_on, operate, refuse};
use crate::support::{Ewelink, Server};
use crate::watching::until;

const PASSWORD: &str = "correct horse battery";
const EMAIL: &str = "anna@example.com";

fn listed(shown: &Value) -> Vec<Value> {
    shown.as_array().unwrap().clone()
}

/// The trail of a server that has stopped, which has everything.
fn trail_of(server: Server, arguments: &[&str]) -> Vec<Value> {
    let folder = server.stop();
    listed(&operate(&folder.path().join("data"), &[&["audit", "list"], arguments].concat(), ""))
}

/// Some of what an entry says.
fn said<'a>(entry: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    names.iter().map(|name| &entry[*name]).collect()
}

/// Who, where from, at what, when, how it ended: for what succeeded, before it is answered.
#[tokio::test]
async fn what_was_done_is_there_at_once() {
    let server = Server::dev();
    let number = server.create_account(&["--email", EMAIL, "--username", "anna"], PASSWORD)["account"].clone();
    let app = App::new(&server).from("127.0.1.7");
    let login = app.v8("/api/user/login", json!({ "email": EMAIL, "password": PASSWORD })).await;
    let digest = md5(PASSWORD);
    let form = [("username", "anna"), ("password", digest.as_str()), ("uuid", TOUCH), ("cubeSn", CUBE)];
    let panel = Panel::new(&server).form("/accounts/login", &form).await.answer;
    app.v2_as(&login.text("/at"), Method::DELETE, "/v2/user/logout", Value::Null).await;
    let trail = listed(&server.operate(&["audit", "list", "--account", EMAIL]));
    let names = ["what", "outcome", "refused", "account", "identifier", "audience", "address", "request", "times"];
    let entries: Vec<_> = trail.iter().map(|entry| json!(said(entry, &names))).collect();
    assert_eq!(entries[0], json!(["operator account create", "done", false, number, null, null, null, null, 1]));
    let masked = "a***@e***.com";
    assert_eq!(
        entries[1],
        json!(["ewelink-v8 login", "logged in", false, number, masked, APPID, "127.0.1.7", login.request_id, 1])
    );
    assert_eq!(entries[2], json!(["fantem login", "logged in", false, number, "a***", TOUCH, "127.0.0.1", panel.request_id, 1]));
    assert_eq!(trail[3]["what"], "ewelink-v2 logout");
    assert_eq!(trail.len(), 4, "{trail:#?}");
    let times: Vec<_> = trail.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
}

/// A command that waits for a database which takes the call and says nothing, and whoever gave it.
async fn wait_for_silence(server: &Server) -> (Child, (TcpListener, (TcpStream, SocketAddr))) {
    server.create_account(&["--email", EMAIL], PASSWORD);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = server.folder().path().join("elsewhere");
    std::fs::write(&url, format!("postgres://somebody@{}/elsewhere", silent.local_addr().unwrap())).unwrap();
    let arguments = ["region", "move", EMAIL, "us", "--store-file", url.to_str().unwrap()];
    let caller = hearthgate_on(&server.data(), arguments).spawn().unwrap();
    let called = silent.accept().await.unwrap();
    (caller, (silent, called))
}

fn is_the_move(entry: &Value) -> bool {
    entry["what"] == "operator region move us" && entry["refused"] == true
}

/// Whoever gives a command up takes nothing along: it is carried out to its end, and recorded.
#[tokio::test]
async fn a_command_that_nobody_waits_for_is_recorded() {
    let server = Server::dev();
    let (mut caller, silence) = wait_for_silence(&server).await;
    caller.kill().unwrap();
    caller.wait().unwrap();
    let trail = || ready(listed(&server.operate(&["audit", "list"])));
    assert!(!trail().await.iter().any(is_the_move), "the server still waits for the database");
    drop(silence);
    until(trail, |entries| entries.iter().any(is_the_move)).await;
}

/// Nor does a server that is stopped meanwhile.
#[tokio::test]
async fn a_command_is_waited_for_at_the_end() {
    let mut server = Server::dev();
    let (mut caller, silence) = wait_for_silence(&server).await;
    caller.kill().unwrap();
    caller.wait().unwrap();
    server.signal(Signal::TERM);
    let address = server.http.strip_prefix("http://").unwrap().to_owned();
    until(|| TcpStream::connect(address.clone()), Result::is_err).await.unwrap_err();
    drop(silence);
    assert!(server.wait().success());
    let folder = server.folder();
    drop(server);
    assert!(listed(&operate(&folder.path().join("data"), &["audit", "list"], "")).iter().any(is_the_move));
}

/// Whoever is logged in and guesses at the password is told of by the account, though the request names none.
#[tokio::test]
async fn refused_changes_say_whose_account_it_is() {
    let server = Server::dev();
    let number = server.create_account(&["--email", EMAIL], PASSWORD)["account"].clone();
    let app = App::new(&server);
    let at = app.v8("/api/user/login", json!({ "email": EMAIL, "password": PASSWORD })).await.text("/at");
    let change = json!({ "oldPassword": "wrong horse", "newPassword": "another horse" });
    app.authorized(Method::POST, "/api/user/password", &format!("Bearer {at}"), change.to_string()).await;
    app.v2_as(&at, Method::POST, "/v2/user/change-pwd", change).await;
    app.v2_as(&at, Method::POST, "/v2/user/close-account", json!({ "verificationCode": "000000" })).await;
    let refused = trail_of(server, &["--account", EMAIL]).into_iter().filter(|entry| entry["refused"] == true);
    let refused: Vec<_> = refused.map(|entry| json!(said(&entry, &["what", "account", "audience"]))).collect();
    let calls = ["ewelink-v8 change password", "ewelink-v2 change password", "ewelink-v2 close account"];
    assert_eq!(refused, calls.map(|call| json!([call, number, APPID])));
}

#[tokio::test]
async fn refusals_say_why() {
    let server = Server::dev_with(&[("HEARTHGATE_UNIFORM_ERRORS", "true")]);
    let number = server.create_account(&["--email", EMAIL, "--phone", "+8613100000001"], PASSWORD)["account"].clone();
    let app = App::new(&server);
    let login = async |field: &str, who: &str| app.v8("/api/user/login", json!({ field: who, "password": "wrong horse" })).await;
    let by_phone = login("phoneNumber", "+8613100000001").await;
    login("email", EMAIL).await;
    login("email", "nobody@example.com").await;
    server.operate(&["account", "disable", EMAIL]);
    app.v8("/api/user/login", json!({ "email": EMAIL, "password": PASSWORD })).await;
    let unsigned =
        app.as_application(APPID, "another secret").v8("/api/user/login", json!({ "email": EMAIL, "password": "x" })).await;
    let trail = trail_of(server, &[]);
    let refusals: Vec<_> = trail.iter().filter(|entry| entry["refused"] == true).collect();
    let said: Vec<_> = refusals.iter().map(|entry| json!(said(entry, &["outcome", "account", "identifier"]))).collect();
    let masked = "a***@e***.com";
    assert_eq!(
        said,
        [
            json!(["wrong password", number, "+86***01"]),
            json!(["wrong password", number, masked]),
            json!(["there is no such account", null, "n***@e***.com"]),
            json!(["the account is disabled", number, masked]),
            json!(["the signature does not match", null, null]),
        ]
    );
    assert_eq!(refusals[0]["request"], by_phone.request_id);
    assert_eq!(refusals[4]["request"], unsigned.request_id);
}

#[tokio::test]
async fn it_can_be_searched() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    ewelink.login(json!({})).await;
    ewelink.login(json!({ "password": "another one" })).await;
    let data = server.stop();
    let data = data.path().join("data");
    let search = |arguments: &[&str]| listed(&operate(&data, &[&["audit", "list"], arguments].concat(), ""));
    let all = search(&[]);
    assert_eq!(search(&["--reason", "Wrong PASS"]).len(), 1);
    assert_eq!(search(&["--reason", "%"]).len(), 0, "words are words");
    assert_eq!(search(&["--account", "+8613123456789", "--reason", "logged in"]).len(), 1);
    assert_eq!(search(&["--since", "1h"]).len(), all.len());
    assert_eq!(search(&["--since", "2030-01-01"]).len(), 0);
    assert_eq!(search(&["--since", all.last().unwrap()["at"].as_str().unwrap()]).len(), 1);
    let first = search(&["--limit", "1"]);
    let rest = search(&["--after", first[0]["id"].as_str().unwrap()]);
    assert_eq!([first, rest].concat(), all);
    let sentence = refuse(&data, &["audit", "list", "--since", "yesterday"], "");
    assert!(sentence.contains("--since"), "{sentence}");
}

/// A refresh token that comes a second time, which means that somebody has stolen it.
#[tokio::test]
async fn a_stolen_refresh_token_is_there() {
    let server = Server::dev();
    let app = App::new(&server);
    let login = app.v8("/api/user/login", json!({ "phoneNumber": "+8613123456789", "password": "12345678" })).await;
    let first = app.v8_get("/api/user/refresh", &[("rt", &login.text("/rt"))]).await;
    app.v8_get("/api/user/refresh", &[("rt", &first.text("/rt"))]).await;
    app.v8_get("/api/user/refresh", &[("rt", &login.text("/rt"))]).await;
    let reused = listed(&server.operate(&["audit", "list", "--account", "+8613123456789", "--reason", "used before"]));
    assert_eq!(said(&reused[0], &["what", "audience", "refused"]), [&json!("refresh"), &json!(APPID), &json!(true)]);
}

/// What operators do, also without a server, and what they were refused.
#[tokio::test]
async fn operators_are_in_it_as_well() {
    let server = Server::dev();
    server.operate(&["app", "create", "--name", "second", "--appid", "second-app"]);
    server.operate(&["session", "list"]);
    let data = server.data();
    refuse(&data, &["account", "disable", "nobody"], "");
    let folder = server.stop();
    operate(&data, &["account", "disable", "+8613123456789"], "");
    let trail = listed(&operate(&data, &["audit", "list"], ""));
    drop(folder);
    let theirs: Vec<_> = trail.iter().map(|entry| json!(said(entry, &["what", "refused", "outcome"]))).collect();
    assert!(theirs.contains(&json!(["operator app create second-app", false, "done"])), "{theirs:?}");
    assert!(theirs.contains(&json!(["operator account disable", true, "there is no account \"nobody\""])), "{theirs:?}");
    assert_eq!(theirs.last().unwrap(), &json!(["operator account disable", false, "done"]));
    let reads = theirs.iter().any(|entry| entry[0].as_str().unwrap().contains("list"));
    assert!(!reads, "who only reads is not recorded: {theirs:?}");
}

/// Whose account a command is about, and what else it names, also when it is refused.
#[tokio::test]
async fn what_operators_do_says_to_what() {
    let server = Server::dev();
    let made = |email: &str| server.create_account(&["--email", email], PASSWORD)["account"].clone();
    let (anna, ben) = (made(EMAIL), made("ben@example.com"));
    App::new(&server).v8("/api/user/login", json!({ "email": EMAIL, "password": PASSWORD })).await;
    let session = server.operate(&["session", "list", "--account", EMAIL])[0]["id"].as_str().unwrap().to_owned();
    server.operate(&["key", "draw"]);
    let app = server.operate(&["app", "create"])["appid"].as_str().unwrap().to_owned();
    let resource = server.operate(&["resource", "create"])["id"].as_str().unwrap().to_owned();
    let key = server.operate(&["key", "rotate"])["key"].as_str().unwrap().to_owned();
    let (nobodys, nothing) = (Value::Null, "000000000000000000000000");
    let mut expected = vec![
        json!([format!("operator app create {app}"), nobodys, false]),
        json!([format!("operator resource create {resource}"), nobodys, false]),
        json!([format!("operator key rotate {key}"), nobodys, false]),
    ];
    for (arguments, object, account, done) in [
        (&["app", "disable", &app][..], &*app, &nobodys, true),
        (&["app", "disable", "fleet"], "fleet", &nobodys, false),
        (&["resource", "rotate", &resource], &resource, &nobodys, true),
        (&["device", "register", "SN-TOUCH", "--kind", "oomi_touch"], "SN-TOUCH", &nobodys, true),
        (&["cube", "register", "SN-CUBE"], "SN-CUBE", &nobodys, true),
        (&["cube", "bind", "SN-CUBE", EMAIL], "SN-CUBE", &anna, true),
        (&["cube", "bind", "SN-CUBE", "ben@example.com"], "SN-CUBE", &ben, false),
        (&["cube", "set-min-version", "SN-CUBE", "2.0"], "SN-CUBE", &anna, true),
        (&["cube", "unbind", "SN-CUBE"], "SN-CUBE", &anna, true),
        (&["cube", "unbind", "SN-CUBE"], "SN-CUBE", &nobodys, true),
        (&["session", "revoke", &session], &session, &anna, true),
        (&["session", "revoke", nothing], nothing, &nobodys, false),
        (&["account", "disable", EMAIL], "", &anna, true),
        (&["account", "set-password", EMAIL], "", &anna, false),
        (&["throttle", "clear", "--account", EMAIL], "", &anna, true),
        (&["throttle", "clear", "--account", "nobody@example.com"], "", &nobodys, true),
        (&["throttle", "clear", "--source", "192.0.2.7"], "192.0.2.7", &nobodys, true),
        (&["region", "move", EMAIL, "eu"], "eu", &anna, true),
    ] {
        if done {
            server.operate(arguments);
        } else {
            refuse(&server.data(), arguments, "short");
        }
        let what = ["operator", arguments[0], arguments[1], object].join(" ");
        expected.push(json!([what.trim_end(), account, !done]));
    }
    let trail = listed(&server.operate(&["audit", "list"]));
    let of_operators = trail.iter().filter(|entry| entry["what"].as_str().unwrap().starts_with("operator "));
    let said: Vec<_> = of_operators.map(|entry| json!(said(entry, &["what", "account", "refused"]))).collect();
    let begin = said.iter().position(|entry| *entry == expected[0]).unwrap();
    assert_eq!(said[begin..], expected);
}

/// An account's entries are found by its number when it is gone.
#[tokio::test]
async fn a_closed_account_has_its_trail() {
    let server = Server::dev();
    let number = server.create_account(&["--email", EMAIL], PASSWORD)["account"].to_string();
    let app = App::new(&server);
    let at = app.v2("/v2/user/login", json!({ "email": EMAIL, "password": PASSWORD })).await.text("/data/at");
    app.v2("/v2/user/verification-code", json!({ "type": 3, "email": EMAIL })).await;
    let code = json!({ "verificationCode": server.code_for(EMAIL) });
    let closed = app.v2_as(&at, Method::POST, "/v2/user/close-account", code).await;
    assert_eq!(closed.body["error"], 0, "{}", closed.body);
    let trail = listed(&server.operate(&["audit", "list", "--account", &number]));
    let what: Vec<_> = trail.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!((what[0], what.last().unwrap()), ("operator account create", &"ewelink-v2 close account"), "{what:?}");
    assert_eq!(
        refuse(&server.data(), &["audit", "list", "--account", EMAIL], ""),
        format!("hearthgate: there is no account {EMAIL:?}")
    );
}

/// A store that fails after a command was carried out: the operator hears both, and a server keeps the entry.
#[tokio::test]
async fn what_cannot_be_recorded_is_said_and_not_lost() {
    let server = Server::dev();
    let (data, database) = (server.data(), server.database().await);
    let rename = async |from: &str, to: &str| {
        sqlx::query(sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"))).execute(&database).await.unwrap();
    };
    let assert_told = |source: &str| {
        let done = refuse(&data, &["throttle", "clear", "--source", source], "");
        assert!(done.starts_with("hearthgate: it is done, but the audit trail cannot be written: "), "{done}");
        let refused = refuse(&data, &["app", "disable", "nobody"], "");
        assert!(refused.starts_with("hearthgate: there is no application nobody; nor can the audit trail "), "{refused}");
    };
    rename("audit", "elsewhere").await;
    assert_told("192.0.2.7");
    rename("elsewhere", "audit").await;
    let of_operators = || {
        let trail = listed(&server.operate(&["audit", "list"]));
        let what = trail.into_iter().map(|entry| entry["what"].as_str().unwrap().to_owned());
        ready(what.filter(|what| what.starts_with("operator ")).collect::<Vec<_>>())
    };
    let kept = until(of_operators, |what| what.len() > 1).await;
    assert_eq!(kept, ["operator throttle clear 192.0.2.7", "operator app disable nobody"]);

    let folder = server.stop();
    rename("audit", "elsewhere").await;
    assert_told("192.0.2.8");
    drop(folder);
}

/// Refusals that are alike are one entry, so that a flood does not fill the disk.
#[tokio::test]
async fn a_flood_is_a_few_entries() {
    // Nobody is turned away, however long the line.
    let server = Server::dev_with(&[("HEARTHGATE_HASH__MAX_WAIT", "10m"), ("HEARTHGATE_DATABASE__ACQUIRE_TIMEOUT", "10m")]);
    let ewelink = Ewelink::new(&server);
    let logins = (0..200).map(|_| ewelink.login(json!({ "password": "another one" })));
    let answers = futures_util::future::join_all(logins).await;
    assert!(answers.iter().all(|answer| answer.body["error"] == 401));
    let trail = trail_of(server, &["--reason", "wrong password"]);
    let times: u64 = trail.iter().map(|entry| entry["times"].as_u64().unwrap()).sum();
    assert_eq!(times, 200);
    assert!(trail.len() < 100, "{} entries", trail.len());
}

/// Whoever serves forgets: when it starts, and once a minute from then on.
#[tokio::test]
async fn what_is_old_goes() {
    let server = Server::dev();
    let old = server.create_account(&["--email", "old@example.com"], PASSWORD)["account"].clone();
    server.create_account(&["--email", EMAIL], PASSWORD);
    server.change_database(&format!("UPDATE audit SET at = 1 WHERE account = {old}")).await;
    let server = Server::dev_in(server.stop(), &[]);
    let made = |email: &str| listed(&server.operate(&["audit", "list", "--account", email])).len();
    until(|| ready(made("old@example.com")), |entries| *entries == 0).await;
    assert_eq!(made(EMAIL), 1);
}

/// What pages refuse is a refusal, and so is to end what is over: anybody can cause any number of them.
#[tokio::test]
async fn what_changes_nothing_is_a_refusal() {
    let server = Server::dev();
    let panel = Panel::new(&server);
    for _ in 0..3 {
        assert_eq!(panel.visit(Method::GET, "/user/verify", &[("code", "x")]).await.0, 200);
        let logout = [("uuid", TOUCH), ("accountId", "1"), ("accountToken", "0123456789abcdef0123456789abcdef")];
        panel.form("/accounts/logout", &logout).await.number(json!(null));
        let code = json!({ "phone": "13100000002", "countryCode": "+86", "code": "000000" });
        panel.json("/accounts/validatePhoneCode", &code).await;
    }
    let trail = trail_of(server, &[]);
    for (what, outcome) in [
        ("fantem /user/verify", "the link is malformed"),
        ("fantem /accounts/logout", "logged out before"),
        ("fantem /accounts/validatePhoneCode", "wrong code"),
    ] {
        let alike = trail.iter().filter(|entry| entry["what"] == what && entry["outcome"] == outcome);
        let (refused, times) = alike.fold((true, 0), |(refused, times), entry| {
            (refused && entry["refused"] == true, times + entry["times"].as_i64().unwrap())
        });
        assert!(refused && times == 3, "{what}: {trail:#?}");
    }
}

/// Whose a gateway becomes and ceases to be, also when the gateway itself says that it is as new.
#[tokio::test]
async fn gateways_are_named() {
    let server = Server::dev();
    let panel = Panel::new(&server);
    let account = server.create_account(&["--username", "anna"], PASSWORD)["account"].clone();
    let password = md5(PASSWORD);
    let form = [("username", "anna"), ("password", password.as_str()), ("uuid", TOUCH), ("cubeSn", CUBE)];
    assert_eq!(panel.form("/accounts/login", &form).await.answer.body["code"], 1);
    let cubes = listed(&server.operate(&["cube", "list"]));
    let guid = cubes.iter().find(|cube| cube["sn"] == CUBE).unwrap()["guid"].clone();
    let reset = json!({ "guid": guid, "ptopConnectMethod": "v1", "bound": "false", "reset": "reset" });
    for _ in 0..2 {
        panel.json("/client/update/status", &reset).await.number(json!(null));
    }
    let trail = listed(&server.operate(&["audit", "list", "--account", &account.to_string()]));
    let entries: Vec<_> = trail.iter().map(|entry| json!(said(entry, &["what", "outcome", "refused", "address"]))).collect();
    let reset = json!([format!("factory reset {CUBE}"), "unbound", false, "127.0.0.1"]);
    assert_eq!(entries.iter().filter(|entry| **entry == reset).count(), 1, "{entries:?}");
}
