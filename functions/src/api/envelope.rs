//! The frame around every request: correlation id, language, the error envelope.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tollgate_domain::refusal::{Code, Lang, Refusal};
use ulid::Ulid;

/// Names one request through every log and answer.
pub(super) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The stable code of a refusal.
pub(super) const ERROR_CODE: HeaderName = HeaderName::from_static("x-tollgate-error");
/// Longest correlation id that is taken over.
const LONGEST_ID: usize = 64;

/// A refusal as an answer. The frame writes its envelope.
#[derive(Debug)]
pub(super) struct Refused(pub Refusal);

impl Refused {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Refusal::new(code, detail))
    }
}

impl From<Refusal> for Refused {
    fn from(r: Refusal) -> Self {
        Self(r)
    }
}

impl From<Refused> for Refusal {
    fn from(r: Refused) -> Self {
        r.0
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut answer = status(self.0.code).into_response();
        answer.extensions_mut().insert(self.0);
        answer
    }
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What is known of a request before anybody reads it.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub correlation_id: String,
    pub ip: String,
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| context(&parts.headers, None)))
    }
}

fn context(headers: &HeaderMap, from: Option<&ConnectInfo<SocketAddr>>) -> Context {
    let asked = headers.get(CORRELATION_ID).and_then(|v| v.to_str().ok()).filter(|v| is_id(v));
    Context {
        correlation_id: asked.map_or_else(|| Ulid::generate().to_string(), str::to_owned),
        ip: from.map_or_else(|| "unknown".to_owned(), |ConnectInfo(a)| a.ip().to_string()),
    }
}

fn is_id(s: &str) -> bool {
    (1..=LONGEST_ID).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Wraps every request of a router.
pub(super) async fn frame(mut request: Request, next: Next) -> Response {
    let context = context(request.headers(), request.extensions().get());
    let accepted = request.headers().get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    let lang = accepted.map_or(Lang::En, Lang::from_accept_language);
    let id = context.correlation_id.clone();
    let method = request.method().clone();
    // The pattern, not the path: paths name customers and lines.
    let route = request.extensions().get::<MatchedPath>().map(|p| p.as_str().to_owned());
    request.extensions_mut().insert(context);
    let mut answer = next.run(request).await;
    if let Some(refusal) = refusal_in(&mut answer) {
        answer = envelope(&refusal, lang, &id, answer.headers().get(header::ALLOW).cloned());
    }
    let status = answer.status().as_u16();
    tracing::info!(correlation.id = %id, %method, route = route.as_deref().unwrap_or("-"), status, "answered");
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(CORRELATION_ID, id);
    }
    answer
}

/// The refusal that an answer carries; one of ours for whatever the framework refused itself.
fn refusal_in(answer: &mut Response) -> Option<Refusal> {
    if let Some(refusal) = answer.extensions_mut().remove::<Refusal>() {
        return Some(refusal);
    }
    let code = match answer.status().as_u16() {
        ..400 => return None,
        400..500 => Code::Validation,
        500.. => Code::Internal,
    };
    Some(Refusal::new(code, "the request was refused before it reached its handler"))
}

fn envelope(r: &Refusal, lang: Lang, correlation_id: &str, allow: Option<HeaderValue>) -> Response {
    let body = json!({ "error": {
        "code": r.code.as_str(),
        "message": r.code.message(lang),
        "detail": r.detail,
        "status": r.code.status(),
        "correlation_id": correlation_id,
        "how_to_fix": r.code.how_to_fix(lang),
        "retry_after_s": r.retry_after_s,
    }});
    let mut answer = (status(r.code), Json(body)).into_response();
    let headers = answer.headers_mut();
    headers.insert(ERROR_CODE, HeaderValue::from_static(r.code.as_str()));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.tag()));
    if let Some(seconds) = r.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    if r.code == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// Answers what no route matches.
pub(super) async fn no_route() -> Refused {
    Refused::new(Code::NotFound, "no route has this path")
}

/// Answers a known path asked with a method it does not have.
pub(super) async fn no_method() -> Refused {
    Refused::new(Code::MethodNotAllowed, "this path does not take this method")
}

/// Says that the process serves.
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_the_framework_says_by_itself_does_not_leave() {
        for (said, code) in [(415, "VALIDATION"), (500, "INTERNAL")] {
            let answer = (StatusCode::from_u16(said).unwrap(), "at src/secret.rs:7");
            let router = Router::new().route("/", get(move || async move { answer })).layer(from_fn(frame));
            let answer = router.oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(answer.headers()[ERROR_CODE], code);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(!String::from_utf8_lossy(&body).contains("secret.rs"));
        }
    }

    #[tokio::test]
    async fn a_caller_that_nothing_tells_is_unknown() {
        let (mut parts, ()) = Request::new(()).into_parts();
        let Ok(context) = Context::from_request_parts(&mut parts, &()).await;
        assert_eq!((context.ip.as_str(), context.correlation_id.len()), ("unknown", 26));
    }
}
