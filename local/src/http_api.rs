//! Both APIs behind one local address. Only requests that name this machine are answered: a web
//! page that resolves its own name to loopback is not.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tollgate_functions::api::{admin_router, customer_router};
use tollgate_functions::platform::Platform;
use tower::ServiceExt as _;

/// `/admin/...` goes to operators' routes, everything else to customers'.
pub fn router(platform: &Arc<Platform>) -> Router {
    let (customers, operators) = (customer_router(Arc::clone(platform)), admin_router(Arc::clone(platform)));
    let by_path = move |request: Request| {
        let path = request.uri().path();
        let router = if path == "/admin" || path.starts_with("/admin/") { &operators } else { &customers };
        let router = router.clone();
        async move {
            match router.oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        }
    };
    Router::new().fallback(by_path).layer(from_fn(this_machine_only))
}

/// Serves until `end` is over, then finishes what has begun.
///
/// # Errors
/// If the listener is lost.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(end).await
}

async fn this_machine_only(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        return next.run(request).await;
    }
    let body = axum::Json(serde_json::json!({ "error": {
        "code": "FORBIDDEN",
        "message": "This address answers requests to this machine only.",
        "detail": "the Host header does not name this machine",
        "status": 403,
        "how_to_fix": "Send `Host: 127.0.0.1`, `localhost` or `[::1]`, with the port.",
    }}));
    (StatusCode::FORBIDDEN, [("x-tollgate-error", "FORBIDDEN")], body).into_response()
}

/// Whether the one `Host` names this machine.
fn is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| name.eq_ignore_ascii_case(local))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let with = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            is_local(&headers)
        };
        for good in ["127.0.0.1:8080", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8080", "[::1]"] {
            assert!(with(&[good]), "{good}");
        }
        for bad in ["evil.test", "evil.test:8080", "127.0.0.1.evil.test", "localhost.", "", "127.0.0.1:x", "::1"] {
            assert!(!with(&[bad]), "{bad}");
        }
        assert!(!with(&[]) && !with(&["localhost", "evil.test"]));
    }
}
