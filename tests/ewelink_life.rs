//! Everything around a login in the eWeLink dialects: each request with each code that is documented, in
//! `docs/dialects/ewelink-v8.md` and `docs/dialects/ewelink-v2.md`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::calls::sign;
use crate::support::documents::{assert_routes, assert_seen, codes_of};
use crate::support::{Answer, Server, assert_answer};

const PHONE: &str = "+8613123456789";
const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "another horse battery";

/// An SMS gateway at which nobody listens.
const NO_SMS: [(&str, &str); 1] = [("HEARTHGATE_SMS__URL", "http://127.0.0.1:1/")];

/// `dev`, whose sample account has a password that may be set.
fn sample() -> Server {
    let server = Server::dev();
    server.operate_with(&["account", "set-password", PHONE], PASSWORD);
    server
}

#[test]
fn every_route_is_documented() {
    let routes: Vec<_> = ewelink::routes().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    let mut documented = codes_of("ewelink-v8.md");
    documented.extend(codes_of("ewelink-v2.md"));
    assert_routes(&routes, &documented);
}

/// What a login answers in version 8.
fn logged_in(user: Value) -> Value {
    let mut whole = json!({
        "_id": "<hex 24>", "appId": "<text>", "online": false, "onlineTime": "<time>", "ip": "127.0.0.1", "createdAt": "<time>",
        "apikey": "<uuid>",
    });
    whole.as_object_mut().unwrap().extend(user.as_object().unwrap().clone());
    json!({ "at": "<hex 40>", "rt": "<hex 40>", "user": whole, "region": "cn" })
}

#[track_caller]
fn fails(answer: &Answer, error: u32) {
    assert_answer("v8", answer, 200, &json!({ "error": error }));
}

#[tokio::test]
async fn every_request_and_code_of_v8() {
    let server = sample();
    let app = App::new(&server);
    v8_regions(&app).await;
    v8_codes(&server, &app).await;
    v8_registration(&server, &app).await;
    v8_reset(&server, &app).await;
    v8_change(&server, &app).await;
    v8_refresh(&server, &app).await;
    v8_logins(&server, &app).await;
    let mute = Server::dev_with(&NO_SMS);
    fails(&app.at(&mute).v8("/api/sms", json!({ "sendType": "1", "to": PHONE })).await, 504);
    let seen = app.seen().into_iter().filter(|(request, _)| request.contains("/api/")).collect();
    assert_seen(&seen, &codes_of("ewelink-v8.md"));
}

async fn v8_regions(app: &App) {
    let path = "/api/user/region";
    for (code, region) in [("86", "cn"), ("+86", "cn"), ("%2B1", "us"), ("49", "eu"), ("852", "as"), ("99999", "cn")] {
        let parameters = [("country_code", code)];
        if code.starts_with('%') {
            // Signed decoded, sent encoded.
            let signed = format!("appid={}&country_code=+1&nonce=q3wz95p6&ts=1558004249&version=8", app.appid);
            let query = signed.replace('+', code.trim_end_matches('1'));
            let answer = app.get(path, &query, &format!("Sign {}", sign(&app.secret, signed.as_bytes()))).await;
            assert_answer(code, &answer, 200, &json!({ "error": 0, "region": region }));
            continue;
        }
        let answer = app.v8_get(path, &parameters).await;
        assert_answer(code, &answer, 200, &json!({ "error": 0, "region": region }));
    }
    let abroad = app.at_host("eu-apia.coolkit.cc").v8_get(path, &[]).await;
    assert_answer("the host's", &abroad, 200, &json!({ "error": 0, "region": "eu" }));
    let in_order = format!("version=8&appid={}&ts=1558004249&nonce=q3wz95p6", app.appid);
    let answer = app.get(path, &in_order, &format!("Sign {}", sign(&app.secret, in_order.as_bytes()))).await;
    assert_answer("in the order sent", &answer, 200, &json!({ "error": 0, "region": "cn" }));
    fails(&app.as_application(&app.appid, "x").v8_get(path, &[]).await, 406);
    fails(&app.get(path, &in_order, "").await, 406);
    fails(&app.get(path, &in_order.replace("&ts=1558004249", ""), "Sign x").await, 400);
    fails(&app.v8_get(path, &[("country_code", "1"), ("country_code", "2")]).await, 400);
}

