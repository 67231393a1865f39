//! Bytes that are no HTTP, or nearly: none of them may stop, hang or swell the server. `TEST_HOSTILE` says how many requests.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::siege::{connector, resident};
use crate::support::{Ewelink, Server};

/// Somebody's verifier, which is kept as it is.
const BCRYPT: &str = "$2b$04$hOkHO5QKBR6NRf7VjFPnBOPnDRqmPfbFHuvyBXlyFRwEnaLplzXSC";

/// How many connections are open at the same time.
const AT_ONCE: u64 = 200;

/// What the server takes, and how long a machine that is busy with other things may take in addition.
const LIMIT: &str = "2s";
const PATIENCE: Duration = Duration::from_secs(60);

const LOGIN: &str = r#"{"appid":"McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr","phoneNumber":"+8613123456789","password":"12345678","ts":1558004249,"version":8,"nonce":"q3wz95p6"}"#;
const FORM: &str = "username=apilogin&password=e10adc3949ba59abbe56e057f20f883e&uuid=x";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a request says how long its body is, often wrongly.
fn framing(dice: &mut Rng, body: &[u8]) -> (String, Vec<u8>) {
    let length = body.len();
    let chunked = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    let lines = match dice.usize(..16) {
        0..=3 => format!("Content-Length: {length}\r\n"),
        4 => "Content-Length: 99999999999999999999999999\r\n".into(),
        5 => "Content-Length: 18446744073709551615\r\n".into(),
        6 => format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length + 1),
        7 => format!("Content-Length: {length}, {length}\r\n"),
        8 => format!("Content-Length: +{length}\r\n"),
        9 => format!("Content-Length: 0x{length:x}\r\n"),
        10 => format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        11 => "Transfer-Encoding: chunked\r\n".into(),
        12 => "Transfer-Encoding: xchunked\r\n".into(),
        13 => "Transfer-Encoding: chunked, identity\r\n".into(),
        14 => "Transfer-Encoding : chunked\r\n".into(),
        _ => "Transfer-Encoding:\x0bchunked\r\nTransfer-Encoding: chunked\r\n".into(),
    };
    let sent = match dice.usize(..6) {
        0 => chunked(body),
        1 => [b"ffffffffffffffff1\r\n", body].concat(),
        2 => [b"-1\r\n", body].concat(),
        3 => [format!("{length:x};{}\r\n", "x".repeat(dice.usize(..20_000))).as_bytes(), body].concat(),
        _ => body.to_vec(),
    };
    (lines, sent)
}

fn target(dice: &mut Rng) -> String {
    let known = ["/api/user/login", "/accounts/login", "/v2/user/login", "/v2/user/profile", "/user/verify", "/health/live", "/"];
    let path = dice.choice(known).unwrap();
    match dice.usize(..14) {
        0 => format!("http://example.com{path}"),
        1 => format!("http://user:pass@[::1]:99999{path}"),
        2 => "*".into(),
        3 => "example.com:443".into(),
        4 => format!("{path}?a=%zz&b=%&c=%ff"),
        5 => format!("{path}?\u{ff}\u{202e}"),
        6 => format!("{path}/../../..//etc/passwd"),
        7 => format!("{path}#fragment"),
        8 => format!("{path}%00%0d%0aX: y"),
        9 => format!("/{}", "a/".repeat(dice.usize(..20_000))),
        10 => String::new(),
        _ => path.into(),
    }
}

fn headers(dice: &mut Rng) -> String {
    match dice.usize(..14) {
        0 => "Host: a\r\nHost: b\r\n".into(),
        1 => String::new(),
        2 => "Host: \u{0}\r\n".into(),
        3 => format!("Host: x\r\n{}", "X: y\r\n".repeat(dice.usize(..400))),
        4 => format!("Host: x\r\nX: {}\r\n", "y".repeat(dice.usize(..50_000))),
        5 => format!("Host: x\r\n{}: y\r\n", "X".repeat(dice.usize(..50_000))),
        6 => "Host: x\nX: y\n".into(),
        7 => "Host: x\rX: y\r".into(),
        8 => "Host: x\r\n folded: y\r\n".into(),
        9 => "Host: x\r\nnot a header\r\n".into(),
        10 => "Host: x\r\nExpect: 100-continue\r\n".into(),
        11 => "Host: x\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n".into(),
        12 => "Host: x\r\nAuthorization: Sign AAEC\r\nAuthorization: Bearer x\r\nCookie: token=x; token=y\r\n".into(),
        _ => "Host: x\r\nContent-Type: application/json\r\nAuthorization: Sign AAEC\r\n".into(),
    }
}

