//! `POST /api/user/login`, every row of its tables.

use serde_json::{Value, json};

use crate::support::calls::{APPID, SECRET, sign};
use crate::support::{Answer, Ewelink, Server, assert_answer};

const PASSWORD: &str = "correct horse battery";

fn error(code: u32) -> Value {
    json!({ "error": code })
}

fn by_email(email: &str) -> Value {
    json!({ "phoneNumber": null, "email": email, "password": PASSWORD })
}

#[tokio::test]
async fn success_has_every_field() {
    let server = Server::dev();
    server.create_account(
        &[
            "--email",
            "Anna@Example.com",
            "--phone",
            "+4915112345678",
            "--display-name",
            "Anna",
            "--language",
            "en",
            "--region",
            "eu",
        ],
        PASSWORD,
    );
    let ewelink = Ewelink::new(&server).at_host("eu-api.coolkit.cc:8080");
    let first = json!({ "phoneNumber": "+4915112345678", "password": PASSWORD, "os": "android", "appVersion": "3.13.0", "model": "M", "lang": "de" });
    let mut expected = json!({
        "at": "<hex 40>", "rt": "<hex 40>", "region": "eu",
        "user": {
            "_id": "<hex 24>", "phoneNumber": "+4915112345678", "email": "anna@example.com", "appId": APPID, "lang": "en",
            "online": false, "onlineTime": "<time>", "ip": "127.0.0.1", "appInfos": [{ "appVersion": "3.13.0", "os": "android" }],
            "nickname": "Anna", "createdAt": "<time>", "apikey": "<uuid>",
        },
    });
    let one = ewelink.login(first).await;
    assert_answer("first login", &one, 200, &expected);

    // The second replaces the first, and keeps what it does not say itself.
    expected["user"]["offlineTime"] = json!("<time>");
    let two = ewelink.login(by_email("anna@example.com")).await;
    assert_answer("second login", &two, 200, &expected);
    assert_eq!(two.text("/user/offlineTime"), two.text("/user/onlineTime"), "the first session ended with this login");
    for unchanging in ["/user/_id", "/user/apikey", "/user/createdAt"] {
        assert_eq!(one.text(unchanging), two.text(unchanging), "{unchanging}");
    }
    assert_ne!(one.text("/at"), two.text("/at"));
    assert_ne!(one.text("/rt"), two.text("/rt"));
}

#[tokio::test]
async fn what_has_no_value_is_left_out() {
    let server = Server::dev();
    server.create_account(&["--email", "bare@example.com"], PASSWORD);
    let expected = json!({
        "at": "<hex 40>", "rt": "<hex 40>", "region": "cn",
        "user": {
            "_id": "<hex 24>", "email": "bare@example.com", "appId": APPID, "online": false, "onlineTime": "<time>", "ip": "127.0.0.1",
            "createdAt": "<time>", "apikey": "<uuid>",
        },
    });
    assert_answer("bare", &Ewelink::new(&server).login(by_email("bare@example.com")).await, 200, &expected);
}

