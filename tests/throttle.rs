//! Guessing: what is held back, and who is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::acknowledged::{log_in, make_people};
use crate::support::app::App;
use crate::support::calls::{CUBE, TOUCH, md5};
use crate::support::guard::Guard;
use crate::support::panel::Panel;
use crate::support::{Answer, Server};

const PASSWORD: &str = "correct horse battery";
const WRONG: &str = "not the password";
const EMAIL: &str = "anna@example.com";
const PHONE: &str = "+8613100000001";

/// The limits as they are when nothing is configured.
const DEFAULTS: [(&str, &str); 4] = [
    ("HEARTHGATE_THROTTLE__FAILURES", "5"),
    ("HEARTHGATE_THROTTLE__SOURCE_FAILURES", "5"),
    ("HEARTHGATE_THROTTLE__DAILY", "100"),
    ("HEARTHGATE_THROTTLE__REGISTRATIONS", "20"),
];

/// The same, but for sources.
const ANY_SOURCE: [(&str, &str); 4] =
    [DEFAULTS[0], ("HEARTHGATE_THROTTLE__SOURCE_FAILURES", "1000000"), DEFAULTS[2], DEFAULTS[3]];

struct World {
    server: Server,
    app: App,
    panel: Panel,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        Self::of(Server::dev_with(settings))
    }

    fn of(server: Server) -> Self {
        let (app, panel) = (App::new(&server), Panel::new(&server));
        Self { server, app, panel }
    }

    /// With an account that has every kind of identifier.
    fn with_anna(settings: &[(&str, &str)]) -> Self {
        let world = Self::new(settings);
        world.server.create_account(&["--username", "anna", "--email", EMAIL, "--phone", PHONE], PASSWORD);
        world
    }

    async fn v8_login(&self, from: &str, who: &str, password: &str) -> Answer {
        let field = if who.contains('@') { "email" } else { "phoneNumber" };
        self.app.from(from).v8("/api/user/login", json!({ field: who, "password": password })).await
    }

    async fn fantem_login(&self, from: &str, who: &str, password: &str, device: &str) -> Answer {
        let password = md5(password);
        let form = [("username", who), ("password", &password), ("uuid", device), ("cubeSn", CUBE)];
        self.panel.from(from).form("/accounts/login", &form).await.answer
    }
}

fn assert_throttled(answer: &Answer) -> u64 {
    let ewelink = [json!({ "error": 160_038 }), json!({ "error": 160_038, "msg": "too often", "data": {} })];
    let in_form = [ewelink.as_slice(), &[json!({ "str": "2" })]].concat();
    let fantem = answer.body["code"].to_string().trim_matches('"') == "2" && answer.body["note"] == "TOO_MANY_ATTEMPTS";
    assert!(answer.status == 429 && (in_form.contains(&answer.body) || fantem), "{} {}", answer.status, answer.body);
    answer.retry_after.expect("it says when to try again")
}

