//! One side of a tunnel: a plain TCP connection, or one behind TLS. Both are read and written the
//! same way; only a plain one can be spliced.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A TLS session over a connection some of whose bytes were read already.
pub(crate) type Tls = tokio_rustls::TlsStream<Rewind>;

/// See the module.
pub(crate) enum Leg {
    /// A TCP connection.
    Plain(TcpStream),
    /// TLS over one. Lent for one poll at a time, by the one task that has it.
    Tls(Box<RefCell<Tls>>),
}

impl From<TcpStream> for Leg {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<Tls> for Leg {
    fn from(tls: Tls) -> Self {
        Self::Tls(Box::new(RefCell::new(tls)))
    }
}

impl Leg {
    /// The connection, if nothing stands between it and the payload.
    pub fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }

    /// The address at which the peer reached us.
    pub fn local_ip(&self) -> Option<std::net::IpAddr> {
        let local = match self {
            Self::Plain(stream) => stream.local_addr(),
            Self::Tls(tls) => tls.borrow().get_ref().0.stream.local_addr(),
        };
        local.ok().map(|a| a.ip())
    }

    /// Whether a read may find something: false is certain, true is not.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_read_ready(cx),
            // Bytes may wait inside the session.
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the peer neither said anything nor ended. What it said may be lost then.
    pub async fn is_quiet(&self) -> bool {
        poll_fn(|cx| Poll::Ready(self.poll_read(cx, &mut [0]).is_pending())).await
    }

    /// Reads what is there; 0 at the end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => loop {
                ready!(stream.poll_read_ready(cx))?;
                match stream.try_read(buf) {
                    Err(e) if would_block(&e) => {}
                    Ok(n) if 0 < n && n < buf.len() => {
                        emptied(stream);
                        return Poll::Ready(Ok(n));
                    }
                    other => return Poll::Ready(other),
                }
            },
            Self::Tls(tls) => {
                let mut buf = ReadBuf::new(buf);
                match ready!(Pin::new(&mut *tls.borrow_mut()).poll_read(cx, &mut buf)) {
                    Ok(()) => Poll::Ready(Ok(buf.filled().len())),
                    // A peer that closes without a word of TLS: an end like any other, for what
                    // came before it is whole as far as HTTP and SOCKS can tell.
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                    Err(e) => Poll::Ready(Err(e)),
                }
            }
        }
    }

    /// Writes what fits.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => loop {
                ready!(stream.poll_write_ready(cx))?;
                match stream.try_write(bytes) {
                    Err(e) if would_block(&e) => {}
                    other => return Poll::Ready(other),
                }
            },
            Self::Tls(tls) => Pin::new(&mut *tls.borrow_mut()).poll_write(cx, bytes),
        }
    }

    /// Brings to the socket what a session still holds.
    pub async fn flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => poll_fn(|cx| Pin::new(&mut *tls.borrow_mut()).poll_flush(cx)).await,
        }
    }

    /// Says that nothing more will come.
    pub async fn finish(&self) {
        match self {
            Self::Plain(stream) => {
                let _ = SockRef::from(stream).shutdown(Shutdown::Write);
            }
            Self::Tls(tls) => {
                let _ = poll_fn(|cx| Pin::new(&mut *tls.borrow_mut()).poll_shutdown(cx)).await;
            }
        }
    }

    /// Appends what is there to `buf`, at most 16 KiB; 0 at the end of the stream.
    pub async fn read_some(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.read_within(buf, usize::MAX).await
    }

    /// The same, but `buf` becomes no longer than `most` bytes. It must be shorter before.
    pub async fn read_within(&self, buf: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let room = most.saturating_sub(buf.len()).clamp(1, 16 << 10);
        poll_fn(|cx| {
            ready!(self.poll_readable(cx))?;
            crate::relay::with_buffer(|shared| {
                let n = ready!(self.poll_read(cx, &mut shared[..room]))?;
                buf.extend_from_slice(&shared[..n]);
                Poll::Ready(Ok(n))
            })
        })
        .await
    }

    /// Writes all, unmetered.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|cx| self.poll_write(cx, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => bytes = &bytes[n..],
            }
        }
        self.flush().await
    }
}

/// Notes that a read took all there was: the next one waits for an event instead of asking the
/// system. The driver runs on this thread, so no event is noted between the read and this. What
/// arrives later makes an event of its own (epoll(7), edge-triggered: a short read from a stream
/// says that it is empty), and an end that was told is not forgotten.
fn emptied(stream: &TcpStream) {
    let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
}

/// Whether an operation is to be tried again later.
pub(crate) fn would_block(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A connection whose first bytes were read already: they come first.
pub(crate) struct Rewind {
    first: Vec<u8>,
    at: usize,
    stream: TcpStream,
    /// Bytes that may still be read; none = any number.
    left: Option<usize>,
}

impl Rewind {
    pub fn new(first: Vec<u8>, stream: TcpStream) -> Self {
        Self { first, at: 0, stream, left: None }
    }

    /// Reading fails once about `most` bytes have been read, the first ones included.
    pub fn bounded(self, most: usize) -> Self {
        Self { left: Some(most), ..self }
    }

    /// Any number may be read from now on.
    pub fn unbounded(&mut self) {
        self.left = None;
    }

    fn read_first(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.first[self.at..];
        let n = left.len().min(buf.remaining());
        buf.put_slice(&left[..n]);
        self.at += n;
        if self.at == self.first.len() {
            (self.first, self.at) = (Vec::new(), 0);
        }
    }
}

impl AsyncRead for Rewind {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == Some(0) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than may come")));
        }
        let before = buf.filled().len();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            this.read_first(buf);
        }
        if let Some(left) = &mut this.left {
            *left = left.saturating_sub(buf.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
