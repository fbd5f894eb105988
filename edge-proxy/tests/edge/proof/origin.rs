//! A provider's gateway and the origin behind it, in one, which counts what each tunnel brings and
//! takes.
//!
//! The target's host says what happens, and which tunnel it is: `<what>.<tunnel>.test`. `flood`
//! sends for as long as somebody takes it, `gated` does so once the gate is open, `bytes-<n>` sends
//! `n` bytes, says its end and receives to the client's, `sink` receives to the client's end and
//! then says its own, `echo` sends back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{eventually, read_head};

const BLOCK: usize = 64 << 10;

/// What the origin counted of a tunnel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counted {
    tunnel: String,
    /// Bytes that the system took of what was sent.
    pub sent: u64,
    pub received: u64,
}

/// See the module.
pub struct Origin {
    pub addr: SocketAddr,
    counted: Arc<Mutex<Vec<Counted>>>,
    open: Arc<AtomicUsize>,
    gate: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (counted, open): (Arc<Mutex<Vec<Counted>>>, Arc<AtomicUsize>) = Default::default();
        let (gate, opened) = watch::channel(false);
        let (told, here) = (Arc::clone(&counted), Arc::clone(&open));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                here.fetch_add(1, Ordering::AcqRel);
                let (told, here, opened) = (Arc::clone(&told), Arc::clone(&here), opened.clone());
                tokio::spawn(async move {
                    if let Some(one) = serve(stream, opened).await {
                        told.lock().unwrap().push(one);
                    }
                    here.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Self { addr, counted, open, gate, task }
    }

    /// Lets the tunnels that wait for it send.
    pub fn open_the_gate(&self) {
        self.gate.send_replace(true);
    }

    /// What was counted, once all tunnels have ended.
    pub async fn counted(&self) -> Vec<Counted> {
        eventually("the origin's tunnels end", || async { self.open.load(Ordering::Acquire) == 0 }).await;
        self.counted.lock().unwrap().clone()
    }
}

/// One tunnel from its CONNECT to its end; none if nobody asked for one.
async fn serve(mut stream: TcpStream, gate: watch::Receiver<bool>) -> Option<Counted> {
    let head = read_head(&mut stream).await;
    let mut labels = head.strip_prefix("CONNECT ")?.split('.');
    let (what, tunnel) = (labels.next()?, labels.next()?);
    let mut counted = Counted { tunnel: tunnel.to_owned(), ..Counted::default() };
    if stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        act(&mut stream, what, gate, &mut counted).await;
    }
    Some(counted)
}

async fn act(stream: &mut TcpStream, what: &str, mut gate: watch::Receiver<bool>, counted: &mut Counted) {
    let (what, bytes) = what.split_once('-').unwrap_or((what, "0"));
    match what {
        "flood" => flood(stream, counted).await,
        "gated" => {
            let opened = gate.wait_for(|open| *open).await.is_ok();
            if opened {
                flood(stream, counted).await;
            }
        }
        "bytes" => {
            let block = vec![b'o'; bytes.parse().unwrap()];
            send(stream, &block, counted).await;
            let _ = stream.shutdown().await;
            receive(stream, counted).await;
        }
        "sink" => {
            receive(stream, counted).await;
            let _ = stream.shutdown().await;
        }
        "echo" => {
            let mut buf = vec![0; BLOCK];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                counted.received += n as u64;
                send(stream, &buf[..n], counted).await;
            }
            let _ = stream.shutdown().await;
        }
        other => panic!("no origin does {other}"),
    }
}

async fn flood(stream: &mut TcpStream, counted: &mut Counted) {
    let block = vec![b'o'; BLOCK];
    while send(stream, &block, counted).await {}
}

/// Whether all of it was taken.
async fn send(stream: &mut TcpStream, mut bytes: &[u8], counted: &mut Counted) -> bool {
    while !bytes.is_empty() {
        match stream.write(bytes).await {
            Ok(n @ 1..) => {
                counted.sent += n as u64;
                bytes = &bytes[n..];
            }
            _ => return false,
        }
    }
    true
}

/// Receives to the end, whatever ends it.
async fn receive(stream: &mut TcpStream, counted: &mut Counted) {
    let mut buf = vec![0; BLOCK];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        counted.received += n as u64;
    }
}
