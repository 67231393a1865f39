//! How much of the server anybody can have: connections, HTTP/2 streams, headers, open files.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use tokio::net::TcpSocket;

use crate::frames::{self, frame, head, hello};
use crate::support::{Ewelink, Server, client_from};

/// The longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const STREAMS: u32 = 64;

fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection from another address of this machine.
async fn open_from(address: [u8; 4], server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddrV4::new(Ipv4Addr::from(address), 0).into()).unwrap();
    let to: SocketAddr = server.address().parse().unwrap();
    let stream = socket.connect(to).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks whether the server lives, and says whether it was answered.
fn is_served(stream: &mut TcpStream) -> bool {
    // Somebody who was sent away may hear of it only when it speaks.
    drop(stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"));
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"}") {
        match stream.read(&mut part) {
            Ok(length) if length > 0 => answer.extend(&part[..length]),
            _ => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}

/// Whether the server has closed a connection, or does so soon.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 1]).map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |length| length == 0)
}

#[tokio::test]
async fn a_source_has_its_share() {
    let server = Server::dev_with(&[("HEARTHGATE_LIMITS__CONNECTIONS_PER_SOURCE", "5")]);
    let mut theirs = Vec::new();
    for _ in 0..5 {
        let mut stream = open_from([127, 0, 0, 2], &server).await;
        assert!(is_served(&mut stream));
        theirs.push(stream);
    }
    assert!(!is_served(&mut open_from([127, 0, 0, 2], &server).await), "the sixth is closed");
    assert!(is_served(&mut open_from([127, 0, 0, 3], &server).await), "others have a share of their own");
    assert!(theirs.iter_mut().all(is_served), "those that were there go on");
    // Whoever sees its connection closed may come again at once.
    theirs[0].shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    theirs[0].read_to_end(&mut rest).unwrap();
    assert!(is_served(&mut open_from([127, 0, 0, 2], &server).await), "one place is free again");
}

#[tokio::test]
async fn proxies_have_more_than_a_share() {
    let settings = [("HEARTHGATE_LIMITS__CONNECTIONS_PER_SOURCE", "5"), ("HEARTHGATE_PROXY__NETWORKS", r#"["127.0.0.2/32"]"#)];
    let server = Server::dev_with(&settings);
    let mut theirs = Vec::new();
    for _ in 0..20 {
        theirs.push(open_from([127, 0, 0, 2], &server).await);
    }
    assert!(theirs.iter_mut().all(is_served));
}

/// Where all places are taken, whoever has been waited for longest makes room.
#[tokio::test]
async fn the_idle_make_room() {
    let server = Server::dev_with(&[("HEARTHGATE_LIMITS__CONNECTIONS", "5")]);
    let mut present = Vec::new();
    for _ in 0..5 {
        let mut stream = open(&server);
        assert!(is_served(&mut stream));
        present.push(stream);
    }
    assert!(is_served(&mut present[0]), "it is the latest to have been served");
    let logged_in = Ewelink { client: client_from("127.0.0.2"), ..Ewelink::new(&server) }.login(json!({})).await;
    assert_eq!(logged_in.body["region"], "cn");
    assert!(is_closed(&mut present[1]), "it had been idle for longest");
    assert!(is_served(&mut present[0]));
}

/// Whoever is being served does not make room: when everybody is, a newcomer is sent away.
#[tokio::test]
async fn the_busy_stay() {
    let server = Server::dev_with(&[("HEARTHGATE_LIMITS__CONNECTIONS", "5"), ("HEARTHGATE_LISTEN__BODY_TIMEOUT", "60s")]);
    let mut present = Vec::new();
    for _ in 0..5 {
        let mut stream = open(&server);
        // The server says so when it begins to read the body.
        let beginning = b"POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
        stream.write_all(beginning).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
        present.push(stream);
    }
    assert!(!is_served(&mut open(&server)));
    for stream in &mut present {
        stream.write_all(b"x").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"HTTP/1.1 200");
    }
    assert!(is_served(&mut open(&server)));
}

/// Files run out before connections do: the server waits until there are some again.
#[tokio::test]
async fn it_survives_without_open_files() {
    let server = Server::dev_with(&[("HEARTHGATE_LISTEN__HEADER_TIMEOUT", "2s")]);
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
    let open_files = std::fs::read_dir(format!("/proc/{}/fd", server.pid().as_raw_nonzero())).unwrap().count() as u64;
    let set = |current| prlimit(Some(server.pid()), Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) }).unwrap();
    let before = set(Some(open_files + 10));
    let mut crowd: Vec<_> = (0..50).map(|_| open(&server)).collect();
    // All but ten wait to be accepted, until the silent ones before them have been cut off.
    let used = cpu_time(&server);
    assert!(is_served(crowd.last_mut().unwrap()));
    let used = cpu_time(&server) - used;
    assert!(used < Duration::from_secs(2), "it spins: {used:?} of CPU time");
    prlimit(Some(server.pid()), Resource::Nofile, before).unwrap();
    drop(crowd);
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
}

