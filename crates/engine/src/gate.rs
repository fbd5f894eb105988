//! The engine for the other processes of a local run, behind a random key: any program of the
//! machine reaches a loopback port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynoxide::Database;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::operation::{self, Answer, CONTENT_TYPE, TARGET_PREFIX};

/// Largest request that DynamoDB takes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 1024;

/// Time for a request's head; also closes what idles.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// Time for a request's body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Wait after a failed accept: usually descriptors are short, and come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn serve(listener: TcpListener, db: Database, key: SecretString) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let door = Arc::new(Door { db, key });
    // Closed by nobody: the loop ends when its task is aborted.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        let door = Arc::clone(&door);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let door = Arc::clone(&door);
                async move { Ok::<_, std::convert::Infallible>(door.answer(request).await) }
            });
            // A broken connection concerns its client alone.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

struct Door {
    db: Database,
    key: SecretString,
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            return response(StatusCode::NOT_FOUND.as_u16(), String::new());
        }
        let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !signed_with(header("authorization"), &self.key) {
            let refused =
                Answer::error("UnrecognizedClientException", "The security token included in the request is invalid.");
            return response(refused.status, refused.body);
        }
        let operation = header("x-amz-target").strip_prefix(TARGET_PREFIX).unwrap_or("").to_owned();
        // What says that it is too large is not waited for.
        let declared = request.body().size_hint().lower();
        if declared > MAX_BODY as u64 {
            let refused = Answer::error("SerializationException", "the body is larger than 16 MiB");
            return response(refused.status, refused.body);
        }
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let answer = match tokio::time::timeout(BODY_TIME, body).await {
            Ok(Ok(body)) => operation::run(&self.db, &operation, &body.to_bytes()),
            _ => Answer::error("SerializationException", "the body broke off or is larger than 16 MiB"),
        };
        response(answer.status, answer.body)
    }
}

/// Whether `authorization`, as `AWS4-HMAC-SHA256 Credential=<id>/<date>/<region>/…`, names the
/// access key id `key`. Compared in constant time; the signature itself is not checked.
#[must_use]
pub fn signed_with(authorization: &str, key: &SecretString) -> bool {
    let named = authorization.split_once("Credential=").and_then(|(_, rest)| rest.split_once('/'));
    let id = named.map_or("", |(id, _)| id);
    bool::from(id.as_bytes().ct_eq(key.expose_secret().as_bytes()))
}

fn response(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(CONTENT_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_read_from_a_signature_and_compared_whole() {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/lambda/aws4_request, SignedHeaders=host";
        assert!(signed_with(signed, &"AKID".to_owned().into()));
        for other in ["", "AKI", "AKIDX", "akid", "BKID"] {
            assert!(!signed_with(signed, &other.to_owned().into()), "{other}");
        }
        for unsigned in ["", "Bearer AKID", "AWS4-HMAC-SHA256 Credential=AKID"] {
            assert!(!signed_with(unsigned, &"AKID".to_owned().into()), "{unsigned}");
        }
    }
}
