//! Moving bytes and counting them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollgate_domain::time::Clock;

use super::framing::Framing;
use crate::bytes::Counter;

const BUFFER: usize = 64 * 1024;

/// A counter and the clock that dates its entries.
#[derive(Clone, Copy)]
pub(super) struct Count<'a> {
    pub(super) counter: &'a Counter,
    pub(super) clock: &'a dyn Clock,
}

impl Count<'_> {
    pub(super) fn up(&self, n: usize) {
        self.counter.up(n, self.clock.now());
    }

    /// Writes to the client: counted before, so that whoever has seen a byte finds it counted.
    pub(super) async fn send<W: AsyncWrite + Unpin>(&self, client: &mut W, mut bytes: &[u8]) -> io::Result<()> {
        self.counter.down(bytes.len(), self.clock.now());
        while !bytes.is_empty() {
            match client.write(bytes).await {
                Ok(n) if n > 0 => bytes = &bytes[n..],
                failed => {
                    self.counter.unsent(bytes.len());
                    return failed.and(Err(io::ErrorKind::WriteZero.into()));
                }
            }
        }
        Ok(())
    }
}

/// Relays a CONNECT tunnel until both sides have ended, each in its own time.
pub(super) async fn tunnel(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    early: Vec<u8>,
    count: Count<'_>,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_target, mut to_target) = upstream.split();
    let up = async {
        count.up(early.len());
        to_target.write_all(&early).await?;
        drop(early);
        let mut buffer = vec![0; BUFFER];
        loop {
            match from_client.read(&mut buffer).await? {
                0 => return to_target.shutdown().await,
                n => {
                    count.up(n);
                    to_target.write_all(&buffer[..n]).await?;
                }
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            match from_target.read(&mut buffer).await? {
                0 => return to_client.shutdown().await,
                n => count.send(&mut to_client, &buffer[..n]).await?,
            }
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}

/// Makes sure that `buffer` begins with a piece of the body, reading if it must; returns its length,
/// or `None` at the body's end. What follows the body stays in `buffer`.
pub(super) async fn next_piece<R: AsyncRead + Unpin>(
    source: &mut R,
    buffer: &mut Vec<u8>,
    framing: &mut Framing,
) -> io::Result<Option<usize>> {
    if framing.is_done() {
        return Ok(None);
    }
    if buffer.is_empty() {
        buffer.reserve(BUFFER);
        if source.read_buf(buffer).await? == 0 {
            let complete = *framing == Framing::UntilClose;
            return if complete { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
    framing.advance(buffer).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}
