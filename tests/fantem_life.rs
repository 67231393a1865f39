//! Everything around a login in the Fantem dialect: each request with each code that is documented, in `docs/dialects/fantem.md`.

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::calls::{CUBE, TOUCH, md5};
use crate::support::documents::{assert_routes, assert_seen, codes_of};
use crate::support::panel::Panel;
use crate::support::{Ewelink, Server};

const PASSWORD: &str = "correct horse battery";
const OTHER_PASSWORD: &str = "another horse battery";

/// Mail and SMS that fail at once: nobody listens there.
const UNREACHABLE: [(&str, &str); 5] = [
    ("HEARTHGATE_MAIL__HOST", "127.0.0.1"),
    ("HEARTHGATE_MAIL__PORT", "1"),
    ("HEARTHGATE_MAIL__TLS", "none"),
    ("HEARTHGATE_MAIL__FROM", "id@example.com"),
    ("HEARTHGATE_SMS__URL", "http://127.0.0.1:1/"),
];

#[test]
fn every_route_is_documented() {
    let routes: Vec<_> = fantem::routes().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    assert_routes(&routes, &codes_of("fantem.md"));
}

#[tokio::test]
async fn every_request_and_code() {
    let server = Server::dev();
    let panel = Panel::new(&server);
    registering_devices(&panel).await;
    registering_cubes(&panel).await;
    registering_with_a_link(&server, &panel).await;
    registering_with_a_code(&server, &panel).await;
    resetting(&server, &panel).await;
    logging_in(&server, &panel).await;
    sessions(&server, &panel).await;
    binding(&server, &panel).await;
    old_binding(&server, &panel).await;
    everything_else(&panel).await;
    forced_rebinding(&panel).await;
    nothing_can_be_sent(&panel).await;
    assert_seen(&panel.seen(), &codes_of("fantem.md"));
}

/// A registration of a phone.
fn phone(sn: &str) -> Value {
    json!({
        "sn": sn, "wifiMac": format!("{sn}-w"), "bluetoothMac": format!("{sn}-b"), "uuid": "u", "type": "android_phone", "manufacturer": "m",
        "model": "m", "systemType": "android", "systemVersion": "14", "applicationVersion": "V2.0",
    })
}

/// A registration of a cube.
fn cube(sn: &str) -> Value {
    with(
        &phone(sn),
        &json!({
            "type": "oomi_cube", "systemType": "linux", "ptopUid": format!("{sn}-p"), "randomCode": format!("{sn}-r"),
            "additional": { "zwaveVersion": "1", "irVersion": "2", "stm8Version": "3" },
        }),
    )
}

