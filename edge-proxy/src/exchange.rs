//! One absolute-form request and its answer. Every byte of both, heads included, is metered at
//! the customer's side.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tollgate_domain::refusal::{Code, Refusal};

use crate::core::Core;
use crate::http::{Body, RequestHead, ResponseHead};
use crate::journal::Direction;
use crate::ledger::Dry;
use crate::meter::{Meter, Stop};
use crate::relay::{Metered, idle_for, read_some, write_all};
use crate::route::Route;
use crate::tunnel::{CloseReason, Tunnel};
use crate::upstream;

/// A connection to a gateway, kept for the next request of the same client over the same route.
pub(crate) struct Kept {
    pub route: Arc<Route>,
    pub stream: TcpStream,
}

/// How an exchange ended.
pub(crate) struct Done {
    /// Whether the client's connection may go on.
    pub keep_client: bool,
    /// The gateway's connection, if it may go on.
    pub kept: Option<Kept>,
    pub reason: CloseReason,
}

/// Why there was no answer, or not a whole one.
pub(crate) enum Broken {
    /// Nothing was answered yet: say why.
    Refused(upstream::Failed),
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
    pub core: &'a Arc<Core>,
    pub client: &'a TcpStream,
    pub meter: &'a Meter,
    pub tunnel: &'a Tunnel,
    pub route: &'a Arc<Route>,
    pub head: &'a RequestHead,
    /// `Host` for the target.
    pub host: &'a str,
}

/// An exchange that was ended: closed if its answer has begun, refused if not.
fn unanswered(reason: CloseReason, answered: &Cell<bool>) -> Broken {
    if answered.get() { Broken::Closed(reason) } else { reason.refusal().into() }
}

pub(crate) fn stop_refusal(stop: Stop) -> Refusal {
    match stop {
        Stop::Dry(Dry::Quota) => Refusal::new(Code::QuotaExhausted, "no bytes are left"),
        Stop::Dry(Dry::Store) => Refusal::new(Code::StoreUnavailable, "no bytes could be leased in time"),
        Stop::Full => Refusal::new(Code::EdgeDraining, "this edge carries all it can"),
    }
}

