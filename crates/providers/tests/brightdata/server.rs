//! A provider that plays a script: one connection, one request, one act.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_providers::BrightData;

pub const KEY: &str = "brd-key-3f9a";

/// Long enough for any answer that comes.
pub const LONG: Duration = Duration::from_secs(10);

/// What happens to one request.
pub enum Act {
    /// These bytes, then the connection is closed.
    Say(Vec<u8>),
    /// These bytes, and then nothing, with the connection left open.
    SayAndHang(Vec<u8>),
    /// These bytes, again and again until the client gives up.
    SayForever(Vec<u8>, Vec<u8>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub head: String,
    pub body: Value,
}

pub struct Server {
    pub client: BrightData,
    seen: Arc<Mutex<Vec<Seen>>>,
}

pub fn json(status: u16, body: &str) -> Act {
    with_headers(status, "content-type: application/json\r\n", body)
}

pub fn with_headers(status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

impl Server {
    pub async fn plays(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&seen);
        let mut acts: VecDeque<Act> = acts.into_iter().collect();
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                book.lock().unwrap().push(request);
                let act = acts.pop_front().expect("a request that the script does not have");
                match act {
                    Act::Say(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                    Act::SayAndHang(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        open.push(stream);
                    }
                    Act::SayForever(head, chunk) => {
                        stream.write_all(&head).await.unwrap();
                        while stream.write_all(&chunk).await.is_ok() {}
                    }
                }
            }
        });
        Self { client: BrightData::new(&url, "hl_1", KEY.to_owned().into()).unwrap(), seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let (head, at) = loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a request without an end");
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break (String::from_utf8(bytes[..at].to_vec()).unwrap(), at + 4);
        }
    };
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while bytes.len() < at + length.unwrap_or(0usize) {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a request without its body");
    }
    let body = serde_json::from_slice(&bytes[at..]).unwrap_or_default();
    Seen { line: head.lines().next().unwrap().to_owned(), head, body }
}

/// A client of a port where nobody listens.
pub async fn nobody() -> BrightData {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    BrightData::new(&url, "hl_1", KEY.to_owned().into()).unwrap()
}
