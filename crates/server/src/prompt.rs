//! Connections that must begin to speak in time.
//!
//! The header time-out of HTTP/1 and the keep-alive of HTTP/2 begin once it is known which of the two is spoken. Until then, and to a
//! client that never gets so far, this applies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// So many bytes tell HTTP/2 from HTTP/1 (RFC 9113 §3.4: the connection preface).
const TELLING: usize = 24;

/// Hands on what `inner` accepts, as a [`Prompt`] stream.
#[derive(Debug, Clone)]
pub(crate) struct PromptAcceptor<A> {
    pub inner: A,
    pub patience: Duration,
}

impl<A, I, S> Accept<I, S> for PromptAcceptor<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = Prompt<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepting = self.inner.accept(stream, service);
        let patience = self.patience;
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            Ok((Prompt::new(stream, patience), service))
        })
    }
}

/// A stream that fails unless [`TELLING`] bytes are read from it in time.
pub(crate) struct Prompt<T> {
    inner: T,
    /// How many bytes are still awaited, and until when; `None` once they have come.
    awaited: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<T> Prompt<T> {
    fn new(inner: T, patience: Duration) -> Self {
        Self { inner, awaited: Some((TELLING, Box::pin(tokio::time::sleep(patience)))) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prompt<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(context, buffer) {
            let came = buffer.filled().len() - before;
            self.awaited =
                self.awaited.take().and_then(|(left, until)| Some((left.checked_sub(came).filter(|left| *left > 0)?, until)));
            return Poll::Ready(read);
        }
        let Some((_, until)) = &mut self.awaited else { return Poll::Pending };
        ready!(until.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prompt<T> {
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
