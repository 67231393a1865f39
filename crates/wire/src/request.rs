//! Reading a request, within limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use http_body_util::BodyExt;

/// The largest body, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// How much of a larger body is read and thrown away, so that its sender gets to read the answer.
const DRAIN_LIMIT: usize = 4 * 1024 * 1024;

/// A request, read whole.
#[derive(Debug)]
pub struct Incoming {
    /// The address at the other end.
    pub address: IpAddr,
    /// The host that was asked, if it was named.
    pub host: Option<String>,
    /// The `Authorization` header; `None` when there is none, several, or one that is not text.
    pub authorization: Option<String>,
    /// The body's exact bytes.
    pub body: Vec<u8>,
}

/// Why a request could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its body is over [`BODY_LIMIT`].
    #[error("the body is over 64 KiB")]
    TooLarge,
    /// Its body did not come in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// Its body broke off or is not sent as HTTP demands.
    #[error("the body broke off")]
    Broken,
}

impl Incoming {
    /// Reads `request`, whose body must arrive within `body_timeout`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub async fn read(request: Request, body_timeout: Duration) -> Result<Self, Unreadable> {
        let (parts, body) = request.into_parts();
        let body = tokio::time::timeout(body_timeout, read_body(body)).await.map_err(|_| Unreadable::TooSlow)??;
        Ok(Self { address: address(&parts), host: host(&parts), authorization: authorization(&parts), body })
    }
}

async fn read_body(mut body: Body) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unreadable::Broken)?.into_data() else { continue };
        length += data.len();
        if length > DRAIN_LIMIT {
            break;
        }
        if length <= BODY_LIMIT {
            bytes.extend_from_slice(&data);
        }
    }
    if length > BODY_LIMIT { Err(Unreadable::TooLarge) } else { Ok(bytes) }
}

fn address(parts: &Parts) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip().to_canonical())
}

fn host(parts: &Parts) -> Option<String> {
    // HTTP/2 names the host in the request line.
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| parts.headers.get(HOST)?.to_str().ok()).map(str::to_owned)
}

fn authorization(parts: &Parts) -> Option<String> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok().map(str::to_owned),
        _ => None,
    }
}