impl Exchange<'_> {
    /// Sends the request, passes the answer. `early` is what the client sent after the head.
    pub async fn run(&self, mut body: Body, early: &mut Vec<u8>, kept: Option<Kept>) -> Result<Done, Broken> {
        let reusable = kept.filter(|k| Arc::ptr_eq(&k.route, self.route));
        let (mut stream, reused) = match reusable {
            Some(k) => (k.stream, true),
            None => (upstream::dial(self.core, self.route).await?, false),
        };
        self.meter.charge(Direction::Ingress, self.head.length).await.map_err(stop_refusal)?;
        let mut buf = Vec::new();
        let first = self.send_head(&stream).await;
        // A kept connection may have ended meanwhile: a request without a body is sent again.
        let ended = reused
            && body.done()
            && (first.is_err()
                || tokio::select! {
                    biased;
                    reason = self.tunnel.killed() => return Err(reason.refusal().into()),
                    ended = self.ended(&stream, &mut buf) => ended,
                });
        if ended {
            stream = upstream::dial(self.core, self.route).await?;
            self.send_head(&stream).await?;
        } else {
            first?;
        }
        let side = Metered::new(self.client, self.meter);
        let answered = Cell::new(false);
        let work = async {
            let mut request = std::pin::pin!(self.request_body(&side, &stream, &mut body, early));
            let mut answer = std::pin::pin!(self.answer(&side, &stream, &mut buf, &answered));
            let mut sent = false;
            loop {
                tokio::select! {
                    ended = &mut request, if !sent => {
                        sent = true;
                        // The upstream may answer, and close, before it has read all.
                        if let Err(reason) = ended && reason != CloseReason::Upstream {
                            return Err(Broken::Closed(reason));
                        }
                        if ended.is_err() {
                            return answer.await.map(|_| (false, false));
                        }
                    }
                    answer = &mut answer => return answer.map(|(c, u)| (c && sent, u && sent)),
                }
            }
        };
        let (keep_client, keep_upstream) = tokio::select! {
            biased;
            // What is done is done: it is looked at first.
            done = work => done?,
            reason = self.tunnel.killed() => return Err(unanswered(reason, &answered)),
            () = idle_for(&side, upstream::answer_time(self.core)) => {
                return Err(unanswered(CloseReason::Idle, &answered));
            }
        };
        let kept = (keep_upstream && buf.is_empty()).then(|| Kept { route: Arc::clone(self.route), stream });
        Ok(Done { keep_client, kept, reason: CloseReason::Finished })
    }

    async fn send_head(&self, stream: &TcpStream) -> Result<(), Refusal> {
        let head = self.head.forward(self.host, self.route.authorization.expose_secret());
        let broke = |_| Refusal::new(Code::UpstreamConnect, "the gateway closed the connection");
        write_all(stream, &head).await.map_err(broke)
    }

    /// Whether the gateway ends the connection instead of answering.
    async fn ended(&self, stream: &TcpStream, buf: &mut Vec<u8>) -> bool {
        let first = tokio::time::timeout(upstream::answer_time(self.core), read_some(stream, buf)).await;
        matches!(first, Ok(Ok(0) | Err(_)))
    }

    async fn request_body(
        &self,
        side: &Metered<'_>,
        stream: &TcpStream,
        body: &mut Body,
        early: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        while !body.done() {
            let mut chunk = std::mem::take(early);
            if chunk.is_empty() {
                let limit = body.at_most().map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                // Beyond the body there may be the next request: it is read, and counted, apart.
                chunk = side.receive(limit.min(16 << 10), <[u8]>::to_vec).await?.ok_or(CloseReason::Client)?;
                let n = body.advance(&chunk).map_err(|_| CloseReason::Client)?;
                write_all(stream, &chunk[..n]).await.map_err(|_| CloseReason::Upstream)?;
                if n < chunk.len() {
                    // Counted already as part of this exchange, it cannot be a new request's.
                    return Err(CloseReason::Client);
                }
                continue;
            }
            let n = body.advance(&chunk).map_err(|_| CloseReason::Client)?;
            side.meter.charge(Direction::Ingress, n).await?;
            write_all(stream, &chunk[..n]).await.map_err(|_| CloseReason::Upstream)?;
            *early = chunk.split_off(n);
        }
        Ok(())
    }

    /// Passes interim answers and the final one. Whether the client's and the gateway's
    /// connections may go on.
    async fn answer(
        &self,
        side: &Metered<'_>,
        stream: &TcpStream,
        buf: &mut Vec<u8>,
        answered: &Cell<bool>,
    ) -> Result<(bool, bool), Broken> {
        let (head, mut body) = loop {
            let head = upstream::read_head(stream, buf).await.map_err(|r| self.unreadable(r, answered))?;
            if let Some(failed) = upstream::failure(&head) {
                self.core.metrics.dial_failures.fetch_add(1, Ordering::Relaxed);
                return Err(if answered.get() {
                    Broken::Closed(CloseReason::Upstream)
                } else {
                    Broken::Refused(failed)
                });
            }
            if head.status == 101 {
                let r = Refusal::new(Code::UpstreamConnect, "the gateway switched protocols unasked");
                return Err(self.unreadable(r, answered));
            }
            if head.status >= 200 {
                let body = self.body_of(&head).map_err(|r| self.unreadable(r, answered))?;
                break (head, body);
            }
            if self.head.minor > 0 {
                answered.set(true);
                side.send(&head.forward(true)).await?;
            }
        };
        let keep_client = self.head.keep_alive() && !matches!(body, Body::UntilClose) && !self.core.draining();
        answered.set(true);
        side.send(&head.forward(keep_client)).await?;
        while !body.done() {
            if buf.is_empty() && read_some(stream, buf).await.map_err(|_| CloseReason::Upstream)? == 0 {
                return match body {
                    Body::UntilClose => Ok((false, false)),
                    _ => Err(CloseReason::Upstream.into()),
                };
            }
            let n = body.advance(buf).map_err(|_| CloseReason::Upstream)?;
            side.send(&buf[..n]).await?;
            buf.drain(..n);
        }
        Ok((keep_client, head.keep_alive()))
    }

    fn body_of(&self, head: &ResponseHead) -> Result<Body, Refusal> {
        let bad = |e: String| Refusal::new(Code::UpstreamConnect, format!("the answer's framing is ambiguous: {e}"));
        let body = head.body(&self.head.method).map_err(bad)?;
        if self.head.minor == 0 && matches!(body, Body::Chunked(_)) {
            return Err(bad("chunks for a client of HTTP/1.0".to_owned()));
        }
        Ok(body)
    }

    fn unreadable(&self, refusal: Refusal, answered: &Cell<bool>) -> Broken {
        if answered.get() { Broken::Closed(CloseReason::Upstream) } else { refusal.into() }
    }
}