fn with(body: &Value, changes: &Value) -> Value {
    let mut body = body.clone();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn enrol(panel: &Panel, report: &Value) -> String {
    let reply = panel.json("/client/register", report).await;
    let data = reply.text(json!({ "guid": "<HEX 32>", "field1": "", "field2": "", "field3": "" }));
    data["guid"].as_str().unwrap().to_owned()
}

async fn registering_devices(panel: &Panel) {
    let register = async |changes: Value| panel.json("/client/register", &with(&phone("phone-1"), &changes)).await;
    let guid = enrol(panel, &phone("phone-1")).await;
    assert_eq!(enrol(panel, &with(&phone("phone-1"), &json!({ "guid": guid }))).await, guid, "the same device");
    assert_ne!(enrol(panel, &phone("phone-1")).await, guid, "a new device in its place");
    register(json!({ "guid": guid })).await.fails_in_text(1000);
    register(json!({ "guid": "x" })).await.fails_in_text(1000);
    for (field, too_long) in [("sn", 65), ("wifiMac", 33), ("bluetoothMac", 33)] {
        register(json!({ field: null })).await.fails_in_text(3);
        register(json!({ field: "" })).await.fails_in_text(3);
        register(json!({ field: "x".repeat(too_long) })).await.fails_in_text(3);
    }
    for field in ["uuid", "type", "manufacturer", "model", "systemType", "systemVersion", "applicationVersion"] {
        register(json!({ field: null })).await.fails_in_text(1001);
        register(json!({ field: "x".repeat(256) })).await.fails_in_text(1001);
    }
    register(json!({ "systemType": "amiga" })).await.fails_in_text(1001);
    register(json!({ "imei": ["x"] })).await.fails_in_text(1001);
    panel.form("/client/register", &[("sn", "x")]).await.fails_in_text(3);

    let guid = enrol(panel, &phone("phone-2")).await;
    let info = json!({ "guid": guid, "ptopUid": null, "ptopConnectMethod": null, "type": "android_phone" });
    panel.json("/client/get/info", &json!({ "guid": guid })).await.text(info);
    let name = async |body: Value| panel.json("/client/name", &body).await;
    name(json!({ "guid": guid, "name": "Anna's" })).await.text(json!(null));
    name(json!({ "guid": guid })).await.fails_in_text(1002);
    name(json!({ "name": "x" })).await.fails_in_text(1002);
    name(json!({ "guid": "x", "name": "x" })).await.fails_in_text(1001);
    name(json!({ "guid": guid, "name": "x".repeat(256) })).await.fails_in_text(1001);
    name(json!({ "guid": "F".repeat(32), "name": "x" })).await.fails_in_text(2020);
    panel.json("/client/heart", &json!({ "guid": guid, "dat": "x" })).await.text(json!(null));
    panel.json("/client/heart", &json!({})).await.fails_in_text(3);
}

async fn registering_cubes(panel: &Panel) {
    let guid = enrol(panel, &cube("cube-1")).await;
    let again = with(&cube("cube-1"), &json!({ "applicationVersion": "V3", "wifiMac": "CUBE-1-W" }));
    assert_eq!(enrol(panel, &again).await, guid, "the same five are the same cube");
    assert_eq!(enrol(panel, &with(&again, &json!({ "guid": guid }))).await, guid);
    for part in ["sn", "ptopUid", "wifiMac", "bluetoothMac", "randomCode"] {
        let other = with(&cube("cube-1"), &json!({ part: "other" }));
        panel.json("/client/register", &other).await.fails_in_text(162);
        panel.json("/client/register", &with(&other, &json!({ "guid": guid }))).await.fails_in_text(1000);
        panel.json("/client/register", &with(&cube("cube-1"), &json!({ part: null }))).await.fails_in_text(3);
    }
    for sn in ["cube-2", "cube-3"] {
        enrol(panel, &with(&cube(sn), &json!({ "randomCode": "RD000000" }))).await;
    }
    // The factory's default is a code like any other for the cube that has it, and keeps nobody else out.
    let default = with(&cube("cube-4"), &json!({ "randomCode": "RD000000" }));
    let guid_of_default = enrol(panel, &default).await;
    panel.json("/client/register", &with(&default, &json!({ "randomCode": "RD123" }))).await.fails_in_text(162);
    assert_eq!(enrol(panel, &default).await, guid_of_default);
    let hub = with(&cube("hub-1"), &json!({ "type": "oomi_hub", "ptopUid": null, "randomCode": null, "guid": null }));
    assert_eq!(enrol(panel, &hub).await, enrol(panel, &hub).await);

    let old = [("sn", "old-cube"), ("uuid", "old-uuid"), ("p2pUid", "old-p2p")];
    let register = async |form: &[(&str, &str)]| panel.form("/cube/register", form).await;
    register(&old).await.text(json!(null));
    register(&old).await.fails_in_text(182);
    register(&[old[0], old[1], ("p2pUid", "other")]).await.fails_in_text(2);
    register(&[("sn", "other"), old[1], old[2]]).await.fails_in_text(2);
    register(&old[..2]).await.fails_in_text(3);
    let update = async |form: &[(&str, &str)]| panel.form("/cube/updateInfo", form).await;
    update(&[old[0], old[1], ("name", "Kitchen")]).await.text(json!(null));
    update(&[old[0], ("uuid", "other"), ("name", "x")]).await.fails_in_text(181);
    update(&[("sn", "none"), old[1], ("name", "x")]).await.fails_in_text(181);
    update(&[old[0], old[1]]).await.fails_in_text(3);

    let status = async |changes: Value| {
        let body = with(&json!({ "guid": guid, "ptopConnectMethod": "v2", "bound": "true", "reset": "" }), &changes);
        panel.json("/client/update/status", &body).await
    };
    status(json!({})).await.number(json!(null));
    let info = json!({ "guid": guid, "ptopUid": "cube-1-p", "ptopConnectMethod": "v2", "type": "oomi_cube" });
    panel.json("/client/get/info", &json!({ "guid": guid })).await.text(info);
    panel.json("/client/get/info", &json!({ "guid": "x" })).await.fails_in_text(160);
    panel.json("/client/get/info", &json!({})).await.fails_in_text(160);
    for (field, wrong) in [("ptopConnectMethod", "v3"), ("bound", "yes"), ("reset", "now")] {
        status(json!({ field: wrong })).await.fails(3);
    }
    for field in ["guid", "ptopConnectMethod", "bound"] {
        status(json!({ field: null })).await.is(400, &json!({ "code": 3, "note": "<text>", "data": null }));
    }
    status(json!({ "guid": "F".repeat(32) })).await.fails(160);
}

async fn registering_with_a_link(server: &Server, panel: &Panel) {
    let password = md5(PASSWORD);
    let form = [
        ("username", "anna"),
        ("email", "Anna@example.com"),
        ("password", password.as_str()),
        ("rePassword", password.as_str()),
        ("language", "en"),
    ];
    let register = async |changes: &[(&str, &str)]| {
        let mut parameters = form.to_vec();
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name, value));
        }
        panel.form("/accounts", &parameters).await
    };
    for field in ["username", "email", "password", "rePassword"] {
        register(&[(field, "")]).await.fails(3);
    }
    register(&[("password", "123456")]).await.fails(3);
    register(&[("email", "anna")]).await.fails(104);
    register(&[("email", "@@")]).await.fails(104);
    let other = md5("x");
    register(&[("rePassword", &other)]).await.fails(108);
    register(&[("username", "123456")]).await.fails(4);
    register(&[("language", "de")]).await.fails(4);
    register(&[("displayName", &"x".repeat(256))]).await.fails(4);
    register(&[("username", "apilogin")]).await.fails(112);
    register(&[("email", "apilogin@example.com")]).await.fails(101);

    let number = register(&[]).await.number(json!({ "accountId": "<number>" }));
    register(&[("username", "anna2")]).await.fails(102);
    let panel_of = |sn: &'static str| [("uuid", sn), ("username", "anna"), ("password", password.as_str())];
    panel.form("/accounts/login", &[&panel_of(TOUCH)[..], &[("cubeSn", CUBE)]].concat()).await.fails(102);

    // Again, in the other language.
    let resend = async |body: Value| panel.json("/accounts/resendEmail", &body).await;
    let first = server.link_for("anna@example.com");
    let answer = json!({ "email": "anna@example.com", "language": "zh_CN" });
    resend(json!({ "username": "anna", "language": "zh_CN" })).await.text(answer);
    resend(json!({})).await.fails_in_text(3);
    resend(json!({ "username": "nobody" })).await.fails_in_text(106);
    resend(json!({ "username": "anna", "language": "de" })).await.fails_in_text(4);
    resend(json!({ "username": "+8613123456789" })).await.fails_in_text(4023);
    resend(json!({ "username": "apilogin" })).await.fails_in_text(4);
    resend(json!({ "username": "anna" })).await.text(json!({ "email": "anna@example.com", "language": null }));
    resend(json!({ "username": "anna" })).await.fails_in_text(6012);

    let open = async |link: &str| {
        let response = crate::support::client().get(link).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    };
    assert!(open(&first).await.contains("The link does not work"), "a newer one has replaced it");
    let link = server.link_for("anna@example.com");
    assert!(link.starts_with(&format!("{}/user/verify?email=anna%40example%2Ecom&code=", server.http)), "{link}");
    assert!(open(&link.replace("anna", "ben")).await.contains("The link does not work"));
    assert!(open(&link).await.contains("Account activated"));
    assert!(open(&link).await.contains("Already activated"));
    register(&[]).await.fails(101);
    register(&[("username", "anna2")]).await.fails(101);
    register(&[("email", "other@example.com")]).await.fails(112);
    assert_eq!(server.operate(&["account", "show", "anna"])["account"], number["accountId"]);

    // Not activated in time: the link has expired, and the address is free again.
    register(&[("username", "late"), ("email", "late@example.com")]).await.number(json!({ "accountId": "<number>" }));
    let late = server.link_for("late@example.com");
    server.change_database("UPDATE accounts SET activation_deadline = 1 WHERE user_name = 'late'").await;
    server.change_database("UPDATE links SET expires_at = 1 WHERE used = 0").await;
    assert!(open(&late).await.contains("The link has expired"));
    resend(json!({ "username": "late" })).await.fails_in_text(106);
    panel
        .form("/accounts/login", &[("uuid", TOUCH), ("username", "late"), ("password", &password), ("cubeSn", CUBE)])
        .await
        .fails(113);
    register(&[("username", "late"), ("email", "late@example.com")]).await.number(json!({ "accountId": "<number>" }));
    assert!(open(&late).await.contains("The link does not work"));
}

