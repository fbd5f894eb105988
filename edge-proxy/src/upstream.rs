//! Upstreams: reaching one, and our own handshake with it, bounded in size and time.
//!
//! An upstream is an HTTP proxy, one behind TLS, a SOCKS5 proxy, or nothing at all (`direct`).
//! Whatever it is, [`connect`] gives a stream to the target, and [`carrier`] one that takes
//! absolute-form or origin-form requests.

pub(crate) mod dial;
mod http;
pub(crate) mod socks;
pub(crate) mod spec;

use std::time::Duration;

use tokio::time::timeout;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;
use tollgate_domain::upstream::Scheme;

pub(crate) use http::{failure, read_head};

use crate::core::Core;
use crate::leg::Leg;
use crate::metrics;
use crate::route::Route;
use crate::worker::Worker;
use dial::Whose;

/// A tunnel through an upstream, and what the target said already.
pub(crate) struct Through {
    pub leg: Leg,
    pub early: Vec<u8>,
}

/// What an upstream's refusal means.
#[derive(Debug)]
pub(crate) struct Failed {
    pub refusal: Refusal,
    /// The address is no longer ours: the route is stale.
    pub lost: bool,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, lost: false }
    }
}

/// A connection to the route's upstream; to the target itself where there is none.
async fn reach(worker: &Worker, route: &Route, target: &Target) -> Result<Leg, Refusal> {
    match route.scheme {
        Scheme::Direct => {
            let host = match dial::literal(&target.host) {
                Some(ip) => ip.to_string(),
                None => target.host.to_string(),
            };
            Ok(dial::tcp(worker, &host, target.port, Whose::Target).await?.into())
        }
        Scheme::Http | Scheme::Socks5 => Ok(dial::tcp(worker, &route.host, route.port, Whose::Gateway).await?.into()),
        Scheme::Https => {
            let stream = dial::tcp(worker, &route.host, route.port, Whose::Gateway).await?;
            http::tls(worker, &route.host, stream).await
        }
    }
}

/// A stream to `target` through the route's upstream.
pub(crate) async fn connect(worker: &Worker, route: &Route, target: &Target) -> Result<Through, Failed> {
    let core = &worker.core;
    let patience = worker.live.get().connect_timeout;
    let tunnel = async {
        let leg = reach(worker, route, target).await?;
        let handshake = async {
            match route.scheme {
                Scheme::Direct => Ok(Through { leg, early: Vec::new() }),
                Scheme::Http | Scheme::Https => http::connect(leg, route, target).await,
                Scheme::Socks5 => socks::connect(leg, route, target).await,
            }
        };
        let late = |_| Refusal::new(Code::UpstreamTimeout, "the gateway did not answer in time");
        timeout(patience, handshake).await.map_err(late)?
    };
    tunnel.await.inspect_err(|failed| noted(core, route, failed))
}

/// A connection that takes requests for `target`: the HTTP proxy, or the origin itself.
pub(crate) async fn carrier(worker: &Worker, route: &Route, target: &Target) -> Result<Leg, Failed> {
    match route.scheme {
        Scheme::Http | Scheme::Https | Scheme::Direct => {
            let reached = reach(worker, route, target).await.map_err(Failed::from);
            reached.inspect_err(|failed| noted(&worker.core, route, failed))
        }
        Scheme::Socks5 => Ok(connect(worker, route, target).await?.leg),
    }
}

/// Counts and tells a failure.
pub(crate) fn noted(core: &Core, route: &Route, failed: &Failed) {
    let provider = if route.scheme == Scheme::Direct { metrics::DIRECT } else { route.provider().as_str() };
    core.metrics.dial_failures.count(provider, failed.refusal.code);
    tracing::warn!(
        provider = %route.provider(), upstream = %route.proxy, lost = failed.lost, error = %failed.refusal,
        "reaching the target through the upstream failed"
    );
}

/// How long a lost answer is waited for in an exchange.
pub(crate) fn answer_time(worker: &Worker) -> Duration {
    worker.live.get().idle_timeout
}
