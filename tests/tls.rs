//! TLS and listeners: certificates that change under load, what is spoken, and where.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use account::{Clock, SystemClock};
use axum::http::StatusCode;
use rcgen::date_time_ymd;
use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::calls::{SECRET, sign};
use crate::support::server::{refuse, run};
use crate::support::tls::{Authority, Connection, Home, Pair};
use crate::support::{Ewelink, Server};

/// `hearthgate serve` with the documented configuration, on a data folder with `dev`'s sample data, with the first certificate.
fn serve(authority: &Authority, settings: &[(&str, &str)]) -> (Server, Home) {
    let folder = Server::dev().stop();
    let home = Home::new(folder.path(), &authority.issue(1));
    let mut text = include_str!("../docs/integrate/tls.toml").to_owned();
    for (documented, here) in [
        ("[::]:443", "127.0.0.1:0".to_owned()),
        ("/etc/hearthgate/cert.pem", home.cert().display().to_string()),
        ("/etc/hearthgate/key.pem", home.key().display().to_string()),
    ] {
        assert!(text.contains(documented), "{documented}");
        text = text.replace(documented, &here);
    }
    let file = folder.path().join("tls.toml");
    fs::write(&file, text).unwrap();
    let settings = [&[("HEARTHGATE_CONFIG", file.to_str().unwrap())], settings].concat();
    (Server::serve(folder, &[], &settings), home)
}

fn address(server: &Server) -> String {
    server.https.strip_prefix("https://").unwrap().to_owned()
}

/// Waits for the line that says that this certificate is in service.
fn taken(server: &Server, serial: u8) -> Value {
    let serial = format!("\"serial\":\"{serial:02x}\"");
    let line = server.log.wait_for(|line| line.contains("the certificate is in service") && line.contains(&serial));
    serde_json::from_str(&line).unwrap()
}

/// Logs in over a connection.
async fn log_in(connection: &mut Connection) {
    let body = Ewelink::body().to_string();
    let authorization = format!("Sign {}", sign(SECRET, body.as_bytes()));
    let (status, answer) = connection.post("/api/user/login", &body, &authorization).await;
    assert!(status == StatusCode::OK && answer.contains("\"region\":\"cn\""), "{status} {answer}");
}

/// Clients that log in again and again; each failure is a panic.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    done: watch::Sender<usize>,
}

impl Load {
    fn new() -> Self {
        Self { clients: JoinSet::new(), stop: Arc::default(), done: watch::Sender::new(0) }
    }

    /// Adds a client that keeps its connection, or opens one for each login.
    fn add(&mut self, address: &str, client: Arc<ClientConfig>, keeps: bool) {
        let (address, stop, done) = (address.to_owned(), Arc::clone(&self.stop), self.done.clone());
        self.clients.spawn(async move {
            let mut connection = Connection::open(&address, &client).await;
            while !stop.load(Ordering::Relaxed) {
                if !keeps {
                    connection = Connection::open(&address, &client).await;
                }
                log_in(&mut connection).await;
                done.send_modify(|count| *count += 1);
            }
        });
    }

    /// Waits for so many more logins.
    async fn more(&self, count: usize) {
        let goal = *self.done.borrow() + count;
        self.done.subscribe().wait_for(|done| *done >= goal).await.unwrap();
    }

    /// How many logins there were.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        *self.done.borrow()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_swapped_under_load_fails_no_request() {
    let authority = Authority::new();
    let (server, home) = serve(&authority, &[]);
    let address = address(&server);
    let protocols = ["http/1.1", "h2"].map(|protocol| authority.client(protocol));
    let mut load = Load::new();
    for client in &protocols {
        for keeps in [true, true, false, false] {
            load.add(&address, Arc::clone(client), keeps);
        }
    }
    let new_ones_see = async |serial: u8| {
        taken(&server, serial);
        for client in &protocols {
            assert_eq!(Connection::open(&address, client).await.serial, serial);
        }
        load.more(50).await;
    };
    load.more(50).await;