/// A body of a call that names a phone number.
fn by_phone(number: &str, changes: &Value) -> Value {
    with(&json!({ "phone": number, "countryCode": "+86" }), changes)
}

/// Every way in which a phone number can be wrong.
async fn wrong_phones(panel: &Panel, path: &str, body: &Value) {
    panel.json(path, &with(body, &json!({ "phone": null }))).await.fails_in_text(3);
    panel.json(path, &with(body, &json!({ "phone": "1".repeat(16) }))).await.fails_in_text(4);
    panel.json(path, &with(body, &json!({ "phone": "1".repeat(5) }))).await.fails_in_text(4);
    panel.json(path, &with(body, &json!({ "phone": "1312345678a" }))).await.fails_in_text(4);
    panel.json(path, &with(body, &json!({ "countryCode": null }))).await.fails_in_text(8004);
    panel.json(path, &with(body, &json!({ "countryCode": "86" }))).await.fails_in_text(8005);
}

async fn registering_with_a_code(server: &Server, panel: &Panel) {
    let sms = async |number: &str, changes: Value| panel.json("/sms/code", &by_phone(number, &changes)).await;
    wrong_phones(panel, "/sms/code", &by_phone("13100000001", &json!({ "status": 1 }))).await;
    sms("13100000001", json!({ "status": 2 })).await.fails_in_text(4);
    sms("13123456789", json!({ "status": 1 })).await.fails_in_text(4051);
    sms("13100000001", json!({})).await.fails_in_text(4055);
    sms("13100000001", json!({ "status": 1 })).await.text(json!(null));
    sms("13100000001", json!({ "status": "1" })).await.fails_in_text(8000);
    let code = server.code_for("+8613100000001");
    let message = server.messages_to("+8613100000001");
    assert!(message[0]["text"].as_str().unwrap().contains("用于注册账号，10 分钟内有效"), "{message:?}");

    let validate =
        async |code: &str| panel.json("/accounts/validatePhoneCode", &by_phone("13100000001", &json!({ "code": code }))).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    wrong_phones(panel, "/accounts/validatePhoneCode", &by_phone("13100000001", &json!({ "code": code }))).await;
    validate("").await.fails_in_text(3);
    validate("12345").await.fails_in_text(4);
    validate(wrong).await.fails_in_text(8001);
    for _ in 0..10 {
        validate(&code).await.text(json!(null));
    }
    panel.json("/accounts/validatePhoneCode", &by_phone("13123456789", &json!({ "code": code }))).await.fails_in_text(4051);

    let password = md5(PASSWORD);
    let body = json!({ "code": code, "password": password, "confirmPassword": password });
    let register = async |number: &str, changes: Value| {
        panel.json("/accounts/registerByPhone", &by_phone(number, &with(&body, &changes))).await
    };
    wrong_phones(panel, "/accounts/registerByPhone", &by_phone("13100000001", &body)).await;
    register("13100000001", json!({ "code": "1" })).await.fails_in_text(4);
    register("13100000001", json!({ "password": null })).await.fails_in_text(3);
    register("13100000001", json!({ "password": PASSWORD })).await.fails_in_text(3);
    register("13100000001", json!({ "phone": null, "password": md5("x") })).await.fails_in_text(3);
    register("13100000001", json!({ "password": md5("x") })).await.fails_in_text(4050);
    let common = md5("123456");
    register("13100000001", json!({ "password": common, "confirmPassword": common })).await.fails_in_text(4);
    register("13123456789", json!({})).await.fails_in_text(4051);
    register("13100000001", json!({ "code": wrong })).await.fails_in_text(8001);
    server.change_database("UPDATE codes SET expires_at = expires_at - 600000").await;
    register("13100000001", json!({})).await.fails_in_text(8003);
    validate(&code).await.fails_in_text(8003);
    server.change_database("UPDATE codes SET expires_at = expires_at + 600000").await;
    register("13100000001", json!({})).await.text(json!({ "accountId": "<number>" }));
    register("13100000001", json!({})).await.fails_in_text(4051);
    validate(&code).await.fails_in_text(4051);
    // Whoever registers the number again needs a code of their own.
    server.change_database("DELETE FROM accounts WHERE phone = '+8613100000001'").await;
    register("13100000001", json!({})).await.fails_in_text(8002);
    validate(&code).await.fails_in_text(8001);

    let mail = async |body: Value| panel.json("/email/code", &body).await;
    mail(json!({ "status": 1 })).await.fails(3);
    mail(json!({ "email": "ben", "status": 1 })).await.fails(4);
    mail(json!({ "email": "ben@example.com", "status": 7 })).await.fails(4);
    mail(json!({ "email": "ben@example.com", "language": "de", "status": 1 })).await.fails(4);
    mail(json!({ "email": "apilogin@example.com", "status": 1 })).await.fails(4053);
    mail(json!({ "email": "ben@example.com" })).await.fails(4023);
    server.change_database("UPDATE accounts SET activation_deadline = 1 WHERE user_name = 'late'").await;
    mail(json!({ "email": "late@example.com" })).await.fails(113);
    let answer = json!({ "email": "ben@example.com", "language": "zh_CN" });
    mail(json!({ "email": "Ben@example.com", "language": "zh_CN", "status": 1 })).await.number(answer.clone());
    let older = server.code_for("ben@example.com");
    for _ in 0..2 {
        mail(json!({ "email": "Ben@example.com", "language": "zh_CN", "status": 1 })).await.number(answer.clone());
    }
    mail(json!({ "email": "ben@example.com", "status": 1 })).await.fails(6012);
    let code = server.code_for("ben@example.com");
    assert_eq!(server.messages_to("ben@example.com")[2]["subject"], format!("Hearthgate 验证码：{code}"));

    let body = json!({ "email": "ben@example.com", "code": code, "password": password, "confirmPassword": password });
    let register = async |changes: Value| panel.json("/accounts/registerByEmail", &with(&body, &changes)).await;
    register(json!({ "email": null })).await.fails_in_text(3);
    register(json!({ "email": "ben" })).await.fails_in_text(4);
    register(json!({ "code": "1234567" })).await.fails_in_text(4);
    register(json!({ "confirmPassword": md5("x") })).await.fails_in_text(4050);
    register(json!({ "email": "apilogin@example.com" })).await.fails_in_text(101);
    if older != code {
        register(json!({ "code": older })).await.fails_in_text(6013);
    }
    register(json!({ "email": "carl@example.com" })).await.fails_in_text(6013);
    server.change_database("UPDATE codes SET expires_at = expires_at - 86400000").await;
    register(json!({})).await.fails_in_text(6015);
    server.change_database("UPDATE codes SET expires_at = expires_at + 86400000").await;
    register(json!({})).await.text(json!({ "accountId": "<number>" }));
    server.change_database("DELETE FROM accounts WHERE email = 'ben@example.com'").await;
    register(json!({})).await.fails_in_text(6014);
}