async fn v8_codes(server: &Server, app: &App) {
    let path = "/api/sms";
    let send = async |changes: Value| app.v8(path, changes).await;
    for wrong in [
        json!({ "to": PHONE }),
        json!({ "sendType": "0" }),
        json!({ "sendType": "0", "to": PHONE, "email": "a@example.com" }),
        json!({ "sendType": "2", "to": PHONE }),
        json!({ "sendType": "0", "to": "x" }),
        json!({ "sendType": "0", "email": "x" }),
        json!({ "sendType": "0", "to": "+8612" }),
    ] {
        fails(&send(wrong).await, 400);
    }
    fails(&app.as_application("nobody", "x").v8(path, json!({ "sendType": "0", "to": PHONE })).await, 406);
    fails(&send(json!({ "sendType": "0", "to": PHONE })).await, 409);
    for kind in ["1", "3", "4"] {
        fails(&send(json!({ "sendType": kind, "to": "+8613100000001" })).await, 401);
    }
    let abroad = app.at_host("us-apia.coolkit.cc").v8(path, json!({ "sendType": "1", "to": PHONE })).await;
    assert_answer("elsewhere", &abroad, 200, &json!({ "error": 301, "region": "cn" }));
    let sent = json!({ "error": 0 });
    for kind in [json!("1"), json!("3"), json!(4)] {
        assert_answer("sent", &send(json!({ "sendType": kind, "to": PHONE })).await, 200, &sent);
    }
    let too_often = send(json!({ "sendType": "1", "to": PHONE })).await;
    fails(&too_often, 160_038);
    assert!((1..=60).contains(&too_often.retry_after.unwrap()));
    assert_eq!(server.messages_to(PHONE).len(), 3);
    server.change_database("UPDATE sendings SET sent_at = sent_at - 61000").await;
    assert_answer("later", &send(json!({ "sendType": "1", "to": PHONE, "lang": "en" })).await, 200, &sent);
    let text = server.messages_to(PHONE)[3]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("30 分钟"), "in the account's language: {text}");
    let new = json!({ "sendType": "0", "email": "New@example.com", "lang": "en" });
    assert_answer("by mail", &send(new).await, 200, &sent);
    assert!(server.messages_to("new@example.com")[0]["text"].as_str().unwrap().contains("valid for 30 minutes"));
}

/// The last digit of a code, changed.
fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..5])
}

