//! The connection that `awc` is given: a socket, encrypted or not, whose answers
//! pass the [`HeadFilter`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use actix_rt::net::{ActixStream, Ready};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head_filter::HeadFilter;

/// What is read of a head at once.
const READ_SIZE: usize = 4 * 1024;

/// Bytes both ways; what matters is whether they are encrypted below.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + fmt::Debug> Transport for T {}

/// A connection over which `awc` reads one head for each request.
#[derive(Debug)]
pub struct FilteredStream {
    transport: Box<dyn Transport>,
    filter: HeadFilter,
    /// What has passed the filter and has not been read.
    ready: BytesMut,
}

impl FilteredStream {
    /// Of a connection over which nothing has been sent yet.
    #[must_use]
    pub fn new(transport: impl Transport + 'static) -> Self {
        Self {
            transport: Box::new(transport),
            filter: HeadFilter::default(),
            ready: BytesMut::new(),
        }
    }

    /// Reads what may belong to a head into the filter; `false` at the end of the
    /// connection.
    fn poll_filter(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut bytes = [0; READ_SIZE];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            self.filter.end(&mut self.ready);
            return Poll::Ready(Ok(false));
        }
        self.filter
            .feed(read.filled(), &mut self.ready)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the head is too large"))?;
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for FilteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ready.is_empty() && !this.filter.is_past_head() {
            if !ready!(this.poll_filter(cx))? {
                break;
            }
        }
        if this.ready.is_empty() {
            return Pin::new(&mut this.transport).poll_read(cx, into);
        }
        let length = this.ready.len().min(into.remaining());
        into.put_slice(&this.ready[..length]);
        this.ready.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FilteredStream {
    /// `awc` sends a whole request before it reads, so what is written after a
    /// head belongs to the next request, and another head will come.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.filter.is_past_head() {
            self.filter = HeadFilter::default();
        }
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

impl ActixStream for FilteredStream {
    // Whoever tries will be told to wait; `awc` never asks.
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

impl Drop for FilteredStream {
    /// Says goodbye as far as that needs no waiting: an encrypted connection that
    /// just ends looks cut off to the other side. `awc` drops what it is done with.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.transport).poll_shutdown(&mut cx);
    }
}