async fn resetting(server: &Server, panel: &Panel) {
    server.create_account(&["--phone", "+8613100000002", "--email", "dora@example.com"], PASSWORD);
    let password = md5(OTHER_PASSWORD);
    let body = json!({ "code": "000000", "password": password, "confirmPassword": password });
    for (path, address, wrong_address, unknown) in [
        (
            "/accounts/resetPasswordByPhone",
            json!({ "phone": "13100000002", "countryCode": "+86" }),
            json!({ "phone": "13100000009" }),
            4055,
        ),
        (
            "/accounts/resetPasswordByEmail",
            json!({ "email": "dora@example.com" }),
            json!({ "email": "nobody@example.com" }),
            4023,
        ),
    ] {
        let body = with(&body, &address);
        let reset = async |changes: Value| panel.json(path, &with(&body, &changes)).await;
        reset(json!({ "code": null })).await.fails_in_text(3);
        reset(json!({ "code": "1" })).await.fails_in_text(4);
        reset(json!({ "password": md5("x") })).await.fails_in_text(4050);
        let common = md5("iloveyou");
        reset(json!({ "password": common, "confirmPassword": common })).await.fails_in_text(4);
        reset(wrong_address).await.fails_in_text(unknown);
        reset(json!({})).await.fails_in_text(8001);
        let to = if unknown == 4055 {
            wrong_phones(panel, path, &body).await;
            panel.json("/sms/code", &address).await.text(json!(null));
            "+8613100000002"
        } else {
            let answer = json!({ "email": "dora@example.com", "language": "en" });
            panel.json("/email/code", &with(&address, &json!({ "language": "en" }))).await.number(answer);
            "dora@example.com"
        };
        let code = server.code_for(to);
        server.change_database("UPDATE codes SET expires_at = expires_at - 86400000").await;
        reset(json!({ "code": code })).await.fails_in_text(8003);
        server.change_database("UPDATE codes SET expires_at = expires_at + 86400000").await;
        server.operate(&["account", "disable", to]);
        reset(json!({ "code": code })).await.fails_in_text(2);
        server.operate(&["account", "enable", to]);
        reset(json!({ "code": code })).await.text(json!(null));
        reset(json!({ "code": code })).await.fails_in_text(8002);
    }

    let forget = async |form: &[(&str, &str)]| panel.get("/accounts/forgetPw", form).await;
    forget(&[("email", "dora@example.com"), ("language", "zh_CN")]).await.number(json!(null));
    let link = server.link_for("dora@example.com");
    let token = link.rsplit_once("code=").unwrap().1;
    assert_eq!(token.len(), 64, "256 bits");
    forget(&[("language", "en")]).await.fails(3);
    forget(&[("email", "nobody@example.com")]).await.fails(106);
    server.create_account(&["--email", "pending@example.com", "--activation", "pending"], PASSWORD);
    forget(&[("email", "pending@example.com")]).await.fails(101);
    let update = async |email: &str, code: &str| {
        panel.form("/accounts/updatepw", &[("email", email), ("password", &password), ("code", code)]).await
    };
    let says = |text: &str| json!({ "str": text });
    update("dora@example.com", "").await.is(200, &says("4"));
    let twice = [("email", "dora@example.com"), ("email", "dora@example.com")];
    panel.form("/accounts/updatepw", &twice).await.is(200, &says("4"));
    server.operate(&["account", "disable", "dora@example.com"]);
    update("dora@example.com", token).await.is(200, &says("4"));
    forget(&[("email", "dora@example.com")]).await.fails(2);
    server.operate(&["account", "enable", "dora@example.com"]);
    update("dora@example.com", &"0".repeat(64)).await.is(200, &says("4"));
    update("apilogin@example.com", token).await.is(200, &says("4"));
    update("nobody@example.com", token).await.is(200, &says("2"));
    update("dora@example.com", token).await.is(200, &says("1"));
    update("dora@example.com", token).await.is(200, &says("4"));
    let news = server.messages_to("dora@example.com");
    let news = news.iter().filter(|message| message["subject"] == "Your Hearthgate password was changed").count();
    assert!((1..=3).contains(&news), "told of it; a newer message takes the place of one that still waits: {news}");
}