    home.swap_folder(&authority.issue(2));
    new_ones_see(2).await;

    // Written in place, in pieces.
    let pair = authority.issue(3);
    for (file, text) in [(home.cert(), &pair.cert), (home.key(), &pair.key)] {
        let mut file = OpenOptions::new().write(true).truncate(true).open(file).unwrap();
        for piece in text.as_bytes().chunks(400) {
            file.write_all(piece).unwrap();
            load.more(20).await;
        }
    }
    new_ones_see(3).await;

    let pair = authority.issue(4);
    home.swap_link(&home.key(), &pair.key, 4);
    load.more(50).await;
    home.swap_link(&home.cert(), &pair.cert, 4);
    new_ones_see(4).await;

    let pair = authority.issue(5);
    home.rename_over(&home.cert(), &pair.cert);
    load.more(50).await;
    home.rename_over(&home.key(), &pair.key);
    new_ones_see(5).await;

    // One after the other, as fast as it goes.
    for serial in 6..=20 {
        let pair = authority.issue(serial);
        home.rename_over(&home.key(), &pair.key);
        home.rename_over(&home.cert(), &pair.cert);
        server.signal(Signal::HUP);
        load.more(5).await;
    }
    new_ones_see(20).await;
    let logins = load.end().await;
    assert!(logins > 500, "{logins} logins are no load");
}

/// What stands in the files and does not work is told once, and changes nothing until something better comes.
#[tokio::test]
async fn a_pair_that_does_not_work_is_never_in_service() {
    let authority = Authority::new();
    // The connection that is kept is idle meanwhile.
    let (server, home) = serve(&authority, &[("HEARTHGATE_LISTEN__HEADER_TIMEOUT", "2m")]);
    let (address, client) = (address(&server), authority.client("h2"));
    let (cert, key) = (home.cert(), home.key());
    let (cert, key) = (cert.display(), key.display());
    taken(&server, 1);
    let mut kept = Connection::open(&address, &client).await;
    let (good, other) = (authority.issue(2), authority.issue(3));
    let half = |text: &str| text[..text.len() / 4].to_owned();
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cases = [
        (good.cert.clone(), other.key.clone(), format!("the private key {key} is not that of the first certificate in {cert}")),
        (half(&good.cert), good.key.clone(), format!("the certificate {cert} is damaged or only partly written")),
        (good.cert.clone(), half(&good.key), format!("the private key {key} is damaged or only partly written")),
        (String::new(), good.key.clone(), format!("the certificate {cert} is empty")),
        (good.cert.clone(), "\n".into(), format!("the private key {key} is empty")),
        (good.cert.clone(), encrypted, format!("the private key {key} is encrypted: give it without a passphrase")),
        (good.key.clone(), good.cert.clone(), format!("the certificate {cert} holds no certificate in PEM form")),
    ];
    let warnings = |said: &str| server.log.all().iter().filter(|line| line.contains(said)).count();
    for (cert, key, said) in &cases {
        home.rename_over(&home.cert(), cert);
        home.rename_over(&home.key(), key);
        let line: Value = serde_json::from_str(&server.log.wait_for(|line| line.contains(said.as_str()))).unwrap();
        assert_eq!(line["level"], "WARN");
        assert!(line["message"].as_str().unwrap().starts_with("the certificate stays as it was: "), "{line}");
        assert_eq!(Connection::open(&address, &client).await.serial, 1, "{said}");
        log_in(&mut kept).await;
    }
    fs::remove_file(home.key()).unwrap();
    let missing = format!("cannot read the private key {key}: No such file");
    server.log.wait_for(|line| line.contains(&missing));
    assert_eq!(Connection::open(&address, &client).await.serial, 1);
    // Two more looks, of which nothing is to be seen.
    tokio::time::sleep(Duration::from_secs(5)).await;

    home.rename_over(&home.cert(), &good.cert);
    home.rename_over(&home.key(), &good.key);
    let line = taken(&server, 2);
    assert_eq!(line["not_after"], "4096-01-01T00:00:00.000Z");
    assert_eq!(Connection::open(&address, &client).await.serial, 2);
    for said in cases.iter().map(|(_, _, said)| said).chain([&missing]) {
        assert_eq!(warnings(said), 1, "{said}");
    }
    assert_eq!(warnings("PRIVATE KEY"), 0, "nothing of a key is in the log");
    log_in(&mut kept).await;
}

