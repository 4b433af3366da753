//! The byte stream of one connection, with the bytes that told its protocol put back, and watched for
//! silence.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{
    activity::{Activity, Protocol},
    stream::Stream,
};

/// What an HTTP/2 client sends first when it knows that the server speaks it (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's stream and what has been read of it already.
pub(super) struct Socket {
    stream: Stream,
    activity: Arc<Activity>,
    head: [u8; PREFACE.len()],
    head_read: usize,
    head_given: usize,
    peer_closed: bool,
}

/// The first bytes of a connection.
pub(super) struct Opening {
    head: [u8; PREFACE.len()],
    read: usize,
}

impl Opening {
    /// Waits for the first bytes. `None` when the peer closes without any.
    pub(super) async fn read(stream: &mut Stream) -> io::Result<Option<Self>> {
        let mut head = [0; PREFACE.len()];
        let read = stream.read(&mut head).await?;
        Ok((read > 0).then_some(Self { head, read }))
    }

    /// Reads on until it is sure whether these are the first bytes of HTTP/2.
    pub(super) async fn protocol(&mut self, stream: &mut Stream) -> io::Result<Protocol> {
        loop {
            if self.head[..self.read] != PREFACE[..self.read] {
                return Ok(Protocol::Http1);
            }
            if self.read == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            match stream.read(&mut self.head[self.read..]).await? {
                0 => return Ok(Protocol::Http1),
                more => self.read += more,
            }
        }
    }

    /// The stream as if nothing had been read of it.
    pub(super) fn into_socket(self, stream: Stream, activity: Arc<Activity>) -> Socket {
        Socket {
            stream,
            activity,
            head: self.head,
            head_read: self.read,
            head_given: 0,
            peer_closed: false,
        }
    }
}

impl Socket {
    /// The stream, unless the peer has closed it.
    pub(super) fn into_open_stream(self) -> Option<Stream> {
        (!self.peer_closed).then_some(self.stream)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.head_given < this.head_read {
            let rest = &this.head[this.head_given..this.head_read];
            let count = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..count]);
            this.head_given += count;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Poll::Ready(outcome) = &polled {
            if outcome.is_ok() && buf.filled().len() > before {
                this.activity.received();
            } else {
                this.peer_closed = true;
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