async fn logging_in(server: &Server, panel: &Panel) {
    let guid = enrol(panel, &phone("phone-3")).await;
    server.create_account(&["--username", "erik", "--phone", "+8613100000003"], PASSWORD);
    let body = json!({ "username": "erik", "password": md5(PASSWORD) });
    let own = panel.with_cookies(&[("guid", &guid)]);
    let login = async |changes: Value| own.json("/v2/accounts/login", &with(&body, &changes)).await;
    let data = json!({
        "accountAccessToken": "<hex 32>", "accessTokenExpireTime": "<number>", "accountRefreshToken": "<hex 32>",
        "refreshTokenExpireTime": "<number>", "accountId": "<number>", "username": "erik", "displayName": null, "email": null,
        "emailStatus": null, "phone": "13100000003", "phoneStatus": 2, "birthday": null, "address": null, "registerTime": "<number>",
        "country": null, "creditCard": null,
    });
    let answer = login(json!({})).await.text(data.clone());
    let hours = |name: &str| answer[name].as_i64().unwrap() / 3_600_000;
    assert_eq!(hours("refreshTokenExpireTime") - hours("accessTokenExpireTime"), 30 * 24 - 2);
    login(json!({ "username": "13100000003" })).await.text(data.clone());
    login(json!({ "username": "13100000003", "countryCode": "+86" })).await.text(data);
    login(json!({ "username": null })).await.fails_in_text(3);
    login(json!({ "password": "x" })).await.fails_in_text(3);
    login(json!({ "countryCode": "86" })).await.fails_in_text(8005);
    panel.json("/v2/accounts/login", &body).await.fails_in_text(160);
    panel.with_cookies(&[("guid", &"F".repeat(32))]).json("/v2/accounts/login", &body).await.fails_in_text(160);
    login(json!({ "username": "nobody" })).await.fails_in_text(106);
    login(json!({ "password": md5("x") })).await.fails_in_text(108);
    for (state, code) in [("pending", 102), ("lapsed", 113)] {
        server.create_account(&["--username", state, "--activation", state], PASSWORD);
        login(json!({ "username": state })).await.fails_in_text(code);
    }
    server.operate(&["account", "disable", "pending"]);
    login(json!({ "username": "pending" })).await.fails_in_text(2);

    // The old login has tests of its own; here for the table.
    let old = async |changes: &[(&str, &str)]| {
        let password = md5(PASSWORD);
        let mut form = vec![("username", "erik"), ("uuid", "phone-3"), ("password", password.as_str())];
        for (name, value) in changes {
            form.retain(|(known, _)| known != name);
            form.push((name, value));
        }
        panel.form("/accounts/login", &form).await
    };
    server.operate(&["cube", "register", "demanding", "--min-version", "V9"]);
    old(&[("password", "x")]).await.fails(3);
    old(&[("countryCode", "x")]).await.fails(8005);
    old(&[("username", "123456")]).await.fails(8004);
    old(&[("uuid", "x")]).await.fails(151);
    old(&[("cubeSn", "x")]).await.fails(181);
    old(&[("username", "nobody")]).await.fails(106);
    old(&[("password", &md5("x"))]).await.fails(108);
    old(&[("username", "pending")]).await.fails(2);
    old(&[]).await.fails(114);
    old(&[("cubeSn", "demanding")]).await.fails(170);
    let reply = old(&[("cubeSn", "cube-2")]).await;
    assert_eq!(reply.answer.body["code"], 1);
}

/// Logs in from a phone, and returns account, access and refresh token.
async fn log_in(panel: &Panel, guid: &str, user_name: &str) -> (String, String, String) {
    let body = json!({ "username": user_name, "password": md5(PASSWORD) });
    let answer = panel.with_cookies(&[("guid", guid)]).json("/v2/accounts/login", &body).await.answer;
    let token = |name: &str| answer.text(&format!("/data/{name}"));
    (answer.body["data"]["accountId"].to_string(), token("accountAccessToken"), token("accountRefreshToken"))
}

async fn sessions(server: &Server, panel: &Panel) {
    server.create_account(&["--username", "fred"], PASSWORD);
    let guid = enrol(panel, &phone("phone-4")).await;
    let (account, access, refresh) = log_in(panel, &guid, "fred").await;
    let heart = async |token: &str, uuid: &str| {
        panel.get("/accounts/heart", &[("accountId", &account), ("accountToken", token), ("uuid", uuid)]).await
    };
    heart(&access, "phone-4").await.fails_in_text(114);
    server.operate(&["cube", "register", "freds"]);
    server.operate(&["cube", "bind", "freds", "fred"]);
    heart(&access, "phone-4").await.text(json!(null));
    heart(&access, "phone-3").await.fails_in_text(2001);
    heart(&access, "none").await.fails_in_text(181);
    heart("", "phone-4").await.fails_in_text(3);

    let flush = async |account: &str, uuid: &str, token: &str| {
        let form = [("accountId", account), ("uuid", uuid), ("flushToken", token)];
        panel.form("/accounts/flushToken", &form).await
    };
    let fields = json!({
        "accountToken": "<hex 32>", "flushToken": "<hex 32>", "accessTokenExpireTime": "<number>", "refreshTokenExpireTime": "<number>",
    });
    flush("x", "phone-4", &refresh).await.fails(3);
    flush(&account, "none", &refresh).await.fails(151);
    flush(&account, "phone-3", &refresh).await.fails(2001);
    flush("1", "phone-4", &refresh).await.fails(2001);
    let first = flush(&account, "phone-4", &refresh).await.number(fields.clone());
    heart(&access, "phone-4").await.fails_in_text(2001);
    let new = first["accountToken"].as_str().unwrap();
    let second = flush(&account, "phone-4", first["flushToken"].as_str().unwrap()).await.number(fields.clone());
    heart(new, "phone-4").await.fails_in_text(2001);
    let new = second["accountToken"].as_str().unwrap();
    heart(new, "phone-4").await.text(json!(null));
    flush(&account, "phone-4", &refresh).await.fails(2001);
    heart(new, "phone-4").await.fails_in_text(2001);
    flush(&account, "phone-4", second["flushToken"].as_str().unwrap()).await.fails(2001);
    let (_, _, refresh) = log_in(panel, &guid, "fred").await;
    let in_query = [("accountId", account.as_str()), ("uuid", "phone-4"), ("flushToken", &refresh)];
    panel.form_in_query("/accounts/flushToken", &in_query).await.number(fields);

    let logout = async |account: &str, uuid: &str, token: &str| {
        panel.form("/accounts/logout", &[("accountId", account), ("uuid", uuid), ("accountToken", token)]).await
    };
    let (account, access, _) = log_in(panel, &guid, "fred").await;
    logout(&account, "none", &access).await.fails(151);
    logout("x", "phone-4", &access).await.fails(3);
    logout(&account, "phone-4", "").await.fails(3);
    logout(&account, "phone-3", &access).await.number(json!(null));
    heart(&access, "phone-4").await.text(json!(null));
    logout(&account, "phone-4", &format!("{access}\n")).await.number(json!(null));
    heart(&access, "phone-4").await.fails_in_text(2001);
    logout(&account, "phone-4", &access).await.number(json!(null));
    let (_, access, _) = log_in(panel, &guid, "fred").await;
    panel.with_cookies(&[("guid", &guid), ("aat", &access)]).form("/accounts/logout", &[]).await.number(json!(null));
    heart(&access, "phone-4").await.fails_in_text(2001);

    // A device that registers anew is another one.
    let (_, access, _) = log_in(panel, &guid, "fred").await;
    heart(&access, "phone-4").await.text(json!(null));
    enrol(panel, &with(&phone("phone-4"), &json!({ "guid": guid }))).await;
    heart(&access, "phone-4").await.text(json!(null));
    enrol(panel, &phone("phone-4")).await;
    heart(&access, "phone-4").await.fails_in_text(2001);
}

