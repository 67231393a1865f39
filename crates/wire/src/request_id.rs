//! Every request has an id and an origin. Its answer carries the id as `X-Request-Id`, and so does everything that is logged of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use account::{Origin, Rng};
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderName, HeaderValue, Request};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::forwarded::Proxies;

/// A request's id, written as 16 hex digits. Always drawn here; one that a client sends is not looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a request is known by.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub(crate) id: RequestId,
    /// Where it comes from.
    pub address: IpAddr,
}

impl Arrival {
    /// As [`Naming`] wrote it into a request's extensions. A request that nobody has named comes from nowhere, with an id of zeros.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        let unnamed = Self { id: RequestId(0), address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        extensions.get().copied().unwrap_or(unnamed)
    }

    /// The same, as the core knows it.
    #[must_use]
    pub fn origin(self) -> Origin {
        Origin { address: self.address, request: self.id.to_string() }
    }
}

/// How far one id is from the next. It is odd, so that a sequence has every number once before one comes again.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What requests are named with: it gives each an [`Arrival`], and its answer the id.
#[derive(Debug)]
pub struct Naming {
    /// Whose word is taken for where a request comes from.
    proxies: Proxies,
    next: AtomicU64,
}

impl Naming {
    /// Begins a sequence of ids at a place that `rng` draws, so that those of other starts and other nodes are others.
    #[must_use]
    pub fn begin(proxies: Proxies, rng: &dyn Rng) -> Self {
        let mut first = [0; 8];
        rng.fill(&mut first);
        Self { proxies, next: AtomicU64::new(u64::from_ne_bytes(first)) }
    }

    /// `inner`, whose requests are named.
    pub fn around<S>(self, inner: S) -> Named<S> {
        Named { inner, naming: Arc::new(self) }
    }

    fn draw(&self) -> RequestId {
        RequestId(self.next.fetch_add(STRIDE, Ordering::Relaxed))
    }
}

/// A service whose requests are named.
#[derive(Debug, Clone)]
pub struct Named<S> {
    inner: S,
    naming: Arc<Naming>,
}

impl<S, B> Service<Request<B>> for Named<S>
where
    S: Service<Request<B>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = self.naming.draw();
        let address = self.naming.proxies.sender(peer(&request), request.headers());
        request.extensions_mut().insert(Arrival { id, address });
        Answering { answer: self.inner.call(request), id }
    }
}

pin_project! {
    /// The answer to a request that was named, when it is there.
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        answer: F,
        id: RequestId,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.answer.poll(context).map_ok(|mut response| {
            if let Ok(header) = HeaderValue::try_from(this.id.to_string()) {
                response.headers_mut().insert(X_REQUEST_ID, header);
            }
            response
        })
    }
}

fn peer<B>(request: &Request<B>) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use account::SystemRng;

    use super::*;

    #[test]
    fn no_two_requests_share_an_id() {
        let namings = [(); 2].map(|()| Naming::begin(Proxies::default(), &SystemRng));
        let ids: HashSet<_> = (0..2000).map(|nth| namings[nth % 2].draw().to_string()).collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
