//! What an edge says of itself on its admin listener.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::read_all;

/// The values of a metric's series, with these labels if they stand in its name.
async fn values(admin: SocketAddr, name: &str) -> Vec<String> {
    let mut c = TcpStream::connect(admin).await.unwrap();
    c.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let text = String::from_utf8(read_all(&mut c).await).unwrap();
    let of = |line: &str| {
        let (labels, value) = line.strip_prefix("tollgate_edge_")?.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| value.to_owned())
    };
    text.lines().filter_map(of).collect()
}

/// The sum of a counter's series, or a gauge's that counts; 0 if there is none.
pub async fn metric(admin: SocketAddr, name: &str) -> u64 {
    values(admin, name).await.iter().map(|value| value.parse::<u64>().unwrap()).sum()
}

/// A gauge of seconds.
pub async fn seconds(admin: SocketAddr, name: &str) -> f64 {
    values(admin, name).await.first().expect("the metric").parse().unwrap()
}
