//! One client connection: what it speaks, who is asking, admission, route; then a tunnel,
//! exchanges, or datagrams.

mod admission;
mod attempts;
mod events;
mod http;
mod own;
mod policy;
mod record;
mod socks;
mod target;
mod tunnel;
mod udp;

#[cfg(test)]
mod bounds;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tollgate_domain::refusal::{Code, Refusal};

use crate::core::Core;
use crate::http::refusal::Answering;
use crate::ingress::accept::Accepted;
use crate::ingress::detect::Protocol;
use crate::ingress::entrance::{Entrance, Kind};
use crate::ingress::proxy_protocol::{self, Parsed};
use crate::ingress::strangers::Stranger;
use crate::leg::{Leg, Rewind};
use crate::limits::source::subscriber;
use crate::relay::linger_close;
use crate::retry;
use crate::worker::Worker;
use tunnel::Carried;

/// Most bytes of a client's TLS handshake: a hello has two kilobytes, and we ask for no certificate.
const MAX_TLS_HANDSHAKE: usize = 16 << 10;
/// How long a refused client is listened to, so that it reads the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    // What comes before a tunnel has much state and a short life: an idle tunnel does not carry it.
    if let Some(carried) = Box::pin(begin(worker, accepted)).await {
        carried.run().await;
    }
}

/// What is known of a connection.
struct Front {
    core: Arc<Core>,
    worker: Rc<Worker>,
    /// Who is asking: the peer, or whom a trusted balancer speaks for.
    peer: SocketAddr,
    entrance: Arc<Entrance>,
    /// Counted among those of its source, until it has authenticated.
    stranger: Option<Stranger>,
    leg: Leg,
    /// What the client sent and nobody has read yet.
    buf: Vec<u8>,
    /// The credentials of the last request, and what came of them.
    known: Option<Arc<admission::Known>>,
}

/// Reads what a connection speaks, and serves it up to its tunnel, if it comes to one.
async fn begin(worker: Rc<Worker>, accepted: Accepted) -> Option<Carried> {
    let core = Arc::clone(&worker.core);
    let Accepted { stream, mut peer, entrance } = accepted;
    let live = worker.live.get();
    let deadline = Instant::now() + live.handshake_timeout;
    let mut buf = Vec::new();
    if live.proxy_trusted.iter().any(|net| net.contains(&peer.ip().to_canonical())) {
        peer = timeout_at(deadline, balancer(&stream, &mut buf)).await.ok()??.unwrap_or(peer);
    }
    let stranger = Some(strange(&core, peer, live.max_unauthenticated_per_source)?);
    let mut leg = Leg::from(stream);
    let mut protocol = first(&core, &leg, &mut buf, deadline).await?;
    if protocol == Protocol::Tls || entrance.kind == Kind::Tls {
        leg = timeout_at(deadline, behind_tls(&core, leg, std::mem::take(&mut buf))).await.ok()??;
        protocol = first(&core, &leg, &mut buf, deadline).await?;
    }
    let mut front = Front { core, worker, peer, entrance, stranger, leg, buf, known: None };
    match protocol {
        Protocol::Http => http::serve(front).await,
        Protocol::Socks5 => socks::serve(front).await,
        Protocol::Socks4 => {
            front.refused(&Refusal::new(Code::RequestInvalid, "SOCKS4 carries no credentials: use SOCKS5"));
            let _ = front.leg.write_all(&crate::socks::SOCKS4_REFUSAL).await;
            front.buf = Vec::new();
            linger_close(front.leg, LINGER).await;
            None
        }
        // TLS within TLS, or nothing that we know.
        Protocol::Tls | Protocol::Unknown => {
            front.refused(&Refusal::new(Code::RequestInvalid, "neither HTTP, SOCKS5 nor TLS"));
            None
        }
    }
}

/// Counts a connection of which nothing is known but where it comes from. `None`: its source has
/// too many, and it is closed without a word, for nobody knows its language.
fn strange(core: &Core, peer: SocketAddr, most: usize) -> Option<Stranger> {
    let too_many = match core.strangers.enter(peer.ip(), most) {
        Ok(stranger) => return Some(stranger),
        Err(too_many) => too_many,
    };
    core.metrics.refused(Code::IpLimit);
    // Who comes in crowds does not fill the log as well.
    if too_many.first {
        let source = subscriber(peer.ip());
        tracing::info!(code = %Code::IpLimit, %source, most, "closing what one source opens and never authenticates");
    }
    None
}

/// The protocol of the first byte, which stays in `buf`. `None`: none came in time.
async fn first(core: &Core, leg: &Leg, buf: &mut Vec<u8>, deadline: Instant) -> Option<Protocol> {
    if buf.is_empty() {
        let mut drain = core.drain_signal();
        tokio::select! {
            n = timeout_at(deadline, leg.read_some(buf)) => if !matches!(n, Ok(Ok(1..))) { return None },
            () = drain.begun() => return None,
        }
    }
    buf.first().map(|b| Protocol::of(*b))
}

/// Reads the header of a balancer. `None`: there is none, and the connection is worth nothing.
#[allow(clippy::option_option)] // a header may name nobody
async fn balancer(stream: &TcpStream, buf: &mut Vec<u8>) -> Option<Option<SocketAddr>> {
    loop {
        match proxy_protocol::parse(buf) {
            Ok(Parsed::Complete { length, source }) => {
                buf.drain(..length);
                return Some(source);
            }
            Ok(Parsed::Incomplete) => {}
            Err(e) => {
                tracing::info!(error = %e, "a trusted balancer sent no PROXY header");
                return None;
            }
        }
        // Not a byte beyond the header is needed; what comes with it is the client's.
        stream.readable().await.ok()?;
        let mut more = [0; 512];
        match stream.try_read(&mut more) {
            Ok(0) => return None,
            Ok(n) => buf.extend_from_slice(&more[..n]),
            Err(e) if crate::leg::would_block(&e) => {}
            Err(_) => return None,
        }
    }
}

async fn behind_tls(core: &Core, leg: Leg, first: Vec<u8>) -> Option<Leg> {
    let (Leg::Plain(stream), Some(identity)) = (leg, core.identity.as_ref()) else { return None };
    match identity.acceptor().accept(Rewind::new(first, stream).bounded(MAX_TLS_HANDSHAKE)).await {
        Ok(mut tls) => {
            tls.get_mut().0.unbounded();
            Some(Leg::from(tokio_rustls::TlsStream::from(tls)))
        }
        Err(e) => {
            tracing::debug!(error = %e, "TLS handshake failed");
            None
        }
    }
}

impl Front {
    /// Counts and tells a refusal.
    fn refused(&self, refusal: &Refusal) {
        self.core.metrics.refused(refusal.code);
        tracing::info!(code = %refusal.code, detail = %refusal.detail, "refused");
    }
}

/// An answer in the words of whoever sent no request that could be read.
fn unread() -> Answering {
    Answering {
        lang: tollgate_domain::refusal::Lang::En,
        correlation_id: new_id(),
        head_only: false,
        keep_alive: false,
    }
}

fn new_id() -> String {
    format!("{:016x}", retry::random())
}
