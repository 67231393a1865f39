//! Every request has an id and an origin. Its answer carries the id as `X-Request-Id`, and so does everything that is logged of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use account::{Core, Origin};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;

use crate::forwarded::Proxies;

/// A request's id: 16 hex digits. Always drawn here; one that a client sends is not looked at.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RequestId {
    /// The id that [`name_requests`] gave to `request`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_else(|| Self("unnamed".into()))
    }
}

/// What requests are named with.
#[derive(Clone)]
pub struct Naming {
    /// Where ids are drawn.
    pub core: Arc<Core>,
    /// Whose word is taken for where a request comes from.
    pub proxies: Proxies,
}

/// A middleware that gives each request its id and [`Origin`].
pub async fn name_requests(State(naming): State<Arc<Naming>>, mut request: Request, next: Next) -> Response {
    let mut bytes = [0; 8];
    naming.core.rng().fill(&mut bytes);
    let id = RequestId(hex::encode(bytes));
    let header = HeaderValue::from_str(&id.0);
    let address = naming.proxies.sender(peer(&request), request.headers());
    request.extensions_mut().insert(Origin { address, request: id.0.clone() });
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Ok(header) = header {
        response.headers_mut().insert("x-request-id", header);
    }
    response
}

fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}
