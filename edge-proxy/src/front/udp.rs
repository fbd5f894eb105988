//! UDP ASSOCIATE (RFC 1928 section 7): datagrams between a client and the world, over a direct or
//! a SOCKS5 upstream, metered and limited as a tunnel is. An HTTP proxy carries none.
//!
//! What counts is the payload. A datagram that no byte is leased for, or whose time has not come,
//! is dropped, as networks do.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{Host, Target};
use tollgate_domain::upstream::Scheme;

use super::Front;
use super::admission::Asking;
use super::record::Record;
use crate::access_log::Kind;
use crate::exchange::stop_refusal;
use crate::journal::Direction;
use crate::leg::Leg;
use crate::meter::Meter;
use crate::route::Route;
use crate::socks::server::{self, Refused};
use crate::socks::{MAX_UDP_HEADER, reply, udp as frames};
use crate::tunnel::CloseReason;
use crate::upstream::Attempt;
use crate::upstream::dial::{self, Whose};
use crate::upstream::{self, Failed};
use crate::worker::Worker;

/// Largest datagram, header included.
const LARGEST: usize = 64 << 10;

/// Where datagrams leave for.
enum Beyond {
    /// Their targets.
    Direct { policy: tollgate_domain::target::Policy },
    /// A relay of the upstream, for as long as its connection stands.
    Relay { at: SocketAddr, _control: Leg },
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
    let way = front.way(&admitted, correlation_id, None).await?;
    let beyond = beyond(front, &way.route).await?;
    let meter = front.meter(&admitted, &way);
    meter.ready().await.map_err(stop_refusal)?;
    let registered = front.register(&admitted, &way, correlation_id, &meter).await?;
    let failed = |e: io::Error| Refusal::new(Code::Internal, format!("no socket for datagrams: {}", e.kind()));
    let here = bind(front.core.config.udp.bind.or(front.leg.local_ip()).unwrap_or(front.entrance.local.ip()))
        .await
        .map_err(failed)?;
    let bound = here.local_addr().map_err(failed)?;
    let out = match &beyond {
        Beyond::Direct { .. } => UdpSocket::bind("0.0.0.0:0").await.map_err(failed)?,
        Beyond::Relay { at, .. } => {
            bind(if at.is_ipv4() { [0, 0, 0, 0].into() } else { IpAddr::from([0u16; 8]) }).await.map_err(failed)?
        }
    };
    let told = SocketAddr::new(front.worker.live.get().udp_advertise.unwrap_or(bound.ip()), bound.port());
    let connected = began.elapsed();
    if front.leg.write_all(&server::reply(reply::SUCCEEDED, told)).await.is_err() {
        return Ok(());
    }
    let association = Association {
        worker: &front.worker,
        meter: &meter,
        client_ip: ip.unwrap_or(front.peer.ip().to_canonical()),
        client: Cell::new((port != 0).then(|| SocketAddr::new(front.peer.ip().to_canonical(), port))),
        here,
        out,
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

async fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddr::new(ip, 0)).await
}

async fn until_closed(leg: &Leg, away: &mut Vec<u8>) {
    while matches!(leg.read_some(away).await, Ok(1..)) {
        away.clear();
    }
}

async fn beyond(front: &Front, route: &Route) -> Result<Beyond, Refused> {
    match route.scheme {
        Scheme::Direct => Ok(Beyond::Direct { policy: front.core.config.policy.clone() }),
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
    Ok(Beyond::Relay { at, _control: control })
}

fn gone() -> Refusal {
    Refusal::new(Code::UpstreamConnect, "the gateway closed the connection")
}

/// One association at work.
struct Association<'a> {
    worker: &'a Worker,
    meter: &'a Meter,
    /// Datagrams of others are not looked at.
    client_ip: IpAddr,
    /// Where the client's datagrams come from: as it said, else as its first one did.
    client: Cell<Option<SocketAddr>>,
    here: UdpSocket,
    out: UdpSocket,
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
            let Ok((target, payload)) = frames::decode(&buf[..n]) else { continue };
            self.client.set(Some(from));
            let (to, datagram) = match &self.beyond {
                Beyond::Direct { policy } => match self.resolve(policy, &target).await {
                    Some(to) => (to, payload),
                    None => continue,
                },
                Beyond::Relay { at, .. } => (*at, &buf[..n]),
            };
            let bytes = payload.len();
            let sent = self.pass(Direction::Ingress, bytes, || self.out.try_send_to(datagram, to)).await;
            if let Err(reason) = sent {
                return reason;
            }
        }
    }

    async fn down(&self) -> CloseReason {
        let mut buf = vec![0; MAX_UDP_HEADER + LARGEST];
        let mut framed = Vec::new();
        loop {
            let Ok((n, from)) = self.out.recv_from(&mut buf).await else { continue };
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
        self.meter.ready().await?;
        let sent = self.meter.operate(direction, bytes.max(1), |grant| {
            if grant < bytes {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            send().map(|_| bytes)
        });
        match sent {
            None => self.meter.ready().await.map_err(CloseReason::from),
            // What the system refuses is lost, as any datagram may be.
            Some(_) => Ok(()),
        }
    }

    /// Where a datagram may go, if anywhere.
    async fn resolve(&self, policy: &tollgate_domain::target::Policy, target: &Target) -> Option<SocketAddr> {
        policy.check_through_upstream(target).ok()?;
        let host = match dial::literal(&target.host) {
            Some(ip) => ip.to_string(),
            None => target.host.to_string(),
        };
        let found = dial::addresses(self.worker, &host, target.port, Whose::Target).await.ok()?;
        found.into_iter().find(SocketAddr::is_ipv4)
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
