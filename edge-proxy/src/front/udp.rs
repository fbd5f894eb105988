//! UDP ASSOCIATE (RFC 1928 section 7): datagrams between a client and the world, over a direct or
//! a SOCKS5 upstream, metered and limited as a tunnel is. An HTTP proxy carries none.
//!
//! What counts is the payload. A datagram goes whole or not at all: one whose time has not come is
//! dropped, as networks do; one that may not go is counted as a refusal; one that is more than the
//! customer has left ends the association.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{Host, Target};
use tollgate_domain::upstream::Scheme;

use super::admission::{Admitted, Asking, Registered, Way};
use super::record::Record;
use super::{Front, events, policy};
use crate::access_log::Kind;
use crate::account::Account;
use crate::exchange::stop_refusal;
use crate::journal::Direction;
use crate::leg::Leg;
use crate::meter::Meter;
use crate::route::Route;
use crate::socks::server::{self, Refused};
use crate::socks::udp::{self as frames, Dropped};
use crate::socks::{MAX_UDP_HEADER, reply};
use crate::tunnel::CloseReason;
use crate::upstream::Attempt;
use crate::upstream::dial::{self, Whose};
use crate::upstream::{self, Failed};
use crate::worker::Worker;

/// Largest datagram, header included.
const LARGEST: usize = 64 << 10;

/// Where datagrams leave for.
enum Beyond {
    /// Their targets, from a socket of their family. Some machines have no IPv6.
    Direct { v4: UdpSocket, v6: Option<UdpSocket> },
    /// A relay of the upstream, for as long as its connection stands.
    Relay { at: SocketAddr, out: UdpSocket, _control: Leg },
}

/// Serves one association to its end.
pub(super) async fn associate(
    front: &mut Front,
    asking: Asking,
    (ip, port): (Option<IpAddr>, u16),
    correlation_id: &str,
) -> Result<(), Refused> {
    let began = Instant::now();
    let admitted = front.admit(asking).await?;
    let ready = Box::pin(ready(front, &admitted, correlation_id)).await;
    let (way, beyond, meter, registered) = ready.inspect_err(|r| front.failed(&admitted, began, &r.refusal))?;
    let here = bind(front.core.config.udp.bind.or(front.leg.local_ip()).unwrap_or(front.entrance.local.ip()))
        .await
        .map_err(no_socket)?;
    let bound = here.local_addr().map_err(no_socket)?;
    let told = SocketAddr::new(front.worker.live.get().udp_advertise.unwrap_or(bound.ip()), bound.port());
    let connected = began.elapsed();
    if front.leg.write_all(&server::reply(reply::SUCCEEDED, told)).await.is_err() {
        return Ok(());
    }
    events::started(&front.worker, &admitted, &way, &registered, connected);
    let association = Association {
        worker: &front.worker,
        account: &admitted.account,
        meter: &meter,
        client_ip: ip.unwrap_or(front.peer.ip().to_canonical()),
        client: Cell::new((port != 0).then(|| SocketAddr::new(front.peer.ip().to_canonical(), port))),
        here,
        beyond,
        last: Cell::new(Instant::now()),
    };
    let mut rest = std::mem::take(&mut front.buf);
    let reason = tokio::select! {
        biased;
        reason = registered.tunnel.killed() => reason,
        reason = association.up() => reason,
        reason = association.down() => reason,
        // The association ends with its connection; whatever is said there means nothing.
        () = until_closed(&front.leg, &mut rest) => CloseReason::Finished,
        () = association.idle(front.worker.live.get().udp_idle) => CloseReason::Idle,
    };
    let record = Record { kind: Kind::Udp, began, connected, reason };
    record.write(&front.worker, &admitted, &way, &meter, &registered);
    Ok(())
}

/// A way for datagrams of a client who was admitted, and bytes for them.
async fn ready(
    front: &Front,
    admitted: &Admitted,
    correlation_id: &str,
) -> Result<(Way, Beyond, Meter, Registered), Refused> {
    let way = front.way(admitted, correlation_id, None).await?;
    let beyond = beyond(front, &way.route).await?;
    let meter = front.meter(admitted, &way);
    meter.ready().await.map_err(stop_refusal)?;
    let registered = front.register(admitted, &way, correlation_id, &meter).await?;
    Ok((way, beyond, meter, registered))
}

async fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddr::new(ip, 0)).await
}

fn no_socket(e: io::Error) -> Refusal {
    Refusal::new(Code::Internal, format!("no socket for datagrams: {}", e.kind()))
}

async fn until_closed(leg: &Leg, away: &mut Vec<u8>) {
    while matches!(leg.read_some(away).await, Ok(1..)) {
        away.clear();
    }
}

async fn beyond(front: &Front, route: &Route) -> Result<Beyond, Refused> {
    match route.scheme {
        Scheme::Direct => {
            let v4 = bind(Ipv4Addr::UNSPECIFIED.into()).await.map_err(no_socket)?;
            Ok(Beyond::Direct { v4, v6: bind(Ipv6Addr::UNSPECIFIED.into()).await.ok() })
        }
        Scheme::Socks5 => {
            let reached = relay(front, route).await.map_err(Failed::from);
            let reached = reached.inspect_err(|failed| upstream::noted(&front.core, route, failed));
            reached.map_err(|failed| failed.refusal.into())
        }
        Scheme::Http | Scheme::Https => {
            let refusal = Refusal::new(Code::MethodNotAllowed, "an HTTP upstream carries no datagrams");
            Err(Refused { reply: reply::COMMAND_NOT_SUPPORTED, refusal })
        }
    }
}

/// A relay of the upstream: where it wants datagrams.
async fn relay(front: &Front, route: &Route) -> Result<Beyond, Refusal> {
    let only = Attempt::only(&front.worker);
    let (stream, peer) = dial::tcp(&front.worker, &route.host, route.port, Whose::Gateway, &only).await?;
    let control = Leg::from(stream);
    let time = front.worker.live.get().connect_timeout;
    let late = |_| Refusal::new(Code::UpstreamTimeout, "the gateway did not answer in time");
    let said = tokio::time::timeout(time, upstream::socks::associate(&control, route)).await.map_err(late)??;
    // A relay that listens everywhere means the address that we reached it at.
    let at = match said {
        Some(at) if !at.ip().is_unspecified() => at,
        Some(at) => SocketAddr::new(peer.ip(), at.port()),
        None => return Err(gone()),
    };
    dial::judge(&front.worker, at, Whose::Gateway)?;
    let family: IpAddr = if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Ok(Beyond::Relay { at, out: bind(family).await.map_err(no_socket)?, _control: control })
}

fn gone() -> Refusal {
    Refusal::new(Code::UpstreamConnect, "the gateway closed the connection")
}

/// One association at work.
struct Association<'a> {
    worker: &'a Worker,
    account: &'a Account,
    meter: &'a Meter,
    /// Datagrams of others are not looked at.
    client_ip: IpAddr,
    /// Where the client's datagrams come from: as it said, else as its first one did.
    client: Cell<Option<SocketAddr>>,
    here: UdpSocket,
    beyond: Beyond,
    last: Cell<Instant>,
}

