//! Dialling a provider's gateway, and our own handshake with it: bounded in size and time.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target;

use crate::core::Core;
use crate::http::{ResponseHead, head};
use crate::relay::{read_some, write_all};
use crate::route::Route;

/// A tunnel through an upstream, and what the target said already.
pub(crate) struct Through {
    pub stream: TcpStream,
    pub early: Vec<u8>,
}

/// What an upstream's refusal means.
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

/// A connection to the route's gateway.
pub(crate) async fn dial(core: &Core, route: &Route) -> Result<TcpStream, Refusal> {
    let failed = |r: Refusal| {
        core.metrics.dial_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(provider = %route.provider(), error = %r, "dialling the gateway failed");
        r
    };
    match timeout(core.config.connect_timeout, reach(core, route)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(r)) => Err(failed(r)),
        Err(_) => Err(failed(Refusal::new(Code::UpstreamTimeout, "the gateway did not answer in time"))),
    }
}

async fn reach(core: &Core, route: &Route) -> Result<TcpStream, Refusal> {
    let unreachable =
        |e: io::Error| Refusal::new(Code::UpstreamConnect, format!("the gateway is not reachable: {}", e.kind()));
    let found = tokio::net::lookup_host((route.host.as_str(), route.port)).await.map_err(unreachable)?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut last = Refusal::new(Code::UpstreamConnect, "the gateway's name has no address");
    for address in addresses {
        // Checked and pinned: what was checked is what is dialled.
        if let Err(e) = target::check_dial_address(address.ip(), &core.config.dial_allow) {
            last = Refusal::new(Code::UpstreamConnect, format!("the gateway's address is not allowed: {}", e.detail));
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = unreachable(e),
        }
    }
    Err(last)
}

/// A tunnel to `authority` through the route's gateway.
pub(crate) async fn connect(core: &Core, route: &Route, authority: &str) -> Result<Through, Failed> {
    let stream = dial(core, route).await?;
    let handshake = async {
        let ask = format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: {}\r\n\r\n",
            route.authorization.expose_secret()
        );
        let broke = |_| Refusal::new(Code::UpstreamConnect, "the gateway closed the connection");
        write_all(&stream, ask.as_bytes()).await.map_err(broke)?;
        let mut buf = Vec::new();
        let head = read_head(&stream, &mut buf).await?;
        Ok::<_, Refusal>((head, buf))
    };
    let answer = timeout(core.config.connect_timeout, handshake).await;
    let (head, early) =
        answer.map_err(|_| Refusal::new(Code::UpstreamTimeout, "the gateway did not answer in time"))??;
    match failure(&head) {
        None if (200..300).contains(&head.status) => Ok(Through { stream, early }),
        failed => {
            core.metrics.dial_failures.fetch_add(1, Ordering::Relaxed);
            let failed = failed.unwrap_or_else(|| {
                let code = if matches!(head.status, 408 | 504) { Code::UpstreamTimeout } else { Code::UpstreamConnect };
                Refusal::new(code, format!("the gateway answered {}", head.status)).into()
            });
            tracing::warn!(provider = %route.provider(), status = head.status, error = %failed.refusal, "gateway refused");
            Err(failed)
        }
    }
}

/// Reads a response head into `buf`; what comes after it stays there.
pub(crate) async fn read_head(stream: &TcpStream, buf: &mut Vec<u8>) -> Result<ResponseHead, Refusal> {
    let bad = |what: &str| Refusal::new(Code::UpstreamConnect, format!("the gateway's answer is unreadable: {what}"));
    loop {
        if let Some(n) = head::complete(buf, 0).map_err(|_| bad("its head is too large"))? {
            let head = ResponseHead::parse(&buf[..n]).map_err(|e| bad(&e))?;
            buf.drain(..n);
            return Ok(head);
        }
        let n = read_some(stream, buf).await.map_err(|e| bad(&e.kind().to_string()))?;
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
    if head.status == 407 {
        let detail = format!("the gateway refused our credentials {}", code.unwrap_or_default());
        return Some(Refusal::new(Code::UpstreamAuth, detail.trim_end()).into());
    }
    let code = code.filter(|c| !c.is_empty())?;
    let lost = code == "client_10060";
    Some(Failed {
        refusal: Refusal::new(Code::UpstreamConnect, format!("the gateway answered {} {code}", head.status)),
        lost,
    })
}

/// How long a lost answer is waited for in an exchange.
pub(crate) fn answer_time(core: &Core) -> Duration {
    core.config.idle_timeout
}
