//! One absolute-form request and its answer. Every byte of both, heads included, is metered at
//! the customer's side.

use std::cell::Cell;
use std::sync::Arc;

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;
use tollgate_domain::upstream::Scheme;

use crate::core::Core;
use crate::http::head::Forward;
use crate::http::{Body, RequestHead, ResponseHead};
use crate::journal::Direction;
use crate::ledger::Dry;
use crate::leg::Leg;
use crate::meter::{Meter, Stop};
use crate::relay::{Side, idle_for};
use crate::route::Route;
use crate::tunnel::{CloseReason, Tunnel};
use crate::upstream::{self, Failed};
use crate::worker::Worker;

/// A connection to an upstream, kept for the next request of the same client over the same route.
pub(crate) struct Kept {
    pub route: Arc<Route>,
    /// Whom it reaches, where that is an origin.
    pub target: Target,
    pub leg: Leg,
}

impl Kept {
    /// The connection, if it is for requests to `target` over `route` and still stands.
    pub async fn fit(self, route: &Route, target: &Target) -> Option<Over> {
        let proxied = matches!(route.scheme, Scheme::Http | Scheme::Https);
        let same = self.route.same(route) && (proxied || self.target == *target);
        (same && self.leg.is_quiet().await).then(|| Over { leg: self.leg, reused: true })
    }
}

/// What a request goes over.
pub(crate) struct Over {
    pub leg: Leg,
    /// It has carried others: the upstream may end it at any time.
    pub reused: bool,
}

/// How far a request has come, whatever it went over.
#[derive(Default)]
pub(crate) struct Progress {
    /// Its head was counted.
    pub charged: Cell<bool>,
    /// Some of its body is out of our hands.
    pub begun: Cell<bool>,
}

/// A connection that speaks another protocol from now on, and what came of it already.
pub(crate) struct Switched {
    pub leg: Leg,
    pub early: Vec<u8>,
}

/// How an exchange ended.
pub(crate) struct Done {
    /// Whether the client's connection may go on.
    pub keep_client: bool,
    /// The upstream's connection, if it may go on.
    pub kept: Option<Kept>,
    /// Both sides switched protocols.
    pub switched: Option<Switched>,
    pub reason: CloseReason,
}

impl Done {
    pub fn closed(reason: CloseReason) -> Self {
        Self { keep_client: false, kept: None, switched: None, reason }
    }
}

/// Why there was no answer, or not a whole one.
pub(crate) enum Broken {
    /// Nothing was answered yet: say why.
    Refused(Failed),
    /// The upstream had ended a kept connection: the request is to be sent again, over a new one.
    Stale,
    /// Something was: close.
    Closed(CloseReason),
}

impl From<Refusal> for Broken {
    fn from(r: Refusal) -> Self {
        Self::Refused(r.into())
    }
}

impl From<CloseReason> for Broken {
    fn from(r: CloseReason) -> Self {
        Self::Closed(r)
    }
}

/// One request on its way.
pub(crate) struct Exchange<'a> {
    pub worker: &'a Worker,
    pub client: &'a Leg,
    pub meter: &'a Meter,
    pub tunnel: &'a Tunnel,
    pub route: &'a Arc<Route>,
    pub target: &'a Target,
    pub head: &'a RequestHead,
    pub how: Forward<'a>,
    pub progress: &'a Progress,
}

/// How the answer's head left the two connections.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Left {
    keep_client: bool,
    keep_upstream: bool,
    switched: bool,
}

impl Left {
    const CLOSED: Self = Self { keep_client: false, keep_upstream: false, switched: false };
}

/// An exchange that was ended: closed if its answer has begun, refused if not.
fn unanswered(reason: CloseReason, answered: &Cell<bool>) -> Broken {
    if answered.get() { Broken::Closed(reason) } else { Broken::Refused(Failed::for_good(reason.refusal())) }
}

pub(crate) fn stop_refusal(stop: Stop) -> Refusal {
    match stop {
        Stop::Dry(Dry::Quota) => Refusal::new(Code::QuotaExhausted, "no bytes are left"),
        Stop::Dry(Dry::Store) => Refusal::new(Code::StoreUnavailable, "no bytes could be leased in time"),
        Stop::Full => Refusal::new(Code::EdgeDraining, "this edge carries all it can"),
    }
}

