//! What one would write in an afternoon: Tokio's `copy_bidirectional`, one thread.

use std::net::{SocketAddr, TcpListener};

use tokio::net::TcpStream;

use crate::{Res, process};

pub const WHAT: &str = "Tokio's copy_bidirectional, one thread: no credentials, no metering, no log; the client talks \
    to the upstream with the upstream's credentials";

/// Serves until the process ends.
///
/// # Errors
/// If it cannot.
pub fn serve(listener: TcpListener, upstream: SocketAddr) -> Res<()> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(accept(listener, upstream))
}

async fn accept(listener: TcpListener, upstream: SocketAddr) -> Res<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    process::ready(&[listener.local_addr()?]);
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(relay(client, upstream));
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}
