//! SOCKS5 proxies as upstreams: the client's side of the handshake, for tunnels and datagrams.

use std::net::SocketAddr;

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;

use super::{Failed, Through};
use crate::leg::Leg;
use crate::route::Route;
use crate::socks::client::{Ask, answer, auth_status, chosen, credentials, greeting, request};
use crate::socks::{MAX_FRAME, Method};

/// Asks a SOCKS5 proxy for a tunnel.
pub(super) async fn connect(leg: Leg, route: &Route, target: &Target) -> Result<Through, Failed> {
    let mut buf = Vec::new();
    handshake(&leg, route, Ask::Connect(target), &mut buf).await?;
    Ok(Through { leg, early: buf })
}

/// Asks a SOCKS5 proxy to relay datagrams: where it wants them, if it says.
pub(crate) async fn associate(leg: &Leg, route: &Route) -> Result<Option<SocketAddr>, Refusal> {
    handshake(leg, route, Ask::UdpAssociate, &mut Vec::new()).await
}

async fn handshake(leg: &Leg, route: &Route, ask: Ask<'_>, buf: &mut Vec<u8>) -> Result<Option<SocketAddr>, Refusal> {
    let method = if route.credentials.is_some() { Method::Password } else { Method::None };
    send(leg, &greeting(method)).await?;
    frame(leg, buf, |b| Ok(chosen(b, method)?.map(|n| ((), n)))).await?;
    if let Some((user, password)) = &route.credentials {
        send(leg, &credentials(user, password)?).await?;
        frame(leg, buf, |b| Ok(auth_status(b)?.map(|n| ((), n)))).await?;
    }
    send(leg, &request(ask)?).await?;
    frame(leg, buf, answer).await
}

async fn send(leg: &Leg, bytes: &[u8]) -> Result<(), Refusal> {
    leg.write_all(bytes).await.map_err(|_| closed())
}

fn closed() -> Refusal {
    Refusal::new(Code::UpstreamConnect, "the gateway closed the connection")
}

/// Reads one whole frame off the start of `buf`, and from the stream what is missing.
async fn frame<T>(
    leg: &Leg,
    buf: &mut Vec<u8>,
    read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Refusal>,
) -> Result<T, Refusal> {
    loop {
        if let Some((found, n)) = read(buf)? {
            buf.drain(..n);
            return Ok(found);
        }
        if buf.len() > MAX_FRAME {
            return Err(Refusal::new(Code::UpstreamConnect, "the gateway's answer is unreadable: it does not end"));
        }
        if !matches!(leg.read_some(buf).await, Ok(1..)) {
            return Err(closed());
        }
    }
}
