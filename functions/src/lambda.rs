//! The rim towards Lambda's runtime: events in, answers out. Nothing further in knows of it.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
pub use lambda_runtime::Error;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::platform::Platform;

/// Serves an HTTP API's requests from `router`. Handlers see the caller's address as
/// [`ConnectInfo`], as behind a socket.
///
/// # Errors
/// If the runtime cannot be reached.
pub async fn serve_http(router: Router) -> Result<(), Error> {
    Box::pin(lambda_http::run(router.layer(axum::middleware::map_request(with_caller)))).await
}

async fn with_caller(mut request: Request) -> Request {
    let caller = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref().and_then(|ip| ip.parse().ok()),
        _ => None,
    };
    // The gateway says no port.
    if let Some(caller) = caller {
        let caller: IpAddr = caller;
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(caller, 0)));
    }
    request
}

/// Answers each event that reads as `E` with what `story` makes of it.
///
/// # Errors
/// If the runtime cannot be reached.
pub async fn serve_events<E, A, F, S>(platform: Arc<Platform>, story: S) -> Result<(), Error>
where
    E: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A, Error>>,
    S: Fn(Arc<Platform>, E) -> F,
{
    let (platform, story) = (&platform, &story);
    let answer = move |event: LambdaEvent<Value>| async move {
        // What cannot be read is a failed invocation, with the reason: nobody answers nonsense.
        let event: E = serde_json::from_value(event.payload)?;
        // Stories are deep: boxed, they do not make every caller's future as large as they are.
        Box::pin(story(Arc::clone(platform), event)).await
    };
    Box::pin(lambda_runtime::run(service_fn(answer))).await
}

/// What a schedule sends.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Tick {
    /// `aws.scheduler`.
    pub source: Scheduler,
    /// When it was due, RFC 3339.
    pub time: String,
}

/// The only sender of ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Scheduler {
    /// EventBridge Scheduler.
    #[serde(rename = "aws.scheduler")]
    EventBridge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scheduler_ticks() {
        let tick = serde_json::json!({
            "version": "0", "id": "53dc4d37", "detail-type": "Scheduled Event", "source": "aws.scheduler",
            "account": "123456789012", "time": "2026-01-01T00:00:00Z", "region": "eu-west-1",
            "resources": ["arn:aws:scheduler:eu-west-1:123456789012:schedule/default/release-idle"], "detail": "{}",
        });
        let read: Tick = serde_json::from_value(tick).unwrap();
        assert_eq!(read, Tick { source: Scheduler::EventBridge, time: "2026-01-01T00:00:00Z".into() });
        let other = serde_json::json!({ "source": "somebody", "time": "2026-01-01T00:00:00Z" });
        assert!(serde_json::from_value::<Tick>(other).is_err());
    }
}
