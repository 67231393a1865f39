//! Clients that keep the server waiting: each is cut off in time, and nobody else is the slower for it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsConnector;

use crate::frames::{self, frame};
use crate::siege::connector;
use crate::support::Server;
use crate::support::app::App;

/// How many there are.
const SLOW: usize = 2_000;

/// By when every slow client must be gone, as a server is configured by default.
const GONE: Duration = Duration::from_secs(10);

/// How long a client takes for its headers that takes almost all the time there is for them, and for its body as well.
const HEADERS: Duration = Duration::from_secs(4);

/// How often a client that trickles sends something.
const DRIP: Duration = Duration::from_secs(1);

/// In what way a client is slow.
#[derive(Debug, Clone, Copy)]
enum Slowness {
    Silent,
    Headers,
    Body,
    /// Just gets its headers off in time, and does not get its body off.
    HeadersAndBody,
    /// Asks and asks, and never reads.
    Deaf,
    NoHandshake,
    Handshake,
    SilentAfterHandshake,
    Http2Silent,
    /// Sends frames, none of which is a request.
    Http2Idle,
    /// Begins some requests, and finishes none.
    Http2Streams,
    /// Takes no byte of any answer.
    Http2NoWindow,
}

const ALL: [Slowness; 12] = [
    Slowness::Silent,
    Slowness::Headers,
    Slowness::Body,
    Slowness::HeadersAndBody,
    Slowness::Deaf,
    Slowness::NoHandshake,
    Slowness::Handshake,
    Slowness::SilentAfterHandshake,
    Slowness::Http2Silent,
    Slowness::Http2Idle,
    Slowness::Http2Streams,
    Slowness::Http2NoWindow,
];

impl Slowness {
    fn is_tls(self) -> bool {
        matches!(self, Self::NoHandshake | Self::Handshake | Self::SilentAfterHandshake)
    }

    /// What it sends at once.
    fn first(self) -> Vec<u8> {
        let post = b"POST /accounts/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".to_vec();
        match self {
            Self::Silent | Self::NoHandshake | Self::Handshake | Self::SilentAfterHandshake => Vec::new(),
            Self::HeadersAndBody => post[..post.len() - 2].to_vec(),
            Self::Headers => b"POST /accounts/login HTTP/1.1\r\nX: ".to_vec(),
            Self::Body => post,
            Self::Deaf => b"GET /user/style.css HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200),
            Self::Http2Silent => frames::PREFACE.to_vec(),
            Self::Http2Idle => frames::hello(&[]),
            Self::Http2Streams => {
                let head = frames::head("POST", "/accounts/login");
                let streams = (0..4).map(|n| frame(frames::HEADERS, frames::END_HEADERS, 2 * n + 1, &head));
                [frames::hello(&[]), streams.flatten().collect()].concat()
            }
            Self::Http2NoWindow => {
                let head = frames::head("GET", "/user/style.css");
                let flags = frames::END_HEADERS | frames::END_STREAM;
                [frames::hello(&[(4, 0)]), frame(frames::HEADERS, flags, 1, &head)].concat()
            }
        }
    }

    /// What it sends again and again.
    fn drip(self) -> Vec<u8> {
        match self {
            Self::Silent | Self::NoHandshake | Self::SilentAfterHandshake | Self::Http2Silent => Vec::new(),
            Self::Headers | Self::Body | Self::HeadersAndBody => b"x".to_vec(),
            Self::Deaf => b"GET /user/style.css HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            // A record of a handshake that is 16 KiB long.
            Self::Handshake => vec![0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x3f, 0xfc, 0x03, 0x03],
            Self::Http2Idle | Self::Http2NoWindow => frame(frames::PING, 0, 0, &[7; 8]),
            Self::Http2Streams => frame(frames::DATA, 0, 1, b"x"),
        }
    }
}

struct Place {
    http: SocketAddr,
    https: SocketAddr,
    tls: TlsConnector,
}

impl Place {
    fn of(server: &Server) -> Arc<Self> {
        let https = server.https.strip_prefix("https://").unwrap().parse().unwrap();
        let tls = connector(server);
        Arc::new(Self { http: server.address().parse().unwrap(), https, tls })
    }

