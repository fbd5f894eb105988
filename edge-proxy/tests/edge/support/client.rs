//! A client that speaks bytes.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The value of `Proxy-Authorization`.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Reads byte by byte up to the end of a head, and no further.
pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(b) => head.push(b),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// The status of a head.
pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// Reads to the end, whatever ends it.
pub async fn read_all<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buf).await {
            Ok(0) | Err(_) => return all,
            Ok(n) => all.extend_from_slice(&buf[..n]),
        }
    }
}

/// Exactly so many bytes.
pub async fn read_n<S: AsyncRead + Unpin>(stream: &mut S, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// The body of an answer with a length.
pub async fn body_of<S: AsyncRead + Unpin>(stream: &mut S, head: &str) -> String {
    let length = head
        .lines()
        .find_map(|l| {
            l.to_ascii_lowercase().strip_prefix("content-length:").and_then(|v| v.trim().parse::<usize>().ok())
        })
        .unwrap_or(0);
    String::from_utf8(read_n(stream, length).await).unwrap()
}

/// Head and body of the next answer.
pub async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> (String, String) {
    let head = read_head(stream).await;
    let body = body_of(stream, &head).await;
    (head, body)
}

/// An absolute-form request with credentials; `more` is header lines, each with its end.
pub fn request(method: &str, url: &str, more: &str) -> String {
    let auth = basic("demo", super::world::PASSWORD);
    format!("{method} {url} HTTP/1.1\r\nHost: origin.test\r\nProxy-Authorization: {auth}\r\n{more}\r\n")
}

/// A CONNECT over a connection that is open; the head of the answer.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &str,
    user: &str,
    password: &str,
) -> String {
    let auth = basic(user, password);
    let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {auth}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    read_head(stream).await
}

/// A CONNECT through the edge; the stream and the head of the answer.
pub async fn connect(edge: SocketAddr, target: &str, user: &str, password: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    let head = ask(&mut stream, target, user, password).await;
    (stream, head)
}

/// A connection to the edge from this source address of the loopback network.
pub async fn connect_from(source: [u8; 4], edge: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(source), 0).into()).unwrap();
    socket.connect(edge).await.unwrap()
}

/// All that comes back for `text`, after which the client has nothing more to say.
pub async fn said(edge: &tollgate_edge::Edge, text: &str) -> String {
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    c.write_all(text.as_bytes()).await.unwrap();
    let _ = c.shutdown().await;
    String::from_utf8(read_all(&mut c).await).unwrap()
}
