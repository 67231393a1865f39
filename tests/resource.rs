//! What resource servers ask: introspection and session events.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::answer::matches;
use crate::support::app::App;
use crate::support::calls::{APPID, CUBE, TOUCH};
use crate::support::guard::{Guard, read};
use crate::support::{Fantem, Server};

const PHONE: &str = "+8613123456789";
const NEW_PASSWORD: &str = "correct horse battery";
const INTROSPECT: &str = "/oauth2/introspect";
const BATCH: &str = "/oauth2/introspect/batch";
const FORM: &str = "application/x-www-form-urlencoded";

/// The access and the refresh token of a login at the sample application.
async fn log_in(app: &App) -> (String, String) {
    log_in_with(app, "12345678").await
}

async fn log_in_with(app: &App, password: &str) -> (String, String) {
    let answer = app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": password })).await;
    (answer.text("/at"), answer.text("/rt"))
}

async fn fantem_token(server: &Server) -> String {
    let answer = Fantem::new(server).login(&[]).await;
    answer.text("/data/accountToken")
}

fn bad() -> Value {
    json!({ "active": false })
}

fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_described() {
    let server = Server::dev();
    let guard = Guard::new(&server);
    let (at, rt) = log_in(&App::new(&server)).await;
    let body = guard.introspect(&at).await;
    let expected = json!({
        "active": true, "token_type": "Bearer", "sub": "<hex 24>", "username": PHONE, "client_id": APPID,
        "client_kind": "application", "iat": "<number>", "exp": "<number>", "sid": "<hex 24>", "account_number": "<number>",
        "apikey": "<text>", "region": "cn", "gateways": [],
    });
    assert!(matches(&expected, &body), "{body}");
    let account = server.operate(&["account", "show", PHONE]);
    for (said, known) in [("sub", "id"), ("account_number", "account"), ("apikey", "apikey")] {
        assert_eq!(body[said], account[known], "{said}");
    }
    let number = |name: &str| body[name].as_i64().unwrap();
    assert!((now() - number("iat")).abs() <= 60, "{body}");
    assert_eq!(number("exp") - number("iat"), 30 * 24 * 3600);
    assert_eq!(guard.introspect(&rt).await, bad(), "a refresh token gives access to nothing");

    let token = fantem_token(&server).await;
    let body = guard.introspect(&token).await;
    let guid = |list: &str, sn: &str| {
        let listed = server.operate(&[list, "list"]);
        listed.as_array().unwrap().iter().find(|one| one["sn"] == sn).unwrap()["guid"].clone()
    };
    assert_eq!((&body["client_id"], &body["client_kind"]), (&json!(TOUCH), &json!("device")));
    assert_eq!((&body["device_guid"], &body["gateways"]), (&guid("device", TOUCH), &json!([guid("cube", CUBE)])));
    assert_eq!(body["username"], "apilogin");
    assert_eq!(body["exp"].as_i64().unwrap() - body["iat"].as_i64().unwrap(), 2 * 3600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_is_no_more_than_that() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    for token in ["x", &"a".repeat(40), &"a".repeat(5000), "%00%01%02", "%F0%9F%98%80", "Bearer%20x", "%27%20OR%201%3D1--"] {
        assert_eq!(guard.introspect(token).await, bad(), "{token}");
    }
    let (at, _) = log_in(&app).await;
    assert!(guard.is_good(&at).await);
    for other in [format!("{at}a"), at[1..].to_owned(), at.to_uppercase(), format!("%20{at}")] {
        assert_eq!(guard.introspect(&other).await, bad(), "{other}");
    }
    let (newer, rt) = log_in(&app).await;
    assert_eq!(guard.introspect(&at).await, bad(), "another login took its place");
    let refreshed = app.v8_get("/api/user/refresh", &[("rt", &rt)]).await.text("/at");
    assert_eq!(guard.introspect(&newer).await, bad(), "refreshed");
    assert!(guard.is_good(&refreshed).await);
    server.change_database("UPDATE sessions SET access_expires_at = 1").await;
    assert_eq!(guard.introspect(&refreshed).await, bad(), "expired");

    let (at, _) = log_in(&app).await;
    server.operate(&["app", "disable", APPID]);
    assert_eq!(guard.introspect(&at).await, bad(), "its application is disabled");
    server.operate(&["app", "enable", APPID]);
    assert_eq!(guard.introspect(&at).await, bad(), "and stays so");
    let (at, _) = log_in(&app).await;
    server.operate(&["account", "disable", PHONE]);
    assert_eq!(guard.introspect(&at).await, bad(), "its account is disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshing_makes_a_token_of_its_own_age() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    let (_, rt) = log_in(&app).await;
    // As if the login had been a day ago.
    server.change_database("UPDATE sessions SET created_at = created_at - 86400000, access_issued_at = 0").await;
    let refreshed = app.v8_get("/api/user/refresh", &[("rt", &rt)]).await.text("/at");
    let iat = guard.introspect(&refreshed).await["iat"].as_i64().unwrap();
    assert!((now() - iat).abs() <= 60, "{iat}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tokens_are_answered_in_their_order() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    let ask = async |body: String| read(guard.post(BATCH).basic_auth(&guard.id, Some(&guard.secret)).body(body)).await;
    let (at, _) = log_in(&app).await;
    let token = fantem_token(&server).await;
    let tokens = json!({ "tokens": [token, "unknown", at, "", at, "\u{0}"] });
    let (status, body) = ask(tokens.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let [one, two] = [guard.introspect(&token).await, guard.introspect(&at).await];
    assert_eq!(body, json!({ "tokens": [one, bad(), two, bad(), two, bad()] }));
    assert_eq!(ask(json!({ "tokens": [] }).to_string()).await, (200, json!({ "tokens": [] })));
    let hundred = |count: usize| json!({ "tokens": vec![at.as_str(); count] }).to_string();
    assert_eq!(ask(hundred(100)).await.1["tokens"].as_array().unwrap().len(), 100);
    let long = json!({ "tokens": ["a".repeat(60_000)] }).to_string();
    assert_eq!(ask(long).await, (200, json!({ "tokens": [bad()] })));
    for (body, status) in [
        (hundred(101), 400),
        (String::new(), 400),
        ("[".into(), 400),
        (json!([at]).to_string(), 400),
        (json!({ "tokens": at }).to_string(), 400),
        (json!({ "tokens": [1] }).to_string(), 400),
        (json!({ "tokens": [at], "more": 1 }).to_string(), 400),
        ("a".repeat(70_000), 413),
    ] {
        let (seen, answer) = ask(body).await;
        assert_eq!((seen, &answer["error"]), (status, &json!("invalid_request")), "{answer}");
    }
}

/// Sends a request that must be refused, in OAuth's form.
async fn refused(request: RequestBuilder, status: u16, error: &str, what: &str) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status, "{what}");
    let challenged = response.headers().get("www-authenticate").is_some_and(|value| value == "Basic realm=\"hearthgate\"");
    assert_eq!(challenged, status == 401, "{what}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"], error, "{what}: {body}");
    assert!(body["error_description"].is_string(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_resource_servers_may_ask() {
    let server = Server::dev();
    let (guard, other) = (Guard::new(&server), Guard::new(&server));
    let (at, _) = log_in(&App::new(&server)).await;
    let token = format!("token={at}");
    let form = |body: &str| guard.post(INTROSPECT).header("content-type", FORM).body(body.to_owned());
    let own = || form(&token).basic_auth(&guard.id, Some(&guard.secret));
    let in_form = |id: &str, secret: &str| form(&format!("{token}&client_id={id}&client_secret={secret}"));
    assert_eq!(read(own()).await.1["active"], true);
    assert_eq!(read(in_form(&guard.id, &guard.secret)).await.1["active"], true);
    let same_id = form(&format!("{token}&client_id={}", guard.id)).basic_auth(&guard.id, Some(&guard.secret));
    assert_eq!(read(same_id).await.1["active"], true);

    let nobody: [(RequestBuilder, &str); 11] = [
        (form(&token), "nobody"),
        (form(&token).basic_auth(&guard.id, Some("wrong")), "wrong secret"),
        (form(&token).basic_auth(&guard.id, Some(&other.secret)), "another's secret"),
        (form(&token).basic_auth("unknown", Some(&guard.secret)), "unknown"),
        (form(&token).basic_auth("\u{1}' OR 1=1", Some(&guard.secret)), "no id at all"),
        (form(&token).basic_auth(&guard.id, Some("a".repeat(2000))), "a long secret"),
        (form(&token).bearer_auth(&at), "a person's token is no resource server's"),
        (form(&token).header("authorization", "Basic !!"), "not base64"),
        (form(&token).header("authorization", b"Basic \xff\xfe".as_slice()), "not text"),
        (in_form(&guard.id, "wrong"), "wrong secret in the form"),
        (form(&format!("{token}&client_secret={}", guard.secret)), "no id"),
    ];
    for (request, what) in nobody {
        refused(request, 401, "invalid_client", what).await;
    }
    let header = own().build().unwrap().headers()["authorization"].clone();
    let not_text = || form(&format!("{token}&client_id={}&client_secret={}", guard.id, guard.secret));
    let malformed: [(RequestBuilder, &str); 10] = [
        (not_text().header("authorization", b"Basic \xff\xfe".as_slice()), "both ways, one of them no text"),
        (form(&format!("{token}&client_id={}", other.id)).basic_auth(&guard.id, Some(&guard.secret)), "another's id in the form"),
        (in_form(&guard.id, &guard.secret).basic_auth(&guard.id, Some(&guard.secret)), "both ways"),
        (own().header("authorization", header.clone()), "two headers"),
        (form("").basic_auth(&guard.id, Some(&guard.secret)), "no token"),
        (form("token=").basic_auth(&guard.id, Some(&guard.secret)), "an empty token"),
        (form(&format!("{token}&{token}")).basic_auth(&guard.id, Some(&guard.secret)), "two tokens"),
        (form("token=%ff").basic_auth(&guard.id, Some(&guard.secret)), "no text"),
        (guard.post(&format!("{INTROSPECT}?{token}")).basic_auth(&guard.id, Some(&guard.secret)), "in the URL"),
        (guard.post(&format!("{BATCH}?{token}")).basic_auth(&guard.id, Some(&guard.secret)), "in the URL"),
    ];
    for (request, what) in malformed {
        refused(request, 400, "invalid_request", what).await;
    }
    let large = form(&"a".repeat(70_000)).basic_auth(&guard.id, Some(&guard.secret));
    refused(large, 413, "invalid_request", "a large body").await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = crate::support::client().request(method.clone(), format!("{}{INTROSPECT}?{token}", server.http));
        let response = request.send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()), "{method}");
    }

    server.operate(&["resource", "disable", &guard.id]);
    refused(own(), 401, "invalid_client", "disabled").await;
    server.operate(&["resource", "enable", &guard.id]);
    assert_eq!(read(own()).await.1["active"], true);

    // Each refusal says why, and nothing that was sent is in the log.
    let log = server.log.all().join("\n");
    for reason in ["is unknown", "secret is wrong", "is disabled", "does not say who it is", "not in the URL"] {
        assert!(log.contains(reason), "{reason} in {log}");
    }
    for secret in [&at, &guard.secret, &other.secret] {
        assert!(!log.contains(secret.as_str()), "a secret in {log}");
    }
    let kept = server.kept();
    assert!(!kept.windows(guard.secret.len()).any(|window| window == guard.secret.as_bytes()), "the secret is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated() {
    let server = Server::dev();
    let guard = Guard::new(&server);
    let rotate = |more: &[&str]| {
        let made = server.operate(&[&["resource", "rotate", &guard.id], more].concat());
        guard.with_secret(made["secret"].as_str().unwrap())
    };
    let may = async |guard: &Guard| match guard.asks("x").await.0 {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    };
    let second = rotate(&[]);
    assert_eq!((may(&guard).await, may(&second).await), (false, true), "at once");
    let third = rotate(&["--overlap", "10"]);
    assert_eq!((may(&second).await, may(&third).await), (true, true), "both for a while");
    server.change_database("UPDATE resource_servers SET previous_until = 1").await;
    assert_eq!((may(&second).await, may(&third).await), (false, true), "not for longer");
    let listed = server.operate(&["resource", "list"]);
    assert_eq!((&listed[0]["id"], listed[0].get("secret")), (&json!(guard.id), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_says_nothing_of_a_token() {
    let server = Server::dev();
    let guard = Guard::new(&server);
    let (at, _) = log_in(&App::new(&server)).await;
    let rename = async |from: &str, to: &str| {
        let database = server.database().await;
        sqlx::query(sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"))).execute(&database).await.unwrap();
        database.close().await;
    };
    for table in ["sessions", "accounts", "gateways", "resource_servers"] {
        rename(table, "elsewhere").await;
        let (status, body) = guard.asks(&at).await;
        assert_eq!((status, &body["error"]), (500, &json!("server_error")), "{table}: {body}");
        rename("elsewhere", table).await;
    }
    assert!(guard.is_good(&at).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_sessions_are_told_as_they_end() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    let (at, _) = log_in(&app).await;
    let first = guard.introspect(&at).await;
    let mut events = guard.follow(None).await;
    let start = events.next().await;
    assert_eq!((start.name.as_str(), &start.data), ("start", &json!({})));

    let (at, rt) = log_in(&app).await;
    let second = guard.introspect(&at).await;
    let event = events.next().await;
    assert_eq!(event.name, "ended");
    assert!((now() - event.data["at"].as_i64().unwrap()).abs() <= 60);
    let mut expected = json!({ "reason": "replaced", "at": event.data["at"] });
    for name in ["sid", "sub", "account_number", "apikey", "client_id", "client_kind"] {
        expected[name] = first[name].clone();
    }
    assert_eq!(event.data, expected);
    let id: i64 = event.id.parse().unwrap();
    assert_eq!(id, start.id.parse::<i64>().unwrap() + 1);

    app.v8_get("/api/user/refresh", &[("rt", &rt)]).await.text("/at");
    let event = events.next().await;
    assert_eq!((event.name.as_str(), &event.data["sid"], event.data.get("reason")), ("refreshed", &second["sid"], None));
    assert_eq!(event.id, (id + 1).to_string());
}

/// A node of a newer version notes what this one does not know yet.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_notes_is_told_as_a_change() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    let mut events = guard.follow(None).await;
    let start = events.next().await.id;
    drop(events);
    let first = guard.introspect(&log_in(&app).await.0).await;
    let second = guard.introspect(&log_in(&app).await.0).await;
    server.change_database("UPDATE session_events SET what = 'of the future'").await;
    log_in(&app).await;
    let mut events = guard.follow(Some(&start)).await;
    let event = events.next().await;
    assert_eq!((event.name.as_str(), &event.data["sid"], event.data.get("reason")), ("changed", &first["sid"], None));
    let event = events.next().await;
    assert_eq!((event.name.as_str(), &event.data["sid"]), ("ended", &second["sid"]), "the stream goes on behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_becomes_of_sessions_is_told() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    let fantem = Fantem::new(&server);
    let sid = async |token: &str| guard.introspect(token).await["sid"].as_str().unwrap().to_owned();
    let mut events = guard.follow(None).await;
    events.next().await;
    let mut expect = async |sid: &str, reason: &str| {
        assert_eq!(events.reasons(1).await.into_iter().next().unwrap(), (sid.to_owned(), reason.to_owned()));
    };

    let (at, rt) = log_in(&app).await;
    let session = sid(&at).await;
    app.v8_get("/api/user/refresh", &[("rt", &rt)]).await.text("/at");
    expect(&session, "refreshed").await;
    server.change_database("UPDATE spent_tokens SET spent_at = 1").await;
    assert_eq!(app.v8_get("/api/user/refresh", &[("rt", &rt)]).await.body, json!({ "error": 401 }));
    expect(&session, "token_reused").await;

    let (at, _) = log_in(&app).await;
    let session = sid(&at).await;
    server.operate(&["session", "revoke", &session]);
    expect(&session, "revoked").await;
    let (at, _) = log_in(&app).await;
    let session = sid(&at).await;
    server.operate_with(&["account", "set-password", PHONE], NEW_PASSWORD);
    expect(&session, "password_changed").await;
    let (at, _) = log_in_with(&app, NEW_PASSWORD).await;
    let session = sid(&at).await;
    server.operate(&["app", "disable", APPID]);
    expect(&session, "application_disabled").await;
    server.operate(&["app", "enable", APPID]);
    let (at, _) = log_in_with(&app, NEW_PASSWORD).await;
    let session = sid(&at).await;
    app.v2_as(&at, Method::DELETE, "/v2/user/logout", Value::Null).await;
    expect(&session, "logged_out").await;
    let (at, _) = log_in_with(&app, NEW_PASSWORD).await;
    let session = sid(&at).await;
    server.operate(&["region", "move", PHONE, "us"]);
    expect(&session, "account_moved").await;

    let token = fantem.login(&[]).await.text("/data/accountToken");
    let session = sid(&token).await;
    server.operate(&["cube", "unbind", CUBE]);
    expect(&session, "gateway_lost").await;
    assert_eq!(guard.introspect(&token).await["gateways"], json!([]));
    server.operate(&["cube", "bind", CUBE, "apilogin"]);
    expect(&session, "gateway_gained").await;
    server.operate(&["account", "disable", "apilogin"]);
    expect(&session, "account_disabled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_where_it_was() {
    let server = Server::dev();
    let (guard, app) = (Guard::new(&server), App::new(&server));
    let mut events = guard.follow(None).await;
    let start = events.next().await.id;
    drop(events);
    let mut sessions = Vec::new();
    for _ in 0..500 {
        sessions.push(guard.introspect(&log_in(&app).await.0).await["sid"].clone());
    }
    sessions.pop();
    let mut events = guard.follow(Some(&start)).await;
    let mut ids = Vec::new();
    for session in &sessions {
        let event = events.next().await;
        assert_eq!(event.data["sid"], *session);
        ids.push(event.id);
    }
    events.heartbeat().await;
    let mut events = guard.follow(Some(&ids[100])).await;
    assert_eq!(events.next().await.id, ids[101]);

    // Whoever was away for too long is told so, and so is whoever comes from another store.
    server.change_database(&format!("DELETE FROM session_events WHERE sequence <= {}", ids[200])).await;
    let mut events = guard.follow(Some(&start)).await;
    let missed = events.next().await;
    assert_eq!((missed.name.as_str(), &missed.id), ("missed", &ids[200]));
    assert_eq!(events.next().await.id, ids[201]);
    // What is forgotten while somebody reads need not be the oldest.
    server.change_database(&format!("DELETE FROM session_events WHERE sequence = {}", ids[202])).await;
    let mut events = guard.follow(Some(&ids[200])).await;
    assert_eq!(events.next().await.id, ids[201]);
    let missed = events.next().await;
    assert_eq!((missed.name.as_str(), &missed.id), ("missed", &ids[202]));
    assert_eq!(events.next().await.id, ids[203]);
    let last = ids.last().unwrap();
    for foreign in ["9000000000", "-1"] {
        let mut events = guard.follow(Some(foreign)).await;
        let missed = events.next().await;
        assert_eq!((missed.name.as_str(), &missed.id), ("missed", last), "{foreign}");
    }
    server.change_database("DELETE FROM session_events").await;
    let missed = guard.follow(Some(&ids[300])).await.next().await;
    assert_eq!((missed.name.as_str(), &missed.id), ("missed", last));
    log_in(&app).await;
    let mut events = guard.follow(Some(last)).await;
    assert_eq!(events.next().await.id, (last.parse::<i64>().unwrap() + 1).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_are_refused_and_sent_away() {
    let server = Server::dev();
    let guard = Guard::new(&server);
    assert_eq!(guard.with_secret("wrong").try_follow(None).await.status(), 401);
    for id in ["", "x", "1.5", "99999999999999999999999"] {
        assert_eq!(guard.try_follow(Some(id)).await.status(), 400, "{id:?}");
    }
    assert_eq!(guard.post("/sessions/events").send().await.unwrap().status(), 405);
    // One leaves room for others, and all together leave room for the server's other work.
    let guards = [guard.clone(), Guard::new(&server), Guard::new(&server), Guard::new(&server)];
    let crowded = async |guard: &Guard| {
        let crowded = guard.try_follow(None).await;
        assert_eq!((crowded.status().as_u16(), &crowded.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    };
    let mut following = Vec::new();
    for guard in &guards {
        for _ in 0..16 {
            following.push(guard.follow(None).await);
        }
        crowded(guard).await;
    }
    crowded(&Guard::new(&server)).await;
    drop(following);

    let mut events = guard.follow_next().await;
    events.next().await;
    events.heartbeat().await;
    let rotate = |more: &[&str]| {
        let made = server.operate(&[&["resource", "rotate", &guard.id], more].concat());
        guard.with_secret(made["secret"].as_str().unwrap())
    };
    let newer = rotate(&[]);
    assert!(events.try_next().await.is_none(), "its secret is not good any more");
    rotate(&["--overlap", "10"]);
    let mut events = newer.follow(None).await;
    events.next().await;
    events.heartbeat().await;
    server.change_database("UPDATE resource_servers SET previous_until = 1").await;
    assert!(events.try_next().await.is_none(), "it came with the old one, whose time is up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_does_not_hold_the_server_up() {
    let mut server = Server::dev();
    let guard = Guard::new(&server);
    let mut events = guard.follow(None).await;
    events.next().await;
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert!(events.try_next().await.is_none());
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "the grace is 30 s");
}

/// Several resource servers hear the same in the same order, while sessions begin and end on all sides.
#[tokio::test(flavor = "multi_thread")]
async fn all_followers_hear_the_same() {
    const PEOPLE: usize = 8;
    let server = Server::dev();
    let guard = Guard::new(&server);
    for person in 0..PEOPLE {
        server.create_account(&["--email", &format!("person{person}@example.com"), "--region", "cn"], "correct horse");
    }
    let mut followers = Vec::new();
    for _ in 0..3 {
        let mut events = guard.follow(None).await;
        events.next().await;
        followers.push(events);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for person in 0..PEOPLE {
        let app = App::new(&server);
        tasks.spawn(async move {
            for _ in 0..20 {
                let login = json!({ "email": format!("person{person}@example.com"), "password": "correct horse" });
                app.v8("/api/user/login", login).await.text("/at");
            }
        });
    }
    tasks.join_all().await;
    let mut heard = Vec::new();
    for mut events in followers {
        let mut one = Vec::new();
        for _ in 0..PEOPLE * 19 {
            let event = events.next().await;
            one.push((event.id.parse::<i64>().unwrap(), event.data["sid"].as_str().unwrap().to_owned()));
        }
        heard.push(one);
    }
    assert!(heard.iter().all(|one| *one == heard[0]));
    assert!(heard[0].windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "one after another");
    let mut sessions: Vec<_> = heard[0].iter().map(|(_, sid)| sid).collect();
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), PEOPLE * 19, "each once");
}
