//! SOCKS5 byte by byte: what clients send, and a small proxy to be an upstream.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::client::read_n;
use super::upstream::{Mood, serve, tunnel};

pub const CONNECT: u8 = 1;
pub const BIND: u8 = 2;
pub const UDP_ASSOCIATE: u8 = 3;
/// A greeting that offers user name and password.
pub const GREETING: [u8; 3] = [5, 1, 2];
/// The answer to a CONNECT that succeeded.
pub const SUCCEEDED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// The answer that refuses a request.
pub fn refused(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// RFC 1929.
pub fn credentials(user: &str, password: &str) -> Vec<u8> {
    let mut out = vec![1, u8::try_from(user.len()).unwrap()];
    out.extend_from_slice(user.as_bytes());
    out.push(u8::try_from(password.len()).unwrap());
    out.extend_from_slice(password.as_bytes());
    out
}

/// ATYP, address, port.
pub fn address(host: &str, port: u16) -> Vec<u8> {
    let mut out = Vec::new();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            out.push(1);
            out.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            out.extend_from_slice(&[3, u8::try_from(host.len()).unwrap()]);
            out.extend_from_slice(host.as_bytes());
        }
    }
    out.extend_from_slice(&port.to_be_bytes());
    out
}

pub fn request(command: u8, host: &str, port: u16) -> Vec<u8> {
    [&[5, command, 0][..], &address(host, port)].concat()
}

/// A datagram of an association (RFC 1928 section 7).
pub fn datagram(host: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 0][..], &address(host, port), payload].concat()
}

/// Greets and authenticates.
pub async fn enter<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, user: &str, password: &str) {
    stream.write_all(&GREETING).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(read_n(stream, 2).await, [5, 2]);
    stream.write_all(&credentials(user, password)).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(read_n(stream, 2).await, [1, 0]);
}

/// A whole handshake; the answer to its request.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    (user, password): (&str, &str),
    request: &[u8],
) -> Vec<u8> {
    enter(stream, user, password).await;
    stream.write_all(request).await.unwrap();
    stream.flush().await.unwrap();
    read_n(stream, 10).await
}

/// The IPv4 address and port of an answer.
pub fn bound(reply: &[u8]) -> SocketAddr {
    assert_eq!(reply[..4], [5, 0, 0, 1], "{reply:?}");
    let ip = Ipv4Addr::new(reply[4], reply[5], reply[6], reply[7]);
    (ip, u16::from_be_bytes([reply[8], reply[9]])).into()
}

/// One request as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub user: String,
    pub password: String,
    pub command: u8,
    pub target: String,
}

/// A SOCKS5 proxy with the targets behind it, as [`super::Upstream`] has them; `origin.test` speaks
/// HTTP. Its relay sends datagrams back as they came.
pub struct SocksUpstream {
    pub addr: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Heads of requests that `origin.test` received.
    pub heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for SocksUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SocksUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (seen, heads) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (s, h) = (Arc::clone(&seen), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(proxy(stream, Arc::clone(&s), Arc::clone(&h)));
            }
        });
        Self { addr, seen, heads, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn text(stream: &mut TcpStream) -> String {
    let length = stream.read_u8().await.unwrap();
    String::from_utf8(read_n(stream, length.into()).await).unwrap()
}

async fn proxy(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>, heads: Arc<Mutex<Vec<String>>>) {
    let (mut user, mut password) = (String::new(), String::new());
    let greeting = read_n(&mut stream, 2).await;
    if read_n(&mut stream, greeting[1].into()).await.contains(&2) {
        stream.write_all(&[5, 2]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        user = text(&mut stream).await;
        password = text(&mut stream).await;
        stream.write_all(&[1, 0]).await.unwrap();
    } else {
        stream.write_all(&[5, 0]).await.unwrap();
    }
    let asked = read_n(&mut stream, 4).await;
    let host = match asked[3] {
        1 => Ipv4Addr::from(stream.read_u32().await.unwrap()).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(stream.read_u128().await.unwrap())),
        _ => text(&mut stream).await,
    };
    let target = format!("{host}:{}", stream.read_u16().await.unwrap());
    seen.lock().unwrap().push(Seen { user, password, command: asked[1], target: target.clone() });
    if asked[1] == UDP_ASSOCIATE {
        return relay(stream).await;
    }
    stream.write_all(&SUCCEEDED).await.unwrap();
    if host == "origin.test" {
        return serve(stream, heads, Arc::new(Mutex::new(Mood::Good))).await;
    }
    tunnel(stream, &target).await;
}

/// Sends datagrams back until the connection ends.
async fn relay(mut stream: TcpStream) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    stream.write_all(&[&[5, 0, 0][..], &address("127.0.0.1", port)].concat()).await.unwrap();
    let back = async {
        let mut buf = vec![0; 64 << 10];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            let _ = socket.send_to(&buf[..n], from).await;
        }
    };
    tokio::select! {
        () = back => {}
        _ = stream.read_u8() => {}
    }
}