#[tokio::test]
async fn every_failure() {
    let server = Server::dev();
    server.create_account(&["--email", "pending@example.com", "--activation", "pending"], PASSWORD);
    server.create_account(&["--email", "lapsed@example.com", "--activation", "lapsed"], PASSWORD);
    server.create_account(&["--email", "disabled@example.com"], PASSWORD);
    server.operate(&["account", "disable", "disabled@example.com"]);
    server.create_account(&["--email", "eu@example.com", "--region", "eu"], PASSWORD);
    let ewelink = Ewelink::new(&server);
    let before = server.contents();
    for (changes, expected) in [
        // A required field is missing, empty or null.
        (json!({ "password": null }), error(400)),
        (json!({ "password": "" }), error(400)),
        (json!({ "nonce": null }), error(400)),
        (json!({ "ts": null }), error(400)),
        (json!({ "version": null }), error(400)),
        (json!({ "phoneNumber": null }), error(400)),
        (json!({ "phoneNumber": "" }), error(400)),
        (json!({ "phoneNumber": null, "email": "" }), error(400)),
        // A field is malformed or too long.
        (json!({ "phoneNumber": "my phone" }), error(400)),
        (json!({ "phoneNumber": { "a": 1 } }), error(400)),
        (json!({ "phoneNumber": "1".repeat(33) }), error(400)),
        (json!({ "phoneNumber": null, "email": "nobody" }), error(400)),
        (json!({ "phoneNumber": null, "email": 5 }), error(400)),
        (json!({ "phoneNumber": null, "email": format!("{}@example.com", "a".repeat(250)) }), error(400)),
        (json!({ "password": 12345678 }), error(400)),
        (json!({ "password": "x".repeat(65) }), error(400)),
        (json!({ "password": "a\u{0}b" }), error(400)),
        (json!({ "nonce": "abc" }), error(400)),
        (json!({ "ts": "soon" }), error(400)),
        (json!({ "version": 9 }), error(400)),
        (json!({ "appid": 5 }), error(400)),
        (json!({ "os": "x".repeat(256) }), error(400)),
        (json!({ "imei": "x".repeat(256) }), error(400)),
        // The application.
        (json!({ "appid": null }), error(406)),
        (json!({ "appid": "" }), error(406)),
        (json!({ "appid": "unknown" }), error(406)),
        (json!({ "appid": "not an id" }), error(406)),
        // The account.
        (json!({ "phoneNumber": "+8613123456780" }), error(404)),
        (by_email("nobody@example.com"), error(404)),
        (by_email("eu@example.com"), json!({ "error": 301, "region": "eu" })),
        (json!({ "password": "12345679" }), error(401)),
        (by_email("pending@example.com"), error(402)),
        (by_email("lapsed@example.com"), error(402)),
        (by_email("disabled@example.com"), error(402)),
    ] {
        let answer = ewelink.login(changes.clone()).await;
        assert_answer(&changes.to_string(), &answer, 200, &expected);
    }
    assert_eq!(server.contents(), before, "a failed login changes nothing");
}

#[tokio::test]
async fn the_application_must_sign() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    let body = Ewelink::body().to_string();
    let good = sign(SECRET, body.as_bytes());
    let mut other = good.clone().into_bytes();
    other[0] = if other[0] == b'A' { b'B' } else { b'A' };
    let headers = [
        None,
        Some(String::new()),
        Some(good.clone()),
        Some(format!("Bearer {good}")),
        Some("Sign".into()),
        Some("Sign not base64!".into()),
        Some(format!("Sign {}", String::from_utf8(other).unwrap())),
        Some(format!("Sign {}", &good[..40])),
        Some(format!("Sign {}", sign("another secret than the app's own", body.as_bytes()))),
        Some(format!("Sign {}", sign(SECRET, format!("{body} ").as_bytes()))),
    ];
    for header in headers {
        let mut request = ewelink.request(body.clone());
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_answer(&format!("{header:?}"), &answer, 200, &error(406));
    }
    let twice = ewelink.request(body.clone()).header("authorization", format!("Sign {good}"));
    let twice = twice.header("authorization", format!("Sign {good}")).send().await.unwrap();
    assert_answer("two signatures", &Answer::read(twice).await, 200, &error(406));

    server.operate(&["app", "disable", APPID]);
    assert_answer("disabled", &ewelink.login(json!({})).await, 200, &error(406));
    server.operate(&["app", "enable", APPID]);
    assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
}