/// A change that is not finished is left alone: it is neither taken nor told.
#[tokio::test]
async fn a_chain_cut_between_two_certificates_is_not_taken_while_it_grows() {
    let authority = Authority::new();
    let (server, home) = serve(&authority, &[]);
    let next = authority.issue(2);
    let (leaf, rest) = next.cert.split_at(next.cert.rfind("-----BEGIN").unwrap());
    // As `cp` does it; the two files agree, but the chain is not whole.
    fs::write(home.key(), &next.key).unwrap();
    fs::write(home.cert(), leaf).unwrap();
    let mut file = OpenOptions::new().append(true).open(home.cert()).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    for byte in rest.as_bytes() {
        file.write_all(&[*byte]).unwrap();
        tokio::time::sleep((until - Instant::now()) / 700).await;
    }
    taken(&server, 2);
    let said = server.log.all();
    assert_eq!(said.iter().filter(|line| line.contains("is in service")).count(), 2, "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("stays as it was")), "{said:#?}");
}

#[tokio::test]
async fn a_certificate_near_its_end_is_warned_of() {
    let authority = Authority::new();
    let (server, home) = serve(&authority, &[]);
    taken(&server, 1);
    let now = u64::try_from(SystemClock.now().0 / 1000).unwrap();
    let ends_in = |serial: u8, days: i64| {
        let end = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_add_signed(days * 24 * 3600));
        authority.issue_with(serial, |params| params.not_after = end)
    };
    let put = |pair: &Pair| {
        home.swap_folder(pair);
        server.signal(Signal::HUP);
        taken(&server, pair.serial)
    };
    put(&ends_in(2, 15));
    put(&authority.issue_with(3, |params| params.not_before = date_time_ymd(4000, 1, 1)));
    for (pair, said) in [(ends_in(4, 13), "the certificate expires soon"), (ends_in(5, -1), "the certificate has expired")] {
        let end = put(&pair)["not_after"].clone();
        let line: Value = serde_json::from_str(&server.log.wait_for(|line| line.contains(said))).unwrap();
        assert_eq!((&line["level"], &line["not_after"]), (&json!("WARN"), &end));
        assert_eq!(line["serial"], format!("{:02x}", pair.serial));
    }
    let warned: Vec<Value> = server.log.all().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned = warned.iter().filter(|line: &&Value| line["level"] == "WARN" && line["serial"].is_string());
    let serials: Vec<_> = warned.map(|line| line["serial"].clone()).collect();
    assert_eq!(serials, ["03", "04", "05"], "nothing is said of what is good for long");
}

/// Whoever reloads every service in one way does not end this one.
#[tokio::test]
async fn a_server_without_a_certificate_takes_no_notice_of_sighup() {
    let server = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[]);
    server.signal(Signal::HUP);
    let answer = crate::support::client().get(format!("{}/x", server.http)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    server.stop();
}

/// Another client's view, not our own library's.
fn s_client(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address(server)]).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat()
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let (server, _home) = serve(&Authority::new(), &[]);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&server, &[version]);
        assert!(said.contains(&format!("New, {name}, Cipher is")), "{version}: {said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let said = s_client(&server, &[version, "-cipher", "DEFAULT:@SECLEVEL=0"]);
        assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{version}: {said}");
    }
    for (offered, agreed) in [("h2", "h2"), ("http/1.1", "http/1.1"), ("http/1.1,h2", "h2")] {
        let said = s_client(&server, &["-alpn", offered]);
        assert!(said.contains(&format!("ALPN protocol: {agreed}\n")), "{offered}: {said}");
    }
    assert!(s_client(&server, &["-alpn", "spdy/3"]).contains("alert no application protocol"));
}

