//! `POST /accounts/login`, every row of its tables.

use serde_json::{Value, json};

use crate::support::calls::{CUBE, TOUCH, md5};
use crate::support::{Answer, Fantem, Server, assert_answer};

const PASSWORD: &str = "correct horse battery";

fn failure(code: u32, note: &str) -> Value {
    json!({ "code": code, "note": note, "data": null })
}

fn parameters() -> Value {
    failure(3, "必填参数为空。")
}

fn code(answer: &Answer) -> i64 {
    assert_eq!(answer.status, 200);
    answer.body["code"].as_i64().unwrap()
}

/// An account with this user name, a phone of its own to log in from, and free cubes.
fn add(server: &Server, user_name: &str, cubes: &[&str]) {
    server.create_account(&["--username", user_name], PASSWORD);
    server.operate(&["device", "register", &format!("phone-{user_name}"), "--kind", "android_phone"]);
    for cube in cubes {
        server.operate(&["cube", "register", cube]);
    }
}

/// Logs that account in from that phone, with more parameters.
async fn login(server: &Server, user_name: &str, more: &[(&str, &str)]) -> Answer {
    let (uuid, password) = (format!("phone-{user_name}"), md5(PASSWORD));
    let own = [("username", user_name), ("password", &password), ("uuid", &uuid), ("cubeSn", "")];
    Fantem::new(server).login(&[&own[..], more].concat()).await
}

fn owner(server: &Server, cube: &str) -> Value {
    let cubes = server.operate(&["cube", "list"]);
    cubes.as_array().unwrap().iter().find(|listed| listed["sn"] == cube).unwrap()["account"].clone()
}

#[tokio::test]
async fn success_has_its_fifteen_fields() {
    let server = Server::dev();
    let made = server.create_account(
        &[
            "--username",
            "anna",
            "--email",
            "Anna@Example.com",
            "--phone",
            "+8618812345678",
            "--display-name",
            "Anna",
            "--birthday",
            "1990-02-28",
            "--address",
            "1 Long Road",
            "--country",
            "CN",
            "--group",
            "family",
            "--group",
            "admins",
        ],
        PASSWORD,
    );
    let password = md5(PASSWORD);
    let expected = json!({
        "code": 1, "note": "OPERATE_SUCCESS",
        "data": {
            "accountToken": "<hex 32>", "flushToken": "<hex 32>", "accountId": made["account"], "username": "anna", "displayName": "Anna",
            "email": "anna@example.com", "emailStatus": 2, "phone": "18812345678", "phoneStatus": 2, "birthday": "1990-02-28",
            "address": "1 Long Road", "registerTime": "<number>", "country": "CN", "creditCard": null, "accountRank": "family&admins",
        },
    });
    for name in [
        &[("username", "anna")][..],
        &[("username", "ANNA@example.com")],
        &[("username", "18812345678"), ("countryCode", "+86")],
        &[("username", "+8618812345678")],
    ] {
        let answer = Fantem::new(&server).login(&[name, &[("password", password.as_str())]].concat()).await;
        assert_answer(&format!("{name:?}"), &answer, 200, &expected);
    }
}

#[tokio::test]
async fn an_account_without_a_user_name_shows_its_address_or_number() {
    let server = Server::dev();
    server.create_account(&["--email", "only@example.com"], PASSWORD);
    server.create_account(&["--phone", "+447911123456"], PASSWORD);
    server.operate(&["device", "register", "phone", "--kind", "ios_phone"]);
    for cube in ["CUBE1", "CUBE2"] {
        server.operate(&["cube", "register", cube]);
    }
    let password = md5(PASSWORD);
    let from_phone = [("password", password.as_str()), ("uuid", "phone")];
    let by_email = [&from_phone[..], &[("username", "only@example.com"), ("cubeSn", "CUBE1")]].concat();
    assert_eq!(Fantem::new(&server).login(&by_email).await.text("/data/username"), "only@example.com");
    // With the national prefix that people there are used to type.
    let by_phone = [&from_phone[..], &[("username", "07911123456"), ("countryCode", "+44"), ("cubeSn", "CUBE2")]].concat();
    let answer = Fantem::new(&server).login(&by_phone).await;
    assert_eq!((answer.text("/data/username"), answer.text("/data/phone")), ("7911123456".into(), "7911123456".into()));
}