/// An earlier check wins: whoever fails one learns nothing of what comes after.
#[tokio::test]
async fn the_order_of_checks() {
    let server = Server::dev();
    server.create_account(&["--email", "eu@example.com", "--region", "eu", "--activation", "pending"], PASSWORD);
    server.create_account(&["--email", "pending@example.com", "--activation", "pending"], PASSWORD);
    let ewelink = Ewelink::new(&server);
    let mut forged = ewelink.clone();
    forged.secret = "not the application's secret".into();
    let wrong = "wrong password";
    for (what, caller, changes, expected) in [
        ("required fields before the application", &forged, json!({ "appid": null, "nonce": null }), error(400)),
        ("the signature before the profile's form", &forged, json!({ "nonce": "a" }), error(406)),
        ("the signature before the account", &forged, json!({ "phoneNumber": "+8613123456780" }), error(406)),
        ("the form before the account", &ewelink, json!({ "nonce": "a", "phoneNumber": "+8613123456780" }), error(400)),
        (
            "the region before the password",
            &ewelink,
            json!({ "phoneNumber": null, "email": "eu@example.com", "password": wrong }),
            json!({ "error": 301, "region": "eu" }),
        ),
        (
            "the password before the activation",
            &ewelink,
            json!({ "phoneNumber": null, "email": "pending@example.com", "password": wrong }),
            error(401),
        ),
    ] {
        assert_answer(what, &caller.login(changes).await, 200, &expected);
    }
}