#[tokio::test]
async fn after_five_wrong_guesses_everybody_waits() {
    let world = World::with_anna(&DEFAULTS);
    // Every name that the account has, in both dialects, from different addresses.
    assert_eq!(world.v8_login("127.0.1.1", EMAIL, WRONG).await.body["error"], 401);
    assert_eq!(world.v8_login("127.0.1.2", PHONE, WRONG).await.body["error"], 401);
    for (from, who) in [("127.0.1.3", "anna"), ("127.0.1.4", EMAIL), ("127.0.1.5", "ANNA@example.com")] {
        assert_eq!(world.fantem_login(from, who, WRONG, TOUCH).await.body["code"], 108);
    }
    let wait = assert_throttled(&world.v8_login("127.0.1.6", EMAIL, PASSWORD).await);
    assert!((25..=30).contains(&wait), "{wait}");
    assert_throttled(&world.fantem_login("127.0.1.7", "anna", PASSWORD, TOUCH).await);
    assert_eq!(world.v8_login("127.0.1.8", "+8613123456789", "12345678").await.body["region"], "cn", "nobody else waits");

    let folder = world.server.stop();
    let world = World::of(Server::dev_at(folder, &["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], &DEFAULTS));
    assert_throttled(&world.v8_login("127.0.1.9", EMAIL, PASSWORD).await);
    let line = world.v8_login("127.0.1.9", EMAIL, PASSWORD).await;
    assert_eq!(world.server.log_line(&line.request_id)["outcome"], "too many wrong guesses");
    // What time does otherwise.
    world.server.change_database("UPDATE lanes SET paused_until = 0").await;
    assert_eq!(world.v8_login("127.0.1.9", EMAIL, PASSWORD).await.body["region"], "cn");
}

/// A name that nobody has is held back like one that somebody has, so that this tells nothing.
#[tokio::test]
async fn an_unknown_name_counts_the_same() {
    let world = World::new(&ANY_SOURCE);
    for number in 0..5 {
        assert_eq!(world.v8_login(&format!("127.0.1.{number}"), EMAIL, WRONG).await.body["error"], 404);
    }
    assert_throttled(&world.v8_login("127.0.1.9", EMAIL, WRONG).await);
    assert_throttled(&world.fantem_login("127.0.1.9", EMAIL, WRONG, TOUCH).await);
}

#[tokio::test]
async fn one_source_tries_five_accounts() {
    let world = World::new(&DEFAULTS);
    for person in 0..5 {
        let answer = world.v8_login("127.0.1.1", &format!("person{person}@example.com"), WRONG).await;
        assert_eq!(answer.body["error"], 404);
    }
    assert_throttled(&world.v8_login("127.0.1.1", "+8613123456789", "12345678").await);
    assert_eq!(world.v8_login("127.0.1.2", "+8613123456789", "12345678").await.body["region"], "cn");
}

/// However many at once: each way in has been counted before anything is hashed.
#[tokio::test]
async fn five_hundred_guesses_at_once_are_five() {
    let settings =
        [DEFAULTS.as_slice(), &[("HEARTHGATE_HASH__MAX_WAIT", "10m"), ("HEARTHGATE_DATABASE__ACQUIRE_TIMEOUT", "10m")]];
    let folder = Arc::new(TempDir::new().unwrap());
    let listen = ["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let world = World::of(Server::dev_at(folder, &listen, &settings.concat()));
    world.server.create_account(&["--email", EMAIL], PASSWORD);
    let hashes = async || {
        let scraped = reqwest::get(format!("{}/metrics", world.server.metrics)).await.unwrap().text().await.unwrap();
        let count = scraped.lines().find_map(|line| line.strip_prefix("hearthgate_hash_duration_seconds_count "));
        count.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    let before = hashes().await;
    let addresses: Vec<_> = (0..500).map(|guess| format!("127.0.{}.{}", 1 + guess / 200, 1 + guess % 200)).collect();
    let answers = join_all(addresses.iter().map(|from| world.v8_login(from, EMAIL, WRONG))).await;
    let wrong = answers.iter().filter(|answer| answer.body["error"] == 401).count();
    assert_eq!(wrong, 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 495);
    assert_eq!(hashes().await - before, 5);
}

/// Somebody who does not know the password keeps nobody out who is known: by address, or by device.
#[tokio::test]
async fn strangers_do_not_lock_the_owner_out() {
    let world = World::with_anna(&DEFAULTS);
    assert_eq!(world.v8_login("127.0.2.1", EMAIL, PASSWORD).await.body["region"], "cn");
    assert_eq!(world.fantem_login("127.0.2.2", "anna", PASSWORD, TOUCH).await.body["code"], 1);
    for number in 1..=5 {
        assert_eq!(world.v8_login(&format!("127.0.1.{number}"), EMAIL, WRONG).await.body["error"], 401);
    }
    assert_throttled(&world.v8_login("127.0.1.9", EMAIL, PASSWORD).await);
    assert_eq!(world.v8_login("127.0.2.1", EMAIL, PASSWORD).await.body["region"], "cn", "from the owner's address");
    assert_eq!(world.fantem_login("127.0.2.9", "anna", PASSWORD, TOUCH).await.body["code"], 1, "on the owner's device");
    // What comes from there is counted there.
    for _ in 0..5 {
        assert_eq!(world.v8_login("127.0.2.1", EMAIL, WRONG).await.body["error"], 401);
    }
    assert_throttled(&world.v8_login("127.0.2.1", EMAIL, PASSWORD).await);
    assert_eq!(world.fantem_login("127.0.2.2", "anna", PASSWORD, TOUCH).await.body["code"], 1);
}

/// A neighbour behind the same address does not lock those out who are at home there.
#[tokio::test]
async fn a_neighbour_does_not_lock_the_owner_out() {
    let world = World::with_anna(&DEFAULTS);
    assert_eq!(world.v8_login("127.0.2.1", EMAIL, PASSWORD).await.body["region"], "cn");
    for person in 0..5 {
        world.v8_login("127.0.2.1", &format!("person{person}@example.com"), WRONG).await;
    }
    assert_throttled(&world.v8_login("127.0.2.1", "+8613123456789", "12345678").await);
    assert_eq!(world.v8_login("127.0.2.1", EMAIL, PASSWORD).await.body["region"], "cn");
}

/// A right password leaves nothing behind, also where the login is refused for another reason.
#[tokio::test]
async fn right_guesses_do_not_count() {
    let world = World::with_anna(&DEFAULTS);
    let account = world.server.operate(&["account", "show", "anna"])["account"].to_string();
    world.server.operate(&["account", "disable", &account]);
    for _ in 0..20 {
        assert_eq!(world.v8_login("127.0.1.1", EMAIL, PASSWORD).await.body["error"], 402);
    }
    world.server.operate(&["account", "enable", &account]);
    for _ in 0..20 {
        assert_eq!(world.v8_login("127.0.1.1", EMAIL, PASSWORD).await.body["region"], "cn");
    }
    assert_eq!(world.server.operate(&["throttle", "list"]), json!([]));
}

#[tokio::test]
async fn an_operator_sees_and_clears_them() {
    let world = World::with_anna(&DEFAULTS);
    let id = world.server.operate(&["account", "show", "anna"])["id"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        world.v8_login("127.0.1.1", EMAIL, WRONG).await;
    }
    let listed = world.server.operate(&["throttle", "list"]);
    let lanes: Vec<_> =
        listed.as_array().unwrap().iter().map(|lane| (lane["lane"].as_str().unwrap(), &lane["failures"])).collect();
    let (account, five) = (format!("account/{id}"), json!(5));
    assert_eq!(lanes, [(account.as_str(), &five), ("from/127.0.1.1", &five)]);
    assert!(listed.as_array().unwrap().iter().all(|lane| lane["paused_until"].is_string()), "{listed}");
    let of_anna = world.server.operate(&["throttle", "list", "--account", "anna"]);
    assert_eq!(of_anna.as_array().unwrap().len(), 1);

    assert_throttled(&world.v8_login("127.0.1.1", EMAIL, PASSWORD).await);
    assert_eq!(world.server.operate(&["throttle", "clear", "--account", PHONE]), json!({ "cleared": 1 }));
    assert_throttled(&world.v8_login("127.0.1.1", EMAIL, PASSWORD).await);
    assert_eq!(world.server.operate(&["throttle", "clear", "--source", "127.0.1.1"]), json!({ "cleared": 1 }));
    assert_eq!(world.v8_login("127.0.1.1", EMAIL, PASSWORD).await.body["region"], "cn");

    for _ in 0..5 {
        world.v8_login("127.0.1.2", "nobody@example.com", WRONG).await;
    }
    let nobody = world.server.operate(&["throttle", "list", "--account", "nobody@example.com"]);
    assert!(nobody[0]["lane"].as_str().unwrap().starts_with("nobody/"), "{nobody}");
    assert!(!nobody.to_string().contains("example"), "a name that is no account's may be a password");
    assert_eq!(world.server.operate(&["throttle", "clear", "--account", "nobody@example.com"]), json!({ "cleared": 1 }));
}

/// Also who is held back for the rest of the day, with no failure but where the owner is at home; and no pause that is over.
#[tokio::test]
async fn an_operator_sees_who_is_held_back_now() {
    let world = World::with_anna(&[("HEARTHGATE_THROTTLE__FAILURES", "50"), ("HEARTHGATE_THROTTLE__DAILY", "10")]);
    assert_eq!(world.v8_login("127.0.1.1", EMAIL, PASSWORD).await.body["region"], "cn");
    let list = || world.server.operate(&["throttle", "list", "--account", "anna"]);
    assert_eq!(list(), json!([]));
    // Four are there at once.
    for _ in 0..4 {
        assert_eq!(world.v8_login("127.0.1.1", EMAIL, WRONG).await.body["error"], 401);
    }
    assert_throttled(&world.v8_login("127.0.1.1", EMAIL, PASSWORD).await);
    let lanes = list();
    assert_eq!(
        (&lanes[0]["failures"], &lanes[0]["failed_at"], &lanes[0]["paused_until"]),
        (&json!(0), &json!(null), &json!(null))
    );
    let time = |lane: &Value, field: &str| lane[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // The first failure is forgiven after four hours.
    let room = time(&lanes[0], "day_full_until").duration_since(time(&lanes[1], "failed_at"));
    assert!((230..=240).contains(&room.as_mins()), "{lanes}");
    assert_eq!((&lanes[1]["failures"], &lanes[1]["day_full_until"]), (&json!(4), &json!(null)));

    world.server.change_database("UPDATE lanes SET paused_until = failed_at + 1, day_until = 0 WHERE failures > 0").await;
    assert_eq!(list()[1]["paused_until"], json!(null));
    world.server.operate(&["throttle", "clear", "--account", "anna"]);
    assert_eq!(list(), json!([]));
    assert_eq!(world.v8_login("127.0.1.1", EMAIL, PASSWORD).await.body["region"], "cn");
}

#[tokio::test]
async fn uniform_errors_do_not_tell_who_has_an_account() {
    let world = World::with_anna(&[("HEARTHGATE_UNIFORM_ERRORS", "true")]);
    assert_eq!(world.v8_login("127.0.1.1", EMAIL, WRONG).await.body, json!({ "error": 401 }));
    assert_eq!(world.v8_login("127.0.1.1", "nobody@example.com", WRONG).await.body, json!({ "error": 401 }));
    assert_eq!(world.fantem_login("127.0.1.1", "nobody@example.com", WRONG, TOUCH).await.body["code"], 108);

    let by_code = async |phone: &str| {
        let body = json!({ "phoneNumber": phone, "countryCode": "+86", "verificationCode": "000000" });
        world.app.from("127.0.1.2").v2("/v2/user/sms-login", body).await.body["error"].clone()
    };
    assert_eq!(by_code("13100000099").await, by_code(PHONE).await);

    // Sent once more, as it is.
    let made = world.server.operate(&["app", "create", "--profile", "strict"]);
    let strict = world.app.from("127.0.1.3").as_application(made["appid"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (who, nonce) in [(EMAIL, "strict01"), ("nobody@example.com", "strict02")] {
        let body = json!({ "email": who, "password": WRONG, "ts": now, "nonce": nonce });
        for code in [401, 406] {
            assert_eq!(strict.v8("/api/user/login", body.clone()).await.body, json!({ "error": code }), "{who}");
        }
    }
}

/// What stands in `X-Forwarded-For` counts where the operator's proxy writes it, and nowhere else.
#[tokio::test]
async fn a_proxy_says_who_guesses() {
    let proxied = [DEFAULTS.as_slice(), &[("HEARTHGATE_PROXY__NETWORKS", "[\"127.0.9.0/24\"]")]].concat();
    let world = World::new(&proxied);
    let guess = async |peer: &str, said: &str, person: u32| {
        let who = format!("{}@example.com", md5(&format!("{peer} {said} {person}")));
        let app = world.app.from(peer).with_header("x-forwarded-for", said);
        app.v8("/api/user/login", json!({ "email": who, "password": WRONG })).await
    };
    for person in 0..5 {
        assert_eq!(guess("127.0.9.1", "192.0.2.1", person).await.body["error"], 404);
    }
    assert_throttled(&guess("127.0.9.1", "192.0.2.1", 5).await);
    assert_throttled(&guess("127.0.9.2", "203.0.113.7, 192.0.2.1", 6).await);
    assert_eq!(guess("127.0.9.1", "192.0.2.2", 0).await.body["error"], 404, "another one behind the same proxy");
    for person in 0..5 {
        assert_eq!(guess("127.0.1.1", &format!("192.0.2.{}", 10 + person), person).await.body["error"], 404);
    }
    assert_throttled(&guess("127.0.1.1", "192.0.2.20", 5).await);
}

/// Somebody with IPv6 has a /64 to choose from, and is one source through a proxy as well; in either header that proxies write.
#[tokio::test]
async fn a_network_is_one_source_behind_a_proxy() {
    for header in ["x-forwarded-for", "forwarded"] {
        let settings = [("HEARTHGATE_PROXY__NETWORKS", "[\"127.0.9.0/24\"]"), ("HEARTHGATE_PROXY__HEADER", header)];
        let world = World::new(&[DEFAULTS.as_slice(), &settings].concat());
        let guess = async |before: &str, address: &str, person: u32| {
            let who = format!("{}@example.com", md5(&format!("{address} {person}")));
            let said = match header {
                "forwarded" => format!("{before}for=\"[{address}]:4711\";proto=https"),
                _ => format!("{before}{address}"),
            };
            let app = world.app.from("127.0.9.1").with_header(header, &said);
            app.v8("/api/user/login", json!({ "email": who, "password": WRONG })).await
        };
        for person in 0..5 {
            assert_eq!(guess("", &format!("2001:db8:1:2::{person}"), person).await.body["error"], 404);
        }
        assert_throttled(&guess("", "2001:db8:1:2:ffff::1", 5).await);
        // Whatever the sender has put before it, on the same line.
        assert_throttled(&guess("for=192.0.2.1;x=\", ", "2001:db8:1:2::6", 6).await);
        assert_eq!(guess("", "2001:db8:1:3::1", 7).await.body["error"], 404, "the network beside it");
    }
}

/// A way to prove something, tried with something wrong from an address.
type Way<'a> = Box<dyn Fn(String) -> BoxFuture<'a, Answer> + 'a>;

/// Every request of every dialect that compares a password, code, link or refresh token holds guesses back, and one that hashes without
/// comparing anything holds itself back. A request that is new must be added here, to one of the two lists.
#[tokio::test]
async fn every_way_holds_guesses_back() {
    let world = World::with_anna(&DEFAULTS);
    world.server.operate(&["device", "register", "phone", "--kind", "android_phone"]);
    let at = world.v8_login("127.0.3.1", EMAIL, PASSWORD).await.text("/at");
    let guid = world.panel.json("/client/register", &phone_device("guest")).await.answer.text("/data/guid");
    let (world, at, guid) = (&world, &at, &guid);
    let v8 = |path: &'static str, body: Value| -> Way<'_> {
        Box::new(move |from| {
            let body = body.clone();
            Box::pin(async move { world.app.from(&from).v8(path, body).await })
        })
    };
    let v2 = |path: &'static str, body: Value| -> Way<'_> {
        Box::new(move |from| {
            let body = body.clone();
            Box::pin(async move { world.app.from(&from).v2(path, body).await })
        })
    };
    let bearer = |path: &'static str, body: Value| -> Way<'_> {
        Box::new(move |from| {
            let body = body.clone();
            Box::pin(async move { world.app.from(&from).v2_as(at, Method::POST, path, body).await })
        })
    };
    let form = |path: &'static str, fields: &'static [(&'static str, &'static str)]| -> Way<'_> {
        Box::new(move |from| Box::pin(async move { world.panel.from(&from).form(path, fields).await.answer }))
    };
    let json = |path: &'static str, body: Value| -> Way<'_> {
        Box::new(move |from| {
            let body = body.clone();
            let cookies = [("guid", guid.as_str())];
            Box::pin(async move { world.panel.from(&from).with_cookies(&cookies).json(path, &body).await.answer })
        })
    };
    let page = |method: Method, path: &'static str| -> Way<'_> {
        Box::new(move |from| {
            let method = method.clone();
            Box::pin(async move {
                let (status, retry_after) =
                    world.panel.from(&from).visit(method, path, &[("email", EMAIL), ("code", "nosuchlink")]).await;
                let body = json!({ "code": if status == 429 { 2 } else { 0 }, "note": "TOO_MANY_ATTEMPTS" });
                Answer { status, request_id: String::new(), retry_after, body }
            })
        })
    };
    let wrong: &'static str = Box::leak(md5(WRONG).into_boxed_str());
    let token = "0123456789abcdef0123456789abcdef01234567";
    let code = json!({ "email": EMAIL, "verificationCode": "000000", "password": PASSWORD });
    let new = json!({ "email": "new@example.com", "verificationCode": "000000", "password": PASSWORD });
    let (old, close) = (json!({ "oldPassword": WRONG, "newPassword": "another horse" }), json!({ "verificationCode": "000000" }));
    let by_phone = |number: &str| json!({ "phone": number, "countryCode": "+86", "code": "000000", "password": wrong, "confirmPassword": wrong });
    let by_email = |email: &str| json!({ "email": email, "code": "000000", "password": wrong, "confirmPassword": wrong });
    let ways: Vec<(&str, Way<'_>)> = vec![
        ("POST /api/user/login", v8("/api/user/login", json!({ "email": EMAIL, "password": WRONG }))),
        ("POST /api/user/register", v8("/api/user/register", new.clone())),
        ("POST /api/user/password/reset", v8("/api/user/password/reset", code.clone())),
        ("POST /api/user/password", bearer("/api/user/password", old.clone())),
        (
            "GET /api/user/refresh",
            Box::new(move |from| {
                Box::pin(async move { world.app.from(&from).v8_get("/api/user/refresh", &[("rt", token)]).await })
            }),
        ),
        ("POST /v2/user/login", v2("/v2/user/login", json!({ "email": EMAIL, "password": WRONG, "countryCode": "+86" }))),
        ("POST /v2/user/register", v2("/v2/user/register", new)),
        (
            "POST /v2/user/sms-login",
            v2("/v2/user/sms-login", json!({ "phoneNumber": PHONE, "countryCode": "+86", "verificationCode": "000000" })),
        ),
        ("POST /v2/user/reset-pwd", v2("/v2/user/reset-pwd", code)),
        ("POST /v2/user/change-pwd", bearer("/v2/user/change-pwd", old)),
        ("POST /v2/user/refresh", v2("/v2/user/refresh", json!({ "rt": token }))),
        ("POST /v2/user/close-account", bearer("/v2/user/close-account", close)),
        (
            "POST /accounts/login",
            form(
                "/accounts/login",
                Box::leak(Box::new([("username", "anna"), ("password", wrong), ("uuid", TOUCH), ("cubeSn", CUBE)])),
            ),
        ),
        ("POST /accounts", Box::new(move |from| Box::pin(async move { register_anew(&world.panel.from(&from)).await }))),
        ("POST /v2/accounts/login", json("/v2/accounts/login", json!({ "username": "anna", "password": wrong }))),
        (
            "POST /accounts/flushToken",
            form(
                "/accounts/flushToken",
                &[("accountId", "1"), ("uuid", TOUCH), ("flushToken", "0123456789abcdef0123456789abcdef")],
            ),
        ),
        ("POST /accounts/validatePhoneCode", json("/accounts/validatePhoneCode", by_phone("13100000002"))),
        ("POST /accounts/registerByPhone", json("/accounts/registerByPhone", by_phone("13100000002"))),
        ("POST /accounts/registerByEmail", json("/accounts/registerByEmail", by_email("new@example.com"))),
        ("POST /accounts/resetPasswordByPhone", json("/accounts/resetPasswordByPhone", by_phone("13100000001"))),
        ("POST /accounts/resetPasswordByEmail", json("/accounts/resetPasswordByEmail", by_email(EMAIL))),
        (
            "POST /accounts/updatepw",
            form("/accounts/updatepw", Box::leak(Box::new([("email", EMAIL), ("password", wrong), ("code", "nosuchlink")]))),
        ),
        ("GET /user/verify", page(Method::GET, "/user/verify")),
        ("GET /user/findLostEmail", page(Method::GET, "/user/findLostEmail")),
        ("POST /user/updateInfo", page(Method::POST, "/user/updateInfo")),
    ];
    let proving: BTreeSet<String> = ways.iter().map(|(way, _)| (*way).to_owned()).collect();
    let routes = ewelink::routes().into_iter().chain(fantem::routes());
    let routes: BTreeSet<_> = routes.map(|(method, path)| format!("{method} {path}")).collect();
    let nothing: BTreeSet<_> = PROVE_NOTHING.iter().map(|way| (*way).to_owned()).collect();
    assert_eq!(routes, &proving | &nothing, "every request is in one of the two lists");
    for (number, (name, way)) in ways.iter().enumerate() {
        world.server.change_database("UPDATE lanes SET failures = 0, paused_until = 0, day_until = 0").await;
        let mut made = 0;
        let throttled = loop {
            let answer = way(format!("127.0.4.{}", number + 1)).await;
            if answer.status == 429 {
                break answer;
            }
            assert!(answer.status == 200 && made < 20, "{name}: {made} guesses, then {} {}", answer.status, answer.body);
            made += 1;
        };
        assert_throttled(&throttled);
        assert!(made == 5 || made == 20, "{name} allows {made} guesses");
    }
}

/// Registers, each time somebody else, with nothing but an address to which a link is mailed.
async fn register_anew(panel: &Panel) -> Answer {
    static PEOPLE: AtomicUsize = AtomicUsize::new(0);
    let name = format!("newcomer{}", PEOPLE.fetch_add(1, Ordering::Relaxed));
    let (email, password) = (format!("{name}@example.com"), md5(PASSWORD));
    let form = [("username", name.as_str()), ("email", &email), ("password", &password), ("rePassword", &password)];
    panel.form("/accounts", &form).await.answer
}

/// Registrations that prove nothing are limited for each address, also over a restart; those by code are not.
#[tokio::test]
async fn one_source_registers_twenty_by_link() {
    let world = World::with_anna(&DEFAULTS);
    let near = world.panel.from("127.0.1.1");
    for _ in 0..20 {
        assert_eq!(register_anew(&near).await.body["code"], 1);
    }
    assert!((25..=30).contains(&assert_throttled(&register_anew(&near).await)));
    let refused = register_anew(&near).await;
    assert_eq!(world.server.log_line(&refused.request_id)["outcome"], "too many registrations from this address");
    assert_eq!(register_anew(&world.panel.from("127.0.1.2")).await.body["code"], 1, "nobody else waits");
    assert_eq!(world.v8_login("127.0.1.1", EMAIL, PASSWORD).await.body["region"], "cn", "and whoever logs in from there");

    let folder = world.server.stop();
    let world = World::of(Server::dev_at(folder, &["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], &DEFAULTS));
    let near = world.panel.from("127.0.1.1");
    assert_throttled(&register_anew(&near).await);
    let by_code = json!({ "email": "berta@example.com", "verificationCode": "000000", "password": PASSWORD });
    assert_eq!(world.app.from("127.0.1.1").v8("/api/user/register", by_code).await.body["error"], 498);
    assert_eq!(world.server.operate(&["throttle", "clear", "--source", "127.0.1.1"]), json!({ "cleared": 2 }));
    assert_eq!(register_anew(&near).await.body["code"], 1);
}

/// Hashes that take long, on one thread, for whoever is prepared to wait.
const COSTLY: [(&str, &str); 5] = [
    ("HEARTHGATE_HASH__MEMORY_KIB", "16384"),
    ("HEARTHGATE_HASH__ITERATIONS", "8"),
    ("HEARTHGATE_HASH__THREADS", "1"),
    ("HEARTHGATE_HASH__MAX_WAIT", "10m"),
    ("HEARTHGATE_DATABASE__ACQUIRE_TIMEOUT", "10m"),
];

/// How many flood at once from one address.
const FLOOD: usize = 10;

/// Begins a flood, and lets somebody log in from elsewhere when the first of it is answered: before most of the others are.
async fn assert_served_beside(world: &World, flood: Vec<BoxFuture<'static, Answer>>) {
    let (answered, flooded) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut requests = JoinSet::new();
    for request in flood {
        let (answered, flooded) = (Arc::clone(&answered), Arc::clone(&flooded));
        requests.spawn(async move {
            assert_eq!(request.await.status, 200);
            answered.fetch_add(1, Ordering::SeqCst);
            flooded.notify_one();
        });
    }
    flooded.notified().await;
    assert_eq!(world.v8_login("127.0.2.1", "+8613123456789", "12345678").await.body["region"], "cn");
    let before = answered.load(Ordering::SeqCst);
    assert!(before <= FLOOD / 2, "{before} of the flood were before");
    requests.join_all().await;
}

/// However much comes from one address, one of it is hashed at a time: whoever logs in from elsewhere is next but one.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_holds_nobody_else_up() {
    let world = World::new(&COSTLY);
    let near = world.panel.from("127.0.1.1");
    let newcomers = std::iter::repeat_n(near, FLOOD)
        .map(|near| -> BoxFuture<'static, Answer> { Box::pin(async move { register_anew(&near).await }) });
    assert_served_beside(&world, newcomers.collect()).await;

    // The same by people who are at home there.
    make_people(&world.server, FLOOD);
    let app = world.app.from("127.0.1.1");
    let logins = || -> Vec<BoxFuture<'static, Answer>> {
        let apps = std::iter::repeat_n(app.clone(), FLOOD).enumerate();
        apps.map(|(person, app)| Box::pin(async move { log_in(&app, person, "12345678").await }) as BoxFuture<_>).collect()
    };
    join_all(logins()).await;
    assert_served_beside(&world, logins()).await;
}

/// Requests with which nobody proves anything but an access token or a signature, and nothing is hashed for.
const PROVE_NOTHING: &[&str] = &[
    "GET /api/user/region",
    "POST /api/sms",
    "POST /v2/user/verification-code",
    "GET /v2/user/profile",
    "POST /v2/user/profile",
    "DELETE /v2/user/logout",
    "GET /v2/utils/get-region",
    "POST /accounts/logout",
    "GET /accounts/heart",
    "POST /client/register",
    "POST /cube/register",
    "POST /client/update/status",
    "POST /client/get/info",
    "POST /client/name",
    "POST /cube/updateInfo",
    "POST /client/heart",
    "GET /cube/heart",
    "POST /client/accountGatewayList",
    "POST /v2/home/gateway",
    "GET /authen/apply",
    "POST /authen/confirm",
    "POST /authen/cubes",
    "POST /dev/cubes",
    "POST /accounts/bindGateway",
    "POST /accounts/unbindGateway",
    "POST /cube/confirm",
    "GET /cube/confirm",
    "POST /cube/removeBind",
    "POST /accounts/resendEmail",
    "POST /email/code",
    "POST /sms/code",
    "GET /accounts/forgetPw",
    "GET /user/style.css",
    "GET /region/languageCode",
    "GET /region/list",
    "GET /system/connection/ping",
    "GET /system/version",
];

fn phone_device(sn: &str) -> Value {
    json!({
        "sn": sn, "wifiMac": format!("{sn}-w"), "bluetoothMac": format!("{sn}-b"), "uuid": "u", "type": "android_phone", "manufacturer": "m",
        "model": "m", "systemType": "android", "systemVersion": "14", "applicationVersion": "V2.0",
    })
}

/// A resource server's wrong secrets are held back; the right one never is.
#[tokio::test]
async fn wrong_secrets_of_resource_servers() {
    let world = World::new(&DEFAULTS);
    let guard = Guard::new(&world.server);
    let stranger = guard.with_secret("wrong");
    let mut answers = Vec::new();
    for _ in 0..21 {
        answers.push(stranger.asks("x").await.0);
    }
    assert_eq!(answers, [[401; 20].as_slice(), &[429]].concat());
    assert_eq!(guard.introspect("x").await, json!({ "active": false }));
}
