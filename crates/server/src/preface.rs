//! Finding out which version of HTTP a connection speaks.
//!
//! hyper-util does that itself, but hands on what it has read for it, up to 24 bytes of an HTTP/1 request, apart from the rest. hyper,
//! with a part of a request in its hands, then doubles its buffer, for as long as the connection lasts. So it is found out here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum_server::accept::Accept;
use futures_util::future::{MapOk, TryFutureExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts what another one accepts, as [`Prefaced`] streams.
#[derive(Clone)]
pub(crate) struct PrefaceAcceptor<A>(pub A);

impl<A: Accept<I, S>, I, S> Accept<I, S> for PrefaceAcceptor<A> {
    type Stream = Prefaced<A::Stream>;
    type Service = A::Service;
    type Future = MapOk<A::Future, fn((A::Stream, A::Service)) -> (Self::Stream, A::Service)>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        self.0.accept(stream, service).map_ok(|(stream, service)| (Prefaced::new(stream), service))
    }
}

/// A stream whose first read gives the preface of HTTP/2 as a whole, or nothing at all, which hyper-util takes for HTTP/1. From then on
/// it is read as if nothing had been.
pub(crate) struct Prefaced<T> {
    inner: T,
    beginning: Option<Beginning>,
    /// What reading on failed with when the beginning was handed on. Not every stream would say so again.
    failed: Option<io::Error>,
}

/// What a connection began with, until it has been handed on.
#[derive(Default)]
struct Beginning {
    bytes: [u8; PREFACE.len()],
    filled: usize,
    /// Whether it tells the version.
    is_known: bool,
}

impl<T> Prefaced<T> {
    fn new(inner: T) -> Self {
        Self { inner, beginning: Some(Beginning::default()), failed: None }
    }
}

impl Beginning {
    /// Reads until it is the preface, or cannot become that any more, also because nothing follows.
    fn poll_fill(&mut self, inner: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_known {
            let mut buffer = ReadBuf::new(&mut self.bytes[self.filled..]);
            ready!(Pin::new(&mut *inner).poll_read(context, &mut buffer))?;
            let has_ended = buffer.filled().is_empty();
            self.filled += buffer.filled().len();
            self.is_known = has_ended || self.is_preface() || !PREFACE.starts_with(self.filled());
        }
        Poll::Ready(Ok(()))
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    fn is_preface(&self) -> bool {
        self.filled() == PREFACE
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefaced<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, beginning, failed } = self.get_mut();
        let Some(begun) = beginning else {
            return failed.take().map_or_else(|| Pin::new(inner).poll_read(context, buffer), |error| Poll::Ready(Err(error)));
        };
        if !begun.is_known {
            ready!(begun.poll_fill(inner, context))?;
            if !begun.is_preface() {
                return Poll::Ready(Ok(()));
            }
        }
        // There is room: hyper-util asks for a preface, and hyper for 8 KiB.
        buffer.put_slice(begun.filled());
        *beginning = None;
        if buffer.remaining() > 0
            && let Poll::Ready(Err(error)) = Pin::new(inner).poll_read(context, buffer)
        {
            *failed = Some(error);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefaced<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// What hyper-util has room for when it finds out the version, and more than is ever sent here.
    const SNIFFED: usize = PREFACE.len();
    const ROOM: usize = 256;

    async fn read(stream: &mut Prefaced<DuplexStream>, room: usize) -> Vec<u8> {
        let mut buffer = vec![0; room];
        let read = stream.read(&mut buffer).await.unwrap();
        buffer.truncate(read);
        buffer
    }

    #[tokio::test]
    async fn a_request_of_http1_is_read_in_one_piece_after_nothing() {
        for request in [&b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"[..], b"PRI /x HTTP/1.1\r\n\r\n", b"P\r\n", b""] {
            let (mut client, server) = duplex(ROOM);
            let mut server = Prefaced::new(server);
            client.write_all(request).await.unwrap();
            client.shutdown().await.unwrap();
            assert!(read(&mut server, SNIFFED).await.is_empty());
            assert_eq!(read(&mut server, ROOM).await, request);
            assert!(read(&mut server, ROOM).await.is_empty(), "the end");
        }
    }

    #[tokio::test]
    async fn a_connection_of_http2_begins_with_its_preface_however_it_comes() {
        let (mut client, server) = duplex(ROOM);
        let mut server = Prefaced::new(server);
        let (first, ()) = tokio::join!(read(&mut server, SNIFFED), async {
            for byte in PREFACE {
                client.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(first, PREFACE);
        client.write_all(b"frames").await.unwrap();
        assert_eq!(read(&mut server, ROOM).await, b"frames");
    }

    #[tokio::test]
    async fn what_comes_with_the_preface_comes_after_it() {
        let (mut client, server) = duplex(ROOM);
        let mut server = Prefaced::new(server);
        client.write_all(&[&PREFACE[..], b"frames"].concat()).await.unwrap();
        assert_eq!(read(&mut server, SNIFFED).await, PREFACE);
        assert_eq!(read(&mut server, ROOM).await, b"frames");
    }

    #[tokio::test]
    async fn a_preface_that_breaks_off_is_handed_on_as_it_is() {
        for length in 1..PREFACE.len() {
            let (mut client, server) = duplex(ROOM);
            let mut server = Prefaced::new(server);
            client.write_all(&PREFACE[..length]).await.unwrap();
            drop(client);
            assert!(read(&mut server, SNIFFED).await.is_empty());
            assert_eq!(read(&mut server, ROOM).await, &PREFACE[..length]);
            assert!(read(&mut server, ROOM).await.is_empty(), "the end");
        }
    }

    /// A stream that fails and says so once, as TLS does: afterwards it is as if it had ended.
    struct FailsOnce(std::vec::IntoIter<io::Result<&'static [u8]>>);

    impl AsyncRead for FailsOnce {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(self.0.next().unwrap_or(Ok(b"")).map(|bytes| buffer.put_slice(bytes)))
        }
    }

    #[tokio::test]
    async fn a_failure_behind_the_beginning_is_told_after_it() {
        let events = vec![Ok(&b"GET / HT"[..]), Err(io::ErrorKind::InvalidData.into())];
        let mut stream = Prefaced::new(FailsOnce(events.into_iter()));
        let mut buffer = [0; ROOM];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), b"GET / HT".len());
        assert_eq!(stream.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn what_comes_later_is_waited_for() {
        let (mut client, server) = duplex(ROOM);
        let mut server = Prefaced::new(server);
        client.write_all(b"GET").await.unwrap();
        assert!(read(&mut server, SNIFFED).await.is_empty());
        assert_eq!(read(&mut server, ROOM).await, b"GET");
        let (rest, ()) = tokio::join!(read(&mut server, ROOM), async {
            tokio::task::yield_now().await;
            client.write_all(b" / HTTP/1.1\r\n\r\n").await.unwrap();
        });
        assert_eq!(rest, b" / HTTP/1.1\r\n\r\n");
    }
}
