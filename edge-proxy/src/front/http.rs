//! HTTP/1.1 as clients speak it to a proxy: CONNECT, absolute-form, one request after the other.

use std::sync::Arc;
use std::time::Instant;

use secrecy::ExposeSecret;
use tokio::time::timeout;
use tollgate_domain::refusal::{Code, Lang, Refusal};
use tollgate_domain::target::parse_authority;
use tollgate_domain::upstream::Scheme;

use super::admission::{Asking, Registered, Way};
use super::attempts::{Errand, Tries};
use super::record::Record;
use super::target::{absolute, host_header, path};
use super::tunnel::{Carried, Opened, Ready};
use super::{Front, LINGER, events, new_id, own, unread};
use crate::access_log::Kind;
use crate::exchange::{Broken, Done, Exchange, Kept, Over, Progress, stop_refusal};
use crate::http::head::Forward;
use crate::http::refusal::{Answering, render};
use crate::http::{Body, RequestHead, head};
use crate::meter::Meter;
use crate::relay::{Early, linger_close};
use crate::tunnel::CloseReason;
use crate::upstream::Purpose;

/// Serves requests until the client has no more, or one becomes a tunnel.
pub(super) async fn serve(mut front: Front) -> Option<Carried> {
    let mut first = true;
    let mut kept = None;
    loop {
        let head = match front.read_head(first).await {
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(refusal) => {
                front.refuse(&refusal, &unread()).await;
                linger_close(front.leg, LINGER).await;
                return None;
            }
        };
        first = false;
        match front.request(&head, &mut kept).await {
            Next::Again => {}
            Next::Close => return None,
            Next::Linger => {
                drop(kept);
                linger_close(front.leg, LINGER).await;
                return None;
            }
            Next::Tunnel(opened) => return Some(Carried::new(front.worker, front.leg, opened)),
        }
    }
}

/// A buffer of this many bytes is kept from one request to the next.
const SHORT: usize = 4 << 10;

enum Next {
    Again,
    Close,
    Linger,
    Tunnel(Box<Opened>),
}

/// A request that was answered, or whose answer broke off, and what it went over.
struct Carry {
    done: Done,
    way: Way,
    meter: Meter,
    registered: Registered,
    /// When the connection stood that carried it.
    dialled: Instant,
}

