//! The super-proxy: an HTTP proxy on plain TCP that takes CONNECT and absolute-form requests,
//! authenticates them by the vendor's user-name grammar, and counts bytes per user and exit.

pub(crate) mod control;
mod forward;
mod framing;
mod head;
pub(crate) mod names;
mod refusal;
mod relay;
pub(crate) mod user;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::head::{HeadError, RequestHead, read_head};
use self::names::Resolved;
use self::refusal::ProxyError;
use self::user::{Access, authenticate};
use crate::exits::ExitGuard;
use crate::listener;
use crate::shared::Shared;

/// How long a refused client may go on sending before its connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, addr: SocketAddr) {
    let mut listening = Some(listener);
    loop {
        if let Some(listener) = listening.take() {
            let mut connections = JoinSet::new();
            shared.gateway.now_is(false);
            tokio::select! {
                () = listener::serve(&listener, &mut connections, |stream, _| serve(Arc::clone(&shared), stream)) => {}
                () = shared.gateway.until_wanted(true) => {}
            }
            connections.shutdown().await;
        }
        shared.gateway.now_is(true);
        shared.gateway.until_wanted(false).await;
        listening = bind(addr).await;
    }
}

async fn bind(addr: SocketAddr) -> Option<TcpListener> {
    for _ in 0..250 {
        match TcpListener::bind(addr).await {
            Ok(listener) => return Some(listener),
            Err(error) => tracing::warn!(%addr, %error, "super-proxy cannot listen again yet"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

/// What comes after a request.
enum Next {
    /// The connection takes another request.
    KeepAlive,
    Close,
    Refuse(ProxyError),
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream) {
    if let Err(error) = serve_requests(&shared, &mut client).await {
        tracing::debug!(%error, "super-proxy connection ended");
    }
}

async fn serve_requests(shared: &Shared, client: &mut TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = match read_head(client, &mut buffer).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(HeadError::Io(e)) => return Err(e),
            Err(HeadError::TooLarge) => return refuse(shared, client, &refusal::HEAD_TOO_LARGE).await,
        };
        match serve_one(shared, client, &head, &mut buffer).await? {
            Next::KeepAlive => {}
            Next::Close => return Ok(()),
            Next::Refuse(error) => return refuse(shared, client, &error).await,
        }
    }
}

async fn serve_one(shared: &Shared, client: &mut TcpStream, head: &[u8], rest: &mut Vec<u8>) -> io::Result<Next> {
    let Some(request) = RequestHead::parse(head) else { return Ok(Next::Refuse(refusal::BAD_REQUEST)) };
    let access = match authenticate(shared, request.proxy_authorization()) {
        Ok(access) => access,
        Err(refused) => return Ok(Next::Refuse(refused)),
    };
    let (mut upstream, entry) = match dial(shared, &access, &request.host, request.port).await {
        Ok(dialled) => dialled,
        Err(refused) => return Ok(Next::Refuse(refused)),
    };
    let counter = shared.bytes.counter(&access.user, access.exit.ip);
    let count = relay::Count { counter: &counter, clock: &*shared.config.clock };
    let next = if request.is_connect() {
        let established = format!("HTTP/1.1 200 Connection established\r\nx-brd-ip: {}\r\n\r\n", access.exit.ip);
        client.write_all(established.as_bytes()).await?;
        let early = std::mem::take(rest);
        relay::tunnel(client, &mut upstream, early, count).await?;
        Next::Close
    } else {
        forward::forward(client, &mut upstream, &request, head.len(), rest, access.exit.ip, count).await?
    };
    // Before the socket: see `Exits::enter`.
    drop(entry);
    drop(upstream);
    Ok(next)
}

async fn dial(shared: &Shared, access: &Access, host: &str, port: u16) -> Result<(TcpStream, ExitGuard), ProxyError> {
    let delay = shared.gateway.dial_delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let addr = match shared.names.resolve(host, port) {
        Resolved::Address(addr) => addr,
        Resolved::PortClosed => return Err(refusal::TARGET_REFUSED),
        Resolved::Unknown => return Err(refusal::UNKNOWN_NAME),
    };
    let connect = async {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok::<_, io::Error>((stream, shared.exits.enter(local, access.exit.clone())))
    };
    connect.await.map_err(|_| refusal::TARGET_REFUSED)
}

async fn refuse(shared: &Shared, client: &mut TcpStream, error: &ProxyError) -> io::Result<()> {
    client.write_all(error.response(shared.dialects().refusal).as_bytes()).await?;
    client.shutdown().await?;
    // Closing with unread input would reset the connection and take the response with it.
    let drain = async {
        let mut sink = [0_u8; 4096];
        while client.read(&mut sink).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(LINGER, drain).await.unwrap_or(Ok(()))
}
