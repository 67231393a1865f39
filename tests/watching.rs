//! Health, metrics, and Prometheus with the files that operators are given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::ports::free_port;
use crate::support::server::{Lines, run};
use crate::support::{Ewelink, Fantem, Server, client, client_from};

/// The longest that something may take to be noticed on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const METRICS: (&str, &str) = ("HEARTHGATE_LISTEN__METRICS", "127.0.0.1:0");

fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/integrate/prometheus")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

async fn get(url: &str) -> (StatusCode, Value) {
    let answer = client().get(url).send().await.unwrap();
    (answer.status(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn ready(server: &Server) -> (StatusCode, Value) {
    get(&format!("{}/health/ready", server.metrics)).await
}

async fn scrape(server: &Server) -> String {
    client().get(format!("{}/metrics", server.metrics)).send().await.unwrap().text().await.unwrap()
}

/// Asks again and again until the answer `is_it`, and returns it.
pub async fn until<T, F: Future<Output = T>>(ask: impl Fn() -> F, is_it: impl Fn(&T) -> bool) -> T {
    let asked = tokio::time::timeout(PATIENCE, async {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            every.tick().await;
            let answer = ask().await;
            if is_it(&answer) {
                return answer;
            }
        }
    });
    asked.await.expect("it never came to be so")
}

async fn until_ready(server: &Server) {
    until(|| ready(server), |(status, _)| *status == 200).await;
}

/// A real Prometheus.
struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// With the documentation's configuration, but for the ports and how often it looks.
    fn watching(server: &Server) -> Self {
        let folder = TempDir::new().unwrap();
        let target = server.metrics.strip_prefix("http://").unwrap();
        let config = read("prometheus.yml").replace("127.0.0.1:9464", target).replace("15s", "1s");
        assert!(config.contains(target) && config.contains("1s"));
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        std::fs::copy(file("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is installed by ./test");
        let log = Lines::follow(child.stderr.take().unwrap());
        let prometheus = Self { child, url: format!("http://{address}"), _folder: folder };
        log.wait_for(|line| line.contains("Server is ready"));
        prometheus
    }

    /// Evaluates an expression, which must be a right one.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", expression)]).unwrap();
        let answer: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    async fn number(&self, expression: &str) -> Option<f64> {
        self.query(expression).await.first()?["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Every expression of the dashboard.
fn panels() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "1m")).collect()
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("hearthgate_") || word.starts_with("process_")).collect()
}

fn exposed(scraped: &str) -> BTreeSet<&str> {
    scraped.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(['{', ' ']).next()).collect()
}

async fn known_calls(server: &Server) {
    let (ewelink, fantem) = (Ewelink::new(server), Fantem::new(server));
    for _ in 0..3 {
        assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
    }
    for _ in 0..2 {
        assert_eq!(ewelink.login(json!({ "password": "wrong-password" })).await.body["error"], 401);
    }
    assert_eq!(fantem.login(&[]).await.body["code"], 1);
    assert_eq!(fantem.login(&[("uuid", "")]).await.body["code"], 3);
}

