//! A bare axum server that answers every request with the same bytes: what there is to reach for a server that looks something up.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::Outcome;
use crate::client::Client;
use crate::http::{Answer, Connection};
use crate::requests::{self, Kind};

/// An answer to be repeated.
#[derive(Serialize, Deserialize)]
struct Repeated {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// The server, in a process of its own.
pub(crate) struct Bare {
    pub address: SocketAddr,
    child: Child,
}

impl Bare {
    /// A server that answers what `server` answers when the token of `person` is checked.
    pub async fn like(server: SocketAddr, person: i64) -> Outcome<Self> {
        let mut connection = Connection::open(server, Client::address(0)).await?;
        let answer = connection.ask(&requests::check(person)).await?;
        if !Kind::Check.is_right(&answer) {
            return Err(format!("a token check was answered {}", answer.status).into());
        }
        Self::start(&Repeated::read(&answer)?)
    }

    fn start(answer: &Repeated) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("bare").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        serde_json::to_writer(child.stdin.take().ok_or("no standard input")?, answer)?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        Ok(Self { address: line.trim().parse()?, child })
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Repeated {
    fn read(answer: &Answer<'_>) -> Outcome<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(answer.head)?;
        // Every server writes these by itself.
        let own = |header: &&httparse::Header<'_>| !["date", "content-length"].contains(&header.name);
        let pair = |header: &httparse::Header<'_>| Outcome::Ok((header.name.into(), String::from_utf8(header.value.to_vec())?));
        let headers = response.headers.iter().filter(own).map(pair).collect::<Outcome<_>>()?;
        Ok(Self { status: answer.status, headers, body: String::from_utf8(answer.body.to_vec())? })
    }
}

/// Serves what standard input says, and tells where.
pub(crate) async fn serve() -> Outcome<()> {
    let Repeated { status, headers, body } = serde_json::from_reader(std::io::stdin())?;
    let headers = headers
        .iter()
        .map(|(name, value)| Outcome::Ok((HeaderName::try_from(name.as_str())?, HeaderValue::try_from(value.as_str())?)));
    let headers: HeaderMap = headers.collect::<Outcome<_>>()?;
    let answer = Arc::new((StatusCode::from_u16(status)?, headers, body));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    // Its system tells when it cannot: then it is as slow as it is.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new().fallback(async |State(answer): State<Arc<(StatusCode, HeaderMap, String)>>| (*answer).clone());
    Ok(axum::serve(listener, router.with_state(answer)).await?)
}
