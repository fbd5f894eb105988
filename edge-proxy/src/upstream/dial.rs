//! Reaching an address of our own choosing: resolved, judged, pinned, raced.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target;

use super::Attempt;
use crate::worker::Worker;

/// The next address is tried beside the one that does not answer after this time (RFC 8305
/// section 5, Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Whom an address belongs to, as far as refusals say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// An upstream that an operator configured.
    Gateway,
    /// A target that a customer asked for.
    Target,
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway",
            Self::Target => "the target",
        }
    }
}

/// A connection to `host`, within the time for it, and the address it leads to.
pub(crate) async fn tcp(
    worker: &Worker,
    host: &str,
    port: u16,
    whose: Whose,
    attempt: &Attempt,
) -> Result<(TcpStream, SocketAddr), Refusal> {
    let late = || Refusal::new(Code::UpstreamTimeout, format!("{} did not answer in time", whose.name()));
    let end = attempt.step(worker.live.get().connect_timeout);
    timeout_at(end, reach(worker, host, port, whose, attempt.avoid)).await.map_err(|_| late())?
}

async fn reach(
    worker: &Worker,
    host: &str,
    port: u16,
    whose: Whose,
    avoid: Option<SocketAddr>,
) -> Result<(TcpStream, SocketAddr), Refusal> {
    let mut addresses = addresses(worker, host, port, whose).await?;
    addresses.retain(|a| Some(*a) != avoid);
    let unreachable =
        |e: io::Error| Refusal::new(Code::UpstreamConnect, format!("{} is not reachable: {}", whose.name(), e.kind()));
    let (stream, at) = race(&addresses).await.map_err(unreachable)?;
    settle(&stream, worker.live.get().tcp_keepalive);
    Ok((stream, at))
}

/// Whether the gateway `host` has another address than the one that failed.
pub(crate) async fn has_another(worker: &Worker, host: &str, port: u16, failed: SocketAddr) -> bool {
    let found = addresses(worker, host, port, Whose::Gateway).await;
    found.is_ok_and(|all| all.iter().any(|a| *a != failed))
}

/// The addresses of `host` that may be dialled. What is judged here is what is dialled: nothing
/// is resolved again.
///
/// # Errors
/// `DEST_BLOCKED` or `LOOP` for a target, `UPSTREAM_CONNECT` for a gateway, if none may.
pub(crate) async fn addresses(
    worker: &Worker,
    host: &str,
    port: u16,
    whose: Whose,
) -> Result<Vec<SocketAddr>, Refusal> {
    let core = &worker.core;
    let found = worker.names.lookup(&*core.resolver, host, port).await;
    let found = found
        .map_err(|_| Refusal::new(Code::UpstreamConnect, format!("the name of {} has no address", whose.name())))?;
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in found {
        match judge(worker, address, whose) {
            Ok(()) => allowed.push(address),
            Err(e) => refused = Some(e),
        }
    }
    match refused {
        Some(refusal) if allowed.is_empty() => Err(refusal),
        _ => Ok(allowed),
    }
}

/// Whether `address` may be dialled.
///
/// # Errors
/// As [`addresses`].
pub(crate) fn judge(worker: &Worker, address: SocketAddr, whose: Whose) -> Result<(), Refusal> {
    let config = worker.live.get();
    match whose {
        Whose::Target if worker.core.is_own(address) => Err(Refusal::new(Code::Loop, "the target is this edge itself")),
        Whose::Target if config.target_allow.iter().any(|range| range.contains(address)) => Ok(()),
        Whose::Target => target::check_dial_address(address.ip(), &[]),
        Whose::Gateway => target::check_dial_address(address.ip(), &config.dial_allow).map_err(|e| {
            Refusal::new(Code::UpstreamConnect, format!("the gateway's address is not allowed: {}", e.detail))
        }),
    }
}

/// The first connection that comes about.
async fn race(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    if let [one] = addresses {
        return to(*one).await;
    }
    let mut left = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut start_next = true;
    loop {
        if start_next {
            attempts.extend(left.next().map(to));
        }
        let more = left.len() > 0;
        start_next = tokio::select! {
            done = attempts.next(), if !attempts.is_empty() => match done {
                Some(Ok(found)) => return Ok(found),
                Some(Err(e)) => {
                    last = e;
                    true
                }
                None => true,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => true,
            else => return Err(last),
        };
        if attempts.is_empty() && left.len() == 0 {
            return Err(last);
        }
    }
}

async fn to(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    Ok((TcpStream::connect(address).await?, address))
}

/// What every connection of ours is set to.
fn settle(stream: &TcpStream, keepalive: Duration) {
    let _ = stream.set_nodelay(true);
    if !keepalive.is_zero() {
        let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(keepalive));
    }
}

/// The address of a literal host, else nothing.
pub(crate) fn literal(host: &target::Host) -> Option<IpAddr> {
    match host {
        target::Host::Ip(ip) => Some(*ip),
        target::Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_at_once_where_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        // Free a moment ago: nobody listens there.
        let bad = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (stream, at) = race(&[bad, bad, good]).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), at), (good, good));
        assert_eq!(race(&[bad, bad]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        race(&[]).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_silent_address_does_not_hold_up_the_next() {
        // A full backlog: further connections are neither refused nor answered.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        silent.listen(0).unwrap();
        let silent_at = silent.local_addr().unwrap().as_socket().unwrap();
        let _fill: Vec<_> = (0..4)
            .map(|_| {
                let s = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                s.set_nonblocking(true).unwrap();
                let _ = s.connect(&silent_at.into());
                s
            })
            .collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let both = [silent_at, good];
        let raced = tokio::time::timeout(Duration::from_secs(20), race(&both)).await;
        let (stream, at) = raced.unwrap().unwrap();
        assert_eq!((stream.peer_addr().unwrap(), at), (good, good));
    }
}
