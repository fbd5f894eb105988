//! The client: opens tunnels and sends requests through the proxy under test.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Res;
use crate::origin::{ANSWER, What, discard, send};

/// Where the proxy is, and what to say to it.
#[derive(Clone, Debug)]
pub struct Door {
    pub at: SocketAddr,
    /// Value of `Proxy-Authorization`.
    pub authorization: String,
}

/// Basic credentials.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

impl Door {
    /// A tunnel, and what came with its answer.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn open(&self, what: What) -> Res<(TcpStream, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.at).await?;
        stream.set_nodelay(true)?;
        let to = what.authority();
        let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: {}\r\n\r\n", self.authorization);
        stream.write_all(ask.as_bytes()).await?;
        let mut buf: Vec<u8> = Vec::with_capacity(512);
        let end = loop {
            if let Some(at) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buf).await? == 0 {
                return Err(format!("no tunnel: {}", String::from_utf8_lossy(&buf)).into());
            }
        };
        if !buf.starts_with(b"HTTP/1.1 200") && !buf.starts_with(b"HTTP/1.0 200") {
            return Err(format!("no tunnel: {}", String::from_utf8_lossy(&buf)).into());
        }
        let early = buf.split_off(end);
        Ok((stream, early))
    }

    /// Takes `n` bytes through a tunnel of its own.
    ///
    /// # Errors
    /// If not exactly so many come before the end.
    pub async fn down(&self, n: u64) -> Res<()> {
        let (stream, early) = self.open(What::Down(n)).await?;
        let got = early.len() as u64 + discard(&stream, u64::MAX).await?;
        if got == n { Ok(()) } else { Err(format!("asked for {n} bytes, got {got}").into()) }
    }

    /// Sends `n` bytes through a tunnel of its own.
    ///
    /// # Errors
    /// If the origin says that it got another count.
    pub async fn up(&self, n: u64) -> Res<()> {
        let (mut stream, _) = self.open(What::Up(n)).await?;
        send(&mut stream, n).await?;
        let mut count = [0; 8];
        stream.read_exact(&mut count).await?;
        let got = u64::from_be_bytes(count);
        if got == n { Ok(()) } else { Err(format!("sent {n} bytes, {got} arrived").into()) }
    }

    /// Opens a tunnel and exchanges a byte each way.
    ///
    /// # Errors
    /// If it is refused or breaks.
    pub async fn greeted(&self) -> Res<TcpStream> {
        let (mut stream, _) = self.open(What::Echo).await?;
        ping(&mut stream).await?;
        Ok(stream)
    }

    /// Sends `n` requests, one after another, over one connection.
    ///
    /// # Errors
    /// If an answer is not the origin's.
    pub async fn requests(&self, n: usize) -> Res<()> {
        let mut stream = TcpStream::connect(self.at).await?;
        stream.set_nodelay(true)?;
        let ask = format!(
            "GET http://origin.test/a HTTP/1.1\r\nHost: origin.test\r\nUser-Agent: compare\r\nAccept: */*\r\n\
             Proxy-Authorization: {}\r\n\r\n",
            self.authorization
        );
        let body = &ANSWER[ANSWER.len() - 100..];
        let mut buf: Vec<u8> = Vec::with_capacity(1024);
        for _ in 0..n {
            stream.write_all(ask.as_bytes()).await?;
            buf.clear();
            while !buf.ends_with(body) {
                if stream.read_buf(&mut buf).await? == 0 {
                    return Err(format!("no answer: {}", String::from_utf8_lossy(&buf)).into());
                }
            }
            if !buf.starts_with(b"HTTP/1.1 200") {
                return Err(format!("no answer: {}", String::from_utf8_lossy(&buf)).into());
            }
        }
        Ok(())
    }
}

/// A byte there and back.
///
/// # Errors
/// If the tunnel breaks.
pub async fn ping(stream: &mut TcpStream) -> Res<()> {
    stream.write_all(b"p").await?;
    let mut back = [0; 1];
    stream.read_exact(&mut back).await?;
    Ok(())
}
