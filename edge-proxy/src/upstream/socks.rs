//! SOCKS5 proxies as upstreams: the client's side of the handshake, for tunnels and datagrams.

use std::net::SocketAddr;

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;

use super::{Failed, Through};
use crate::leg::Leg;
use crate::route::Route;
use crate::socks::client::{Ask, answer, auth_status, chosen, credentials, greeting, request};
use crate::socks::{MAX_FRAME, Method, reply};

/// Answers that are of the target: another proxy would hear the same of it.
const OF_THE_TARGET: [u8; 6] = [
    reply::NOT_ALLOWED,
    reply::NETWORK_UNREACHABLE,
    reply::HOST_UNREACHABLE,
    reply::CONNECTION_REFUSED,
    reply::TTL_EXPIRED,
    reply::ADDRESS_TYPE_NOT_SUPPORTED,
];

/// Asks a SOCKS5 proxy for a tunnel.
pub(super) async fn connect(leg: Leg, route: &Route, target: &Target) -> Result<Through, Failed> {
    let mut buf = Vec::new();
    handshake(&leg, route, Ask::Connect(target), &mut buf).await?;
    Ok(Through { leg, early: buf, at: None })
}

/// Asks a SOCKS5 proxy to relay datagrams: where it wants them, if it says.
pub(crate) async fn associate(leg: &Leg, route: &Route) -> Result<Option<SocketAddr>, Refusal> {
    handshake(leg, route, Ask::UdpAssociate, &mut Vec::new()).await.map_err(|failed| failed.refusal)
}

async fn handshake(leg: &Leg, route: &Route, ask: Ask<'_>, buf: &mut Vec<u8>) -> Result<Option<SocketAddr>, Failed> {
    let method = if route.credentials.is_some() { Method::Password } else { Method::None };
    send(leg, &greeting(method)).await?;
    frame(leg, buf, |b| Ok(chosen(b, method)?.map(|n| ((), n)))).await?;
    if let Some((user, password)) = &route.credentials {
        send(leg, &credentials(user, password)?).await?;
        frame(leg, buf, |b| Ok(auth_status(b)?.map(|n| ((), n)))).await?;
    }
    send(leg, &request(ask)?).await?;
    let answered = frame(leg, buf, answer).await;
    // What was refused is still in the buffer: version, code.
    answered.map_err(|refusal| match buf.get(1) {
        Some(code) if OF_THE_TARGET.contains(code) => Failed::for_good(refusal),
        _ => refusal.into(),
    })
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