async fn binding(server: &Server, panel: &Panel) {
    server.create_account(&["--username", "gina"], PASSWORD);
    let (phone_guid, cube_guid) = (enrol(panel, &phone("phone-5")).await, enrol(panel, &cube("cube-5")).await);
    let (account, access, _) = log_in(panel, &phone_guid, "gina").await;
    let own = panel.with_cookies(&[("guid", &phone_guid), ("aat", &access)]);
    let body = json!({ "guid": cube_guid, "accountId": account });
    let home = async || own.json("/v2/home/gateway", &json!({})).await;
    home().await.fails_in_text(114);
    for path in ["/accounts/bindGateway", "/accounts/unbindGateway"] {
        let call = async |changes: Value| own.json(path, &with(&body, &changes)).await;
        call(json!({ "guid": null })).await.fails_in_text(1002);
        call(json!({ "accountId": "x" })).await.fails_in_text(1001);
        panel.json(path, &body).await.fails_in_text(2000);
        panel.with_cookies(&[("aat", &"0".repeat(32))]).json(path, &body).await.fails_in_text(2001);
        call(json!({ "accountId": 1 })).await.fails_in_text(2022);
        call(json!({ "accountId": 99999 })).await.fails_in_text(106);
        call(json!({ "guid": "F".repeat(32) })).await.fails_in_text(2020);
        let a_phone = call(json!({ "guid": phone_guid })).await;
        a_phone.fails_in_text(if path == "/accounts/bindGateway" { 1311 } else { 2020 });
        let app = Ewelink::new(server).login(json!({})).await.text("/at");
        panel.with_cookies(&[("aat", &app)]).json(path, &body).await.fails_in_text(2001);
    }
    server.change_database(&format!("UPDATE accounts SET activation_deadline = 9999999999999 WHERE number = {account}")).await;
    own.json("/accounts/bindGateway", &body).await.fails_in_text(2010);
    server.change_database(&format!("UPDATE accounts SET activation_deadline = NULL WHERE number = {account}")).await;
    own.json("/accounts/bindGateway", &body).await.text(json!(null));
    own.json("/accounts/bindGateway", &body).await.fails_in_text(4061);
    home().await.text(json!([{ "guid": cube_guid }]));
    own.with_cookies(&[("aat", &access)]).json("/v2/home/gateway", &json!({})).await.fails_in_text(160);
    own.with_cookies(&[("guid", &phone_guid)]).json("/v2/home/gateway", &json!({})).await.fails_in_text(1002);
    own.with_cookies(&[("guid", &phone_guid), ("aat", "x")]).json("/v2/home/gateway", &json!({})).await.fails_in_text(1001);

    let list =
        async |panel: &Panel, account: &str| panel.json("/client/accountGatewayList", &json!({ "accountId": account })).await;
    let gateway = json!({
        "guid": cube_guid, "name": null, "sn": "cube-5", "p2pUid": "cube-5-p", "p2pConnectMethod": null, "type": 4,
    });
    list(&own, &account).await.text(json!({ "gateway": [gateway] }));
    list(&own, "").await.fails_in_text(3);
    list(&own, "1").await.fails_in_text(2022);
    list(panel, &account).await.fails_in_text(2000);
    list(&panel.with_cookies(&[("aat", "x")]), &account).await.fails_in_text(20001);

    // A hub is no cube.
    let hub_guid = enrol(panel, &with(&cube("a-hub"), &json!({ "type": "oomi_hub" }))).await;
    own.json("/accounts/bindGateway", &with(&body, &json!({ "guid": hub_guid }))).await.text(json!(null));
    home().await.text(json!([{ "guid": cube_guid }]));
    let listed = list(&own, &account).await.answer.body["data"]["gateway"].clone();
    let kinds: Vec<_> = listed.as_array().unwrap().iter().map(|gateway| gateway["type"].as_i64().unwrap()).collect();
    assert_eq!(kinds, [6, 4], "{listed}");
    panel.form("/cube/updateInfo", &[("sn", "a-hub"), ("uuid", "u"), ("name", "x")]).await.fails_in_text(181);
    let password = md5(PASSWORD);
    let old_login = [("username", "gina"), ("password", &password), ("uuid", "phone-5")];
    assert_eq!(panel.form("/accounts/login", &old_login).await.answer.body["code"], 1, "one cube and a hub");
    let (_, access, _) = log_in(panel, &phone_guid, "gina").await;
    let own = panel.with_cookies(&[("guid", &phone_guid), ("aat", &access)]);
    let home = async || own.json("/v2/home/gateway", &json!({})).await;

    server.operate(&["cube", "register", "apilogins"]);
    server.operate(&["cube", "bind", CUBE, "apilogin"]);
    let taken = server.operate(&["cube", "list", "--limit", "1000"]);
    let taken = taken.as_array().unwrap().iter().find(|cube| cube["sn"] == CUBE).unwrap()["guid"].clone();
    for path in ["/accounts/bindGateway", "/accounts/unbindGateway"] {
        own.json(path, &with(&body, &json!({ "guid": taken }))).await.fails_in_text(4059);
    }
    own.json("/accounts/unbindGateway", &body).await.text(json!(null));
    own.json("/accounts/unbindGateway", &body).await.text(json!(null));

    // A factory reset ends the binding.
    own.json("/accounts/bindGateway", &body).await.text(json!(null));
    let reset = json!({ "guid": cube_guid, "ptopConnectMethod": "v1", "bound": "false", "reset": "reset" });
    panel.json("/client/update/status", &reset).await.number(json!(null));
    home().await.fails_in_text(114);
    let trail = server.operate(&["audit", "list", "--account", &account, "--reason", "bound"]);
    let last: Vec<_> = trail.as_array().unwrap().iter().rev().map(|entry| &entry["what"]).collect();
    assert_eq!(last[..2], ["factory reset cube-5", "fantem /accounts/bindGateway cube-5"], "{trail}");
    let unbound = last.iter().filter(|what| **what == "fantem /accounts/unbindGateway cube-5").count();
    assert_eq!(unbound, 1, "what was free already was not unbound: {trail}");
}