#[tokio::test]
async fn every_failure() {
    let server = Server::dev();
    server.create_account(&["--username", "pending", "--email", "pending@example.com", "--activation", "pending"], PASSWORD);
    server.create_account(&["--username", "lapsed", "--activation", "lapsed"], PASSWORD);
    server.create_account(&["--username", "disabled"], PASSWORD);
    server.operate(&["account", "disable", "disabled"]);
    server.operate(&["device", "register", "phone", "--kind", "android_phone"]);
    let fantem = Fantem::new(&server);
    let good = md5(PASSWORD);
    let upper = good.to_uppercase();
    let long = |length: usize| "a".repeat(length);
    let (l31, l33, l65, l256) = (long(31), long(33), long(65), long(256));
    let before = server.contents();
    for (changes, expected) in [
        // A required parameter is missing, or a parameter is malformed.
        (&[("uuid", "")][..], parameters()),
        (&[("username", "")], parameters()),
        (&[("password", "")], parameters()),
        (&[("uuid", &l65)], parameters()),
        (&[("uuid", "a\0")], parameters()),
        (&[("username", &l256)], parameters()),
        (&[("username", "a\u{1}")], parameters()),
        (&[("password", "123456")], parameters()),
        (&[("password", &upper)], parameters()),
        (&[("cubeSn", &l65)], parameters()),
        (&[("devToken", &l31)], parameters()),
        (&[("devToken", &l33)], parameters()),
        (&[("expireTime", &l65)], parameters()),
        // A touch panel must name its cube.
        (&[("cubeSn", "")], parameters()),
        // Country codes.
        (&[("countryCode", "86")], failure(8005, "国家码格式错误")),
        (&[("countryCode", "+")], failure(8005, "国家码格式错误")),
        (&[("countryCode", "+8a")], failure(8005, "国家码格式错误")),
        (&[("countryCode", "+1234567890123456")], failure(8005, "国家码格式错误")),
        (&[("username", "13123456789")], failure(8004, "国家码为空")),
        // Device, cube, account.
        (&[("uuid", "unknown")], failure(151, "设备未注册")),
        (&[("uuid", CUBE)], failure(151, "设备未注册")),
        (&[("cubeSn", "unknown")], failure(181, "cube未注册")),
        (&[("username", "nobody")], failure(106, "用户不存在")),
        (&[("username", "APILOGIN")], failure(106, "用户不存在")),
        (&[("username", "nobody@example.com")], failure(106, "用户不存在")),
        (&[("username", "@")], failure(106, "用户不存在")),
        (&[("username", "13123456780"), ("countryCode", "+86")], failure(106, "用户不存在")),
        (&[("username", "12345")], failure(106, "用户不存在")),
        (&[("password", &good)], failure(108, "密码错误")),
        (&[("username", "pending"), ("password", &good)], failure(102, "邮箱未激活")),
        (&[("username", "lapsed"), ("password", &good)], failure(113, "邮箱超时未激活")),
        (&[("username", "disabled"), ("password", &good)], failure(2, "ACCOUNT_DISABLED")),
        (&[("cubeSn", ""), ("uuid", "phone")], failure(114, "用户未绑定cube")),
    ] {
        assert_answer(&format!("{changes:?}"), &fantem.login(changes).await, 200, &expected);
    }
    assert_answer("twice", &fantem.send(format!("{}&uuid=x", Fantem::form(&[]))).await, 200, &parameters());
    assert_eq!(server.contents(), before, "a failed login changes nothing");
}

