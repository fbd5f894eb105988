//! What an edge says of itself on its admin listener.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::read_all;

/// The value of one metric without labels, or with these (`name{label="x"}`); 0 if it is not there.
pub async fn metric(admin: SocketAddr, name: &str) -> u64 {
    let mut c = TcpStream::connect(admin).await.unwrap();
    c.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let text = String::from_utf8(read_all(&mut c).await).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("tollgate_edge_")?.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}
