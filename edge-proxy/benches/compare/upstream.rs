//! The upstream proxy: passes who has its own credentials, and answers as the origin behind it.

use std::net::TcpListener;
use std::sync::LazyLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::basic;
use crate::{Res, origin, process};

/// The value of `Proxy-Authorization` that passes here: what the provider's row, the assignment
/// and the zone's password of `cloud` make.
pub static AUTHORIZATION: LazyLock<String> =
    LazyLock::new(|| basic("brd-customer-c_1-zone-isp-ip-203.0.113.7", "zone-password"));
const LARGEST_HEAD: usize = 8 << 10;
/// Enough for a usual head in one read.
const ROOM: usize = 2 << 10;

/// Serves until the process ends.
///
/// # Errors
/// If it cannot.
pub fn serve(listener: TcpListener) -> Res<()> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(accept(listener))
}

async fn accept(listener: TcpListener) -> Res<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    process::ready(&[listener.local_addr()?]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A broken connection is the client's affair: it counts.
        tokio::spawn(connection(stream));
    }
}

async fn connection(mut stream: TcpStream) -> Res<()> {
    let mut buf = Vec::with_capacity(ROOM);
    while let Some(n) = head(&mut stream, &mut buf).await? {
        let text = std::str::from_utf8(&buf[..n])?;
        if !text.contains(AUTHORIZATION.as_str()) {
            stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(());
        }
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method == "CONNECT" {
            let what = origin::What::of(target)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let early = buf.split_off(n);
            return origin::tunnel(stream, what, &early).await;
        }
        buf.drain(..n);
        stream.write_all(origin::ANSWER).await?;
    }
    Ok(())
}

/// Length of the next head in `buf`; none at the end.
async fn head(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Res<Option<usize>> {
    loop {
        if let Some(at) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if buf.len() > LARGEST_HEAD || stream.read_buf(buf).await? == 0 {
            return Ok(None);
        }
    }
}
