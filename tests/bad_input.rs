//! Input that no client should send: each gets a clear answer in the dialect's own form, and changes nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::calls::{SECRET, sign};
use crate::support::panel::Panel;
use crate::support::{Answer, Ewelink, Fantem, Server, assert_answer};

fn ewelink_error(code: u32) -> Value {
    json!({ "error": code })
}

fn fantem_error(code: u32, note: &str) -> Value {
    json!({ "code": code, "note": note, "data": null })
}

fn fantem_parameters() -> Value {
    fantem_error(3, "必填参数为空。")
}

#[tokio::test]
async fn ewelink_bodies() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    let before = server.contents();
    let good = Ewelink::body().to_string();
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1).into_bytes();
    let deep = |levels: usize| with(&format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels)));
    let filled = |length: usize| with(&format!("\"x\":\"{}\"", "x".repeat(length - good.len() - 7)));
    for (what, body, expected) in [
        ("empty", Vec::new(), 400),
        ("an array", b"[]".to_vec(), 400),
        ("a form", b"phoneNumber=1".to_vec(), 400),
        ("cut off", good.as_bytes()[..good.len() - 1].to_vec(), 400),
        ("something behind", format!("{good}x").into_bytes(), 400),
        ("a duplicate key", with("\"appid\":\"x\""), 400),
        ("a duplicate key, escaped", with("\"\\u0061ppid\":\"x\""), 400),
        ("a duplicate key within", with("\"x\":{\"a\":1,\"a\":1}"), 400),
        ("deep nesting", deep(200), 400),
        ("very deep nesting", deep(30_000), 400),
        ("a raw NUL", with("\"x\":\"\0\""), 400),
        ("invalid UTF-8", [&b"{\"x\":\"\xff\","[..], &good.as_bytes()[1..]].concat(), 400),
        ("half a surrogate", with("\"x\":\"\\ud800\""), 400),
        ("an escaped NUL in the password", good.replace("12345678\"", "1234\\u00005678\"").into_bytes(), 400),
        ("a number too large", with("\"x\":1e999"), 400),
        ("ts over i64", good.replace("1558004249", "9223372036854775808").into_bytes(), 400),
        ("ts under i64", good.replace("1558004249", "-9223372036854775809").into_bytes(), 400),
        ("ts at the lower end", good.replace("1558004249", "-9223372036854775808").into_bytes(), 400),
        ("version at the upper end", good.replace("\"version\":8", "\"version\":9223372036854775807").into_bytes(), 400),
    ] {
        assert_answer(what, &ewelink.send(body).await, 200, &ewelink_error(expected));
    }
    assert_answer("over 64 KiB", &ewelink.send(filled(64 * 1024 + 1)).await, 413, &ewelink_error(413));
    let long = Ewelink::body_with(&json!({ "password": "x".repeat(1024 * 1024) })).to_string();
    assert_answer("a password of 1 MB", &ewelink.send(long).await, 413, &ewelink_error(413));
    assert_eq!(server.contents(), before);

    assert_eq!(ewelink.send(filled(64 * 1024)).await.body["region"], "cn", "64 KiB are read");
    assert_eq!(ewelink.send(good.replace("1558004249", "9223372036854775807")).await.body["region"], "cn", "a clock far off");
}

#[tokio::test]
async fn fantem_bodies() {
    let server = Server::dev();
    let fantem = Fantem::new(&server);
    let before = server.contents();
    let good = Fantem::form(&[]);
    for (what, body) in [
        ("empty", Vec::new()),
        ("JSON", b"{\"username\":\"apilogin\"}".to_vec()),
        ("a parameter twice", format!("{good}&username=apilogin").into_bytes()),
        ("a parameter twice, escaped", format!("{good}&u%75id=x").into_bytes()),
        ("an unknown parameter twice", format!("{good}&x=1&x=1").into_bytes()),
        ("invalid UTF-8", [good.as_bytes(), b"&x=\xff"].concat()),
        ("invalid UTF-8, escaped", format!("{good}&x=%ff%fe").into_bytes()),
        ("NUL", Fantem::form(&[("username", "api\0login")]).into_bytes()),
        ("a raw NUL", good.replace("apilogin", "api\0login").into_bytes()),
    ] {
        assert_answer(what, &fantem.send(body).await, 200, &fantem_parameters());
    }
    let filled = |length: usize| format!("{good}&x={}", "x".repeat(length - good.len() - 3));
    assert_answer("over 64 KiB", &fantem.send(filled(64 * 1024 + 1)).await, 413, &fantem_error(2, "BODY_TOO_LARGE"));
    let long = good.replace("e10adc3949ba59abbe56e057f20f883e", &"e".repeat(1024 * 1024));
    assert_answer("a password of 1 MB", &fantem.send(long).await, 413, &fantem_error(2, "BODY_TOO_LARGE"));
    assert_eq!(server.contents(), before);
    assert_eq!(fantem.send(filled(64 * 1024)).await.body["code"], 1, "64 KiB are read");
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let server = Server::dev();
    let client = crate::support::client();
    let (not_found, not_allowed) = (fantem_error(2, "NOT_FOUND"), fantem_error(2, "METHOD_NOT_ALLOWED"));
    for (method, path, status, expected) in [
        ("GET", "/api/user/login", 405, ewelink_error(405)),
        ("PUT", "/api/user/login", 405, ewelink_error(405)),
        ("BREW", "/api/user/login", 405, ewelink_error(405)),
        ("POST", "/api/user/login/", 404, ewelink_error(404)),
        ("POST", "/api/user/nothing", 404, ewelink_error(404)),
        ("GET", "/api", 404, ewelink_error(404)),
        ("GET", "/api/", 404, ewelink_error(404)),
        ("GET", "/accounts/login", 405, not_allowed.clone()),
        ("DELETE", "/accounts/login", 405, not_allowed),
        ("POST", "/accounts/nothing", 404, not_found.clone()),
        ("GET", "/", 404, not_found.clone()),
        ("GET", "/../etc/passwd", 404, not_found.clone()),
        ("GET", "/%ff%00", 404, not_found),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = Answer::read(client.request(method.clone(), format!("{}{path}", server.http)).send().await.unwrap()).await;
        assert_answer(&format!("{method} {path}"), &answer, status, &expected);
    }
}

