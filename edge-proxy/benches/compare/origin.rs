//! The origin: what its name says is what it does. Bytes that are sent come from one buffer, bytes
//! that arrive are thrown away by the kernel, so that the proxy is what costs.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::Res;

/// The answer to a request: a body of 100 bytes.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// Bytes of one write.
pub const CHUNK: usize = 256 << 10;
static BYTES: [u8; CHUNK] = [b'b'; CHUNK];
/// Most that is thrown away at once.
const GULP: usize = 1 << 20;

/// What an origin does with a tunnel.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Sends so many bytes, then ends.
    Down(u64),
    /// Takes so many bytes, then says with eight bytes how many it took.
    Up(u64),
    /// Sends back what comes.
    Echo,
}

impl What {
    /// Its authority.
    #[must_use]
    pub fn authority(self) -> String {
        match self {
            Self::Down(n) => format!("down-{n}.test:80"),
            Self::Up(n) => format!("up-{n}.test:80"),
            Self::Echo => "echo.test:80".to_owned(),
        }
    }

    /// What an authority asks for.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn of(authority: &str) -> Res<Self> {
        let name = authority.strip_suffix(".test:80").unwrap_or(authority);
        match name.split_once('-') {
            Some(("down", n)) => Ok(Self::Down(n.parse()?)),
            Some(("up", n)) => Ok(Self::Up(n.parse()?)),
            None if name == "echo" => Ok(Self::Echo),
            _ => Err(format!("no origin {authority}").into()),
        }
    }
}

/// Serves one tunnel; `early` came with the CONNECT.
///
/// # Errors
/// If the tunnel breaks.
pub async fn tunnel(mut stream: TcpStream, what: What, early: &[u8]) -> Res<()> {
    match what {
        What::Down(n) => {
            send(&mut stream, n).await?;
            stream.shutdown().await?;
            Ok(())
        }
        What::Up(n) => {
            let taken = early.len() as u64 + discard(&stream, n - early.len() as u64).await?;
            stream.write_all(&taken.to_be_bytes()).await?;
            Ok(())
        }
        What::Echo => {
            stream.write_all(early).await?;
            let mut buf = [0; 512];
            loop {
                let n = stream.read(&mut buf).await?;
                if n == 0 {
                    return Ok(());
                }
                stream.write_all(&buf[..n]).await?;
            }
        }
    }
}

/// Sends `n` bytes.
///
/// # Errors
/// If the connection breaks.
pub async fn send(stream: &mut TcpStream, mut n: u64) -> Res<()> {
    while n > 0 {
        let chunk = usize::try_from(n).map_or(CHUNK, |n| n.min(CHUNK));
        stream.write_all(&BYTES[..chunk]).await?;
        n -= chunk as u64;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Takes up to `n` bytes without copying them; fewer if the stream ends.
///
/// # Errors
/// If the connection breaks.
pub async fn discard(stream: &TcpStream, n: u64) -> Res<u64> {
    let mut buf = vec![0; GULP];
    let mut taken = 0;
    while taken < n {
        let want = usize::try_from(n - taken).map_or(GULP, |n| n.min(GULP));
        let read = stream
            .async_io(Interest::READABLE, || {
                // Linux, tcp(7): with MSG_TRUNC the bytes are dropped, not copied.
                let (_, n) = recv(stream, &mut buf[..want], RecvFlags::TRUNC).map_err(io::Error::from)?;
                Ok(n)
            })
            .await?;
        if read == 0 {
            break;
        }
        taken += read as u64;
    }
    Ok(taken)
}