async fn old_binding(server: &Server, panel: &Panel) {
    server.create_account(&["--username", "hans"], PASSWORD);
    let guid = enrol(panel, &phone("phone-6")).await;
    let (account, access, _) = log_in(panel, &guid, "hans").await;
    for sn in ["one", "two", "others"] {
        enrol(panel, &with(&cube(sn), &json!({ "uuid": "cube-uuid" }))).await;
    }
    server.operate(&["cube", "bind", "others", "apilogin"]);
    let call = async |path: &str, changes: &[(&str, &str)]| {
        let mut form = vec![
            ("sn", "one"),
            ("uuid", "cube-uuid"),
            ("accountId", account.as_str()),
            ("touchToken", access.as_str()),
            ("touchUuid", "phone-6"),
        ];
        for (name, value) in changes {
            form.retain(|(known, _)| known != name);
            form.push((name, value));
        }
        panel.form(path, &form).await
    };
    let bare = |code: u32| json!({ "code": code });
    let confirm = async |changes: &[(&str, &str)]| call("/cube/confirm", changes).await;
    confirm(&[("sn", "")]).await.is(200, &bare(8));
    confirm(&[("accountId", "x")]).await.is(200, &bare(8));
    confirm(&[("touchToken", "x")]).await.is(200, &bare(8));
    confirm(&[("touchUuid", "phone-5")]).await.is(200, &bare(8));
    confirm(&[("sn", "none")]).await.is(200, &bare(181));
    confirm(&[("uuid", "other")]).await.is(200, &bare(181));
    confirm(&[("accountId", "99999")]).await.is(200, &bare(106));
    confirm(&[("accountId", "99999"), ("touchToken", "x")]).await.is(200, &bare(8));
    confirm(&[("accountId", "1")]).await.is(200, &bare(8));
    panel.form("/cube/confirm", &[("sn", "a"), ("sn", "b")]).await.is(200, &bare(8));
    confirm(&[("sn", "others")]).await.is(200, &bare(2));
    server.change_database(&format!("UPDATE accounts SET activation_deadline = 9999999999999 WHERE number = {account}")).await;
    confirm(&[]).await.is(200, &bare(6));
    server.change_database(&format!("UPDATE accounts SET activation_deadline = NULL WHERE number = {account}")).await;
    let own = async |token: &str, uuid: &str| panel.get("/cube/confirm", &[("devToken", token), ("uuid", uuid)]).await;
    own(&access, "phone-6").await.is(200, &bare(114));
    confirm(&[]).await.is(200, &bare(1));
    confirm(&[]).await.is(200, &bare(5));
    confirm(&[("sn", "two")]).await.is(200, &bare(3));
    confirm(&[("sn", "others")]).await.is(200, &bare(4));
    own(&access, "phone-6").await.is(200, &json!({ "code": 1, "p2pUid": "one-p" }));
    own(&access, "phone-5").await.is(200, &bare(8));
    own("x", "phone-6").await.is(200, &bare(8));

    let remove = async |changes: &[(&str, &str)]| call("/cube/removeBind", changes).await;
    remove(&[("touchToken", "")]).await.is(200, &bare(3));
    remove(&[("touchToken", "x")]).await.is(200, &bare(3));
    remove(&[("accountId", "x")]).await.is(200, &bare(4));
    remove(&[("compelFlag", "yes")]).await.is(200, &bare(4));
    remove(&[("sn", "none")]).await.is(200, &bare(181));
    remove(&[("sn", "others")]).await.is(200, &bare(114));
    remove(&[]).await.is(200, &bare(1));
    remove(&[]).await.is(200, &bare(114));
}

async fn forced_rebinding(panel: &Panel) {
    let server = Server::dev_with(&[("HEARTHGATE_FANTEM__ALLOW_FORCED_REBIND", "true")]);
    let panel = panel.at(&server);
    server.create_account(&["--username", "ida"], PASSWORD);
    server.operate(&["cube", "bind", CUBE, "apilogin"]);
    let guid = enrol(&panel, &phone("phone-1")).await;
    let (account, access, _) = log_in(&panel, &guid, "ida").await;
    let take = async |token: &str| {
        let form = [
            ("sn", CUBE),
            ("uuid", "u"),
            ("newAccountId", account.as_str()),
            ("newTouchToken", token),
            ("newTouchUuid", "phone-1"),
            ("compelFlag", "yes"),
        ];
        panel.form("/cube/removeBind", &form).await
    };
    take("x").await.is(200, &json!({ "code": 3 }));
    take(&access).await.is(200, &json!({ "code": 1 }));
    assert_eq!(server.operate(&["cube", "list"])[0]["account"].to_string(), account);
    server.operate(&["cube", "unbind", CUBE]);
    take(&access).await.is(200, &json!({ "code": 114 }));
}