/// Sends the beginning of a request, then nothing more, and returns what comes back until the server closes the connection.
fn half_sent(server: &Server, beginning: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(beginning.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server closes the connection");
    answer
}

#[test]
fn half_sent_requests_are_closed() {
    let server =
        Server::dev_with(&[("HEARTHGATE_LISTEN__HEADER_TIMEOUT", "500ms"), ("HEARTHGATE_LISTEN__BODY_TIMEOUT", "500ms")]);
    for beginning in ["", "P", "POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Le"] {
        assert_eq!(half_sent(&server, beginning).lines().next().unwrap_or_default(), "", "{beginning:?}: closed without a word");
    }
    for (path, expected) in
        [("/accounts/login", r#"{"code":2,"note":"REQUEST_TIMEOUT","data":null}"#), ("/api/user/login", r#"{"error":408}"#)]
    {
        let answer = half_sent(&server, &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nusername=a"));
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains(expected), "{answer}");
    }
}

/// A connection that has been answered is closed when nothing more comes.
#[test]
fn idle_connections_are_closed() {
    let server = Server::dev_with(&[("HEARTHGATE_LISTEN__HEADER_TIMEOUT", "500ms")]);
    let answer = half_sent(&server, "GET /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.matches("HTTP/1.1 404 ").count(), 2, "{answer}");
}

#[test]
fn broken_http_is_refused() {
    let server = Server::dev();
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef".to_owned(),
        "POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
    ] {
        let answer = half_sent(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 4"), "{}: {answer}", &request[..40.min(request.len())]);
    }
}

/// The log can hold no line that an attacker wrote.
#[tokio::test]
async fn control_characters_do_not_reach_the_log() {
    let server = Server::dev();
    let evil = "a\n{\"outcome\":\"logged in\"}\u{1b}[2J";
    let answer = Fantem::new(&server).login(&[("username", evil)]).await;
    assert_eq!(answer.body["code"], 3);
    let body = Ewelink::body_with(&json!({ "phoneNumber": null, "email": "x\u{7}@evil\r\n.example", "appid": evil })).to_string();
    let request =
        Ewelink::new(&server).request(body.clone()).header("authorization", format!("Sign {}", sign(SECRET, body.as_bytes())));
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(answer.body["error"], 406);
    assert_eq!(server.log_line(&answer.request_id)["outcome"], "the application is unknown");
    for line in server.log.all() {
        assert!(!line.chars().any(char::is_control) && !line.contains("logged in"), "{line:?}");
    }
}

/// A NUL is no character of any text here, and one of the databases would refuse it: it must not come that far.
#[tokio::test]
async fn a_nul_is_nobodys_fault_but_the_clients() {
    let server = Server::dev();
    let (app, panel) = (App::new(&server), Panel::new(&server));
    let at = app.v8("/api/user/login", json!({ "phoneNumber": "+8613123456789", "password": "12345678" })).await.text("/at");
    let good = json!({
        "phoneNumber": "+8613123456789", "email": "anna@example.com", "password": "12345678", "verificationCode": "123456",
        "to": "+8613123456789", "sendType": "1", "nickname": "x", "rt": "x", "countryCode": "+86", "lang": "cn",
        "oldPassword": "12345678", "newPassword": "87654321", "appVersion": "1", "os": "x", "model": "x", "romVersion": "1",
        "username": "anna", "rePassword": "12345678", "uuid": "x", "cubeSn": "x", "sn": "x", "name": "x", "accountToken": "x",
        "flushToken": "x", "p2pUid": "x", "wifiMac": "x", "code": "123456", "phone": "+8613123456789", "guid": "x", "deviceType": "x",
    });
    for field in good.as_object().unwrap().keys() {
        let mut body = good.clone();
        body[field] = json!("a\u{0}b");
        let fields = body.as_object().unwrap().iter();
        let form: Vec<_> = fields.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        for path in ["/api/user/login", "/api/user/register", "/api/user/password/reset", "/api/sms"] {
            assert_ne!(app.v8(path, body.clone()).await.status, 500, "{path} {field}");
        }
        assert_ne!(app.v8_get("/api/user/refresh", &[("rt", "a%00b")]).await.status, 500, "{field}");
        for path in ["login", "register", "sms-login", "verification-code", "reset-pwd", "refresh"] {
            let path = format!("/v2/user/{path}");
            assert_ne!(app.v2(&path, body.clone()).await.body["error"], 500, "{path} {field}");
        }
        for path in ["change-pwd", "profile"] {
            let path = format!("/v2/user/{path}");
            assert_ne!(app.v2_as(&at, Method::POST, &path, body.clone()).await.body["error"], 500, "{path} {field}");
        }
        for (method, path) in fantem::routes() {
            assert_ne!(panel.status(method, path, &form).await, 500, "{path} {field}");
        }
    }
}
