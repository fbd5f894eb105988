//! One client connection: heads, who is asking, admission, route; then a tunnel or exchanges.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_domain::refusal::{Code, Lang, Refusal};
use tollgate_domain::target::{self, Host, Target};
use tollgate_domain::username::{self, UserSpec};

use crate::account::{Entered, Login};
use crate::auth;
use crate::core::Core;
use crate::directory;
use crate::exchange::{Broken, Done, Exchange, Kept, stop_refusal};
use crate::http::refusal::{Answering, render};
use crate::http::{RequestHead, head};
use crate::line::{LineUse, Using};
use crate::meter::Meter;
use crate::relay::{self, Early, linger_close, read_some, write_all};
use crate::retry;
use crate::route::{self, Route};
use crate::tunnel::{CloseReason, Tunnel};
use crate::upstream;
use crate::worker::Worker;

/// How long a refused client is listened to, so that it reads the answer.
const LINGER: Duration = Duration::from_secs(2);
/// Logins reloaded because their account was just given up.
const RELOADS: u32 = 50;

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

/// Who may pass, and what is counted while they do.
struct Admitted {
    login: Arc<Login>,
    verifier: String,
    spec: UserSpec,
    _entered: Entered,
}

/// A way through, in use.
struct Way {
    line: Arc<LineUse>,
    route: Arc<Route>,
    _using: Using,
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
        let target = target::parse_authority(&head.target)?;
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

    // === admission ===

    async fn admit(&self, head: &RequestHead) -> Result<Admitted, Refusal> {
        if self.core.draining() {
            return Err(Refusal::new(Code::EdgeDraining, "this edge is shutting down"));
        }
        if let Some(left) = self.core.throttle.blocked(self.peer, Instant::now()) {
            let seconds = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
            let detail = "too many failed logins from this address";
            return Err(Refusal::new(Code::AuthFailed, detail).retry_after(seconds));
        }
        let credentials = auth::basic(head.only("proxy-authorization")?)?;
        let spec = username::parse(&credentials.user)?;
        let offered = auth::verifier(&self.core.pepper, &credentials.password);
        let now = self.core.clock.now();
        for _ in 0..RELOADS {
            let login = self.login(&spec, &offered).await?;
            login.account.check_standing(now)?;
            if let Some(entered) = login.account.enter()? {
                let dry = login.account.ledger.ready(self.core.config.lease_timeout).await;
                dry.map_err(|d| stop_refusal(crate::meter::Stop::Dry(d)))?;
                return Ok(Admitted { login, verifier: offered, spec, _entered: entered });
            }
            // The account was given up a moment ago: it is loaded anew.
            self.worker.forget(&spec.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Refusal::new(Code::StoreUnavailable, "the account could not be loaded"))
    }

    async fn login(&self, spec: &UserSpec, offered: &str) -> Result<Arc<Login>, Refusal> {
        let found = match self.worker.login(&spec.name) {
            Some(login) => Ok(login),
            None => {
                let load = directory::login(Arc::clone(&self.core), spec.name.clone());
                self.core.on_control(load).await.inspect(|l| self.worker.remember(l))
            }
        };
        let login = found.inspect_err(|r| self.count_failure(r))?;
        let matches = {
            let credential = login.credential.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            credential.as_ref().is_some_and(|c| auth::matching(c, offered, self.core.clock.now()))
        };
        if !matches {
            let refusal = Refusal::new(Code::AuthFailed, "user name or password is wrong");
            self.count_failure(&refusal);
            return Err(refusal);
        }
        Ok(login)
    }

    fn count_failure(&self, refusal: &Refusal) {
        if refusal.code == Code::AuthFailed {
            self.core.throttle.failed(self.peer, Instant::now());
        }
    }

    async fn way(&self, admitted: &Admitted, to: &Answering) -> Result<Way, Refusal> {
        let account = &admitted.login.account;
        let line = account.line(&admitted.spec.line_label());
        let route = route::find(&self.core, account, &line, &admitted.spec, &to.correlation_id).await?;
        let using = Using::new(&self.core, &line);
        Ok(Way { line, route, _using: using })
    }

    fn meter(&self, admitted: &Admitted, way: &Way) -> Meter {
        let label = way.line.key.label.clone();
        let account = Arc::clone(&admitted.login.account);
        Meter::new(Arc::clone(&self.core), account, label, way.route.proxy.clone(), self.worker.index)
    }

    /// Makes the tunnel visible to bans and kicks; then looks again whether it may pass, for a
    /// change may have come while nobody could see it.
    fn register(&self, admitted: &Admitted, way: &Way) -> Result<Registered, Refusal> {
        let now = self.core.clock.now();
        let login = Arc::clone(&admitted.login);
        let label = way.line.key.label.clone();
        let tunnel = Tunnel::new(label, way.route.proxy.clone(), login, admitted.verifier.clone(), now);
        let registered = Registered::new(&self.core, Arc::new(tunnel));
        admitted.login.account.check_standing(now)?;
        if !admitted.login.passes(&admitted.verifier, now) {
            return Err(Refusal::new(Code::AuthFailed, "the credential was changed"));
        }
        Ok(registered)
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

/// A tunnel that others can see, while this lives.
struct Registered {
    core: Arc<Core>,
    tunnel: Arc<Tunnel>,
}

impl Registered {
    fn new(core: &Arc<Core>, tunnel: Arc<Tunnel>) -> Self {
        core.metrics.tunnels.fetch_add(1, Ordering::Relaxed);
        core.metrics.open_tunnels.fetch_add(1, Ordering::Relaxed);
        tunnel.login.account.register(&tunnel);
        Self { core: Arc::clone(core), tunnel }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.core.metrics.open_tunnels.fetch_sub(1, Ordering::Relaxed);
        self.tunnel.login.account.unregister(self.tunnel.id);
    }
}

fn give_up(way: &Way, failed: upstream::Failed) -> Refusal {
    if failed.lost {
        way.line.drop_route(&way.route);
    }
    failed.refusal
}

/// The target of an absolute-form request.
fn absolute(uri: &str) -> Result<Target, Refusal> {
    let bad = |detail: &str| Refusal::new(Code::RequestInvalid, detail);
    let rest = match uri.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => &uri[7..],
        _ => return Err(bad("the target is not an http:// URL; for others use CONNECT")),
    };
    if rest.contains('#') {
        return Err(bad("the target has a fragment"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(bad("the target has user information"));
    }
    // An IPv6 literal ends in a bracket; after it, or in other hosts, a colon begins the port.
    let has_port = authority.rsplit(']').next().is_some_and(|after| after.contains(':'));
    if has_port {
        return target::parse_authority(authority);
    }
    Ok(Target { host: target::parse_host(authority)?, port: 80 })
}

fn host_text(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
    }
}

fn authority(target: &Target) -> String {
    format!("{}:{}", host_text(&target.host), target.port)
}

fn host_header(target: &Target) -> String {
    if target.port == 80 { host_text(&target.host) } else { authority(target) }
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
