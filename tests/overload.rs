//! More to hash than there is time for: who goes away is not hashed for, and what needs no hash waits for none.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use reqwest::{Client, Method};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::frames::{self, frame};
use crate::siege::connector;
use crate::support::app::App;
use crate::support::calls::{CUBE, TOUCH, md5};
use crate::support::server::operate;
use crate::support::{Answer, Server};

/// How often a metric is looked at until it says what is waited for.
const GLANCE: Duration = Duration::from_millis(20);

/// A server on which one hash takes a second or so, one after the other.
fn slow_hasher(max_wait: &str) -> Server {
    let settings = [
        ("HEARTHGATE_HASH__MEMORY_KIB", "65536"),
        ("HEARTHGATE_HASH__ITERATIONS", "16"),
        ("HEARTHGATE_HASH__THREADS", "1"),
        ("HEARTHGATE_HASH__MAX_WAIT", max_wait),
    ];
    let listen = ["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    Server::dev_at(TempDir::new().unwrap().into(), &listen, &settings)
}

/// What the server says of itself, over one connection.
struct Watch {
    client: Client,
    url: String,
}

impl Watch {
    fn new(server: &Server) -> Self {
        Self { client: crate::support::client(), url: format!("{}/metrics", server.metrics) }
    }

    async fn read(&self, name: &str) -> u64 {
        let scraped = self.client.get(&self.url).send().await.unwrap().text().await.unwrap();
        let value = scraped.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    async fn begun(&self) -> u64 {
        self.read("hearthgate_hash_wait_seconds_count").await
    }

    async fn hashed(&self) -> u64 {
        self.read("hearthgate_hash_duration_seconds_count").await
    }

    async fn waiting(&self) -> u64 {
        self.read("hearthgate_hash_queue_length").await
    }

    /// Waits until a number is as it should be.
    async fn until(&self, name: &str, is_it: impl Fn(u64) -> bool) {
        while !is_it(self.read(name).await) {
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Begins a login by somebody who does not exist, from an address of their own: one hash.
fn log_in(logins: &mut JoinSet<Answer>, server: &Server, number: u8) {
    let app = App::new(server).from(&format!("127.0.1.{number}"));
    let body = json!({ "email": format!("waits{number}@example.com"), "password": "12345678" });
    logins.spawn(async move { app.v8("/api/user/login", body).await });
}

/// The form of such a login.
fn form(number: u8) -> String {
    format!("username=leaves{number}%40example.com&password={}&uuid={TOUCH}&cubeSn={CUBE}", md5("12345678"))
}

fn http1(number: u8) -> Vec<u8> {
    let form = form(number);
    let head = "POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length:";
    format!("{head} {}\r\n\r\n{form}", form.len()).into_bytes()
}

fn http2(number: u8) -> Vec<u8> {
    let head =
        [frames::head("POST", "/accounts/login"), frames::header("content-type", "application/x-www-form-urlencoded")].concat();
    let body = frame(frames::DATA, frames::END_STREAM, 1, form(number).as_bytes());
    [frames::hello(&[]), frame(frames::HEADERS, frames::END_HEADERS, 1, &head), body].concat()
}

async fn connect(to: &str, number: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddrV4::new(Ipv4Addr::new(127, 0, 2, number), 0).into()).unwrap();
    socket.connect(to.split_once("://").unwrap().1.parse::<SocketAddr>().unwrap()).await.unwrap()
}

/// A connection of whichever kind, on which a login has been sent.
trait Asks: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Asks for T {}

async fn ask(mut stream: impl Asks + 'static, bytes: Vec<u8>) -> Box<dyn Asks> {
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    Box::new(stream)
}

/// Clients of every kind whose passwords wait to be hashed when they go away: none of them is.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_is_not_hashed_for() {
    let server = slow_hasher("10m");
    let (watch, tls) = (Watch::new(&server), connector(&server));
    let (begun, hashed) = (watch.begun().await, watch.hashed().await);
    // Those who stay, of whom the first is being hashed for.
    let mut stay = JoinSet::new();
    (1..=4).for_each(|number| log_in(&mut stay, &server, number));
    watch.until("hearthgate_hash_wait_seconds_count", |count| count > begun).await;
    watch.until("hearthgate_hash_queue_length", |length| length == 3).await;
    let mut leave = Vec::new();
    for number in [1, 2] {
        leave.push(ask(connect(&server.http, number).await, http1(number)).await);
        leave.push(ask(connect(&server.http, 10 + number).await, http2(10 + number)).await);
        let stream = connect(&server.https, 20 + number).await;
        let stream = tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        leave.push(ask(stream, http1(20 + number)).await);
    }
    // One who takes back a request, and keeps the connection.
    let mut takes_back = ask(connect(&server.http, 30).await, http2(30)).await;
    while watch.begun().await - begun + watch.waiting().await < 11 {
        tokio::time::sleep(GLANCE).await;
    }
    let (connected, gone) = (watch.read("hearthgate_connections").await, leave.len() as u64);
    takes_back.write_all(&frame(frames::RST_STREAM, 0, 1, &[0, 0, 0, 8])).await.unwrap();
    drop(leave);
    watch.until("hearthgate_connections", |count| count + gone <= connected).await;
    let answers = stay.join_all().await;
    assert!(answers.iter().all(|answer| answer.body["error"] == 404), "{answers:?}");
    watch.until("hearthgate_hash_queue_length", |length| length == 0).await;
    // Whatever was begun for somebody else would be over before this.
    let mut last = JoinSet::new();
    log_in(&mut last, &server, 5);
    last.join_all().await;
    assert_eq!(watch.hashed().await - hashed, 5, "hashes for four who stayed and one who came later");
    drop(takes_back);
    let folder = server.stop();
    let trail = operate(&folder.path().join("data"), &["audit", "list", "--reason", "broken off"], "");
    let names: BTreeSet<_> = trail.as_array().unwrap().iter().map(|entry| entry["request"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 7, "all of them are in the audit trail: {trail}");
}

/// With every thread hashing and the queue full, whatever needs no hash is answered before those who wait.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_hash_waits_for_none() {
    let server = slow_hasher("5s");
    let (watch, app) = (Watch::new(&server), App::new(&server));
    let body = json!({ "phoneNumber": "+8613123456789", "password": "12345678" });
    let session = app.v8("/api/user/login", body).await;
    let (at, rt) = (session.text("/at"), session.text("/rt"));
    let begun = watch.begun().await;
    let mut logins = JoinSet::new();
    let mut number = 0;
    // Until somebody is turned away: the queue is full.
    let refused = loop {
        number += 1;
        log_in(&mut logins, &server, number);
        tokio::time::sleep(GLANCE).await;
        match logins.try_join_next().map(Result::unwrap) {
            Some(answer) if answer.status == 503 => break answer,
            Some(answer) => assert_eq!(answer.body["error"], 404, "{answer:?}"),
            None => {}
        }
    };
    assert!(refused.retry_after.is_some());
    let line = server.log_line(&refused.request_id);
    assert_eq!(line["outcome"], "too many passwords are waiting to be hashed");
    assert_eq!(line["identifier"], "w***@e***.com", "nothing was looked up, but it is known whose login it was");
    assert!(watch.begun().await > begun && watch.waiting().await > 0, "it is at work");
    let hashed = watch.hashed().await;
    let live = app.v2_as(&at, Method::GET, "/v2/user/profile", Value::Null).await;
    assert_eq!(live.body["error"], 0, "{live:?}");
    let refreshed = app.v8_get("/api/user/refresh", &[("rt", &rt)]).await;
    let at = refreshed.text("/at");
    let health = crate::support::client().get(format!("{}/health/live", server.http)).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let out = app.v2_as(&at, Method::DELETE, "/v2/user/logout", json!({})).await;
    assert_eq!(out.body["error"], 0, "{out:?}");
    // Had any of these stood in line, all who were before would be hashed for by now.
    let (waiting, since) = (watch.waiting().await, watch.hashed().await - hashed);
    assert!(waiting > 0, "nobody waits any more, after {since} hashes");
}
