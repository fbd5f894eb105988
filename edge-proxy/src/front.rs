//! One client connection: heads, who is asking, admission, route; then a tunnel or exchanges.

mod admission;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_domain::refusal::{Code, Lang, Refusal};
use tollgate_domain::target::parse_authority;

use crate::core::Core;
use crate::exchange::{Broken, Done, Exchange, Kept, stop_refusal};
use crate::http::refusal::{Answering, render};
use crate::http::{RequestHead, head};
use crate::meter::Meter;
use crate::relay::{self, Early, linger_close, read_some, write_all};
use crate::retry;
use crate::tunnel::CloseReason;
use crate::upstream;
use crate::worker::Worker;
use admission::{Admitted, Way};
use target::{absolute, authority, host_header};

/// How long a refused client is listened to, so that it reads the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let mut front = Front { core: Arc::clone(&worker.core), worker, peer: peer.ip(), buf: Vec::new(), kept: None };
    let mut first = true;
    loop {
        let head = match front.read_head(&stream, first).await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(refusal) => {
                let to = Answering { lang: Lang::En, correlation_id: new_id(), head_only: false, keep_alive: false };
                front.refuse(&stream, &refusal, &to).await;
                return linger_close(stream, LINGER).await;
            }
        };
        first = false;
        match front.request(&stream, &head).await {
            Next::Again => {}
            Next::Close => return,
            Next::Linger => return linger_close(stream, LINGER).await,
        }
    }
}

enum Next {
    Again,
    Close,
    Linger,
}

struct Front {
    core: Arc<Core>,
    worker: Rc<Worker>,
    peer: IpAddr,
    /// What the client sent and nobody has read yet.
    buf: Vec<u8>,
    kept: Option<Kept>,
}

impl Front {
    /// The next request head; `None` if the client, or we, have nothing more to say.
    async fn read_head(&mut self, stream: &TcpStream, first: bool) -> Result<Option<RequestHead>, Refusal> {
        if self.buf.is_empty() && !first {
            let mut drain = self.core.drain_signal();
            let wait = timeout(self.core.config.keep_alive_timeout, read_some(stream, &mut self.buf));
            let more = tokio::select! {
                more = wait => more,
                () = drain.begun() => return Ok(None),
            };
            if !matches!(more, Ok(Ok(1..))) {
                return Ok(None);
            }
        }
        let deadline = tokio::time::Instant::now() + self.core.config.header_timeout;
        let mut drain = self.core.drain_signal();
        let mut searched = 0;
        loop {
            if let Some(n) = head::complete(&self.buf, searched)? {
                let head = RequestHead::parse(&self.buf[..n])?;
                self.buf.drain(..n);
                return Ok(Some(RequestHead { length: n, ..head }));
            }
            searched = self.buf.len();
            let more = tokio::select! {
                more = tokio::time::timeout_at(deadline, read_some(stream, &mut self.buf)) => more,
                () = drain.begun(), if self.buf.is_empty() => return Ok(None),
            };
            match more {
                Ok(Ok(1..)) => {}
                Ok(_) => return Ok(None),
                Err(_) if self.buf.is_empty() => return Ok(None),
                Err(_) => return Err(Refusal::new(Code::RequestInvalid, "the head did not come in time")),
            }
        }
    }

    async fn request(&mut self, stream: &TcpStream, head: &RequestHead) -> Next {
        let mut to = Answering {
            lang: head.only("accept-language").ok().flatten().map_or(Lang::En, Lang::from_accept_language),
            correlation_id: correlation_id(head),
            head_only: head.method == "HEAD",
            keep_alive: false,
        };
        let outcome = if head.method == "CONNECT" {
            self.tunnel(stream, head, &to).await
        } else {
            self.exchange(stream, head, &mut to).await
        };
        match outcome {
            Ok(next) => next,
            Err(refusal) => {
                self.refuse(stream, &refusal, &to).await;
                if to.keep_alive { Next::Again } else { Next::Linger }
            }
        }
    }

    async fn refuse(&self, stream: &TcpStream, refusal: &Refusal, to: &Answering) {
        self.core.metrics.refused(refusal.code);
        tracing::info!(code = %refusal.code, detail = %refusal.detail, correlation_id = %to.correlation_id, "refused");
        let _ = timeout(LINGER, write_all(stream, &render(refusal, to))).await;
    }

    // === CONNECT ===

