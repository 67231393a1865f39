//! HTTP/1.1 as lean as can be: whatever sends the requests shares the processors with what answers them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The most headers that an answer has.
const HEADERS: usize = 64;

/// After which time without a request a server may have closed a connection: by default, none does sooner.
const RESTING: Duration = Duration::from_secs(1);

/// A connection on which one request is under way at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    used: Instant,
}

/// An answer. Its length is always told: nothing that is measured streams.
pub(crate) struct Answer<'a> {
    pub status: u16,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// What an answer's head says of its form.
struct Form {
    status: u16,
    head: usize,
    body: usize,
}

impl Connection {
    /// Connects to a server from an address of the loopback.
    pub async fn open(server: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096), used: Instant::now() })
    }

    /// Whether nothing was asked for so long that the server may close it at any time.
    pub fn is_rested(&self) -> bool {
        self.used.elapsed() > RESTING
    }

    /// Sends a request and waits for the answer. After an error the connection is of no more use.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let form = loop {
            self.read_on().await?;
            if let Some(form) = Form::of(&self.read)? {
                break form;
            }
        };
        let all = form.head + form.body;
        while self.read.len() < all {
            self.read_on().await?;
        }
        self.used = Instant::now();
        let (head, body) = self.read[..all].split_at(form.head);
        Ok(Answer { status: form.status, head, body })
    }

    async fn read_on(&mut self) -> io::Result<()> {
        self.read.reserve(1024);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Form {
    /// `None` while the head is not all there.
    fn of(read: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(parsed) = response.parse(read) else { return Err(invalid("no HTTP")) };
        let httparse::Status::Complete(head) = parsed else { return Ok(None) };
        let status = response.code.unwrap_or_default();
        let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let body = match length {
            Some(length) => std::str::from_utf8(length.value).ok().and_then(|text| text.parse().ok()),
            None => (status == 204).then_some(0),
        };
        let body = body.ok_or_else(|| invalid("an answer does not tell its length"))?;
        Ok(Some(Self { status, head, body }))
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let form = |text: &str| Form::of(text.as_bytes()).ok().flatten().map(|form| (form.status, form.head, form.body));
        assert_eq!(form("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{}"), Some((200, 38, 7)));
        assert_eq!(form("HTTP/1.1 204 No Content\r\n\r\n"), Some((204, 27, 0)));
        assert_eq!(form("HTTP/1.1 200 OK\r\nContent-Le"), None, "not all there");
        assert!(Form::of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Form::of(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
