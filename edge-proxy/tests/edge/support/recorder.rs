//! A gateway that keeps every byte it is sent, and answers a request once it is whole.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::eventually;

/// The answer to every request.
pub const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// See the module.
pub struct Recorder {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let open = Arc::new(AtomicUsize::new(0));
        let (s, o) = (Arc::clone(&seen), Arc::clone(&open));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                o.fetch_add(1, Ordering::AcqRel);
                let (s, o) = (Arc::clone(&s), Arc::clone(&o));
                tokio::spawn(async move {
                    let all = record(stream).await;
                    s.lock().unwrap().push(all);
                    o.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Self { addr, seen, open, task }
    }

    /// What each connection said, once all of them have ended; forgotten after that.
    pub async fn take(&self) -> Vec<Vec<u8>> {
        eventually("the gateway's connections end", || async { self.open.load(Ordering::Acquire) == 0 }).await;
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn record(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let (mut from, mut buf) = (0, vec![0; 16 << 10]);
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        all.extend_from_slice(&buf[..n]);
        while let Some(length) = whole(&all[from..]) {
            from += length;
            if stream.write_all(ANSWER.as_bytes()).await.is_err() {
                return all;
            }
        }
    }
    all
}

/// The length of the whole request at the start of `bytes`; none if it is not whole.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let header = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    if header("transfer-encoding:") == Some("chunked") {
        return chunked(&bytes[head..]).map(|n| head + n);
    }
    let length = header("content-length:").map_or(0, |v| v.parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|w| w == b"\r\n").map(|n| &bytes[..n])
}

/// The length of a whole body in chunks, its trailers included.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let size = line(&bytes[at..])?;
        at += size.len() + 2;
        let digits = size.split(|b| *b == b';').next()?;
        let n = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if n == 0 {
            break;
        }
        at = at.checked_add(n)?;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let trailer = line(&bytes[at..])?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some(at);
        }
    }
}
