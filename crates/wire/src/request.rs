//! Reading a request, within limits.

use std::time::Duration;

use account::Origin;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;

use crate::request_id::Arrival;

/// The largest body, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// How much of a larger body is read and thrown away, so that its sender gets to read the answer.
const DRAIN_LIMIT: usize = 4 * 1024 * 1024;

/// A request, read whole.
#[derive(Debug)]
pub struct Incoming {
    /// Where it comes from.
    pub origin: Origin,
    /// The host that was asked, if it was named.
    pub host: Option<String>,
    /// The `Authorization` header; `None` when there is none, several, or one that is not text.
    pub authorization: Option<String>,
    /// The query string, without its `?`. Never logged: some protocols carry tokens in it.
    pub query: Option<String>,
    /// The body's exact bytes.
    pub body: Vec<u8>,
    headers: HeaderMap,
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
        let mut incoming = Self::begin(parts);
        incoming.body = tokio::time::timeout(body_timeout, read_body(body)).await.map_err(|_| Unreadable::TooSlow)??;
        Ok(incoming)
    }

    /// Takes what it needs of everything but the body, which is still to come.
    fn begin(parts: Parts) -> Self {
        Self {
            origin: Arrival::of(&parts.extensions).origin(),
            host: host(&parts),
            authorization: only(&parts.headers, &AUTHORIZATION),
            query: parts.uri.query().map(str::to_owned),
            body: Vec::new(),
            headers: detached(parts.headers),
        }
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header; `None` when there is none, several, or one that is not text.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<String> {
        only(&self.headers, name)
    }

    /// A cookie; `None` when there is none, several of that name, or an empty one.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'));
        match (values.next(), values.next()) {
            (Some(only), None) => Some(only).filter(|value| !value.is_empty()),
            _ => None,
        }
    }

    /// The token in `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.authorization.as_deref()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim()).filter(|token| !token.is_empty())
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

/// Copies the values: as they come, each keeps the whole buffer that they were read into, 8 KiB or more, for as long as it is there.
fn detached(mut headers: HeaderMap) -> HeaderMap {
    let values: Vec<&[u8]> = headers.values().map(HeaderValue::as_bytes).collect();
    let mut values = Bytes::from(values.concat());
    for value in headers.values_mut() {
        if let Ok(own) = HeaderValue::from_maybe_shared(values.split_to(value.len())) {
            *value = own;
        }
    }
    headers
}

fn host(parts: &Parts) -> Option<String> {
    // HTTP/2 names the host in the request line.
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| parts.headers.get(HOST)?.to_str().ok()).map(str::to_owned)
}

fn only(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use futures_util::FutureExt;

    use super::*;

    /// A request that came in one buffer, of which it has its parts, and whose body is this.
    fn request(buffer: &Bytes, body: Body) -> Request {
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..4)).unwrap();
        for (name, value) in [("authorization", 4..16), ("x-one", 16..19), ("x-one", 19..22)] {
            request.headers_mut().append(name, HeaderValue::from_maybe_shared(buffer.slice(value)).unwrap());
        }
        request
    }

    #[tokio::test]
    async fn a_request_that_was_read_leaves_the_buffer_it_came_in() {
        let buffer = Bytes::copy_from_slice(b"/?a=Bearer token1st2ndthe body");
        let request = request(&buffer, Body::from(buffer.slice(22..)));
        assert!(!buffer.is_unique());
        let incoming = Incoming::read(request, Duration::from_secs(5)).await.unwrap();
        assert!(buffer.is_unique());
        assert_eq!((incoming.bearer(), incoming.query.as_deref()), (Some("token"), Some("a=")));
        assert_eq!(incoming.body, b"the body");
        assert_eq!(incoming.headers().get_all("x-one").iter().collect::<Vec<_>>(), ["1st", "2nd"]);
        assert_eq!(incoming.header(&AUTHORIZATION).as_deref(), Some("Bearer token"));
    }

    #[tokio::test]
    async fn a_request_whose_body_is_waited_for_has_left_it() {
        let buffer = Bytes::copy_from_slice(b"/?a=Bearer token1st2nd");
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut reading = Box::pin(Incoming::read(request(&buffer, body), Duration::from_secs(5)));
        assert!(reading.as_mut().now_or_never().is_none());
        assert!(buffer.is_unique());
    }
}