/// Prometheus with the documentation's files counts what happened, and understands every alert and panel.
#[tokio::test]
async fn prometheus_sees_what_happens() {
    let server = Server::dev_with(&[METRICS]);
    known_calls(&server).await;
    let prometheus = Prometheus::watching(&server);
    until(|| prometheus.number("hearthgate_ready{check=\"store\"}"), |ready| *ready == Some(1.0)).await;
    for (labels, count) in [
        (r#"dialect="ewelink-v8", endpoint="login", result="success", outcome="logged in""#, 3.0),
        (r#"dialect="ewelink-v8", endpoint="login", result="refusal", outcome="wrong password""#, 2.0),
        (r#"dialect="fantem", result="success", outcome="logged in""#, 1.0),
        (r#"dialect="fantem", result="refusal", outcome="refused""#, 1.0),
    ] {
        let counted = prometheus.number(&format!("sum(hearthgate_requests_total{{{labels}}})")).await;
        assert_eq!(counted, Some(count), "{labels}");
    }
    for (expression, value) in [
        (r#"hearthgate_request_duration_seconds_count{dialect="ewelink-v8", endpoint="login"}"#, 5.0),
        ("hearthgate_hash_duration_seconds_count >= bool 6", 1.0),
        ("hearthgate_hash_wait_seconds_bucket{le=\"+Inf\"} >= bool 6", 1.0),
        (r#"hearthgate_store_operation_duration_seconds_count{operation="sessions::commit_login"}"#, 4.0),
        ("sum(hearthgate_store_errors_total)", 0.0),
        ("hearthgate_hash_queue_length", 0.0),
        ("sum(hearthgate_store_connections) >= bool 1", 1.0),
        ("hearthgate_build_info", 1.0),
        ("process_resident_memory_bytes > bool 1000000", 1.0),
        ("up{job=\"hearthgate\"}", 1.0),
    ] {
        assert_eq!(prometheus.number(expression).await, Some(value), "{expression}");
    }
    for panel in panels() {
        prometheus.query(&panel).await;
    }
    let rules = until(
        async || get(&format!("{}/api/v1/rules", prometheus.url)).await.1["data"]["groups"][0]["rules"].clone(),
        |rules| rules.as_array().is_some_and(|rules| rules.iter().all(|rule| rule["health"] != "unknown")),
    )
    .await;
    assert!(rules.as_array().unwrap().len() >= 10, "{rules}");
    for rule in rules.as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(), "{rule}");
    }
}

#[tokio::test]
async fn files_name_only_metrics_that_are_there() {
    let server = Server::dev_with(&[METRICS]);
    known_calls(&server).await;
    let scraped = until(|| scrape(&server), |scraped| scraped.contains("hearthgate_sessions ")).await;
    let exposed = exposed(&scraped);
    let (alerts, panels) = (read("alerts.yml"), panels().join(" "));
    for name in names(&alerts).union(&names(&panels)) {
        assert!(exposed.contains(name), "{name} is not exposed");
    }
    let base = |name: &str| ["_bucket", "_sum", "_count"].iter().fold(name.to_owned(), |name, end| name.replace(end, ""));
    let shown: BTreeSet<String> = names(&panels).into_iter().map(base).collect();
    for name in exposed.iter().filter(|name| name.starts_with("hearthgate_")) {
        assert!(shown.contains(&base(name)), "{name} is in no panel");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let server = Server::dev_with(&[METRICS]);
    known_calls(&server).await;
    let scraped = scrape(&server).await;
    for (arguments, input) in [
        (vec!["check", "config", "prometheus.yml"], ""),
        (vec!["check", "rules", "alerts.yml"], ""),
        (vec!["test", "rules", "alerts.test.yml"], ""),
        (vec!["check", "metrics"], &scraped),
    ] {
        let output = run(Command::new("promtool").current_dir(file("")).args(&arguments), input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
}

/// Load balancers learn whether, not why.
#[tokio::test]
async fn the_public_listeners_tell_no_reasons() {
    let server = Server::dev_with(&[METRICS]);
    let part = json!({ "ready": true });
    let all = json!({ "ready": true, "checks": { "store": part, "key": part, "hashing": part, "running": part } });
    assert_eq!(get(&format!("{}/health/live", server.http)).await, (StatusCode::OK, json!({ "live": true })));
    assert_eq!(get(&format!("{}/health/ready", server.http)).await, (StatusCode::OK, all.clone()));
    assert_eq!(ready(&server).await, (StatusCode::OK, all));
    for (method, status) in [(Method::HEAD, 200), (Method::POST, 405), (Method::DELETE, 405)] {
        for path in ["/health/live", "/health/ready"] {
            for address in [&server.http, &server.metrics] {
                let answer = client().request(method.clone(), format!("{address}{path}")).send().await.unwrap();
                assert_eq!(answer.status(), status, "{method} {address}{path}");
            }
        }
    }
    assert_eq!(client().get(format!("{}/metrics", server.http)).send().await.unwrap().status(), 404);
    change(&server, "ALTER TABLE settings RENAME TO gone").await;
    let public = format!("{}/health/ready", server.http);
    let (_, report) = until(|| get(&public), |(status, _)| *status == 503).await;
    assert_eq!(report["checks"]["store"], json!({ "ready": false }), "{report}");
}

/// Changes the database from beside the server.
pub async fn change(server: &Server, statement: &str) {
    let beside = server.database().await;
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&beside).await.unwrap();
    beside.close().await;
}

#[tokio::test]
async fn ready_follows_the_store() {
    let server = Server::dev_with(&[METRICS]);
    assert_eq!(ready(&server).await.0, 200);
    change(&server, "ALTER TABLE settings RENAME TO gone").await;
    let (_, report) = until(|| ready(&server), |(status, _)| *status == 503).await;
    assert_eq!((&report["ready"], &report["checks"]["hashing"]["ready"]), (&json!(false), &json!(true)));
    let reason = report["checks"]["store"]["reason"].as_str().unwrap();
    assert!(reason.contains("settings"), "{reason}");
    assert!(scrape(&server).await.contains("hearthgate_ready{check=\"store\"} 0"));
    assert_eq!(get(&format!("{}/health/live", server.metrics)).await.0, 200, "it lives all the same");
    change(&server, "ALTER TABLE gone RENAME TO settings").await;
    until_ready(&server).await;

    change(&server, "UPDATE settings SET value = 'other-' || value WHERE name = 'key_fingerprint'").await;
    let (_, report) = until(|| ready(&server), |(status, _)| *status == 503).await;
    assert_eq!(report["checks"]["store"], json!({ "ready": true }));
    assert_eq!(report["checks"]["key"]["reason"], "the master key is not the one that the database was made with");
    change(&server, "UPDATE settings SET value = SUBSTR(value, 7) WHERE name = 'key_fingerprint'").await;
    until_ready(&server).await;
}

/// A store that hangs makes nobody wait for long, however many ask.
#[tokio::test]
async fn a_store_that_hangs_is_told_in_time() {
    let server = Server::dev_with(&[METRICS]);
    let beside = server.database().await;
    let mut holder = beside.begin().await.unwrap();
    let lock = if crate::ON_POSTGRES { "LOCK TABLE settings" } else { "UPDATE settings SET value = value" };
    sqlx::query(lock).execute(&mut *holder).await.unwrap();
    until(|| ready(&server), |(status, _)| *status == 503).await;
    let begun = Instant::now();
    let asked: JoinSet<_> = (0..50)
        .map(|_| {
            let url = format!("{}/health/ready", server.metrics);
            async move { get(&url).await }
        })
        .collect();
    for (status, report) in asked.join_all().await {
        assert_eq!(status, 503);
        let reason = report["checks"]["store"]["reason"].as_str().unwrap();
        assert!(reason.starts_with("the database does not answer"), "{reason}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "fifty shared a few checks: {:?}", begun.elapsed());
    holder.rollback().await.unwrap();
    until_ready(&server).await;
}

/// While more want to log in than can be hashed, health is told at once, and says so.
#[tokio::test]
async fn ready_follows_the_hashing_queue() {
    let costly = [
        METRICS,
        ("HEARTHGATE_HASH__MEMORY_KIB", "65536"),
        ("HEARTHGATE_HASH__THREADS", "1"),
        ("HEARTHGATE_HASH__MAX_WAIT", "0s"),
    ];
    let server = Server::dev_with(&costly);
    let ewelink = Ewelink::new(&server);
    let mut logins = JoinSet::new();
    for number in 1..=20 {
        // Those that come from one address stand in line before they come to the queue.
        let ewelink = Ewelink { client: client_from(&format!("127.0.1.{number}")), ..ewelink.clone() };
        logins.spawn(async move {
            loop {
                ewelink.login(json!({})).await;
            }
        });
    }
    let (_, report) = until(|| ready(&server), |(status, _)| *status == 503).await;
    let reason = "passwords would wait longer than hash.max_wait to be hashed";
    assert_eq!(report["checks"]["hashing"], json!({ "ready": false, "reason": reason }), "{report}");
    let begun = Instant::now();
    assert_eq!(get(&format!("{}/health/live", server.http)).await.0, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    until(
        || scrape(&server),
        |scraped| {
            let refused = scraped.lines().find_map(|line| line.strip_prefix("hearthgate_hash_refused_total "));
            refused.unwrap().parse::<u64>().unwrap() > 0
        },
    )
    .await;
    logins.shutdown().await;
    until_ready(&server).await;
}

/// While requests in flight are finished, the listener for metrics goes on telling that the server stops.
#[tokio::test]
async fn a_server_that_stops_is_not_ready() {
    use std::io::{Read, Write};
    let mut server = Server::dev_with(&[METRICS]);
    let body = Fantem::form(&[]);
    let (first, rest) = body.split_at(10);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    write!(stream, "POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{first}", body.len()).unwrap();
    // The server has read the beginning when a later request on another connection is answered.
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
    server.signal(Signal::TERM);
    server.log.wait_for(|line| line.contains("stopping"));
    let (status, report) = ready(&server).await;
    assert_eq!(
        (status, &report["checks"]["running"]["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("the server is stopping"))
    );
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("OPERATE_SUCCESS"), "{answer}");
    assert!(server.wait().success());
}

/// What only the store knows is known from the start.
#[tokio::test]
async fn sessions_are_counted() {
    let server = Server::dev();
    known_calls(&server).await;
    let server = Server::dev_in(server.stop(), &[METRICS]);
    let scraped = until(|| scrape(&server), |scraped| scraped.contains("hearthgate_sessions ")).await;
    assert!(scraped.contains("\nhearthgate_sessions 2\n"), "{scraped}");
    assert!(scraped.contains("\nhearthgate_messages_waiting 0\n"), "{scraped}");
}
