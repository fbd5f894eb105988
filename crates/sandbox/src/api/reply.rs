//! Answers, and the faults that spoil them.

use std::future::pending;
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::fault::FaultSet;
use crate::shared::Shared;

/// What the work has to say: JSON, or plain text as the vendor's errors are.
#[derive(Debug)]
pub(super) enum Reply {
    Json(Value),
    Text(StatusCode, String),
}

impl Reply {
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::Text(StatusCode::BAD_REQUEST, text.into())
    }
}

impl axum::response::IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json(v) => axum::Json(v).into_response(),
            Self::Text(status, text) => (status, text).into_response(),
        }
    }
}

/// Marks a response that must not be sent.
#[derive(Clone, Copy)]
pub(super) struct Lost;

/// Does the work of one call under the faults that are due to it.
pub(super) async fn perform(
    shared: &Arc<Shared>,
    faults: FaultSet,
    work: impl FnOnce(&Shared, &FaultSet) -> Reply + Send + 'static,
) -> Response {
    if faults.hang() {
        pending::<()>().await;
    }
    if let Some((code, retry_after)) = faults.status() {
        return status(code, retry_after);
    }
    let reply = match faults.late() {
        None => work(shared, &faults),
        Some(delay) => {
            let (tx, rx) = oneshot::channel();
            let (its, set) = (Arc::clone(shared), faults.clone());
            crate::lock(&shared.background).spawn(async move {
                tokio::time::sleep(delay).await;
                // Nobody may be left to hear the answer; the work is done all the same.
                let _ = tx.send(work(&its, &set));
            });
            match rx.await {
                Ok(reply) => reply,
                Err(_) => return status(500, None),
            }
        }
    };
    if let Some(delay) = faults.slow() {
        tokio::time::sleep(delay).await;
    }
    if faults.lost() {
        let mut response = StatusCode::OK.into_response();
        response.extensions_mut().insert(Lost);
        return response;
    }
    if faults.charged_then_500() {
        return status(500, None);
    }
    if faults.garbage() {
        return ([(header::CONTENT_TYPE, "application/json")], "{\"ips\":[\"203.0.").into_response();
    }
    reply.into_response()
}

fn status(code: u16, retry_after: Option<u32>) -> Response {
    let code =
        StatusCode::from_u16(code).ok().filter(|c| !c.is_informational()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, code.canonical_reason().unwrap_or("Error").to_owned()).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
