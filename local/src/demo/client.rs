//! A small proxy client that counts what it sends and receives. It shares nothing with the edge.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::failure::Failure;

/// Longest head that is read.
const MAX_HEAD: usize = 16 << 10;
/// Longest body that is read.
const MAX_BODY: u64 = 64 << 20;

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// From the customer.
    pub up: u64,
    /// To the customer.
    pub down: u64,
}

impl Bytes {
    /// Both directions.
    #[must_use]
    pub fn total(self) -> u64 {
        self.up + self.down
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { up: self.up + other.up, down: self.down + other.down }
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { up: self.up.saturating_sub(earlier.up), down: self.down.saturating_sub(earlier.down) }
    }
}

/// A customer's way through the edge.
#[derive(Clone)]
pub struct Client {
    gateway: SocketAddr,
    user: String,
    password: SecretString,
}

impl Client {
    /// Over the line that `user` names.
    #[must_use]
    pub fn new(gateway: SocketAddr, user: &str, password: SecretString) -> Self {
        Self { gateway, user: user.to_owned(), password }
    }

    fn authorization(&self) -> String {
        let pair = STANDARD.encode(format!("{}:{}", self.user, self.password.expose_secret()));
        format!("Proxy-Authorization: Basic {pair}\r\n")
    }

    /// Asks for an absolute URL of `host`: one request, one connection. The body, and every byte
    /// of request and response.
    ///
    /// # Errors
    /// Anything but 200.
    pub async fn get(&self, host: &str, path: &str) -> Result<(Vec<u8>, Bytes), Failure> {
        let mut stream = TcpStream::connect(self.gateway).await.map_err(broken)?;
        let auth = self.authorization();
        let request = format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{auth}Connection: close\r\n\r\n");
        let (body, bytes) = exchange(&mut stream, request.as_bytes()).await?;
        Ok((body, bytes))
    }

    /// Opens a tunnel to `host:port`.
    ///
    /// # Errors
    /// Anything but 200.
    pub async fn tunnel(&self, authority: &str) -> Result<Tunnel, Failure> {
        let mut stream = TcpStream::connect(self.gateway).await.map_err(broken)?;
        let auth = self.authorization();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{auth}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let (head, rest) = read_head(&mut stream).await?;
        ok(&head)?;
        if !rest.is_empty() {
            return Err(Failure::Demo("bytes followed the edge's 200 before any were sent".into()));
        }
        Ok(Tunnel { stream, host: authority.to_owned(), bytes: Bytes::default() })
    }
}

/// An open tunnel with HTTP in it. Only what follows the edge's 200 is counted.
pub struct Tunnel {
    stream: TcpStream,
    host: String,
    bytes: Bytes,
}

impl Tunnel {
    /// Asks the origin, and reads its whole answer.
    ///
    /// # Errors
    /// Anything but 200, and a tunnel that ends.
    pub async fn get(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.exchange(request.into_bytes()).await
    }

    /// Sends a body to the origin, and reads its whole answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&mut self, path: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.host, body.len());
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.exchange(request).await
    }

    async fn exchange(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let (body, bytes) = exchange(&mut self.stream, &request).await?;
        self.bytes = self.bytes.plus(bytes);
        Ok(body)
    }

    /// Closes it from this side.
    #[must_use]
    pub fn close(self) -> Bytes {
        self.bytes
    }

    /// Waits until the other side closes it.
    ///
    /// # Errors
    /// Bytes that nobody asked for.
    pub async fn closed(mut self) -> Result<Bytes, Failure> {
        let mut byte = [0_u8; 1];
        match self.stream.read(&mut byte).await {
            // A reset ends a tunnel as well as an orderly end does.
            Ok(0) | Err(_) => Ok(self.bytes),
            Ok(_) => Err(Failure::Demo("bytes came that nobody asked for".into())),
        }
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<(Vec<u8>, Bytes), Failure> {
    stream.write_all(request).await.map_err(broken)?;
    let (head, mut body) = read_head(stream).await?;
    ok(&head)?;
    let length = content_length(&head)?;
    let have = body.len() as u64;
    if have > length {
        return Err(Failure::Demo("the answer is longer than it says".into()));
    }
    let mut rest = stream.take(length - have);
    rest.read_to_end(&mut body).await.map_err(broken)?;
    if body.len() as u64 != length {
        return Err(Failure::Demo(format!("the answer ended after {} of {length} bytes", body.len())));
    }
    let bytes = Bytes { up: request.len() as u64, down: head.len() as u64 + length };
    Ok((body, bytes))
}

/// A response head, its empty line included, and what came with it.
async fn read_head(stream: &mut TcpStream) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((read, rest));
        }
        if read.len() > MAX_HEAD {
            return Err(Failure::Demo("the answer's head does not end".into()));
        }
        if stream.read_buf(&mut read).await.map_err(broken)? == 0 {
            return Err(Failure::Demo("the connection ended before an answer".into()));
        }
    }
}

fn ok(head: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(head);
    match text.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Failure::Demo(format!("not 200 but: {}", text.trim_end()))),
    }
}

fn content_length(head: &[u8]) -> Result<u64, Failure> {
    let text = String::from_utf8_lossy(head);
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    value
        .filter(|n| *n <= MAX_BODY)
        .ok_or_else(|| Failure::Demo(format!("the answer does not say its length: {}", text.trim_end())))
}

fn broken(e: std::io::Error) -> Failure {
    Failure::Demo(format!("a connection broke: {e}"))
}