/// An earlier check wins.
#[tokio::test]
async fn the_order_of_checks() {
    let server = Server::dev();
    server.create_account(&["--username", "pending", "--activation", "pending"], PASSWORD);
    server.create_account(&["--username", "unbound"], PASSWORD);
    server.operate(&["device", "register", "phone", "--kind", "android_phone", "--app-version", "1.0"]);
    let fantem = Fantem::new(&server);
    let good = md5(PASSWORD);
    for (what, changes, expected) in [
        ("parameters before the country code", &[("countryCode", "86"), ("cubeSn", &"a".repeat(65))][..], 3),
        ("the country code before the device", &[("countryCode", "86"), ("uuid", "unknown")], 8005),
        ("8004 before the device", &[("username", "13123456789"), ("uuid", "unknown")], 8004),
        ("the device before the cube", &[("uuid", "unknown"), ("cubeSn", "unknown")], 151),
        ("the device's kind before the account", &[("cubeSn", ""), ("username", "nobody")], 3),
        ("the cube before the account", &[("cubeSn", "unknown"), ("username", "nobody")], 181),
        ("the password before the activation", &[("username", "pending")], 108),
        (
            "the activation before the binding",
            &[("username", "pending"), ("password", &good), ("cubeSn", ""), ("uuid", "phone")],
            102,
        ),
    ] {
        assert_eq!(code(&fantem.login(changes).await), expected, "{what}");
    }
    // The binding before the version.
    server.operate(&["cube", "bind", CUBE, "apilogin"]);
    server.operate(&["cube", "set-min-version", CUBE, "2.0"]);
    let taken = [("username", "unbound"), ("password", good.as_str()), ("uuid", "phone")];
    assert_eq!(code(&fantem.login(&taken).await), 114);
}

/// Every rule of the binding at login.
#[tokio::test]
async fn binding() {
    let server = Server::dev();
    add(&server, "anna", &["A1", "A2", "A3"]);
    add(&server, "ben", &["B1"]);
    let number = |name: &str| server.operate(&["account", "show", name])["account"].clone();
    let (anna, ben) = (number("anna"), number("ben"));

    assert_eq!(code(&login(&server, "anna", &[]).await), 114, "no cube, none named");
    assert_eq!(code(&login(&server, "anna", &[("cubeSn", "A1")]).await), 1);
    assert_eq!(owner(&server, "A1"), anna, "a free cube is bound");
    assert_eq!(code(&login(&server, "anna", &[("cubeSn", "A1")]).await), 1, "her own");
    assert_eq!(code(&login(&server, "anna", &[]).await), 1, "none named, but she has one");
    assert_eq!(code(&login(&server, "ben", &[("cubeSn", "A1")]).await), 114, "somebody else's, and he has none");
    assert_eq!(owner(&server, "A1"), anna, "a login never takes a cube away");
    assert_eq!(code(&login(&server, "anna", &[("cubeSn", "A2")]).await), 1, "she has another one");
    assert_eq!(owner(&server, "A2"), Value::Null, "which stays free");
    assert_eq!(code(&login(&server, "ben", &[("cubeSn", "B1")]).await), 1);
    assert_eq!(code(&login(&server, "ben", &[("cubeSn", "A1")]).await), 1, "somebody else's, but he has another one");
    assert_eq!((owner(&server, "A1"), owner(&server, "B1")), (anna, ben));

    server.operate(&["cube", "bind", "A2", "anna"]);
    for named in ["", "A1", "A3"] {
        let answer = login(&server, "anna", &[("cubeSn", named)]).await;
        assert_answer(named, &answer, 200, &failure(2, "SEVERAL_CUBES: use /v2/accounts/login"));
    }
    server.operate(&["cube", "unbind", "A1"]);
    assert_eq!(code(&login(&server, "anna", &[]).await), 1, "one again");
}