/// What real clients send, in the compat profile.
#[tokio::test]
async fn compat_reads_generously() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    for changes in [
        json!({ "nonce": 12345678 }),
        json!({ "nonce": "a+b/" }),
        json!({ "nonce": "0123456789abcdef" }),
        json!({ "ts": "1558004249" }),
        json!({ "ts": 1_558_004_249_000_i64 }),
        json!({ "version": "6" }),
        json!({ "version": 6 }),
        json!({ "version": "8" }),
        json!({ "phoneNumber": 8_613_123_456_789_i64 }),
        json!({ "phoneNumber": "8613123456789" }),
        json!({ "email": "wins.not@example.com" }),
        json!({ "email": "" }),
        json!({ "nobody": "documented", "this": [1, { "x": null }] }),
        json!({ "os": 5, "lang": false }),
    ] {
        let answer = ewelink.login(changes.clone()).await;
        assert_eq!(answer.body["region"], "cn", "{changes}: {}", answer.body);
    }
    let null_email = Ewelink::body().to_string().replacen('{', "{\"email\":null,", 1);
    assert_eq!(ewelink.send(null_email).await.body["region"], "cn", "null counts as absent");
    // The very same bytes again: these clients freeze nonce and clock.
    for _ in 0..2 {
        assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
    }
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    let body = Ewelink::body().to_string();
    let authorization = format!("Sign {}", sign(SECRET, body.as_bytes()));
    let types = [
        None,
        Some("text/plain;charset=UTF-8"),
        Some("application/json;charset=UTF-8"),
        Some("application/x-www-form-urlencoded"),
        Some("nonsense"),
    ];
    for content_type in types {
        let mut request = ewelink.client.post(&ewelink.url).header("authorization", &authorization).body(body.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_eq!(Answer::read(request.send().await.unwrap()).await.body["region"], "cn", "{content_type:?}");
    }
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[tokio::test]
async fn strict_wants_what_the_document_says() {
    let server = Server::dev();
    let secret = server.folder().path().join("secret");
    std::fs::write(&secret, "the strict application's secret\n".replace(' ', "-")).unwrap();
    server.operate(&[
        "app",
        "create",
        "--name",
        "strict",
        "--appid",
        "strict",
        "--profile",
        "strict",
        "--secret-file",
        secret.to_str().unwrap(),
    ]);
    let mut ewelink = Ewelink::new(&server);
    ewelink.secret = "the-strict-application's-secret".into();
    let current = |changes: Value| {
        let mut all = json!({ "appid": "strict", "ts": now(), "nonce": "abcd1234" });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    for (changes, code) in [
        (json!({ "nonce": 12345678 }), 400),
        (json!({ "nonce": "abcd123" }), 400),
        (json!({ "nonce": "abcd12+/" }), 400),
        (json!({ "ts": now().to_string() }), 400),
        (json!({ "ts": now() * 1000 }), 400),
        (json!({ "version": "8" }), 400),
        (json!({ "version": 6 }), 400),
        (json!({ "phoneNumber": "8613123456789" }), 400),
        (json!({ "phoneNumber": 8_613_123_456_789_i64 }), 400),
        (json!({ "os": 5 }), 400),
        (json!({ "model": 5 }), 400),
        (json!({ "ts": now() - 660 }), 406),
        (json!({ "ts": now() + 660 }), 406),
        (json!({ "ts": 1_558_004_249 }), 406),
    ] {
        let answer = ewelink.login(current(changes.clone())).await;
        assert_answer(&changes.to_string(), &answer, 200, &error(code));
    }
    let good = current(json!({ "nonce": "good0001", "ts": now() - 540 }));
    assert_eq!(ewelink.login(good).await.body["region"], "cn", "nine minutes off is current");
}

#[tokio::test]
async fn strict_accepts_a_nonce_once() {
    let server = Server::dev();
    let made = server.operate(&["app", "create", "--name", "strict", "--profile", "strict"]);
    let appid = made["appid"].as_str().unwrap();
    let mut ewelink = Ewelink::new(&server);
    ewelink.secret = made["secret"].as_str().unwrap().into();
    let call = |changes: Value| {
        let mut all = json!({ "appid": appid, "ts": now(), "nonce": "abcd1234" });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Ewelink::body_with(&all).to_string()
    };
    // A request that has not reached the password check can be sent again: 301 sends the very same bytes elsewhere.
    let elsewhere = call(json!({}));
    let abroad = ewelink.clone().at_host("eu-api.coolkit.cc");
    assert_answer("abroad", &abroad.send(elsewhere.clone()).await, 200, &json!({ "error": 301, "region": "cn" }));
    assert_eq!(ewelink.send(elsewhere.clone()).await.body["region"], "cn");
    assert_answer("again", &ewelink.send(elsewhere).await, 200, &error(406));

    let wrong = call(json!({ "nonce": "wrong001", "password": "wrong password" }));
    assert_answer("wrong password", &ewelink.send(wrong.clone()).await, 200, &error(401));
    assert_answer("the same again", &ewelink.send(wrong).await, 200, &error(406));

    // Of many at once, one gets through; and the replay is remembered over a restart.
    let raced = call(json!({ "nonce": "raced001" }));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (ewelink, raced) = (ewelink.clone(), raced.clone());
        tasks.spawn(async move { ewelink.send(raced).await.body["error"].clone() });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|error| error.is_null()).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|error| **error == 406).count(), 19, "{answers:?}");
    let restarted = Server::dev_in(server.stop(), &[]);
    let mut ewelink = Ewelink::new(&restarted);
    ewelink.secret = made["secret"].as_str().unwrap().into();
    assert_answer("after a restart", &ewelink.send(raced).await, 200, &error(406));
}

#[tokio::test]
async fn one_session_for_each_application() {
    let server = Server::dev();
    let made = server.operate(&["app", "create", "--name", "second"]);
    let first = Ewelink::new(&server);
    let mut second = first.clone();
    second.secret = made["secret"].as_str().unwrap().into();
    first.login(json!({})).await;
    let old = server.operate(&["session", "list"])[0]["id"].clone();
    first.login(json!({})).await;
    second.login(json!({ "appid": made["appid"] })).await;
    let sessions = server.operate(&["session", "list", "--account", "+8613123456789"]);
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), 2, "one at each application: {sessions:?}");
    assert!(sessions.iter().all(|session| session["id"] != old), "the first login's session has ended");

    let time = |session: &Value, name: &str| -> i64 {
        let text = session[name].as_str().unwrap();
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    };
    for session in sessions {
        let (begun, day) = (time(session, "created_at"), 86_400_000);
        assert_eq!(time(session, "access_expires_at") - begun, 30 * day);
        assert_eq!(time(session, "refresh_expires_at") - begun, 60 * day);
    }
}