async fn v8_registration(server: &Server, app: &App) {
    let path = "/api/user/register";
    let code = server.code_for("new@example.com");
    let register = async |changes: Value| {
        let mut body = json!({ "email": "new@example.com", "phoneNumber": "", "verificationCode": code, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        app.v8(path, body).await
    };
    for changes in [
        json!({ "verificationCode": null }),
        json!({ "password": null }),
        json!({ "password": "1234567" }),
        json!({ "password": "12345678" }),
        json!({ "password": "x".repeat(65) }),
        json!({ "email": null }),
        json!({ "email": "x" }),
    ] {
        fails(&register(changes).await, 400);
    }
    fails(
        &app.as_application(&app.appid, "x")
            .v8(path, json!({ "email": "a@example.com", "verificationCode": "1", "password": PASSWORD }))
            .await,
        406,
    );
    fails(&register(json!({ "phoneNumber": PHONE })).await, 409);
    fails(&register(json!({ "email": "other@example.com" })).await, 498);
    for _ in 0..4 {
        fails(&register(json!({ "verificationCode": wrong(&code) })).await, 498);
    }
    let user = json!({ "email": "new@example.com", "lang": "en", "appInfos": [{ "os": "ios" }] });
    let answer = register(json!({ "lang": "en", "os": "ios" })).await;
    assert_answer("registered", &answer, 200, &logged_in(user));
    fails(&register(json!({})).await, 409);
    // The fifth wrong try ends a code, also for whoever knows it.
    let sent = app.v8("/api/sms", json!({ "sendType": "0", "to": "+8613100000002" })).await;
    assert_eq!(sent.body["error"], 0);
    let code = server.code_for("+8613100000002");
    let body = |code: &str| json!({ "phoneNumber": "+8613100000002", "verificationCode": code, "password": PASSWORD });
    for _ in 0..5 {
        fails(&app.v8(path, body(&wrong(&code))).await, 498);
    }
    fails(&app.v8(path, body(&code)).await, 498);
    // In the region of the host.
    server.change_database("UPDATE sendings SET sent_at = 0").await;
    app.v8("/api/sms", json!({ "sendType": "0", "to": "+8613100000002" })).await;
    let answer = app.at_host("eu-apia.coolkit.cc").v8(path, body(&server.code_for("+8613100000002"))).await;
    assert_eq!(answer.body["region"], "eu");
}

async fn v8_reset(server: &Server, app: &App) {
    let path = "/api/user/password/reset";
    let other = app.as_application("another", "another-secret-of-ours");
    server.operate_with(&["app", "create", "--appid", "another", "--secret-file", "/dev/stdin"], "another-secret-of-ours");
    let log_in = async |app: &App| app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await;
    let (here, there) = (log_in(app).await.text("/at"), log_in(&other).await.text("/at"));
    app.v8("/api/sms", json!({ "sendType": "1", "to": PHONE })).await;
    let code = server.code_for(PHONE);
    let reset = async |app: &App, changes: Value| {
        let mut body = json!({ "phoneNumber": PHONE, "verificationCode": code, "password": NEW_PASSWORD });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        app.v8(path, body).await
    };
    fails(&reset(app, json!({ "password": "short" })).await, 400);
    fails(&reset(app, json!({ "password": "iloveyou" })).await, 400);
    fails(&reset(&app.as_application("nobody", "x"), json!({})).await, 406);
    fails(&reset(app, json!({ "phoneNumber": "+8613100000009" })).await, 401);
    let abroad = reset(&app.at_host("eu-apia.coolkit.cc"), json!({})).await;
    assert_answer("elsewhere", &abroad, 200, &json!({ "error": 301, "region": "cn" }));
    fails(&reset(app, json!({ "verificationCode": wrong(&code) })).await, 498);
    server.operate(&["account", "disable", PHONE]);
    fails(&reset(app, json!({})).await, 402);
    server.operate(&["account", "enable", PHONE]);
    let (here_again, there_again) = (log_in(app).await.text("/at"), log_in(&other).await.text("/at"));
    let user = json!({ "phoneNumber": PHONE, "lang": "cn", "nickname": "eWelink" });
    let answer = reset(app, json!({})).await;
    assert_answer("reset", &answer, 200, &logged_in(user));
    for ended in [here, there, here_again, there_again] {
        assert_eq!(app.get("/v2/user/profile", "", &format!("Bearer {ended}")).await.body["error"], 401);
    }
    fails(&reset(app, json!({})).await, 498);
    assert_eq!(log_in(app).await.body, json!({ "error": 401 }));
}

async fn v8_change(server: &Server, app: &App) {
    let path = "/api/user/password";
    let change = async |at: &str, body: Value| {
        let authorization = if at.is_empty() { String::new() } else { format!("Bearer {at}") };
        app.authorized(Method::POST, path, &authorization, body.to_string()).await
    };
    let log_in = async |app: &App, password: &str| {
        app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": password })).await.text("/at")
    };
    let other = app.as_application("another", "another-secret-of-ours");
    let (mine, others) = (log_in(app, NEW_PASSWORD).await, log_in(&other, NEW_PASSWORD).await);
    let body = json!({ "oldPassword": NEW_PASSWORD, "newPassword": "yet another horse" });
    fails(&change("", body.clone()).await, 401);
    fails(&change("0", body.clone()).await, 401);
    let panel = crate::support::Fantem::new(server).login(&[]).await.text("/data/accountToken");
    let theirs = json!({ "oldPassword": "123456", "newPassword": "yet another horse" });
    fails(&change(&panel, theirs).await, 401);
    fails(&change(&mine, json!({ "oldPassword": NEW_PASSWORD })).await, 400);
    fails(&change(&mine, json!({ "oldPassword": NEW_PASSWORD, "newPassword": "short" })).await, 400);
    fails(&change(&mine, json!({ "oldPassword": NEW_PASSWORD, "newPassword": "1qaz2wsx" })).await, 400);
    fails(&change(&mine, json!({ "oldPassword": "wrong", "newPassword": "yet another horse" })).await, 405);
    server.change_database("UPDATE sessions SET access_expires_at = access_expires_at - 2592000000").await;
    fails(&change(&mine, body.clone()).await, 402);
    server.change_database("UPDATE sessions SET access_expires_at = access_expires_at + 2592000000").await;
    let answer = change(&mine, body.clone()).await;
    assert_answer("changed", &answer, 200, &json!({ "message": "Change password is success!" }));
    fails(&change(&others, body).await, 401);
    let back = json!({ "oldPassword": "yet another horse", "newPassword": PASSWORD });
    assert_eq!(change(&mine, back).await.body["message"], "Change password is success!", "one's own session goes on");
}

async fn v8_refresh(server: &Server, app: &App) {
    let path = "/api/user/refresh";
    let login = app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await;
    let refresh = async |app: &App, rt: &str| app.v8_get(path, &[("rt", rt), ("grantType", "refresh")]).await;
    let rt = login.text("/rt");
    let head = crate::support::client().head(format!("{}{path}?rt={rt}", server.http)).send().await.unwrap();
    assert_eq!(head.status(), 405);
    fails(&app.v8_get(path, &[("rt", &rt), ("lang", &"x".repeat(300))]).await, 400);
    fails(&app.v8_get(path, &[]).await, 400);
    fails(&app.v8_get(path, &[("rt", &rt), ("grantType", "password")]).await, 400);
    fails(&app.as_application(&app.appid, "x").v8_get(path, &[("rt", &rt)]).await, 406);
    fails(&refresh(app, &"0".repeat(40)).await, 401);
    fails(&refresh(&app.as_application("another", "another-secret-of-ours"), &rt).await, 401);
    server.change_database("UPDATE sessions SET refresh_expires_at = refresh_expires_at - 5184000000").await;
    fails(&refresh(app, &rt).await, 402);
    server.change_database("UPDATE sessions SET refresh_expires_at = refresh_expires_at + 5184000000").await;
    let profile = async |at: &str| app.get("/v2/user/profile", "", &format!("Bearer {at}")).await.body["error"].clone();
    let user = json!({ "phoneNumber": PHONE, "lang": "cn", "nickname": "eWelink" });
    let answer = app.v8_get(path, &[("rt", &rt)]).await;
    assert_answer("refreshed", &answer, 200, &logged_in(user));
    assert_eq!((profile(&login.text("/at")).await, profile(&answer.text("/at")).await), (json!(401), json!(0)));
    let again = refresh(app, &rt).await;
    assert_eq!((again.text("/at"), again.text("/rt")), (answer.text("/at"), answer.text("/rt")), "a lost answer, repeated");
    let third = refresh(app, &answer.text("/rt")).await;
    assert_eq!(profile(&third.text("/at")).await, 0);
    fails(&refresh(app, &rt).await, 401);
    assert_eq!(profile(&third.text("/at")).await, 401, "somebody else has it: the session is over");
    fails(&refresh(app, &third.text("/rt")).await, 401);
}

/// The login has tests of its own; here for the table.
async fn v8_logins(server: &Server, app: &App) {
    let log_in = async |changes: Value| {
        let mut body = json!({ "phoneNumber": PHONE, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        app.v8("/api/user/login", body).await
    };
    server.create_account(&["--phone", "+8613100000003", "--activation", "pending"], PASSWORD);
    server.create_account(&["--phone", "+8613100000004", "--region", "us"], PASSWORD);
    fails(&log_in(json!({ "password": null })).await, 400);
    fails(&log_in(json!({ "password": "wrong" })).await, 401);
    fails(&log_in(json!({ "phoneNumber": "+8613100000003" })).await, 402);
    fails(&log_in(json!({ "phoneNumber": "+8613100000009" })).await, 404);
    fails(&app.as_application("nobody", "x").v8("/api/user/login", json!({ "email": "a@b.cc", "password": "x" })).await, 406);
    let elsewhere = log_in(json!({ "phoneNumber": "+8613100000004" })).await;
    assert_answer("elsewhere", &elsewhere, 200, &json!({ "error": 301, "region": "us" }));
}

#[tokio::test]
async fn every_request_and_code_of_v2() {
    let server = sample();
    let app = App::new(&server);
    v2_who_calls(&server, &app).await;
    v2_logins(&server, &app).await;
    v2_codes(&server, &app).await;
    v2_registration(&server, &app).await;
    v2_logged_in(&server, &app).await;
    v2_refresh(&server, &app).await;
    v2_closing(&server, &app).await;
    let mute = Server::dev_with(&NO_SMS);
    v2_fails(&app.at(&mute).v2("/v2/user/verification-code", json!({ "type": 1, "phoneNumber": PHONE })).await, 504);
    let seen = app.seen().into_iter().filter(|(request, _)| request.contains("/v2/")).collect();
    assert_seen(&seen, &codes_of("ewelink-v2.md"));
}

#[track_caller]
fn v2_says(answer: &Answer, data: Value) {
    assert_answer("v2", answer, 200, &json!({ "error": 0, "msg": "", "data": data }));
}

#[track_caller]
fn v2_fails(answer: &Answer, error: u32) {
    assert_answer("v2", answer, 200, &json!({ "error": error, "msg": "<text>", "data": {} }));
}

fn v2_logged_in_as(user: Value, region: &str) -> Value {
    let mut whole = json!({ "apikey": "<uuid>", "accountLevel": 10 });
    whole.as_object_mut().unwrap().extend(user.as_object().unwrap().clone());
    json!({ "user": whole, "at": "<hex 40>", "rt": "<hex 40>", "region": region })
}

fn v2_sample() -> Value {
    json!({ "countryCode": "+86", "phoneNumber": PHONE, "nickname": "eWelink" })
}

/// What every signed endpoint refuses, and what every other one does.
async fn v2_who_calls(server: &Server, app: &App) {
    for path in ["login", "register", "sms-login", "verification-code", "reset-pwd"] {
        let path = format!("/v2/user/{path}");
        v2_fails(&app.authorized(Method::POST, &path, "", "{}").await, 406);
        v2_fails(&app.authorized(Method::POST, &path, "Bearer x", "{}").await, 406);
        v2_fails(&app.as_application("nobody", "x").v2(&path, json!({})).await, 407);
        let forged = app.as_application(&app.appid, "x").v2(&path, json!({})).await;
        assert_eq!(forged.body, json!({ "error": 400, "msg": "sign verification failed", "data": {} }));
        v2_fails(&app.v2(&path, json!({})).await, 400);
        v2_fails(&app.authorized(Method::POST, &path, "Sign x", "{\"a\":1,\"a\":1}").await, 400);
    }
    let region = "/v2/utils/get-region";
    v2_fails(&app.get(region, "countryCode=1", "").await, 406);
    v2_fails(&app.as_application("nobody", "x").get(region, "", &format!("Sign {}", sign("x", b""))).await, 407);
    v2_fails(&app.get(region, "countryCode=1", &format!("Sign {}", sign(&app.secret, b"countryCode=2"))).await, 400);
    v2_says(
        &app.get(region, "countryCode=1", &format!("Sign {}", sign(&app.secret, b"countryCode=1"))).await,
        json!({ "region": "us" }),
    );
    v2_says(&app.get(region, "", &format!("Sign {}", sign(&app.secret, b""))).await, json!({ "region": "cn" }));

    let at = app.v2("/v2/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await.text("/data/at");
    let body = json!({ "oldPassword": "x", "newPassword": "x".repeat(8), "verificationCode": "1" });
    let calls = [
        (Method::POST, "/v2/user/change-pwd"),
        (Method::GET, "/v2/user/profile"),
        (Method::POST, "/v2/user/profile"),
        (Method::DELETE, "/v2/user/logout"),
        (Method::POST, "/v2/user/close-account"),
    ];
    let other = app.as_application("another", "another-secret-of-ours");
    for (method, path) in &calls {
        v2_fails(&app.authorized(method.clone(), path, "", body.to_string()).await, 406);
        v2_fails(&app.v2_as("x", method.clone(), path, body.clone()).await, 401);
        v2_fails(&other.v2_as(&at, method.clone(), path, body.clone()).await, 401);
    }
    server.change_database("UPDATE sessions SET access_expires_at = 1").await;
    for (method, path) in &calls {
        v2_fails(&app.v2_as(&at, method.clone(), path, body.clone()).await, 402);
    }
    let unknown = json!({ "error": 403, "msg": "api not found", "data": {} });
    let strange = app.clone();
    let seen_before = app.seen();
    for (method, path) in [
        (Method::GET, "/v2/user/login"),
        (Method::POST, "/v2/device/thing"),
        (Method::GET, "/v2/x"),
        (Method::GET, "/v2"),
        (Method::GET, "/v2/"),
    ] {
        let answer = App::new(server).v2_as(&at, method, path, Value::Null).await;
        assert_answer(path, &answer, 200, &unknown);
    }
    assert_eq!(strange.seen(), seen_before);
}

async fn v2_logins(server: &Server, app: &App) {
    let log_in = async |body: Value| app.v2("/v2/user/login", body).await;
    for body in [
        json!({ "countryCode": "+86", "phoneNumber": PHONE, "password": PASSWORD, "lang": "cn" }),
        json!({ "phoneNumber": &PHONE[1..], "password": PASSWORD }),
        json!({ "countryCode": "+86", "phoneNumber": &PHONE[3..], "password": PASSWORD }),
        json!({ "phoneNumber": PHONE, "email": "other@example.com", "password": PASSWORD, "unknown": [1] }),
    ] {
        v2_says(&log_in(body).await, v2_logged_in_as(v2_sample(), "cn"));
    }
    for body in [
        json!({ "password": PASSWORD }),
        json!({ "phoneNumber": PHONE }),
        json!({ "phoneNumber": "x", "password": PASSWORD }),
        json!({ "email": "x", "password": PASSWORD }),
        json!({ "email": "a@example.com", "password": 12_345_678 }),
    ] {
        v2_fails(&log_in(body).await, 400);
    }
    v2_fails(&log_in(json!({ "phoneNumber": PHONE, "password": "wrong" })).await, 10001);
    v2_fails(&log_in(json!({ "email": "nobody@example.com", "password": PASSWORD })).await, 10003);
    let elsewhere = json!({ "error": 10004, "msg": "redirection", "data": { "region": "cn" } });
    let abroad =
        app.at_host("eu-apia.coolkit.cc").v2("/v2/user/login", json!({ "phoneNumber": PHONE, "password": "wrong" })).await;
    assert_answer("elsewhere", &abroad, 200, &elsewhere);
    server.create_account(&["--email", "pending@example.com", "--activation", "pending"], PASSWORD);
    let body = json!({ "email": "pending@example.com", "password": PASSWORD });
    let says = |msg: &str| json!({ "error": 400, "msg": msg, "data": {} });
    assert_answer("pending", &log_in(body.clone()).await, 200, &says("account is not activated"));
    server.operate(&["account", "disable", "pending@example.com"]);
    assert_answer("disabled", &log_in(body).await, 200, &says("account is disabled"));
    // One account, one session: the other dialect's login ends this one's.
    let at = log_in(json!({ "phoneNumber": PHONE, "password": PASSWORD })).await.text("/data/at");
    app.v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await;
    v2_fails(&app.v2_as(&at, Method::GET, "/v2/user/profile", Value::Null).await, 401);
}

async fn v2_codes(server: &Server, app: &App) {
    let send = async |body: Value| app.v2("/v2/user/verification-code", body).await;
    v2_fails(&send(json!({ "type": 2, "phoneNumber": PHONE })).await, 400);
    v2_fails(&send(json!({ "type": 1 })).await, 400);
    v2_fails(&send(json!({ "type": 0, "phoneNumber": PHONE })).await, 10009);
    v2_fails(&send(json!({ "type": 1, "phoneNumber": "+8613100000009" })).await, 10003);
    let elsewhere = json!({ "error": 10004, "msg": "redirection", "data": { "region": "cn" } });
    let abroad =
        app.at_host("us-apia.coolkit.cc").v2("/v2/user/verification-code", json!({ "type": 4, "phoneNumber": PHONE })).await;
    assert_answer("elsewhere", &abroad, 200, &elsewhere);

    let by_code = async |app: &App, code: &str, phone: &str| {
        app.v2("/v2/user/sms-login", json!({ "countryCode": "+86", "phoneNumber": phone, "verificationCode": code })).await
    };
    v2_says(&send(json!({ "type": "4", "phoneNumber": PHONE })).await, json!({}));
    let code = server.code_for(PHONE);
    v2_fails(&by_code(app, "", PHONE).await, 400);
    v2_fails(&by_code(app, &wrong(&code), PHONE).await, 10002);
    v2_fails(&by_code(app, &code, "+8613100000009").await, 10003);
    assert_answer("elsewhere", &by_code(&app.at_host("us-apia.coolkit.cc"), &code, PHONE).await, 200, &elsewhere);
    v2_says(&by_code(app, &code, PHONE).await, v2_logged_in_as(v2_sample(), "cn"));
    v2_fails(&by_code(app, &code, PHONE).await, 10002);

    let reset = async |app: &App, code: &str, phone: &str, password: &str| {
        app.v2("/v2/user/reset-pwd", json!({ "phoneNumber": phone, "verificationCode": code, "password": password })).await
    };
    v2_says(&send(json!({ "type": 1, "phoneNumber": PHONE })).await, json!({}));
    let code = server.code_for(PHONE);
    v2_fails(&by_code(app, &code, PHONE).await, 10002);
    v2_fails(&reset(app, &code, PHONE, "short").await, 400);
    v2_fails(&reset(app, &wrong(&code), PHONE, PASSWORD).await, 10002);
    v2_fails(&reset(app, &code, PHONE, "sunshine").await, 400);
    v2_fails(&reset(app, &code, "+8613100000009", PASSWORD).await, 10003);
    assert_answer("elsewhere", &reset(&app.at_host("eu-apia.coolkit.cc"), &code, PHONE, PASSWORD).await, 200, &elsewhere);
    v2_says(&reset(app, &code, PHONE, PASSWORD).await, v2_logged_in_as(v2_sample(), "cn"));
    v2_says(&send(json!({ "type": 1, "phoneNumber": PHONE })).await, json!({}));
    let too_often = send(json!({ "type": 1, "phoneNumber": PHONE })).await;
    assert_answer("too often", &too_often, 429, &json!({ "error": 160_038, "msg": "<text>", "data": {} }));
    assert!((1..=60).contains(&too_often.retry_after.unwrap()));
}

async fn v2_registration(server: &Server, app: &App) {
    let register = async |email: &str, code: &str, country: &str, password: &str| {
        let body = json!({ "countryCode": country, "email": email, "verificationCode": code, "password": password });
        app.v2("/v2/user/register", body).await
    };
    for (country, region) in [("+86", "cn"), ("+1", "us"), ("+49", "eu"), ("+852", "as"), ("", "cn")] {
        let email = format!("person{region}{}@example.com", country.len());
        v2_says(&app.v2("/v2/user/verification-code", json!({ "type": 0, "email": email })).await, json!({}));
        let code = server.code_for(&email);
        v2_fails(&register(&email, &code, country, "short").await, 400);
        v2_fails(&register(&email, &wrong(&code), country, PASSWORD).await, 10002);
        v2_says(&register(&email, &code, country, PASSWORD).await, v2_logged_in_as(json!({ "email": email }), region));
        v2_fails(&register(&email, &code, country, PASSWORD).await, 10009);
    }
}

async fn v2_logged_in(server: &Server, app: &App) {
    let at = app.v2("/v2/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await.text("/data/at");
    let call = async |method: Method, path: &str, body: Value| app.v2_as(&at, method, path, body).await;
    let profile = json!({
        "user": { "countryCode": "+86", "phoneNumber": PHONE, "apikey": "<uuid>", "nickname": "Anna", "accountLevel": 10 }, "region": "cn",
    });
    v2_says(&call(Method::POST, "/v2/user/profile", json!({ "nickname": "Anna", "acceptEmailAd": true })).await, json!({}));
    for unchanged in [json!({}), json!({ "nickname": "" }), json!({ "nickname": null })] {
        v2_says(&call(Method::POST, "/v2/user/profile", unchanged).await, json!({}));
    }
    v2_fails(&call(Method::POST, "/v2/user/profile", json!({ "nickname": "x".repeat(65) })).await, 400);
    v2_says(&call(Method::GET, "/v2/user/profile", Value::Null).await, profile);

    let change = async |old: &str, new: &str| {
        call(Method::POST, "/v2/user/change-pwd", json!({ "oldPassword": old, "newPassword": new })).await
    };
    v2_fails(&change(PASSWORD, "short").await, 400);
    v2_fails(&change(PASSWORD, "password1").await, 400);
    v2_fails(&change("wrong", NEW_PASSWORD).await, 10001);
    v2_says(&change(PASSWORD, NEW_PASSWORD).await, json!({}));
    v2_says(&change(NEW_PASSWORD, PASSWORD).await, json!({}));
    v2_says(&call(Method::DELETE, "/v2/user/logout", Value::Null).await, json!({}));
    v2_fails(&call(Method::GET, "/v2/user/profile", Value::Null).await, 401);
    assert_eq!(server.operate(&["session", "list", "--account", PHONE]), json!([]));
}

async fn v2_refresh(server: &Server, app: &App) {
    let path = "/v2/user/refresh";
    let login = app.v2("/v2/user/login", json!({ "phoneNumber": PHONE, "password": PASSWORD })).await;
    let (at, rt) = (login.text("/data/at"), login.text("/data/rt"));
    let pair = json!({ "at": "<hex 40>", "rt": "<hex 40>" });
    v2_fails(&app.v2(path, json!({})).await, 400);
    v2_fails(&app.authorized(Method::POST, path, "", json!({ "rt": rt }).to_string()).await, 406);
    v2_fails(&app.as_application("nobody", "x").v2(path, json!({ "rt": rt })).await, 407);
    v2_fails(&app.v2(path, json!({ "rt": "x" })).await, 401);
    server.change_database("UPDATE sessions SET refresh_expires_at = refresh_expires_at - 5184000000").await;
    v2_fails(&app.v2(path, json!({ "rt": rt })).await, 402);
    server.change_database("UPDATE sessions SET refresh_expires_at = refresh_expires_at + 5184000000").await;
    v2_fails(&app.as_application("another", "x").v2_as(&at, Method::POST, path, json!({ "rt": rt })).await, 401);
    v2_fails(&app.v2_as("junk", Method::POST, path, json!({ "rt": rt })).await, 401);
    let first = app.v2_as(&at, Method::POST, path, json!({ "rt": rt })).await;
    v2_says(&first, pair.clone());
    let again = app.v2_as(&at, Method::POST, path, json!({ "rt": rt })).await;
    assert_eq!(again.body, first.body, "a lost answer, repeated");
    v2_says(&app.v2(path, json!({ "rt": first.text("/data/rt") })).await, pair);
    v2_fails(&app.v2(path, json!({ "rt": rt })).await, 401);
    assert_eq!(server.operate(&["session", "list", "--account", PHONE]), json!([]));
}

async fn v2_closing(server: &Server, app: &App) {
    let login = json!({ "email": "personus2@example.com", "password": PASSWORD });
    let app = app.at_host("us-apia.coolkit.cc");
    let at = app.v2("/v2/user/login", login.clone()).await.text("/data/at");
    let close = async |body: Value| app.v2_as(&at, Method::POST, "/v2/user/close-account", body).await;
    server.operate(&["cube", "register", "hers"]);
    server.operate(&["cube", "bind", "hers", "personus2@example.com"]);
    v2_says(&app.v2("/v2/user/verification-code", json!({ "type": 3, "email": "personus2@example.com" })).await, json!({}));
    let code = server.code_for("personus2@example.com");
    v2_fails(&close(json!({})).await, 400);
    v2_fails(&close(json!({ "verificationCode": wrong(&code) })).await, 10002);
    v2_says(&close(json!({ "verificationCode": code })).await, json!({}));
    v2_fails(&close(json!({ "verificationCode": code })).await, 401);
    v2_fails(&app.v2("/v2/user/login", login).await, 10003);
    let cubes = server.operate(&["cube", "list"]);
    assert!(cubes.as_array().unwrap().iter().all(|cube| cube["account"].is_null()), "{cubes}");
}

/// The public vector of the documents.
#[tokio::test]
async fn the_public_vector_of_v2() {
    let server = sample();
    let body = r#"{"email":"1234@gmail.com","password":"12345678","countryCode":"+1"}"#;
    let authorization = "Sign ttZ/gluzqrafvGonjMD20p4//arW6KoZKbo1SOMEzCA=";
    let answer = App::new(&server).authorized(Method::POST, "/v2/user/login", authorization, body).await;
    v2_fails(&answer, 10003);
}