#[tokio::test]
async fn the_lowest_app_version() {
    let server = Server::dev();
    add(&server, "anna", &["OWN", "NAMED"]);
    server.operate(&["cube", "bind", "OWN", "anna"]);
    for (serial, version) in [("new", Some("V2.0.4.15")), ("old", Some("2.0.4.9")), ("none", None)] {
        let register = ["device", "register", serial, "--kind", "ios_phone"];
        match version {
            Some(version) => server.operate(&[&register[..], &["--app-version", version]].concat()),
            None => server.operate(&register),
        };
    }
    let set = |cube, version: &str| {
        let arguments: Vec<&str> =
            ["cube", "set-min-version", cube, version].into_iter().filter(|word| !word.is_empty()).collect();
        server.operate(&arguments);
    };
    for (own, named, device, cube, expected) in [
        ("", "", "none", "", 1),
        ("2.0.4.15", "", "new", "", 1),
        ("V2.0.4.15", "", "old", "", 170),
        ("2.0.4.15", "", "none", "", 170),
        ("2.0.4.15", "", "old", "OWN", 170),
        ("2.0.4.15", "", "old", "NAMED", 1),
        ("", "3", "new", "NAMED", 170),
        ("", "3", "new", "OWN", 1),
    ] {
        set("OWN", own);
        set("NAMED", named);
        let answer = login(&server, "anna", &[("uuid", device), ("cubeSn", cube)]).await;
        assert_eq!(code(&answer), expected, "own {own:?}, named {named:?}, from {device} with {cube:?}: {}", answer.body);
    }
    set("OWN", "9");
    let refused = login(&server, "anna", &[]).await;
    assert_answer("170", &refused, 200, &failure(170, "app版本过低"));
}

/// A refused version undoes the binding that would have come with it.
#[tokio::test]
async fn a_refused_version_binds_nothing() {
    let server = Server::dev();
    add(&server, "anna", &[]);
    server.operate(&["cube", "register", "CUBE", "--min-version", "2.0"]);
    assert_eq!(code(&login(&server, "anna", &[("cubeSn", "CUBE")]).await), 170);
    assert_eq!(owner(&server, "CUBE"), Value::Null);
    assert_eq!(server.operate(&["session", "list"]), json!([]));
}

#[tokio::test]
async fn one_session_for_each_device() {
    let server = Server::dev();
    server.operate(&["device", "register", "phone", "--kind", "android_phone"]);
    let fantem = Fantem::new(&server);
    let first = fantem.login(&[]).await;
    let old = server.operate(&["session", "list"])[0]["id"].clone();
    fantem.login(&[("uuid", "phone")]).await;
    let again = fantem.login(&[]).await;
    assert_ne!(first.text("/data/accountToken"), again.text("/data/accountToken"));
    let sessions = server.operate(&["session", "list", "--account", "apilogin"]);
    let mut audiences: Vec<_> =
        sessions.as_array().unwrap().iter().map(|session| session["audience"].as_str().unwrap()).collect();
    audiences.sort_unstable();
    assert_eq!(audiences, ["phone", TOUCH]);
    for session in sessions.as_array().unwrap() {
        assert_ne!(session["id"], old, "the first login's session has ended");
        let time = |name: &str| session[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(time("access_expires_at") - time("created_at"), 2 * 3600);
        assert_eq!(time("refresh_expires_at") - time("created_at"), 30 * 24 * 3600);
    }
}

#[tokio::test]
async fn the_form_is_read_whatever_the_header_says() {
    let server = Server::dev();
    let fantem = Fantem::new(&server);
    for content_type in
        [None, Some("application/x-www-form-urlencoded; charset=utf-8"), Some("application/json"), Some("text/plain")]
    {
        let mut request =
            fantem.client.post(&fantem.url).body(Fantem::form(&[("devToken", &"a".repeat(32)), ("expireTime", "1")]));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_eq!(code(&Answer::read(request.send().await.unwrap()).await), 1, "{content_type:?}");
    }
    // A password never travels in a URL.
    let in_query = fantem.client.post(format!("{}?{}", fantem.url, Fantem::form(&[]))).send().await.unwrap();
    assert_answer("query", &Answer::read(in_query).await, 200, &parameters());
}