impl Association<'_> {
    async fn up(&self) -> CloseReason {
        let mut buf = vec![0; LARGEST];
        loop {
            let Ok((n, from)) = self.here.recv_from(&mut buf).await else { continue };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            if from.ip() != self.client_ip || self.client.get().is_some_and(|c| c != from) {
                continue;
            }
            let (target, payload) = match frames::decode(&buf[..n]) {
                Ok(read) => read,
                Err(dropped) => {
                    if let Dropped::Target(refusal) = dropped {
                        self.refused(&refusal);
                    }
                    continue;
                }
            };
            self.client.set(Some(from));
            let way = match self.way(&target).await {
                Ok(way) => way,
                Err(refusal) => {
                    self.refused(&refusal);
                    continue;
                }
            };
            // No socket of its family: it is lost, as where there is no way to its network.
            let Some((out, to)) = way else { continue };
            let bytes = payload.len();
            let datagram = match self.beyond {
                Beyond::Direct { .. } => payload,
                Beyond::Relay { .. } => &buf[..n],
            };
            let sent = self.pass(Direction::Ingress, bytes, || out.try_send_to(datagram, to)).await;
            if let Err(reason) = sent {
                return reason;
            }
        }
    }

    async fn down(&self) -> CloseReason {
        match &self.beyond {
            Beyond::Relay { out, .. } | Beyond::Direct { v4: out, v6: None } => self.answers(out).await,
            Beyond::Direct { v4, v6: Some(v6) } => tokio::select! {
                reason = self.answers(v4) => reason,
                reason = self.answers(v6) => reason,
            },
        }
    }

    /// Passes on what comes back to one socket.
    async fn answers(&self, out: &UdpSocket) -> CloseReason {
        // A socket that nothing comes back to needs no room for it.
        let _ = out.readable().await;
        let mut buf = vec![0; MAX_UDP_HEADER + LARGEST];
        let mut framed = Vec::new();
        loop {
            let Ok((n, from)) = out.recv_from(&mut buf).await else { continue };
            let Some(client) = self.client.get() else { continue };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            let (datagram, bytes) = match &self.beyond {
                Beyond::Direct { .. } => {
                    framed.clear();
                    let source = Target { host: Host::Ip(from.ip()), port: from.port() };
                    if frames::encode_header(&mut framed, &source).is_none() {
                        continue;
                    }
                    framed.extend_from_slice(&buf[..n]);
                    (framed.as_slice(), n)
                }
                Beyond::Relay { at, .. } if from == *at => match frames::decode(&buf[..n]) {
                    Ok((_, payload)) => (&buf[..n], payload.len()),
                    Err(_) => continue,
                },
                Beyond::Relay { .. } => continue,
            };
            let sent = self.pass(Direction::Egress, bytes, || self.here.try_send_to(datagram, client)).await;
            if let Err(reason) = sent {
                return reason;
            }
        }
    }

    /// Sends a datagram whole or not at all, within what is due and leased.
    async fn pass(
        &self,
        direction: Direction,
        bytes: usize,
        send: impl Fn() -> io::Result<usize>,
    ) -> Result<(), CloseReason> {
        self.last.set(Instant::now());
        // Not in time for its rate: dropped.
        if !self.meter.due_at_once(bytes) {
            return Ok(());
        }
        loop {
            if let Err(stop) = self.meter.ready_for(bytes).await {
                self.refused(&stop_refusal(stop));
                return Err(stop.into());
            }
            let mut short = false;
            let sent = self.meter.operate(direction, bytes.max(1), |grant| {
                short = grant < bytes;
                if short { Err(io::ErrorKind::WouldBlock.into()) } else { send().map(|_| bytes) }
            });
            // What the system refuses is lost, as any datagram may be. A lease that others were
            // faster to use is waited for again.
            if sent.is_some() && !short {
                return Ok(());
            }
        }
    }

    /// Where a datagram goes, and from which socket; `None` if there is none for its family.
    async fn way(&self, target: &Target) -> Result<Option<(&UdpSocket, SocketAddr)>, Refusal> {
        let (v4, v6) = match &self.beyond {
            Beyond::Relay { at, out, .. } => {
                policy::check(self.worker, self.account, target, Some(Scheme::Socks5))?;
                return Ok(Some((out, *at)));
            }
            Beyond::Direct { v4, v6 } => (v4, v6),
        };
        policy::check(self.worker, self.account, target, Some(Scheme::Direct))?;
        let host = match dial::literal(&target.host) {
            Some(ip) => ip.to_string(),
            None => target.host.to_string(),
        };
        let found = dial::addresses(self.worker, &host, target.port, Whose::Target).await?;
        let mut found = found.into_iter().map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
        // Of two families IPv4: nothing would tell that the other leads nowhere.
        let first = found.next();
        let to = first.filter(SocketAddr::is_ipv4).or_else(|| found.find(SocketAddr::is_ipv4)).or(first);
        Ok(to.and_then(|to| Some((if to.is_ipv4() { v4 } else { v6.as_ref()? }, to))))
    }

    /// Counts a datagram that may not go. Nobody is told: networks drop.
    fn refused(&self, refusal: &Refusal) {
        self.worker.core.metrics.refused(refusal.code);
    }

    async fn idle(&self, idle: Duration) {
        loop {
            let end = self.last.get() + idle;
            tokio::time::sleep_until(end.into()).await;
            if self.last.get() + idle <= Instant::now() {
                return;
            }
        }
    }
}
