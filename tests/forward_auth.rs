//! Forward authentication, behind a real nginx and a real Caddy with the documented configuration.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use reqwest::RequestBuilder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::App;
use crate::support::calls::APPID;
use crate::support::guard::{Guard, read};
use crate::support::ports::free_port;
use crate::support::server::Lines;
use crate::support::{Fantem, Server, client};
use crate::watching::until;

const PHONE: &str = "+8613123456789";

/// Each identity header, with the member of an introspection that says the same.
const IDENTITY: [(&str, &str); 10] = [
    ("x-hearthgate-sub", "sub"),
    ("x-hearthgate-account-number", "account_number"),
    ("x-hearthgate-username", "username"),
    ("x-hearthgate-apikey", "apikey"),
    ("x-hearthgate-region", "region"),
    ("x-hearthgate-client-id", "client_id"),
    ("x-hearthgate-client-kind", "client_kind"),
    ("x-hearthgate-sid", "sid"),
    ("x-hearthgate-device-guid", "device_guid"),
    ("x-hearthgate-gateways", "gateways"),
];

async fn ewelink_token(server: &Server) -> String {
    App::new(server).v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": "12345678" })).await.text("/at")
}

async fn fantem_token(server: &Server) -> String {
    Fantem::new(server).login(&[]).await.text("/data/accountToken")
}

/// What an introspection says, as identity headers say it.
async fn identity(guard: &Guard, token: &str) -> BTreeMap<String, String> {
    let said = guard.introspect(token).await;
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    IDENTITY.iter().map(|(header, member)| ((*header).to_owned(), text(&said[*member]))).collect()
}

/// A request that reached the API.
#[derive(Debug, Clone)]
struct Reached {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Reached {
    /// All headers that say who it is, in whichever spelling; empty ones say nothing.
    fn identity(&self) -> BTreeMap<String, String> {
        let named = |name: &str| name.replace('_', "-").contains("hearthgate");
        let headers = self.headers.iter().filter(|(name, value)| named(name.as_str()) && !value.is_empty());
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }
}

/// An API that lets everybody in, and a proxy in front of it that does not.
struct Behind {
    process: Child,
    folder: TempDir,
    url: String,
    reached: Arc<Mutex<Vec<Reached>>>,
}

impl Drop for Behind {
    fn drop(&mut self) {
        // Gracefully, for it has processes of its own; it may have ended already.
        kill_process(Pid::from_child(&self.process), Signal::TERM).ok();
        drop(self.process.wait());
    }
}

/// Whichever proxy is in front.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Proxy {
    Nginx,
    Caddy,
}

impl Behind {
    async fn start(proxy: Proxy, server: &Server) -> Self {
        let reached: Arc<Mutex<Vec<Reached>>> = Arc::default();
        let echo = async |State(reached): State<Arc<Mutex<Vec<Reached>>>>, method: Method, headers: HeaderMap, body: Bytes| {
            reached.lock().unwrap().push(Reached { method, headers, body });
            "the API"
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(echo).with_state(Arc::clone(&reached));
        tokio::spawn(async { axum::serve(listener, router).await });

        let folder = TempDir::new().unwrap();
        let front = format!("127.0.0.1:{}", free_port());
        let (mut command, ready) = match proxy {
            Proxy::Nginx => {
                let text = adapted("nginx.conf", server, &api, &front);
                let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
                // Where the test can write.
                assert!(text.contains("/var/log/nginx/access.log"));
                let text =
                    text.replace("/var/log/nginx/", "").replace("http {\n", &format!("http {{\n    {}\n", paths.join(" ")));
                fs::write(folder.path().join("nginx.conf"), text).unwrap();
                let mut command = Command::new("nginx");
                command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path());
                command.args(["-g", "daemon off; pid nginx.pid; error_log stderr notice;"]);
                (command, "start worker process ")
            }
            Proxy::Caddy => {
                let text = adapted("Caddyfile", server, &api, &front);
                fs::write(folder.path().join("Caddyfile"), text).unwrap();
                let mut command = Command::new("caddy");
                command.args(["run", "--config", "Caddyfile"]).env("HOME", folder.path());
                command.env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
                (command, "serving initial configuration")
            }
        };
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("nginx and caddy are installed by ./test");
        Lines::follow(process.stderr.take().unwrap()).wait_for(|line| line.contains(ready));
        Self { process, folder, url: format!("http://{front}"), reached }
    }