async fn everything_else(panel: &Panel) {
    panel.get("/cube/heart", &[]).await.text(json!(null));
    panel.get("/region/list", &[("a", "1"), ("a", "2")]).await.fails_in_text(3);
    // A body that is not one is malformed in the endpoint's own way.
    for (path, code) in [("/client/name", 1001), ("/accounts/bindGateway", 1001), ("/client/get/info", 160), ("/sms/code", 4)] {
        panel.body(path, "{").await.fails_in_text(code);
        panel.body(path, "{\"guid\":1,\"guid\":1}").await.fails_in_text(code);
    }
    panel.body("/client/name", "").await.fails_in_text(1002);
    panel.body("/client/update/status", "").await.is(400, &json!({ "code": 3, "note": "<text>", "data": null }));
    panel.form("/authen/cubes", &[]).await.text(json!(null));
    panel.form("/dev/cubes", &[]).await.text(json!(null));
    panel.get("/authen/apply", &[]).await.fails(3);
    let applied = panel.get("/authen/apply", &[("uuid", "x")]).await;
    let applied = applied.number(json!({ "data": "<text>", "algorithmId": 1, "secretKeyId": 0 }));
    assert_eq!(applied["data"].as_str().unwrap().len(), 16);
    panel.form("/authen/confirm", &[]).await.fails_in_text(3);
    panel.form("/authen/confirm", &[("uuid", "x")]).await.text(json!({
        "devToken": "<hex 32>", "expireTime": "<number>", "validPeriod": "2592000", "authorityLevel": "1", "authorityScope": "",
        "requestNumber": 1,
    }));
    let languages = panel.get("/region/languageCode", &[]).await.number(json!({
        "currentPage": 1, "totalPage": 1, "totalRecord": 2,
        "data": [{ "languageCode": "zh-CN", "name": "简体中文" }, { "languageCode": "en-US", "name": "English" }],
    }));
    for (language, china) in [(&languages["data"][0]["languageCode"], "中国"), (&languages["data"][1]["languageCode"], "China")]
    {
        let answer = panel.get("/region/list", &[("languageCode", language.as_str().unwrap())]).await.answer;
        assert_eq!((&answer.body["code"], &answer.body["note"]), (&json!("1"), &json!("操作成功")));
        let list = &answer.body["data"];
        let countries = list["data"].as_array().unwrap();
        assert!(countries.contains(&json!({ "name": china, "phoneCode": "+86" })), "{language}");
        assert_eq!(list["totalRecord"], countries.len());
        assert!(countries.len() > 200);
    }
}

/// Whoever only wants the head of an answer changes nothing: mail scanners look at links so.
#[tokio::test]
async fn a_head_changes_nothing() {
    let server = Server::dev();
    let (panel, client) = (Panel::new(&server), crate::support::client());
    let password = md5(PASSWORD);
    let form = [("username", "anna"), ("email", "anna@example.com"), ("password", &password), ("rePassword", &password)];
    panel.form("/accounts", &form).await.number(json!({ "accountId": "<number>" }));
    assert_eq!(client.head(server.link_for("anna@example.com")).send().await.unwrap().status(), 405);
    assert_eq!(server.operate(&["account", "show", "anna"])["activation"], "pending");
    let forget = format!("{}/accounts/forgetPw?email=apilogin@example.com", server.http);
    assert_eq!(client.head(forget).send().await.unwrap().status(), 405);
    assert_eq!(server.messages_to("apilogin@example.com").len(), 0);
    // A wrong method is refused in the form of the path's other answers.
    let wrong = client.get(format!("{}/v2/accounts/login", server.http)).send().await.unwrap();
    assert_eq!(wrong.status(), 405);
    assert_eq!(wrong.json::<Value>().await.unwrap()["code"], "2");
    let page = client.get(format!("{}/user/updateInfo", server.http)).header("accept-language", "zh-CN").send().await.unwrap();
    assert_eq!(page.status(), 405);
    assert!(page.text().await.unwrap().contains("操作失败"));
}

#[tokio::test]
async fn ping_and_version_are_plain_text() {
    let server = Server::dev();
    let get = async |path: &str| {
        let response = crate::support::client().get(format!("{}{path}", server.http)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/system/connection/ping?timeStamp=1558003722091").await, (200, "OK".into()));
    for wrong in ["/system/connection/ping", "/system/connection/ping?timeStamp=now", "/system/connection/ping?timeStamp="] {
        assert_eq!(get(wrong).await, (400, "FAIL".into()), "{wrong}");
    }
    assert_eq!(get("/system/version").await, (200, env!("CARGO_PKG_VERSION").into()));
}

/// Where nothing can be sent, a code is refused; an account is registered all the same.
async fn nothing_can_be_sent(panel: &Panel) {
    let server = Server::dev_with(&UNREACHABLE);
    let panel = panel.at(&server);
    let body = json!({ "email": "ben@example.com", "status": 1 });
    panel.json("/email/code", &body).await.fails(6012);
    panel.json("/sms/code", &by_phone("13100000001", &json!({ "status": 1 }))).await.fails_in_text(8000);
    let password = md5(PASSWORD);
    let form = [("username", "anna"), ("email", "anna@example.com"), ("password", &password), ("rePassword", &password)];
    panel.form("/accounts", &form).await.fails(6012);
    panel.form("/accounts", &form).await.fails(102);
    panel.json("/accounts/resendEmail", &json!({ "username": "anna" })).await.fails_in_text(6012);
    panel.get("/accounts/forgetPw", &[("email", "apilogin@example.com")]).await.fails(2);
    let waiting = server.operate(&["outbox", "list"]);
    let states: Vec<_> = waiting.as_array().unwrap().iter().map(|message| &message["state"]).collect();
    assert_eq!(states, vec![&json!("waiting"); 4], "{waiting}");
    assert!(waiting[0]["error"].as_str().is_some_and(|error| error.contains("refused")), "{waiting}");
}

/// Without a public URL, no link can be mailed: whatever a request says, it does not end up in one.
#[tokio::test]
async fn links_need_a_public_url() {
    let server = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[]);
    let panel = Panel::new(&server);
    let password = md5(PASSWORD);
    let form = [("username", "anna"), ("email", "anna@example.com"), ("password", &password), ("rePassword", &password)];
    panel.form("/accounts", &form).await.fails(6012);
    assert_eq!(server.operate(&["account", "list"]), json!([]));
    server.create_account(&["--email", "anna@example.com"], PASSWORD);
    panel.get("/accounts/forgetPw", &[("email", "anna@example.com")]).await.fails(2);
}