/// A request that is nearly one of HTTP/1.
fn http1(dice: &mut Rng) -> Vec<u8> {
    let method = dice
        .choice(["GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "TRACE", "get", "G\u{e9}T", ""])
        .unwrap();
    let version =
        dice.choice(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9", "http/1.1", ""]).unwrap();
    let end = dice.choice(["\r\n", "\r\n", "\r\n", "\n", "\r", "\0\r\n"]).unwrap();
    let body = dice.choice([LOGIN, FORM, "", "{"]).unwrap();
    let (lengths, body) = framing(dice, body.as_bytes());
    let head = format!("{method} {} {version}{end}{}{lengths}\r\n", target(dice), headers(dice));
    [head.into_bytes(), body].concat()
}

/// Frames that are nearly some of HTTP/2.
fn http2(dice: &mut Rng) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    if dice.usize(..3) > 0 {
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    for _ in 0..dice.usize(..8) {
        let payload: Vec<u8> = (0..dice.usize(..40)).map(|_| dice.u8(..)).collect();
        let length = if dice.usize(..4) > 0 { payload.len() } else { dice.usize(..1 << 24) };
        bytes.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
        bytes.extend([dice.u8(..) % 12, dice.u8(..), 0, 0, 0, dice.u8(..) % 6]);
        bytes.extend(payload);
    }
    bytes
}

/// Spoils some bytes.
fn spoil(dice: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..dice.usize(..4) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.usize(..bytes.len());
        match dice.usize(..6) {
            0 => bytes[at] = dice.u8(..),
            1 => bytes.insert(at, *dice.choice(b"\0\r\n\t :;,%\x7f\xff").unwrap()),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => bytes.extend_from_within(at..),
            _ => bytes.extend((0..dice.usize(..100)).map(|_| dice.u8(..))),
        }
    }
}

/// What one client sends.
fn hostile(dice: &mut Rng) -> Vec<u8> {
    let mut bytes = match dice.usize(..10) {
        0 => http2(dice),
        1 => (0..dice.usize(..300)).map(|_| dice.u8(..)).collect(),
        2 => [b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1 + dice.usize(..20)), http1(dice)].concat(),
        _ => http1(dice),
    };
    if dice.usize(..2) == 0 {
        spoil(dice, &mut bytes);
    }
    bytes
}

/// Where the clients connect to, and how.
struct Place {
    http: SocketAddr,
    https: SocketAddr,
    tls: TlsConnector,
}

impl Place {
    async fn send(&self, dice: &mut Rng) {
        let bytes = hostile(dice);
        // So many clients do not come from one address.
        let address = Ipv4Addr::new(127, 0, dice.u8(..), 1 + dice.u8(..) % 254);
        let connect = async |to| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddrV4::new(address, 0).into()).unwrap();
            socket.connect(to).await.unwrap()
        };
        let to_the_end = dice.usize(..100) > 0;
        let said = match dice.usize(..20) {
            0 => {
                let stream = connect(self.https).await;
                let tls = self.tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
                talk(tls, &bytes, to_the_end).await
            }
            1 => talk(connect(self.https).await, &bytes, to_the_end).await,
            _ => talk(connect(self.http).await, &bytes, to_the_end).await,
        };
        check(&bytes, &said);
    }
}

/// Sends everything that is taken, and reads until the connection ends: by itself, when the client says that it has said everything
/// (`to_the_end`), else by the server's limits.
async fn talk(stream: impl AsyncRead + AsyncWrite, bytes: &[u8], to_the_end: bool) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut said = Vec::new();
    let reading = async {
        // A reset is an end as well.
        drop(reader.read_to_end(&mut said).await);
    };
    let writing = async {
        if writer.write_all(bytes).await.is_ok() && to_the_end {
            drop(writer.shutdown().await);
        }
    };
    let both = async { tokio::join!(reading, writing) };
    timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("never answered nor closed: {}", bytes.escape_ascii()));
    said
}

/// Whatever is answered to bytes that are no HTTP/2 is HTTP/1, and no failure of the server's own.
fn check(bytes: &[u8], said: &[u8]) {
    if let Some(line) = said.split(|byte| *byte == b'\r').next().filter(|line| line.starts_with(b"HTTP")) {
        let status = line.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse::<u16>().ok());
        let fine = status.is_some_and(|status| (100..500).contains(&status) || status == 505);
        assert!(fine, "{} is answered {}", bytes.escape_ascii(), line.escape_ascii());
    }
}

/// Sends so many requests, as many at once as clients; returns when all have ended.
async fn storm(place: &Arc<Place>, seed: u64, requests: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (place, next) = (Arc::clone(place), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return;
                }
                place.send(&mut Rng::with_seed(seed + number)).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// What SQLite keeps of the database grows with it, to a few megabytes: that is not what is looked for, so it is there from the start.
fn fill_page_cache(server: &Server) {
    let file = server.folder().path().join("accounts.csv");
    let rows = (0..15_000).map(|number| format!("person{number:05},bcrypt,{BCRYPT}\n"));
    std::fs::write(&file, std::iter::once("username,scheme,verifier\n".to_owned()).chain(rows).collect::<String>()).unwrap();
    let summary = server.operate(&["account", "import", file.to_str().unwrap()]);
    assert_eq!(summary["imported"], 15_000, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_do_no_harm() {
    let requests: u64 = std::env::var("TEST_HOSTILE").map_or(100_000, |number| number.parse().unwrap());
    let server = Server::dev_with(&[
        ("HEARTHGATE_LISTEN__HEADER_TIMEOUT", LIMIT),
        ("HEARTHGATE_LISTEN__BODY_TIMEOUT", LIMIT),
        ("HEARTHGATE_LOG__LEVEL", "warn"),
    ]);
    let place = Arc::new(Place {
        http: server.address().parse().unwrap(),
        https: server.https.strip_prefix("https://").unwrap().parse().unwrap(),
        tls: connector(&server),
    });
    fill_page_cache(&server);
    storm(&place, 0, requests / 4).await;
    let before = resident(&server);
    storm(&place, requests, requests * 3 / 4).await;
    let after = resident(&server);
    println!("{requests} requests; {before} KiB resident after the first quarter, {after} KiB at the end");
    assert!(after <= before + before / 20, "it swells: {before} KiB, then {after} KiB");
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn", "who has done nothing logs in");
    let said = server.log.all();
    assert!(!said.iter().any(|line| line.contains("panicked")), "{said:#?}");
}
