//! A gateway that reads requests one way only. It answers each whole one with a number of its own,
//! and keeps what could be read in two ways.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{ensure, find};
use crate::support::basic;
use crate::support::recorder::whole;
use crate::support::world::PASSWORD;

/// The header that carries a request's number.
pub const NUMBER: &str = "x-number";

#[derive(Default)]
struct State {
    answered: AtomicU64,
    open: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

/// See the module.
pub struct Gateway {
    pub addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state: Arc<State> = Arc::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                state.open.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(async move {
                    if let Err(what) = serve(stream, &state).await {
                        state.wrong.lock().unwrap().push(what);
                    }
                    state.open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Self { addr, state, task }
    }

    /// Whole requests so far.
    pub fn answered(&self) -> u64 {
        self.state.answered.load(Ordering::Acquire)
    }

    /// Connections that have not ended.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Acquire)
    }

    /// What is wrong with what it was sent so far.
    pub fn wrong(&self) -> Vec<String> {
        self.state.wrong.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> Result<(), String> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        all.extend_from_slice(&buf[..n]);
        while let Some(head) = head(&all)? {
            let Some(length) = whole(&all) else { break };
            all.drain(..length);
            let number = state.answered.fetch_add(1, Ordering::AcqRel);
            let answer = match head {
                Head::Connect => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
                Head::Request => format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Number: {number}\r\n\r\n"),
            };
            let written = stream.write_all(answer.as_bytes()).await;
            if written.is_err() || head == Head::Connect {
                // What a tunnel carries is no business of ours.
                while matches!(stream.read(&mut buf).await, Ok(1..)) {}
                return Ok(());
            }
        }
    }
    // A body may break off, but whoever sends a head sends it whole.
    ensure(all.is_empty() || head(&all)?.is_some(), || format!("half a head: {}", all.escape_ascii()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Connect,
    Request,
}

/// The head at the start of `bytes`, once it is whole; what of it another parser could read
/// otherwise.
fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let lines = lines(&bytes[..end + 2])?;
    let shown = || bytes[..end + 4].escape_ascii().to_string();
    let [first, headers @ ..] = lines.as_slice() else { return Err("a head of no lines".to_owned()) };
    let words: Vec<_> = first.split(|b| *b == b' ').collect();
    let [method, target, version] = words.as_slice() else { return Err(format!("request line: {}", shown())) };
    ensure(is_token(method) && !target.is_empty(), || format!("method or target: {}", shown()))?;
    ensure(target.iter().all(|b| *b > 0x20 && *b != 0x7F), || format!("target: {}", shown()))?;
    ensure(matches!(*version, b"HTTP/1.1" | b"HTTP/1.0"), || format!("version: {}", shown()))?;
    let mut named = Vec::new();
    for line in headers {
        let colon = line.iter().position(|b| *b == b':').ok_or_else(|| format!("no colon: {}", shown()))?;
        ensure(is_token(&line[..colon]), || format!("header name: {}", shown()))?;
        named.push((line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii()));
    }
    let all = |name: &[u8]| -> Vec<&[u8]> { named.iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect() };
    ensure(all(b"host").len() == 1, || format!("not one Host: {}", shown()))?;
    let ours = all(b"proxy-authorization");
    let theirs = basic("demo", PASSWORD);
    ensure(ours.len() == 1 && ours[0] != theirs.as_bytes(), || format!("credentials: {}", shown()))?;
    let (lengths, codings) = (all(b"content-length"), all(b"transfer-encoding"));
    ensure(lengths.len() + codings.len() <= 1, || format!("framed twice: {}", shown()))?;
    let digits = |v: &&[u8]| (1..=19).contains(&v.len()) && v.iter().all(u8::is_ascii_digit);
    ensure(lengths.iter().all(digits), || format!("length: {}", shown()))?;
    ensure(codings.iter().all(|c| c.eq_ignore_ascii_case(b"chunked")), || format!("coding: {}", shown()))?;
    if *method == b"CONNECT" {
        ensure(lengths.is_empty() && codings.is_empty(), || format!("a CONNECT with a body: {}", shown()))?;
        return Ok(Some(Head::Connect));
    }
    let scheme = target.get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"http://"));
    ensure(scheme, || format!("no absolute target: {}", shown()))?;
    Ok(Some(Head::Request))
}

/// The lines of a head, each without its CRLF. None holds a control character but the tab.
pub fn lines(head: &[u8]) -> Result<Vec<&[u8]>, String> {
    let (mut rest, mut found) = (head, Vec::new());
    while let Some(n) = find(rest, b"\r\n") {
        found.push(&rest[..n]);
        rest = &rest[n + 2..];
    }
    let plain = |b: &u8| (*b >= 0x20 && *b != 0x7F) || *b == b'\t';
    let all = rest.is_empty() && found.iter().all(|line| line.iter().all(plain));
    ensure(all, || format!("control characters: {}", head.escape_ascii()))?;
    Ok(found)
}

/// RFC 9110 section 5.6.2.
pub fn is_token(word: &[u8]) -> bool {
    let of = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !word.is_empty() && word.iter().all(of)
}
