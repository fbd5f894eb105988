//! A provider's gateway and the origin behind it, in one: enough to see what the edge sends.
//!
//! The target's host says what happens: `echo.test` sends back, `bytes.test:<n>` sends `n` bytes
//! and finishes, `silent.test` says nothing; absolute-form requests get an answer that repeats
//! their head. The port of the target is the number where one is needed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::{body_of, read_head};

/// What the gateway answers instead of serving.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// It serves.
    #[default]
    Good,
    /// This head, to everybody.
    Says(&'static str),
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mood = Arc::new(Mutex::new(Mood::Good));
        let (h, m) = (Arc::clone(&heads), Arc::clone(&mood));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&h), Arc::clone(&m)));
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

async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>, mood: Arc<Mutex<Mood>>) {
    loop {
        let head = read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        heads.lock().unwrap().push(head.clone());
        let mood = mood.lock().unwrap().clone();
        if let Mood::Says(answer) = mood {
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        if head.starts_with("CONNECT ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            return tunnel(stream, &target).await;
        }
        if !answer(&mut stream, &head, &target).await {
            return;
        }
    }
}

async fn tunnel(mut stream: TcpStream, target: &str) {
    let (host, port) = target.rsplit_once(':').unwrap();
    match host {
        "bytes.test" => {
            let n: usize = port.parse().unwrap();
            let _ = stream.write_all(&vec![b'x'; n]).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        "flood.test" => while stream.write_all(&[b'x'; 4096]).await.is_ok() {},
        "silent.test" => {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        _ => {
            let mut buf = vec![0; 16 << 10];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..n]).await.is_err() {
                    return;
                }
            }
            let _ = stream.shutdown().await;
        }
    }
}

/// Answers an absolute-form request; whether the connection goes on.
async fn answer(stream: &mut TcpStream, head: &str, target: &str) -> bool {
    let lower = head.to_ascii_lowercase();
    if lower.contains("expect: 100-continue") && stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
        return false;
    }
    let body = if lower.contains("transfer-encoding: chunked") {
        read_chunks(stream).await
    } else {
        body_of(stream, head).await
    };
    let path = target.splitn(4, '/').nth(3).unwrap_or_default();
    let text = match path {
        "chunked" => {
            let chunked =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
            return stream.write_all(chunked.as_bytes()).await.is_ok();
        }
        "close" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil close").await;
            return false;
        }
        "both" => {
            let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            let _ = stream.write_all(both.as_bytes()).await;
            return false;
        }
        _ => format!("{}{body}", head.lines().next().unwrap_or_default()),
    };
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    stream.write_all(text.as_bytes()).await.is_ok() && path != "once"
}

async fn read_chunks(stream: &mut TcpStream) -> String {
    let mut raw = Vec::new();
    while !raw.ends_with(b"0\r\n\r\n") {
        raw.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(raw).unwrap()
}