    /// Keeps the server waiting until it is cut off, and says how long that took. `begun` is passed as soon as it waits.
    async fn dawdle(&self, slowness: Slowness, number: usize, begun: &Barrier) -> Duration {
        let address = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number % 100).unwrap());
        let mut stream = connect(address, if slowness.is_tls() { self.https } else { self.http }).await;
        let since = Instant::now();
        let since = if matches!(slowness, Slowness::SilentAfterHandshake) {
            let tls = self.tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
            stream = tls.into_inner().0;
            Instant::now()
        } else {
            since
        };
        // Whoever does not read may not get everything off.
        drop(timeout(DRIP, stream.write_all(&slowness.first())).await);
        begun.wait().await;
        if matches!(slowness, Slowness::HeadersAndBody) {
            tokio::time::sleep(HEADERS.saturating_sub(since.elapsed())).await;
            // On a busy machine its time may be over.
            drop(stream.write_all(b"\r\n").await);
        }
        let drip = slowness.drip();
        let cut = cut_off(stream, &drip, !matches!(slowness, Slowness::Deaf));
        timeout(GONE * 6, cut).await.unwrap_or_else(|_| panic!("{slowness:?} is still there after {:?}", since.elapsed()));
        since.elapsed()
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // So that it is soon felt when somebody does not read.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddrV4::new(from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Sends `drip` again and again until the other end has closed the connection.
async fn cut_off(stream: TcpStream, drip: &[u8], reads: bool) {
    let (mut reader, writer) = stream.into_split();
    let reading = async {
        let mut buffer = [0; 4096];
        while reads && reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        if !reads {
            std::future::pending::<()>().await;
        }
    };
    let writing = async {
        let mut time = interval(DRIP);
        loop {
            time.tick().await;
            // Without room to write, it is only seen whether there still is somebody.
            if !drip.is_empty() && writer.writable().await.is_ok() {
                match writer.try_write(drip) {
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                    _ => {}
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// The 99th percentile of how long good clients wait for an answer, in a round of a login and many checks of its token.
async fn round(app: &App) -> Duration {
    let mut times = Vec::new();
    let body = json!({ "phoneNumber": "+8613123456789", "countryCode": "+86", "password": "12345678" });
    let (time, logged_in) = timed(app.v2("/v2/user/login", body)).await;
    times.push(time);
    let at = logged_in.text("/data/at");
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (app, at) = (app.clone(), at.clone());
        clients.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..50 {
                let (time, told) = timed(app.v2_as(&at, Method::GET, "/v2/user/profile", Value::Null)).await;
                assert_eq!(told.body["error"], 0, "{told:?}");
                times.push(time);
            }
            times
        });
    }
    times.extend(clients.join_all().await.concat());
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

async fn timed<T>(call: impl Future<Output = T>) -> (Duration, T) {
    let since = Instant::now();
    let answer = call.await;
    (since.elapsed(), answer)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let server = Server::dev();
    let (place, app) = (Place::of(&server), App::new(&server));
    // Not counted: what is there once.
    round(&app).await;
    let (mut quiet, mut besieged, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..3 {
        let begun = Arc::new(Barrier::new(SLOW + 1));
        let mut slow = JoinSet::new();
        for number in 0..SLOW {
            let (place, begun, slowness) = (Arc::clone(&place), Arc::clone(&begun), ALL[number % ALL.len()]);
            slow.spawn(async move { (slowness, place.dawdle(slowness, number, &begun).await) });
        }
        begun.wait().await;
        let rounds = besieged.len();
        let first = loop {
            besieged.push(round(&app).await);
            if let Some(gone) = slow.try_join_next() {
                break gone.unwrap();
            }
        };
        for (slowness, time) in [vec![first], slow.join_all().await].concat() {
            assert!(time <= GONE, "{slowness:?} took {time:?} to be cut off");
            longest = longest.max(time);
        }
        for _ in rounds..besieged.len() {
            quiet.push(round(&app).await);
        }
    }
    let (quiet, besieged, rounds) = (median(quiet), median(besieged.clone()), besieged.len());
    println!(
        "99th percentile, median of {rounds} rounds: {quiet:?} without, {besieged:?} with {SLOW} slow clients; the last was cut off after {longest:?}"
    );
    assert!(besieged < quiet * 2, "{besieged:?} with slow clients, {quiet:?} without");
}