impl Exchange<'_> {
    fn core(&self) -> &Arc<Core> {
        &self.worker.core
    }

    /// Whether the request may be sent again though some of it was sent: by its method it does the
    /// same however often it arrives (RFC 9110 section 9.2.2), and all of it is still here.
    pub fn repeatable(&self) -> bool {
        let idempotent = matches!(self.head.method(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
        idempotent && !self.progress.begun.get()
    }

    /// Sends the request, passes the answer. `early` is what the client sent after the head.
    pub async fn run(&self, body: &mut Body, early: &mut Vec<u8>, over: Over) -> Result<Done, Broken> {
        let Over { leg, reused } = over;
        if !self.progress.charged.get() {
            self.meter.charge(Direction::Ingress, self.head.length).await.map_err(stop_refusal)?;
            self.progress.charged.set(true);
        }
        let mut buf = Vec::new();
        let first = leg.write_all(&self.head.forward(&self.how)).await;
        // A kept connection may have ended meanwhile.
        if reused && body.done() && self.repeatable() {
            let ended = first.is_err()
                || tokio::select! {
                    biased;
                    reason = self.tunnel.killed() => return Err(unanswered(reason, &Cell::new(false))),
                    ended = self.ended(&leg, &mut buf) => ended,
                };
            if ended {
                return Err(Broken::Stale);
            }
        }
        let broke = |_| self.gone(Refusal::new(Code::UpstreamConnect, "the gateway closed the connection"));
        first.map_err(broke)?;
        let side = Side::new(self.client, self.meter);
        let answered = Cell::new(false);
        let work = async {
            let mut request = std::pin::pin!(self.request_body(&side, &leg, body, early));
            let mut answer = std::pin::pin!(self.answer(&side, &leg, &mut buf, &answered));
            // Once the request is whole: whether the client may send another.
            let mut sent = None;
            loop {
                tokio::select! {
                    // An answer that is there already must not overtake a request that is whole.
                    biased;
                    ended = &mut request, if sent.is_none() => match ended {
                        Ok(more) => sent = Some(more),
                        // The upstream may answer, and close, before it has read all.
                        Err(CloseReason::Upstream) => return answer.await.map(|_| Left::CLOSED),
                        Err(reason) => return Err(Broken::Closed(reason)),
                    },
                    answer = &mut answer => {
                        return answer.map(|left| if sent == Some(true) { left } else { Left::CLOSED });
                    }
                }
            }
        };
        let left = tokio::select! {
            biased;
            // What is done is done: it is looked at first.
            done = work => done?,
            reason = self.tunnel.killed() => return Err(unanswered(reason, &answered)),
            () = idle_for(&side, upstream::answer_time(self.worker)) => {
                return Err(unanswered(CloseReason::Idle, &answered));
            }
        };
        if left.switched {
            let switched = Some(Switched { leg, early: buf });
            return Ok(Done { switched, ..Done::closed(CloseReason::Finished) });
        }
        let route = Arc::clone(self.route);
        let kept = (left.keep_upstream && buf.is_empty()).then(|| Kept { route, target: self.target.clone(), leg });
        Ok(Done { keep_client: left.keep_client, kept, switched: None, reason: CloseReason::Finished })
    }

    /// The upstream's connection broke, or said what nobody understands, before an answer. An
    /// origin that is reached directly, or through a tunnel, is no gateway's fault.
    fn gone(&self, refusal: Refusal) -> Broken {
        let proxied = self.how.path.is_none();
        let failed = if proxied { Failed::from(refusal) } else { Failed::for_good(refusal) };
        upstream::noted(self.core(), self.route, &failed);
        Broken::Refused(failed)
    }

    /// Whether the upstream ends the connection instead of answering.
    async fn ended(&self, leg: &Leg, buf: &mut Vec<u8>) -> bool {
        let first = tokio::time::timeout(upstream::answer_time(self.worker), leg.read_some(buf)).await;
        matches!(first, Ok(Ok(0) | Err(_)))
    }

    /// Passes the body on; whether the client may send another request after it.
    async fn request_body(
        &self,
        side: &Side<'_>,
        leg: &Leg,
        body: &mut Body,
        early: &mut Vec<u8>,
    ) -> Result<bool, CloseReason> {
        while !body.done() {
            let mut chunk = std::mem::take(early);
            if chunk.is_empty() {
                let limit = body.at_most().map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                // Beyond the body there may be the next request: it is read, and counted, apart.
                chunk = side.receive(limit.min(16 << 10), |_, b| b.to_vec()).await?.ok_or(CloseReason::Client)?.1;
                self.progress.begun.set(true);
                let n = body.advance(&chunk).map_err(|_| CloseReason::Client)?;
                leg.write_all(&chunk[..n]).await.map_err(|_| CloseReason::Upstream)?;
                if n < chunk.len() {
                    // Counted already as part of this exchange, it cannot be a new request's: this
                    // one is answered, and the client asks again over another connection.
                    return Ok(false);
                }
                continue;
            }
            self.progress.begun.set(true);
            let n = body.advance(&chunk).map_err(|_| CloseReason::Client)?;
            side.meter.charge(Direction::Ingress, n).await?;
            leg.write_all(&chunk[..n]).await.map_err(|_| CloseReason::Upstream)?;
            *early = chunk.split_off(n);
        }
        Ok(true)
    }

    /// Passes interim answers and the final one.
    async fn answer(
        &self,
        side: &Side<'_>,
        leg: &Leg,
        buf: &mut Vec<u8>,
        answered: &Cell<bool>,
    ) -> Result<Left, Broken> {
        let via = self.how.via;
        let (head, mut body) = loop {
            let head = match upstream::read_head(leg, buf).await {
                Ok(head) => head,
                Err(_) if answered.get() => return Err(Broken::Closed(CloseReason::Upstream)),
                Err(refusal) => return Err(self.gone(refusal)),
            };
            if let Some(failed) = upstream::failure(&head).filter(|_| self.how.path.is_none()) {
                upstream::noted(self.core(), self.route, &failed);
                return Err(if answered.get() {
                    Broken::Closed(CloseReason::Upstream)
                } else {
                    Broken::Refused(failed)
                });
            }
            if head.status == 407 {
                // An origin's: the client would answer it with what it tells us.
                let r = Refusal::new(Code::UpstreamConnect, "the origin asked for the proxy's credentials");
                return Err(self.unreadable(r, answered));
            }
            if head.status == 101 {
                if !self.how.upgrade {
                    let r = Refusal::new(Code::UpstreamConnect, "the gateway switched protocols unasked");
                    return Err(self.unreadable(r, answered));
                }
                answered.set(true);
                side.send(&head.forward(true, via)).await?;
                return Ok(Left { switched: true, ..Left::CLOSED });
            }
            if head.status >= 200 {
                let body = self.body_of(&head).map_err(|r| self.unreadable(r, answered))?;
                break (head, body);
            }
            if self.head.minor > 0 {
                answered.set(true);
                side.send(&head.forward(true, via)).await?;
            }
        };
        let keep_client = self.head.keep_alive() && !matches!(body, Body::UntilClose) && !self.core().leaving();
        answered.set(true);
        let mut first = head.forward(keep_client, via);
        // A small answer goes in one piece.
        let with_head = body.advance(buf).map_err(|_| CloseReason::Upstream)?;
        first.extend_from_slice(&buf[..with_head]);
        buf.drain(..with_head);
        side.send(&first).await?;
        while !body.done() {
            if buf.is_empty() && leg.read_some(buf).await.map_err(|_| CloseReason::Upstream)? == 0 {
                return match body {
                    Body::UntilClose => Ok(Left::CLOSED),
                    _ => Err(CloseReason::Upstream.into()),
                };
            }
            let n = body.advance(buf).map_err(|_| CloseReason::Upstream)?;
            side.send(&buf[..n]).await?;
            buf.drain(..n);
        }
        Ok(Left { keep_client, keep_upstream: head.keep_alive(), switched: false })
    }

    fn body_of(&self, head: &ResponseHead) -> Result<Body, Refusal> {
        let bad = |e: String| Refusal::new(Code::UpstreamConnect, format!("the answer's framing is ambiguous: {e}"));
        let body = head.body(self.head.method()).map_err(bad)?;
        if self.head.minor == 0 && matches!(body, Body::Chunked(_)) {
            return Err(bad("chunks for a client of HTTP/1.0".to_owned()));
        }
        Ok(body)
    }

    fn unreadable(&self, refusal: Refusal, answered: &Cell<bool>) -> Broken {
        if answered.get() { Broken::Closed(CloseReason::Upstream) } else { Broken::Refused(Failed::for_good(refusal)) }
    }
}