/// How much CPU time a server has used.
fn cpu_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid().as_raw_nonzero())).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts in hundredths of a second for whoever asks.
    Duration::from_millis(ticks * 10)
}

/// Frames that a server sends until it closes the connection or `enough` has come.
fn frames_until(stream: &mut TcpStream, enough: impl Fn(&[(u8, u8, u32, Vec<u8>)]) -> bool) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let frames = frames::parse(&bytes);
        if enough(&frames) {
            return frames;
        }
        match stream.read(&mut part) {
            Ok(0) => return frames,
            Ok(length) => bytes.extend(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return frames,
            Err(error) => panic!("{error}; {frames:?}"),
        }
    }
}

#[test]
fn http2_settings_are_announced() {
    let server = Server::dev();
    let mut stream = open(&server);
    stream.write_all(&hello(&[])).unwrap();
    let frames = frames_until(&mut stream, |frames| !frames.is_empty());
    let settings: Vec<_> = frames[0].3.chunks(6).map(|s| (s[1], u32::from_be_bytes(s[2..].try_into().unwrap()))).collect();
    for bound in [(3, STREAMS), (4, 128 * 1024), (6, 32 * 1024)] {
        assert!(settings.contains(&bound), "{bound:?} is not in {settings:?}");
    }
}

#[test]
fn http2_streams_are_bounded() {
    let server = Server::dev();
    let mut stream = open(&server);
    let begun = |n| frame(frames::HEADERS, frames::END_HEADERS, 2 * n + 1, &head("POST", "/accounts/login"));
    let streams = (0..=STREAMS).flat_map(begun);
    stream.write_all(&[hello(&[]), streams.collect()].concat()).unwrap();
    let frames = frames_until(&mut stream, |frames| frames.iter().any(|frame| frame.0 == frames::RST_STREAM));
    let refused: Vec<_> = frames.iter().filter(|frame| frame.0 == frames::RST_STREAM).collect();
    assert_eq!((refused[0].2, &refused[0].3[..]), (2 * STREAMS + 1, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
}

#[test]
fn http2_headers_are_bounded() {
    let server = Server::dev();
    let mut stream = open(&server);
    let long: Vec<u8> = (0..3).flat_map(|_| frames::header("x", &"y".repeat(12_000))).collect();
    let mut parts = long.chunks(16_000).peekable();
    let mut bytes = [hello(&[]), frame(frames::HEADERS, frames::END_STREAM, 1, &head("GET", "/health/live"))].concat();
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { frames::END_HEADERS } else { 0 };
        bytes.extend(frame(frames::CONTINUATION, last, 1, part));
    }
    stream.write_all(&bytes).unwrap();
    let frames = frames_until(&mut stream, |frames| frames.iter().any(|frame| frame.2 == 1));
    let answer = frames.iter().find(|frame| frame.2 == 1).unwrap_or_else(|| panic!("{frames:?}"));
    // ":status: 431" as a literal, not Huffman-coded or coded: what matters is that it is no success.
    assert_ne!(answer.3.first(), Some(&0x88), "it is answered 200");
}

/// Headers without an end.
#[test]
fn http2_continuations_are_bounded() {
    let server = Server::dev();
    let mut stream = open(&server);
    stream.write_all(&[hello(&[]), frame(frames::HEADERS, 0, 1, &head("GET", "/"))].concat()).unwrap();
    let more = frame(frames::CONTINUATION, 0, 1, &frames::header("x", &"y".repeat(1_000)));
    let written = (0..100_000).take_while(|_| stream.write_all(&more).is_ok()).count();
    assert!(written < 100_000, "the server goes on reading");
    assert!(is_served(&mut open(&server)));
}

/// CVE-2023-44487: requests that are taken back as soon as they are made.
#[test]
fn http2_rapid_resets_end_the_connection() {
    let server = Server::dev();
    let mut stream = open(&server);
    let begin_and_take_back = |n: u32| {
        let begin = frame(frames::HEADERS, frames::END_HEADERS, 2 * n + 1, &head("POST", "/accounts/login"));
        [begin, frame(frames::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()
    };
    stream.write_all(&hello(&[])).unwrap();
    // The server may be gone before everything is said.
    drop(stream.write_all(&(0..10_000).flat_map(begin_and_take_back).collect::<Vec<_>>()));
    let frames = frames_until(&mut stream, |frames| frames.iter().any(|frame| frame.0 == frames::GOAWAY));
    let goaway = frames.iter().find(|frame| frame.0 == frames::GOAWAY);
    assert_eq!(goaway.map(|frame| &frame.3[4..8]), Some(&[0, 0, 0, 11][..]), "ENHANCE_YOUR_CALM");
    assert!(is_served(&mut open(&server)));
}
