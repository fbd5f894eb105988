//! A provider's gateway and the origin behind it, in one: enough to see what the edge sends.
//!
//! The target's host says what happens: `echo.test` sends back, `bytes.test:<n>` sends `n` bytes
//! and finishes, `kilobytes.test:<n>` a thousand times as many, `silent.test` says nothing; requests
//! in absolute-form, or in origin-form, get an answer that repeats their first line. The port of the
//! target is the number where one is needed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::client::read_head;

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What the gateway answers instead of serving.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// It serves.
    #[default]
    Good,
    /// This head, to everybody.
    Says(&'static str),
    /// This head to the first who asks; then it serves.
    Once(&'static str),
}

/// See the module.
pub struct Upstream {
    pub addr: SocketAddr,
    /// Heads of requests, as received.
    pub heads: Arc<Mutex<Vec<String>>>,
    pub mood: Arc<Mutex<Mood>>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub async fn start() -> Self {
        Self::behind(None).await
    }

    /// The same behind TLS.
    pub async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::behind(Some(acceptor)).await
    }

    async fn behind(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mood = Arc::new(Mutex::new(Mood::Good));
        let (h, m) = (Arc::clone(&heads), Arc::clone(&mood));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (h, m, acceptor) = (Arc::clone(&h), Arc::clone(&m), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, h, m).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, h, m).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, heads, mood, task }
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// What is said instead of serving, if anything.
fn said(mood: &Mutex<Mood>) -> Option<&'static str> {
    let mut mood = mood.lock().unwrap();
    match *mood {
        Mood::Good => None,
        Mood::Says(answer) => Some(answer),
        Mood::Once(answer) => {
            *mood = Mood::Good;
            Some(answer)
        }
    }
}

/// Writes, and brings it to the socket whatever is in between.
async fn put<S: Stream>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Serves requests until one becomes a tunnel, or there are no more.
pub async fn serve<S: Stream>(mut stream: S, heads: Arc<Mutex<Vec<String>>>, mood: Arc<Mutex<Mood>>) {
    loop {
        let head = read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        heads.lock().unwrap().push(head.clone());
        if let Some(answer) = said(&mood) {
            let _ = put(&mut stream, answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            return;
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        if head.starts_with("CONNECT ") {
            let _ = put(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
            return tunnel(stream, &target).await;
        }
        if target.ends_with("/switch") {
            let _ = put(&mut stream, SWITCHED.as_bytes()).await;
            return tunnel(stream, "echo.test:80").await;
        }
        if !answer(&mut stream, &head, &target).await {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// The answer to a request that asks for another protocol; what follows is sent back.
pub const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n";

/// What a target does.
pub async fn tunnel<S: Stream>(mut stream: S, target: &str) {
    let (host, port) = target.rsplit_once(':').unwrap();
    match host {
        "bytes.test" | "kilobytes.test" => {
            let n: usize = port.parse().unwrap();
            let n = if host == "bytes.test" { n } else { n * 1000 };
            let _ = put(&mut stream, &vec![b'x'; n]).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        "flood.test" => while put(&mut stream, &[b'x'; 4096]).await.is_ok() {},
        "silent.test" => {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        _ => {
            let mut buf = vec![0; 16 << 10];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                if put(&mut stream, &buf[..n]).await.is_err() {
                    return;
                }
            }
            let _ = stream.shutdown().await;
        }
    }
}

/// Answers an absolute-form request; whether the connection goes on.
async fn answer<S: Stream>(stream: &mut S, head: &str, target: &str) -> bool {
    let lower = head.to_ascii_lowercase();
    if lower.contains("expect: 100-continue") && put(stream, b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
        return false;
    }
    let body = if lower.contains("transfer-encoding: chunked") {
        Some(read_chunks(stream).await)
    } else {
        sized_body(stream, &lower).await
    };
    // Some clients never send theirs.
    let Some(body) = body else { return false };
    let path = target.splitn(4, '/').nth(3).unwrap_or_default();
    let text = match path {
        "chunked" => {
            let chunked =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
            return put(stream, chunked.as_bytes()).await.is_ok();
        }
        "close" => {
            let _ = put(stream, b"HTTP/1.1 200 OK\r\n\r\nuntil close").await;
            return false;
        }
        "both" => {
            let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            let _ = put(stream, both.as_bytes()).await;
            return false;
        }
        _ => format!("{}{body}", head.lines().next().unwrap_or_default()),
    };
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    put(stream, text.as_bytes()).await.is_ok() && path != "once"
}

/// The body that a head in lower case announces; none if it does not come.
async fn sized_body<S: Stream>(stream: &mut S, lower: &str) -> Option<String> {
    let length = lower.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    String::from_utf8(body).ok()
}

async fn read_chunks<S: Stream>(stream: &mut S) -> String {
    let mut raw = Vec::new();
    while !raw.ends_with(b"0\r\n\r\n") {
        raw.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(raw).unwrap()
}