    async fn tunnel(&mut self, stream: &TcpStream, head: &RequestHead, to: &Answering) -> Result<Next, Refusal> {
        let began = Instant::now();
        let target = parse_authority(&head.target)?;
        if !head.body()?.done() {
            return Err(Refusal::new(Code::RequestInvalid, "a CONNECT has no body"));
        }
        let admitted = self.admit(head).await?;
        self.core.config.policy.check_through_upstream(&target)?;
        let way = self.way(&admitted, to).await?;
        let authority = authority(&target);
        let through = match upstream::connect(&self.core, &way.route, &authority).await {
            Ok(through) => through,
            Err(failed) => return Err(give_up(&way, failed)),
        };
        let meter = self.meter(&admitted, &way);
        meter.ready().await.map_err(stop_refusal)?;
        let tunnel = self.register(&admitted, &way)?;
        let connected = began.elapsed();
        let reason = match write_all(stream, b"HTTP/1.1 200 Connection established\r\n\r\n").await {
            Ok(()) => {
                let early = Early { client: std::mem::take(&mut self.buf), upstream: through.early };
                let idle = self.core.config.idle_timeout;
                relay::run(stream, &through.stream, early, &meter, &tunnel.tunnel, idle).await
            }
            Err(_) => CloseReason::Client,
        };
        self.log("tunnel", &admitted, &way, &meter, connected, began, reason, &to.correlation_id);
        Ok(match reason {
            CloseReason::Finished | CloseReason::Client => Next::Close,
            _ => Next::Linger,
        })
    }

    // === absolute-form ===

    async fn exchange(&mut self, stream: &TcpStream, head: &RequestHead, to: &mut Answering) -> Result<Next, Refusal> {
        let began = Instant::now();
        let body = head.body()?;
        if head.method == "TRACE" {
            return Err(Refusal::new(Code::MethodNotAllowed, "TRACE is not passed on"));
        }
        let target = absolute(&head.target)?;
        head.only("host")?;
        // From here on the framing is understood: the connection survives a refusal, unless a
        // body is on its way that nobody will read.
        to.keep_alive = head.keep_alive() && body.done() && !self.core.draining();
        let admitted = self.admit(head).await?;
        self.core.config.policy.check_through_upstream(&target)?;
        let way = self.way(&admitted, to).await?;
        let meter = self.meter(&admitted, &way);
        meter.ready().await.map_err(stop_refusal)?;
        let tunnel = self.register(&admitted, &way)?;
        let host = host_header(&target);
        let kept = self.kept.take();
        let one = Exchange {
            core: &self.core,
            client: stream,
            meter: &meter,
            tunnel: &tunnel.tunnel,
            route: &way.route,
            head,
            host: &host,
        };
        let done = match one.run(body, &mut self.buf, kept).await {
            Ok(done) => done,
            Err(Broken::Refused(failed)) => {
                to.keep_alive = false;
                return Err(give_up(&way, failed));
            }
            Err(Broken::Closed(reason)) => Done { keep_client: false, kept: None, reason },
        };
        self.kept = done.kept;
        self.log("request", &admitted, &way, &meter, began.elapsed(), began, done.reason, &to.correlation_id);
        Ok(match done {
            Done { keep_client: true, .. } => Next::Again,
            _ => Next::Linger,
        })
    }

    #[allow(clippy::too_many_arguments)] // one log line
    fn log(
        &self,
        what: &str,
        admitted: &Admitted,
        way: &Way,
        meter: &Meter,
        connected: Duration,
        began: Instant,
        reason: CloseReason,
        correlation_id: &str,
    ) {
        let (ingress_bytes, egress_bytes) = meter.counted();
        tracing::info!(
            target: "access",
            kind = what,
            customer = %admitted.login.account.id,
            user = %admitted.spec.name,
            line = %way.line.key.label,
            upstream = %way.route.proxy,
            country = way.route.country.map(tracing::field::display),
            ingress_bytes,
            egress_bytes,
            connect_ms = u64::try_from(connected.as_millis()).unwrap_or(u64::MAX),
            duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            reason = reason.as_str(),
            correlation_id,
        );
    }
}

fn give_up(way: &Way, failed: upstream::Failed) -> Refusal {
    if failed.lost {
        way.line.drop_route(&way.route);
    }
    failed.refusal
}

/// The request's own correlation id where it is a plain one, else a new one.
fn correlation_id(head: &RequestHead) -> String {
    let sent = head.only("x-correlation-id").ok().flatten();
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    sent.filter(plain).map_or_else(new_id, str::to_owned)
}

fn new_id() -> String {
    format!("{:016x}", retry::random())
}
