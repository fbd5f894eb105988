//! The management API, on plain HTTP, and `/sandbox/*` beside it.

mod control;
mod count;
mod ips;
mod money;
mod reply;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::listener;
use crate::shared::Shared;

/// Largest request body.
const MAX_BODY: usize = 256 * 1024;

type App = State<Arc<Shared>>;

pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let router = router(shared);
    let mut connections = JoinSet::new();
    listener::serve(&listener, &mut connections, |stream, _| serve_connection(router.clone(), stream)).await;
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/zone/ips", get(ips::list).post(ips::buy).delete(ips::release))
        .route("/zone/count_available_ips", get(count::under_zone))
        .route("/count_available_ips", get(count::at_root))
        .route("/zone/cost", get(money::cost))
        .route("/zone/bw", get(money::bandwidth))
        .route("/customer/balance", get(money::balance))
        .route("/status", get(money::status))
        .route("/sandbox/faults", post(control::push_faults).delete(control::clear_faults))
        .route("/sandbox/dialects", get(control::dialects).post(control::set_dialects))
        .route("/sandbox/stock", get(control::stock).post(control::set_stock))
        .route("/sandbox/addresses", post(control::buy_by_hand).delete(control::take_away))
        .route("/sandbox/price", post(control::set_price))
        .route("/sandbox/gateway", post(control::set_gateway))
        .route("/sandbox/ledger", get(control::ledger))
        .route("/sandbox/bytes", get(control::bytes))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), authenticate))
        .fallback(|| async { (StatusCode::NOT_FOUND, "Not Found") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

async fn authenticate(State(shared): App, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    match given.and_then(|v| v.strip_prefix("Bearer ")) {
        Some(key) if shared.is_api_key(key.trim()) => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, "Unauthorized").into_response(),
    }
}

/// A connection on which an answer was lost by a fault ends without one.
#[derive(Debug, thiserror::Error)]
#[error("the answer was lost on purpose")]
struct AnswerLost;

async fn serve_connection(router: Router, stream: TcpStream) {
    let service = service_fn(move |request| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            if response.extensions().get::<reply::Lost>().is_some() { Err(AnswerLost) } else { Ok(response) }
        }
    });
    if let Err(error) = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "sandbox API connection ended");
    }
}