#[tokio::test]
async fn it_listens_at_every_address() {
    let dev = Server::dev();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dev.data().join(name).display().to_string());
    let folder = Arc::new(TempDir::new().unwrap());
    let arguments = ["--http", "127.0.0.1:0,[::1]:0", "--http", "127.0.0.2:0", "--cert", &cert, "--key", &key];
    let settings = [("HEARTHGATE_LISTEN__HTTPS", "127.0.0.1:0,[::1]:0")];
    let server = Server::serve(folder, &arguments, &settings);
    let line: Value = serde_json::from_str(&server.log.wait_for(|line| line.contains("\"listening\""))).unwrap();
    let mut answered = 0;
    for scheme in ["http", "https"] {
        for address in line[scheme].as_str().unwrap().split(',') {
            let curl = Command::new("curl").args(["-sk", &format!("{scheme}://{address}/x")]).output().unwrap();
            assert_eq!(curl.stdout, br#"{"code":2,"note":"NOT_FOUND","data":null}"#, "{scheme}://{address}");
            answered += 1;
        }
    }
    assert_eq!(answered, 5, "{line}");
}

/// Whoever says that plain HTTP is safe where it is gets it.
#[tokio::test]
async fn plain_http_beyond_the_loopback_must_be_asked_for() {
    let folder = Arc::new(TempDir::new().unwrap());
    let allowed = [("HEARTHGATE_LISTEN__ALLOW_PLAIN_HTTP", "true"), ("HEARTHGATE_LISTEN__METRICS", "0.0.0.0:0")];
    let server = Server::serve(folder, &["--http", "0.0.0.0:0"], &allowed);
    for (url, path) in [(&server.http, "/health/live"), (&server.metrics, "/metrics")] {
        let port = url.strip_prefix("http://0.0.0.0:").unwrap();
        let answer = crate::support::client().get(format!("http://127.0.0.1:{port}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

#[test]
fn dev_listens_at_every_address_too() {
    let arguments = ["--http", "127.0.0.1:0", "--http", "[::1]:0", "--https", "[::1]:0"];
    let server = Server::dev_at(Arc::new(TempDir::new().unwrap()), &arguments, &[]);
    let (first, second) = server.http.split_once(',').unwrap();
    assert!(first.starts_with("http://127.0.0.1:") && second.starts_with("http://[::1]:"), "{}", server.http);
    let line = server.out.wait_for(|line| line.starts_with("curl ") && line.contains("/accounts/login"));
    assert!(line.contains(&format!(" {first}/accounts/login ")), "{line}");
}

/// Each refusal is one sentence that says what is wrong.
#[test]
fn listeners_that_are_refused() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let authority = Authority::new();
    let home = Home::new(folder.path(), &authority.issue(1));
    let (cert, key) = (home.cert().display().to_string(), home.key().display().to_string());
    let https = ["serve", "--https", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    for (arguments, said) in [
        (&["serve", "--http", "127.0.0.1:1,127.0.0.1:1"][..], "[listen] has 127.0.0.1:1 twice: give each listener"),
        (&["serve", "--http", "127.0.0.1:1", "--https", "127.0.0.1:1"], "[listen] has 127.0.0.1:1 twice"),
        (&["serve", "--http", "127.0.0.1:0", "--http", "0.0.0.0:0"], "listen.http is 0.0.0.0:0, where passwords would travel"),
        (&["serve", "--http", "[::]:0"], "listen.http is [::]:0, where passwords would travel in the clear"),
        (&["serve", "--http", "localhost:80"], "\"localhost:80\" is not an IP address with a port"),
        (&["serve", "--http", "192.0.2.1:0"], "where passwords would travel in the clear"),
        (&["serve", "--https", "127.0.0.1:0", "--cert", &cert], "not given: listen.key"),
        (&["serve", "--https", "127.0.0.1:0", "--key", &key], "not given: listen.cert"),
        (&["serve", "--cert", &cert, "--key", &key], "not given: listen.https"),
    ] {
        let sentence = refuse(&data, arguments, "");
        assert!(sentence.contains(said), "{arguments:?}: {sentence}");
    }
    let mut elsewhere = https.to_vec();
    elsewhere[2] = "192.0.2.1:0";
    assert!(refuse(&data, &elsewhere, "").ends_with("; choose an address of this machine"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sentence = refuse(&data, &["serve", "--http", &address], "");
    assert!(sentence.contains(&format!("cannot listen at {address}: Address already in use")), "{sentence}");
    assert!(sentence.contains("; stop whoever listens there, or choose another"), "{sentence}");

    let rsa = Command::new("openssl").args(["genrsa", "-aes256", "-passout", "pass:secret", "-traditional", "2048"]).output();
    let rsa = String::from_utf8(rsa.unwrap().stdout).unwrap();
    for (text, said) in [
        (rsa.as_str(), "is encrypted: give it without a passphrase"),
        ("", "is empty"),
        ("\u{1}\u{2}", "holds no private key in PEM form"),
        (&authority.issue(2).key, &format!("is not that of the first certificate in {cert}")),
    ] {
        fs::write(home.key(), text).unwrap();
        let sentence = refuse(&data, &https, "");
        assert!(sentence.contains(&format!("the private key {key} {said}")), "{sentence}");
    }
}

/// The documented authority signs what clients trust, and the documented hook brings it to the server.
#[test]
fn the_documented_certificates_work() {
    let folder = Arc::new(TempDir::new().unwrap());
    let [lineage, etc] = ["lineage", "etc"].map(|name| folder.path().join(name));
    fs::create_dir(&lineage).unwrap();
    fs::create_dir(&etc).unwrap();
    let page = include_str!("../docs/operating.md").split("## Certificates").nth(1).unwrap();
    let block = |number| page.split("```sh\n").nth(number).unwrap().split("```").next().unwrap();
    let hook = block(1).replace("/etc/hearthgate", etc.to_str().unwrap()).replace(" -o hearthgate", "");
    let moved = "mv key.pem lineage/privkey.pem; mv cert.pem lineage/fullchain.pem";
    for script in [&format!("{}\n{moved}", block(2)), &hook] {
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(folder.path()).env("RENEWED_LINEAGE", &lineage);
        let output = run(&mut shell, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| etc.join(name).display().to_string());
    let server = Server::serve(Arc::clone(&folder), &["--https", "127.0.0.1:0", "--cert", &cert, "--key", &key], &[]);
    let port = server.https.rsplit_once(':').unwrap().1;
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--resolve", &format!("id.example.com:{port}:127.0.0.1"), "--cacert"]).arg(folder.path().join("ca.pem"));
    let output = curl.arg(format!("https://id.example.com:{port}/x")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), r#"{"code":2,"note":"NOT_FOUND","data":null}"#, "{said}");
}

/// Whoever does not finish the handshake in time is cut off.
#[test]
fn a_handshake_that_trickles_is_cut() {
    let (server, _home) = serve(&Authority::new(), &[("HEARTHGATE_LISTEN__HEADER_TIMEOUT", "1s")]);
    let mut stream = TcpStream::connect(address(&server)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let begun = Instant::now();
    // A record of 512 bytes with the beginning of a ClientHello, byte by byte.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 501]].concat();
    let cut = hello.iter().any(|byte| {
        let written = stream.write_all(&[*byte]);
        let waiting = |kind| matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        written.is_err() || !matches!(stream.read(&mut [0; 64]), Err(error) if waiting(error.kind()))
    });
    assert!(cut);
    assert!((1..8).contains(&begun.elapsed().as_secs()), "after {:?}", begun.elapsed());
    assert!(s_client(&server, &[]).contains("Cipher is"), "others are not held up");
}
