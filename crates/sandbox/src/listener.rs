//! Accept loops.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves each connection in a task of its own, for ever. The tasks live in `connections`: whoever
/// drops it ends them.
pub(crate) async fn serve<F, Fut>(listener: &TcpListener, connections: &mut JoinSet<()>, mut each: F)
where
    F: FnMut(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Small answers must not wait for an acknowledgement; failing to say so is harmless.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(each(stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