impl Front {
    /// The next request head; `None` if the client, or we, have nothing more to say.
    async fn read_head(&mut self, first: bool) -> Result<Option<RequestHead>, Refusal> {
        let config = self.worker.live.get();
        let mut drain = self.core.drain_signal();
        if self.buf.is_empty() && !first {
            let more = tokio::select! {
                more = timeout(config.keep_alive_timeout, self.leg.read_some(&mut self.buf)) => more,
                () = drain.begun() => return Ok(None),
            };
            if !matches!(more, Ok(Ok(1..))) {
                return Ok(None);
            }
        }
        let deadline = tokio::time::Instant::now() + config.header_timeout;
        let most = head::MAX_REQUEST_HEAD;
        let mut searched = 0;
        loop {
            if let Some(n) = head::complete_request(&self.buf, searched)? {
                let head = RequestHead::parse(&self.buf[..n])?;
                self.buf.drain(..n);
                // A long head is not held twice.
                if self.buf.is_empty() && self.buf.capacity() > SHORT {
                    self.buf = Vec::new();
                }
                return Ok(Some(head.of_length(n)));
            }
            searched = self.buf.len();
            let more = tokio::select! {
                more = tokio::time::timeout_at(deadline, self.leg.read_within(&mut self.buf, most)) => more,
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

    async fn request(&mut self, head: &RequestHead, kept: &mut Option<Kept>) -> Next {
        let mut to = Answering {
            lang: head.only("accept-language").ok().flatten().map_or(Lang::En, Lang::from_accept_language),
            correlation_id: correlation_id(head),
            head_only: head.method() == "HEAD",
            keep_alive: false,
        };
        let outcome = if head.method() == "CONNECT" {
            self.tunnel(head, &to).await
        } else if own::is_ours(head) {
            self.answer_ourselves(head, &mut to).await
        } else {
            self.exchange(head, &mut to, kept).await
        };
        match outcome {
            Ok(next) => next,
            Err(refusal) => {
                self.refuse(&refusal, &to).await;
                if to.keep_alive { Next::Again } else { Next::Linger }
            }
        }
    }

    async fn refuse(&self, refusal: &Refusal, to: &Answering) {
        self.core.metrics.refused(refusal.code);
        tracing::info!(code = %refusal.code, detail = %refusal.detail, correlation_id = %to.correlation_id, "refused");
        let _ = timeout(LINGER, self.leg.write_all(&render(refusal, to))).await;
    }

    async fn answer_ourselves(&mut self, head: &RequestHead, to: &mut Answering) -> Result<Next, Refusal> {
        let body = head.body()?;
        to.keep_alive = head.keep_alive() && body.done() && !self.core.leaving();
        let answer = own::answer(head, self.peer.ip(), to)?;
        let written = timeout(LINGER, self.leg.write_all(&answer)).await;
        Ok(match written {
            Ok(Ok(())) if to.keep_alive => Next::Again,
            Ok(Ok(())) => Next::Linger,
            _ => Next::Close,
        })
    }

    // === CONNECT ===

    async fn tunnel(&mut self, head: &RequestHead, to: &Answering) -> Result<Next, Refusal> {
        let began = Instant::now();
        let target = parse_authority(head.target())?;
        if !head.body()?.done() {
            return Err(Refusal::new(Code::RequestInvalid, "a CONNECT has no body"));
        }
        let who = self.who(head)?;
        let admitted = self.admit(who).await?;
        let ready = Box::pin(self.ready(&admitted, &target, &to.correlation_id)).await;
        let Ready { way, through, meter, registered } = ready.inspect_err(|r| self.failed(&admitted, began, r))?;
        let connected = began.elapsed();
        events::started(&self.worker, &admitted, &way, &registered, connected);
        let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
        if self.leg.write_all(established).await.is_err() {
            let record = Record { kind: Kind::Tunnel, began, connected, reason: CloseReason::Client };
            record.write(&self.worker, &admitted, &way, &meter, &registered);
            return Ok(Next::Close);
        }
        let early = Early { client: std::mem::take(&mut self.buf), upstream: through.early };
        let opened = Opened {
            kind: Kind::Tunnel,
            upstream: through.leg,
            early,
            meter,
            registered,
            admitted,
            way,
            began,
            connected,
        };
        Ok(Next::Tunnel(Box::new(opened)))
    }

    // === absolute-form ===

    async fn exchange(
        &mut self,
        head: &RequestHead,
        to: &mut Answering,
        kept: &mut Option<Kept>,
    ) -> Result<Next, Refusal> {
        let began = Instant::now();
        let body = head.body()?;
        if head.method() == "TRACE" {
            return Err(Refusal::new(Code::MethodNotAllowed, "TRACE is not passed on"));
        }
        let target = absolute(head.target())?;
        if head.only("host")?.is_none() && head.minor > 0 {
            return Err(Refusal::new(Code::RequestInvalid, "the header Host is missing"));
        }
        own::check_loop(head, self.worker.live.get().via.as_deref())?;
        // From here on the framing is understood: the connection survives a refusal, unless a
        // body is on its way that nobody will read.
        to.keep_alive = head.keep_alive() && body.done() && !self.core.leaving();
        let who = self.who(head)?;
        let admitted = self.admit(who).await?;
        let errand = Errand {
            admitted: &admitted,
            target: &target,
            purpose: Purpose::Requests,
            correlation_id: &to.correlation_id,
        };
        let carried = self.carry(head, body, &errand, kept, &mut to.keep_alive).await;
        let Carry { done, way, meter, registered, dialled } =
            carried.inspect_err(|r| self.failed(&admitted, began, r))?;
        let connected = dialled.saturating_duration_since(began);
        if let Some(switched) = done.switched {
            let early = Early { client: std::mem::take(&mut self.buf), upstream: switched.early };
            let upstream = switched.leg;
            events::started(&self.worker, &admitted, &way, &registered, connected);
            let opened =
                Opened { kind: Kind::Tunnel, upstream, early, meter, registered, admitted, way, began, connected };
            return Ok(Next::Tunnel(Box::new(opened)));
        }
        *kept = done.kept;
        let record = Record { kind: Kind::Request, began, connected, reason: done.reason };
        record.write(&self.worker, &admitted, &way, &meter, &registered);
        Ok(if done.keep_client { Next::Again } else { Next::Linger })
    }

    /// Finds a way, sends a request over a kept connection, a new one, or one that is tried in its
    /// place, and passes the answer. Once anything was sent it is tried again only if it may arrive twice.
    async fn carry(
        &mut self,
        head: &RequestHead,
        mut body: Body,
        errand: &Errand<'_>,
        kept: &mut Option<Kept>,
        keep_alive: &mut bool,
    ) -> Result<Carry, Refusal> {
        self.check_target(errand.admitted, errand.target)?;
        let mut way = self.way(errand.admitted, errand.correlation_id, None).await?;
        self.check_way(&way, errand.target)?;
        let live = self.worker.live.get();
        let host = host_header(errand.target);
        let mut meter = self.meter(errand.admitted, &way);
        let (mut tries, progress) = (Tries::new(&self.worker), Progress::default());
        let mut over = match kept.take() {
            Some(kept) => kept.fit(&way.route, errand.target).await,
            None => None,
        };
        let mut seen: Option<Registered> = None;
        loop {
            let mut at = None;
            let leg = match over.take() {
                Some(kept) => kept,
                None => {
                    let opened = Box::pin(self.reach(&mut tries, errand, way)).await;
                    let (found, through) = opened.inspect_err(|_| *keep_alive = false)?;
                    (way, at) = (found, through.at);
                    Over { leg: through.leg, reused: false }
                }
            };
            let registered = match seen.take() {
                Some(seen) if Arc::ptr_eq(&seen.tunnel.route, &way.route) => seen,
                before => {
                    drop(before);
                    meter.turn_to(&way.route.proxy);
                    meter.ready().await.map_err(stop_refusal)?;
                    self.register(errand.admitted, &way, errand.correlation_id, &meter).await?
                }
            };
            let dialled = Instant::now();
            let proxied = matches!(way.route.scheme, Scheme::Http | Scheme::Https);
            let origin_form = (!proxied).then(|| path(head.method(), head.target()));
            let how = Forward {
                host: &host,
                authorization: way.route.authorization.as_ref().filter(|_| proxied).map(|a| a.expose_secret()),
                path: origin_form.as_deref(),
                via: live.via.as_deref(),
                upgrade: head.upgrade() && body.done(),
            };
            let one = Exchange {
                worker: &self.worker,
                client: &self.leg,
                meter: &meter,
                tunnel: &registered.tunnel,
                route: &way.route,
                target: errand.target,
                head,
                how,
                progress: &progress,
            };
            let ran = Box::pin(one.run(&mut body, &mut self.buf, leg)).await;
            let repeatable = one.repeatable();
            let failed = match ran {
                Ok(done) => return Ok(Carry { done, way, meter, registered, dialled }),
                Err(Broken::Closed(reason)) => {
                    return Ok(Carry { done: Done::closed(reason), way, meter, registered, dialled });
                }
                Err(Broken::Stale) => {
                    seen = Some(registered);
                    continue;
                }
                Err(Broken::Refused(failed)) => failed,
            };
            *keep_alive = false;
            if !repeatable {
                way.give_up(&failed);
                return Err(failed.refusal);
            }
            way = Box::pin(self.instead(&mut tries, errand, way, failed.reached(at))).await?;
            seen = Some(registered);
        }
    }

    /// Who the request says it comes from.
    fn who(&self, head: &RequestHead) -> Result<Asking, Refusal> {
        Ok(match head.only("proxy-authorization")? {
            Some(header) => match self.known.as_ref().filter(|k| k.header == header) {
                Some(known) => Asking::Known(Arc::clone(known)),
                None => Asking::Header(header.to_owned()),
            },
            None => Asking::Source,
        })
    }
}

/// The request's own correlation id where it is a plain one, else a new one.
fn correlation_id(head: &RequestHead) -> String {
    let sent = head.only("x-correlation-id").ok().flatten();
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    sent.filter(plain).map_or_else(new_id, str::to_owned)
}
