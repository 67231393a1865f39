//! Connections that must not keep the server waiting: from the beginning of a TLS handshake to the end of a request's headers, between
//! requests, and until an answer has been taken. How long a body may take is the business of whoever reads it.
//!
//! This stands below TLS and HTTP, so it holds for every version of both.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use axum_server::accept::Accept;
use hyper::body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::connections::{Connections, Place, Seat, Work};

/// Accepts connections for which there is a place, as [`Prompt`] streams.
#[derive(Clone)]
pub(crate) struct PromptAcceptor(pub Arc<Connections>);

/// Something that is accepted.
pub(crate) trait Peer {
    /// The address at the other end, where there are addresses.
    fn address(&self) -> io::Result<Option<IpAddr>>;
}

impl Peer for TcpStream {
    fn address(&self) -> io::Result<Option<IpAddr>> {
        self.peer_addr().map(|peer| Some(peer.ip()))
    }
}

impl Peer for UnixStream {
    fn address(&self) -> io::Result<Option<IpAddr>> {
        Ok(None)
    }
}

impl<I: Peer, S> Accept<I, S> for PromptAcceptor {
    type Stream = Prompt<I>;
    type Service = Attentive<S>;
    type Future = std::future::Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accept = || {
            let place = self.0.admit(stream.address()?).ok_or(io::ErrorKind::ConnectionRefused)?;
            let service = Attentive { inner: service, seat: place.seat() };
            Ok((Prompt { inner: stream, until: Box::pin(sleep_until(place.deadline())), place }, service))
        };
        std::future::ready(accept())
    }
}

/// A stream that fails when its client has kept the server waiting for too long, or when somebody else needs its place.
pub(crate) struct Prompt<T> {
    inner: T,
    place: Place,
    until: Pin<Box<Sleep>>,
}

impl<T> Prompt<T> {
    /// To be asked whenever it does not go on: nothing, until that must have an end.
    fn wait<A>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<A>> {
        if self.place.is_dismissed(context.waker()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.place.is_hurried() {
            let deadline = self.place.deadline();
            if deadline < self.until.deadline() {
                self.until.as_mut().reset(deadline);
            }
        }
        while self.until.as_mut().poll(context).is_ready() {
            // What has been done meanwhile counts from its end.
            let deadline = self.place.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.until.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prompt<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            ready => ready,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prompt<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            Poll::Pending => self.wait(context),
            ready => ready,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Before the client can know of it: it may come again at once.
        self.place.leave();
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write_vectored(context, slices) {
            Poll::Pending => self.wait(context),
            ready => ready,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// A service that says when it works for its connection.
#[derive(Clone)]
pub(crate) struct Attentive<S> {
    inner: S,
    seat: Seat,
}

impl<S, R> Service<R> for Attentive<S>
where
    S: Service<R, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Attending<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let work = self.seat.work();
        Attending { answer: self.inner.call(request), work }
    }
}

pin_project! {
    /// An answer that is worked for; dropped when it is there.
    pub(crate) struct Attending<F> {
        #[pin]
        answer: F,
        work: Work,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Attending<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.answer.poll(context).map_ok(|response| {
            if response.status() == StatusCode::REQUEST_TIMEOUT {
                this.work.bid_farewell();
            }
            response.map(|body| Answer::of(body, this.work.seat()))
        })
    }
}

/// A body that says when the client has to wait for more of it.
struct Answer {
    body: Body,
    seat: Seat,
    work: Option<Work>,
}

impl Answer {
    /// A body that is there as a whole is never waited for.
    fn of(body: Body, seat: &Seat) -> Body {
        if body.size_hint().exact().is_some() { body } else { Body::new(Self { body, seat: seat.clone(), work: None }) }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if next.is_ready() {
            self.work = None;
        } else if self.work.is_none() {
            self.work = Some(self.seat.work());
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