    fn get(&self) -> RequestBuilder {
        client().get(format!("{}/things?id=1", self.url))
    }

    /// Sends a request that must reach the API.
    async fn passes(&self, request: RequestBuilder) -> Reached {
        let (status, body) = read(request).await;
        assert_eq!((status, &body), (200, &json!("the API")));
        self.reached.lock().unwrap().pop().expect("it reached the API")
    }

    /// Sends a request that must not reach the API, and returns its answer.
    async fn is_refused(&self, request: RequestBuilder) -> (u16, Value) {
        let answer = read(request).await;
        assert!(self.reached.lock().unwrap().is_empty(), "it reached the API");
        answer
    }
}

/// A documented file with the addresses of this test.
fn adapted(name: &str, server: &Server, api: &str, front: &str) -> String {
    let path = format!("{}/../../docs/integrate/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(path).unwrap();
    for (documented, here) in [("127.0.0.1:8080", server.address()), ("127.0.0.1:9000", api), ("127.0.0.1:8000", front)] {
        assert!(text.contains(documented), "{name} names {documented}");
        text = text.replace(documented, here);
    }
    text
}

async fn who_may_passes(proxy: Proxy) {
    let server = Server::dev();
    let guard = Guard::new(&server);
    let behind = Behind::start(proxy, &server).await;
    let (at, aat) = (ewelink_token(&server).await, fantem_token(&server).await);
    let expected = async |token: &str| {
        let mut known = identity(&guard, token).await;
        known.retain(|_, value| !value.is_empty());
        known
    };
    let reached = behind.passes(behind.get().bearer_auth(&at)).await;
    assert_eq!(reached.identity(), expected(&at).await);
    assert_eq!(reached.identity().len(), 8, "an application has no device, and this account no gateway");
    let reached = behind.passes(behind.get().header("cookie", format!("guid=x; aat={aat}"))).await;
    assert_eq!(reached.identity(), expected(&aat).await);
    assert_eq!(reached.identity().len(), 10);
    assert!(!reached.headers.contains_key("cookie"), "the API needs no token");
    if proxy == Proxy::Nginx {
        let log = async || fs::read_to_string(behind.folder.path().join("access.log")).unwrap();
        let log = until(log, |log| log.lines().count() >= 2).await;
        assert!(log.contains("GET /things") && !log.contains("id=1"), "{log}");
    }

    let body = vec![7_u8; 100_000];
    let reached = behind.passes(client().put(&behind.url).bearer_auth(&at).body(body.clone())).await;
    assert_eq!((reached.method, reached.body), (Method::PUT, Bytes::from(body)));
    assert!(!reached.headers.contains_key("authorization"), "the API needs no token");
}

async fn who_may_not_is_told_in_the_dialects_words(proxy: Proxy) {
    let server = Server::dev();
    let behind = Behind::start(proxy, &server).await;
    let at = ewelink_token(&server).await;
    let (unknown, expired) = (json!({ "error": 401 }), json!({ "error": 402 }));
    let basic = behind.get().basic_auth("api", Some("secret"));
    let bearer: [(RequestBuilder, &str); 7] = [
        (behind.get(), "nothing"),
        (behind.get().bearer_auth("a".repeat(40)), "an unknown token"),
        (behind.get().bearer_auth("a".repeat(4000)), "a long one"),
        (behind.get().header("authorization", b"Bearer \xff\xfe".as_slice()), "no text"),
        (basic, "another scheme"),
        (behind.get().bearer_auth(&at).header("cookie", format!("aat={at}")), "two credentials"),
        (client().post(&behind.url).body("x"), "nothing, with a body"),
    ];
    for (request, what) in bearer {
        assert_eq!(behind.is_refused(request).await, (401, unknown.clone()), "{what}");
    }
    for token in ["00000000000000000000000000000000", &at] {
        let cookie = behind.get().header("cookie", format!("aat={token}"));
        let refused = (401, json!({ "code": "2001", "note": "token无效", "data": null }));
        assert_eq!(behind.is_refused(cookie).await, refused, "unknown, or an application's, which is no cookie");
    }

    behind.passes(behind.get().bearer_auth(&at)).await;
    server.change_database("UPDATE sessions SET access_expires_at = 1").await;
    assert_eq!(behind.is_refused(behind.get().bearer_auth(&at)).await, (401, expired));
    let at = ewelink_token(&server).await;
    behind.passes(behind.get().bearer_auth(&at)).await;
    server.operate(&["app", "disable", APPID]);
    assert_eq!(behind.is_refused(behind.get().bearer_auth(&at)).await, (401, unknown));

    server.operate(&["app", "enable", APPID]);
    let at = ewelink_token(&server).await;
    behind.passes(behind.get().bearer_auth(&at)).await;
    server.operate(&["account", "disable", PHONE]);
    assert_eq!(behind.is_refused(behind.get().bearer_auth(&at)).await, (401, json!({ "error": 401 })), "its account is disabled");

    server.operate(&["account", "enable", PHONE]);
    let at = ewelink_token(&server).await;
    let rename = async |from: &str, to: &str| {
        let database = server.database().await;
        sqlx::query(sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"))).execute(&database).await.unwrap();
        database.close().await;
    };
    rename("sessions", "elsewhere").await;
    let (status, _) = behind.is_refused(behind.get().bearer_auth(&at)).await;
    assert_eq!(status, if proxy == Proxy::Nginx { 503 } else { 500 }, "nobody knows");
    rename("elsewhere", "sessions").await;
    behind.passes(behind.get().bearer_auth(&at)).await;
    let log = server.log.all().join("\n");
    assert!(!log.contains(&at) && !log.contains("things"), "{log}");
}

async fn nobody_says_who_they_are(proxy: Proxy) {
    let server = Server::dev();
    let guard = Guard::new(&server);
    let behind = Behind::start(proxy, &server).await;
    let at = ewelink_token(&server).await;
    let mut known = identity(&guard, &at).await;
    known.retain(|_, value| !value.is_empty());
    let spellings: [fn(&str) -> String; 5] = [
        str::to_owned,
        str::to_uppercase,
        |name| name.replace('-', "_"),
        |name| name.replacen('-', "_", 1),
        |name| name.replace("hearthgate-", "hearthgate_"),
    ];
    for (name, _) in IDENTITY {
        for spelling in spellings {
            let forged = behind.get().bearer_auth(&at).header(spelling(name), "forged").header(spelling(name), "twice");
            assert_eq!(behind.passes(forged).await.identity(), known, "{}", spelling(name));
        }
        // Named as what concerns this connection alone (RFC 9110 §7.6.1).
        let hidden = behind.get().bearer_auth(&at).header("connection", format!("close, {name}"));
        assert_eq!(behind.passes(hidden).await.identity(), known, "{name}");
    }
    let all = IDENTITY.map(|(name, _)| name).join(", ");
    let hidden = behind.get().bearer_auth(&at).header("connection", all).header(IDENTITY[0].0, "forged");
    assert_eq!(behind.passes(hidden).await.identity(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_lets_through_who_may_pass() {
    who_may_passes(Proxy::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_lets_through_who_may_pass() {
    who_may_passes(Proxy::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_refuses_in_the_dialects_words() {
    who_may_not_is_told_in_the_dialects_words(Proxy::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_refuses_in_the_dialects_words() {
    who_may_not_is_told_in_the_dialects_words(Proxy::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_believes_no_client() {
    nobody_says_who_they_are(Proxy::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_believes_no_client() {
    nobody_says_who_they_are(Proxy::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_identity_header_is_always_there() {
    let server = Server::dev();
    let guard = Guard::new(&server);
    server.create_account(&["--username", "Ann, \"你\" %0d", "--email", "a@example.com", "--region", "cn"], "correct horse");
    let login = json!({ "email": "a@example.com", "password": "correct horse" });
    let at = App::new(&server).v8("/api/user/login", login).await.text("/at");
    let mut expected = identity(&guard, &at).await;
    let user = expected.get_mut("x-hearthgate-username").unwrap();
    *user = "Ann%2C%20%22%E4%BD%A0%22%20%250d".to_owned();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
        let url = format!("{}/auth/verify", server.http);
        let response = client().request(method.parse().unwrap(), url).bearer_auth(&at).send().await.unwrap();
        assert_eq!(response.status(), 204, "{method}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut said = BTreeMap::new();
        for (name, _) in IDENTITY {
            said.insert(name.to_owned(), response.headers()[name].to_str().unwrap().to_owned());
        }
        assert_eq!(said, expected, "{method}");
    }
    let refused = client().get(format!("{}/auth/verify", server.http)).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
}
