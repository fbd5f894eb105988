//! Upstreams: reaching one, and our own handshake with it, bounded in size and time.
//!
//! An upstream is an HTTP proxy, one behind TLS, a SOCKS5 proxy, or nothing at all (`direct`).
//! Whatever it is, [`open`] gives a stream to the target, or one that takes absolute-form or
//! origin-form requests for it. What follows a failure is decided in `front`, by what
//! [`Failed`] says.

pub(crate) mod dial;
mod fault;
mod http;
pub(crate) mod socks;
pub(crate) mod spec;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;
use tollgate_domain::upstream::Scheme;

pub(crate) use fault::{Failed, Fault};
pub(crate) use http::{failure, read_head};

use crate::core::Core;
use crate::leg::Leg;
use crate::metrics;
use crate::route::Route;
use crate::worker::Worker;
use dial::Whose;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A stream to the target.
    Tunnel,
    /// Requests for the target: the HTTP proxy takes them, or the origin itself.
    Requests,
}

/// What one attempt may use up, and where it need not try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// When the connection must stand.
    pub until: Instant,
    /// An address of the gateway that failed a moment ago.
    pub avoid: Option<SocketAddr>,
}

impl Attempt {
    /// The only one: its connection and its handshake have the time for one each.
    pub fn only(worker: &Worker) -> Self {
        Self { until: Instant::now() + worker.live.get().connect_timeout * 2, avoid: None }
    }

    /// The end of a step that begins now and may take `patience`.
    pub fn step(&self, patience: Duration) -> Instant {
        self.until.min(Instant::now() + patience)
    }
}

/// A connection through an upstream, and what came of it already.
pub(crate) struct Through {
    pub leg: Leg,
    pub early: Vec<u8>,
    /// The gateway's address that it leads over.
    pub at: Option<SocketAddr>,
}

/// A connection to the route's upstream, and which of its addresses that is; to the target itself
/// where there is none.
async fn reach(
    worker: &Worker,
    route: &Route,
    target: &Target,
    attempt: &Attempt,
) -> Result<(Leg, Option<SocketAddr>), Failed> {
    match route.scheme {
        Scheme::Direct => {
            let host = match dial::literal(&target.host) {
                Some(ip) => ip.to_canonical().to_string(),
                None => target.host.to_string(),
            };
            let dialled = dial::tcp(worker, &host, target.port, Whose::Target, attempt).await;
            let (stream, _) = dialled.map_err(Failed::for_good)?;
            Ok((stream.into(), None))
        }
        Scheme::Http | Scheme::Socks5 => {
            let (stream, at) = dial::tcp(worker, &route.host, route.port, Whose::Gateway, attempt).await?;
            Ok((stream.into(), Some(at)))
        }
        Scheme::Https => {
            let (stream, at) = dial::tcp(worker, &route.host, route.port, Whose::Gateway, attempt).await?;
            let tls = http::tls(worker, &route.host, stream, attempt).await;
            Ok((tls.map_err(|r| Failed::from(r).reached(Some(at)))?, Some(at)))
        }
    }
}

/// A connection for `target` through the route's upstream. A failure is counted and told here.
pub(crate) async fn open(
    worker: &Worker,
    route: &Route,
    target: &Target,
    purpose: Purpose,
    attempt: &Attempt,
) -> Result<Through, Failed> {
    let opened = async {
        let (leg, at) = reach(worker, route, target, attempt).await?;
        let handshake = async {
            match (route.scheme, purpose) {
                (Scheme::Http | Scheme::Https, Purpose::Tunnel) => http::connect(leg, route, target).await,
                (Scheme::Socks5, _) => socks::connect(leg, route, target).await,
                (Scheme::Direct, _) | (_, Purpose::Requests) => Ok(Through { leg, early: Vec::new(), at: None }),
            }
        };
        match timeout_at(attempt.step(worker.live.get().connect_timeout), handshake).await {
            Ok(Ok(through)) => Ok(Through { at, ..through }),
            Ok(Err(failed)) => Err(failed.reached(at)),
            Err(_) => {
                let late = Refusal::new(Code::UpstreamTimeout, "the gateway did not answer in time");
                Err(Failed::from(late).reached(at))
            }
        }
    };
    opened.await.inspect_err(|failed| noted(&worker.core, route, failed))
}

/// Counts and tells a failure.
pub(crate) fn noted(core: &Core, route: &Route, failed: &Failed) {
    let provider = if route.scheme == Scheme::Direct { metrics::DIRECT } else { route.provider().as_str() };
    core.metrics.dial_failures.count(provider, failed.refusal.code);
    tracing::warn!(
        provider = %route.provider(), upstream = %route.proxy, lost = failed.lost(), error = %failed.refusal,
        "reaching the target through the upstream failed"
    );
}

/// How long a lost answer is waited for in an exchange.
pub(crate) fn answer_time(worker: &Worker) -> Duration {
    worker.live.get().idle_timeout
}
