//! SOCKS5 as clients speak it (RFC 1928, RFC 1929): the same grammar of user names, the same
//! rules, the same refusals as over HTTP, in its own words.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use tokio::time::timeout_at;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;

use super::admission::Asking;
use super::record::Record;
use super::tunnel::{Carried, Opened, Ready};
use super::{Front, LINGER, events, new_id, udp};
use crate::access_log::Kind;
use crate::auth::Basic;
use crate::relay::{Early, linger_close};
use crate::socks::server::{self, Refused, Request};
use crate::socks::{MAX_FRAME, Method};
use crate::tunnel::CloseReason;

/// Bytes that end a handshake.
type Answer = Vec<u8>;

/// Serves a handshake; a tunnel if it comes to one.
pub(super) async fn serve(mut front: Front) -> Option<Carried> {
    let correlation_id = new_id();
    let deadline = tokio::time::Instant::now() + front.worker.live.get().handshake_timeout;
    let asked = match timeout_at(deadline, front.handshake()).await {
        Ok(asked) => asked,
        Err(_) => Err(Some((Vec::new(), Refusal::new(Code::RequestInvalid, "the handshake did not come in time")))),
    };
    let outcome = match asked {
        Ok((asking, Request::Connect(target))) => front.open(asking, &target, &correlation_id).await,
        Ok((asking, Request::UdpAssociate { ip, port })) => {
            match udp::associate(&mut front, asking, (ip, port), &correlation_id).await {
                Ok(()) => return None,
                Err(refused) => Err(refused),
            }
        }
        // The client went away.
        Err(None) => return None,
        Err(Some((answer, refusal))) => {
            front.end(&answer, &refusal, &correlation_id).await;
            linger_close(front.leg, LINGER).await;
            return None;
        }
    };
    match outcome {
        Ok(Some(opened)) => Some(Carried::new(front.worker, front.leg, Box::new(opened))),
        Ok(None) => None,
        Err(Refused { reply, refusal }) => {
            front.end(&server::refused(reply), &refusal, &correlation_id).await;
            linger_close(front.leg, LINGER).await;
            None
        }
    }
}

impl Front {
    /// Greeting, credentials, request. The credentials are judged with the request, where the
    /// rules of its target are; a wrong password is answered where RFC 1929 has a place for it.
    async fn handshake(&mut self) -> Result<(Asking, Request), Option<(Answer, Refusal)>> {
        let greeting = self.frame(server::greeting).await?;
        let greeting = greeting.map_err(|r| Some((server::NO_ACCEPTABLE_METHOD.to_vec(), r)))?;
        let asking = if greeting.password {
            self.say(&server::chosen(Method::Password)).await?;
            let credentials = self.frame(server::credentials).await?;
            let failed = |r| Some((server::auth_status(false).to_vec(), r));
            let credentials = credentials.map_err(failed)?;
            let basic = Basic { user: credentials.user, password: credentials.password };
            self.vouch(Asking::Password(basic)).await.map_err(failed)?
        } else if greeting.none {
            self.vouch(Asking::Source).await.map_err(|r| Some((server::NO_ACCEPTABLE_METHOD.to_vec(), r)))?
        } else {
            let refusal = Refusal::new(Code::AuthRequired, "SOCKS5 without a method that we know");
            return Err(Some((server::NO_ACCEPTABLE_METHOD.to_vec(), refusal)));
        };
        let accepted = if greeting.password { server::auth_status(true) } else { server::chosen(Method::None) };
        self.say(&accepted).await?;
        let request = self.frame(server::request).await?;
        let request = request.map_err(|r: Refused| Some((server::refused(r.reply), r.refusal)))?;
        Ok((asking, request))
    }

    /// One frame of the handshake. `Err(None)`: the client went away before it was whole.
    async fn frame<T, E>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> Result<Result<T, E>, Option<(Answer, Refusal)>> {
        loop {
            match read(&self.buf) {
                Ok(Some((found, n))) => {
                    self.buf.drain(..n);
                    return Ok(Ok(found));
                }
                Ok(None) if self.buf.len() <= MAX_FRAME => {}
                Ok(None) => return Err(None),
                Err(e) => return Ok(Err(e)),
            }
            if !matches!(self.leg.read_some(&mut self.buf).await, Ok(1..)) {
                return Err(None);
            }
        }
    }

    async fn say(&self, bytes: &[u8]) -> Result<(), Option<(Answer, Refusal)>> {
        self.leg.write_all(bytes).await.map_err(|_| None)
    }

    /// Ends the handshake with an answer.
    async fn end(&self, answer: &[u8], refusal: &Refusal, correlation_id: &str) {
        self.core.metrics.refused(refusal.code);
        tracing::info!(code = %refusal.code, detail = %refusal.detail, correlation_id, "refused");
        let _ = tokio::time::timeout(LINGER, self.leg.write_all(answer)).await;
    }

    /// A tunnel. `None`: the client went away before it heard of it.
    async fn open(&mut self, asking: Asking, target: &Target, correlation_id: &str) -> Result<Option<Opened>, Refused> {
        let began = Instant::now();
        let admitted = self.admit(asking).await?;
        let ready = Box::pin(self.ready(&admitted, target, correlation_id)).await;
        let ready = ready.inspect_err(|r| self.failed(&admitted, began, r)).map_err(in_words)?;
        let Ready { way, through, meter, registered } = ready;
        let connected = began.elapsed();
        events::started(&self.worker, &admitted, &way, &registered, connected);
        // What the upstream bound is its own affair.
        let bound = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        if self.leg.write_all(&server::reply(crate::socks::reply::SUCCEEDED, bound)).await.is_err() {
            let record = Record { kind: Kind::Tunnel, began, connected, reason: CloseReason::Client };
            record.write(&self.worker, &admitted, &way, &meter, &registered);
            return Ok(None);
        }
        let early = Early { client: std::mem::take(&mut self.buf), upstream: through.early };
        Ok(Some(Opened {
            kind: Kind::Tunnel,
            upstream: through.leg,
            early,
            meter,
            registered,
            admitted,
            way,
            began,
            connected,
        }))
    }
}

/// What became of a dial, as exactly as SOCKS5 can say it.
fn in_words(refusal: Refusal) -> Refused {
    let reply = match refusal.code {
        Code::UpstreamConnect => crate::socks::reply::HOST_UNREACHABLE,
        Code::UpstreamTimeout => crate::socks::reply::TTL_EXPIRED,
        code => code.socks_reply(),
    };
    Refused { reply, refusal }
}
