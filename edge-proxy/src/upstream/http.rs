//! HTTP proxies as upstreams: CONNECT, and what their refusals mean.

use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;

use super::{Attempt, Failed, Through};
use crate::http::{ResponseHead, head};
use crate::ingress::tls::server_name;
use crate::leg::{Leg, Rewind};
use crate::route::Route;
use crate::worker::Worker;

/// TLS to the upstream itself.
pub(super) async fn tls(worker: &Worker, host: &str, stream: TcpStream, attempt: &Attempt) -> Result<Leg, Refusal> {
    let bad = |why: String| Refusal::new(Code::UpstreamConnect, format!("TLS to the gateway failed: {why}"));
    let name = server_name(host)?;
    let connector = tokio_rustls::TlsConnector::from(worker.core.upstream_tls.clone());
    let handshake = connector.connect(name, Rewind::new(Vec::new(), stream));
    match tokio::time::timeout_at(attempt.step(worker.live.get().connect_timeout), handshake).await {
        Ok(Ok(tls)) => Ok(Leg::from(tokio_rustls::TlsStream::from(tls))),
        Ok(Err(e)) => Err(bad(e.to_string())),
        Err(_) => Err(Refusal::new(Code::UpstreamTimeout, "the gateway did not answer in time")),
    }
}

/// Asks an HTTP proxy for a tunnel.
pub(super) async fn connect(leg: Leg, route: &Route, target: &Target) -> Result<Through, Failed> {
    let mut ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &route.authorization {
        ask.push_str("Proxy-Authorization: ");
        ask.push_str(authorization.expose_secret());
        ask.push_str("\r\n");
    }
    ask.push_str("\r\n");
    let broke = |_| Refusal::new(Code::UpstreamConnect, "the gateway closed the connection");
    leg.write_all(ask.as_bytes()).await.map_err(broke)?;
    let mut early = Vec::new();
    let head = read_head(&leg, &mut early).await?;
    match failure(&head) {
        None if (200..300).contains(&head.status) => Ok(Through { leg, early, at: None }),
        Some(failed) => Err(failed),
        None => Err(Failed::answered(head.status, None)),
    }
}

/// Reads a response head into `buf`; what comes after it stays there.
pub(crate) async fn read_head(leg: &Leg, buf: &mut Vec<u8>) -> Result<ResponseHead, Refusal> {
    let bad = |what: &str| Refusal::new(Code::UpstreamConnect, format!("the gateway's answer is unreadable: {what}"));
    let mut searched = 0;
    loop {
        if let Some(n) = head::complete(buf, searched).map_err(|_| bad("its head is too large"))? {
            let head = ResponseHead::parse(&buf[..n]).map_err(|e| bad(&e))?;
            buf.drain(..n);
            return Ok(head);
        }
        searched = buf.len();
        let n = leg.read_some(buf).await.map_err(|e| bad(&e.kind().to_string()))?;
        if n == 0 {
            return Err(Refusal::new(Code::UpstreamConnect, "the gateway closed the connection"));
        }
    }
}

/// What the gateway itself refused, by its status and the codes it sends.
pub(crate) fn failure(head: &ResponseHead) -> Option<Failed> {
    let named = head.get("x-brd-err-code").or_else(|| head.get("x-brd-error-code"));
    let from_status = head.get("proxy-status").and_then(|s| s.split_once("details=\"")).map(|(_, d)| d);
    // The code stands first, as `client_10060` or `client-10060`; what follows is for people.
    let code: Option<String> = named.or(from_status).map(|c| {
        let word = c.trim().replace('-', "_");
        word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
    });
    let code = code.filter(|c| !c.is_empty());
    (head.status == 407 || code.is_some()).then(|| Failed::answered(head.status, code.as_deref()))
}
