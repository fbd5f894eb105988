//! `origin.test`: a small web server to aim at, plain and TLS.
//!
//! `/ip` says which exit address the request came through, `/bytes/N` sends N bytes, `/echo` sends
//! the body back, `/sink` counts it, `/slow/MS` answers after so many milliseconds, `/files/NAME`
//! keeps what is put there, `/ws` is a WebSocket that echoes.

mod body;
mod files;
pub(crate) mod tls;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::files::Files;
use crate::exits::Exits;
use crate::{listener, lock};

/// Most bytes that `/bytes/N` sends.
const MAX_BYTES: u64 = 10 << 30;
/// Longest that `/slow/MS` waits.
const MAX_SLOW: Duration = Duration::from_secs(300);

type Body = BoxBody<Bytes, hyper::Error>;

/// Set by the request that turns its connection into a WebSocket.
type Upgrade = Mutex<Option<OnUpgrade>>;

/// What both listeners serve.
#[derive(Clone)]
pub(crate) struct Origin {
    exits: Exits,
    files: Files,
}

impl Origin {
    pub(crate) fn new(exits: Exits) -> Self {
        Self { exits, files: Files::default() }
    }
}

pub(crate) async fn run_plain(origin: Origin, listener: TcpListener) {
    let mut connections = JoinSet::new();
    listener::serve(&listener, &mut connections, |stream, peer| serve_connection(origin.clone(), stream, peer)).await;
}

pub(crate) async fn run_tls(origin: Origin, listener: TcpListener, acceptor: TlsAcceptor) {
    let mut connections = JoinSet::new();
    listener::serve(&listener, &mut connections, |stream, peer| {
        let (origin, acceptor) = (origin.clone(), acceptor.clone());
        async move {
            match acceptor.accept(stream).await {
                Ok(stream) => serve_connection(origin, stream, peer).await,
                Err(error) => tracing::debug!(%error, "origin TLS handshake failed"),
            }
        }
    })
    .await;
}

async fn serve_connection<S>(origin: Origin, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgrade: Arc<Upgrade> = Arc::default();
    let slot = Arc::clone(&upgrade);
    let service = service_fn(move |request| {
        let (origin, slot) = (origin.clone(), Arc::clone(&slot));
        async move { Ok::<_, Infallible>(answer(&origin, peer, request, &slot).await) }
    });
    let connection = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "origin connection ended");
        return;
    }
    // In this task: it ends with the listener.
    let upgraded = lock(&upgrade).take();
    let Some(upgraded) = upgraded else { return };
    match upgraded.await {
        Ok(stream) => {
            if let Err(error) = websocket::echo(TokioIo::new(stream)).await {
                tracing::debug!(%error, "origin WebSocket ended");
            }
        }
        Err(error) => tracing::debug!(%error, "origin WebSocket did not begin"),
    }
}

async fn answer(origin: &Origin, peer: SocketAddr, request: Request<Incoming>, upgrade: &Upgrade) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if let Some(name) = path.strip_prefix("/files/") {
        return origin.files.answer(name, request).await;
    }
    match path.as_str() {
        "/ip" => ip(&origin.exits, peer),
        "/echo" => echo(request).await,
        "/sink" => sink(request).await,
        "/ws" => web_socket(request, upgrade),
        _ => match path.strip_prefix("/bytes/").map(str::parse::<u64>) {
            Some(Ok(n)) if n <= MAX_BYTES => send(StatusCode::OK, "application/octet-stream", body::pattern(n)),
            Some(_) => text(StatusCode::BAD_REQUEST, "/bytes/N: N is at most 10737418240\n"),
            None => slow(&path).await,
        },
    }
}

fn web_socket(mut request: Request<Incoming>, upgrade: &Upgrade) -> Response<Body> {
    match websocket::accept(&request) {
        Some(response) => {
            *lock(upgrade) = Some(hyper::upgrade::on(&mut request));
            response
        }
        None => text(StatusCode::BAD_REQUEST, "/ws is a WebSocket (version 13)\n"),
    }
}

fn ip(exits: &Exits, peer: SocketAddr) -> Response<Body> {
    // Without an exit somebody came here directly.
    let exit = exits.of(peer);
    let ip = exit.as_ref().map_or(peer.ip(), |e| e.ip.into());
    let country = exit.map_or(Value::Null, |e| e.country.into());
    send(StatusCode::OK, "application/json", full(format!("{{\"ip\":\"{ip}\",\"country\":{country}}}\n")))
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let mut body = request.into_body();
    let whole = body.size_hint().exact();
    // A client that waits for "100 Continue" gets it when the body is first asked for.
    let first = match body.frame().await.transpose() {
        Ok(first) => first.and_then(|f| f.into_data().ok()),
        Err(_) => return text(StatusCode::BAD_REQUEST, "the body ended early\n"),
    };
    let mut response = Response::new(body::resumed(first, body, whole));
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

async fn sink(request: Request<Incoming>) -> Response<Body> {
    let mut body = request.into_body();
    let mut count = 0_usize;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => count += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return text(StatusCode::BAD_REQUEST, "the body ended early\n"),
        }
    }
    send(StatusCode::OK, "text/plain", full(format!("{count}\n")))
}

async fn slow(path: &str) -> Response<Body> {
    let wait = path.strip_prefix("/slow/").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    match wait.filter(|d| *d <= MAX_SLOW) {
        Some(d) => {
            tokio::time::sleep(d).await;
            text(StatusCode::OK, "slow\n")
        }
        None => text(StatusCode::NOT_FOUND, "paths: /ip /bytes/N /echo /sink /slow/MS /files/NAME /ws\n"),
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    send(status, "text/plain", full(text))
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

fn send(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
