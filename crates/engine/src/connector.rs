//! The SDK's transport, replaced: what would have gone over a socket goes into the engine.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database;
use serde_json::Value;

use crate::faults::{Fault, Faults, conflict};
use crate::operation::{self, Answer, CONTENT_TYPE, TARGET_PREFIX};
use crate::recorder::{self, Recorder};

#[derive(Clone)]
pub(crate) struct InProcess {
    db: Database,
    faults: Option<Arc<Faults>>,
    recorder: Option<Arc<Recorder>>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("faults", &self.faults.is_some()).finish_non_exhaustive()
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let answer = this.answer(&request).await?;
            response(answer)
        })
    }
}

impl InProcess {
    pub(crate) fn new(db: Database, faults: Option<Arc<Faults>>, recorder: Option<Arc<Recorder>>) -> Self {
        Self { db, faults, recorder }
    }

    async fn answer(&self, request: &HttpRequest) -> Result<Answer, ConnectorError> {
        let operation = request.headers().get("x-amz-target").and_then(|t| t.strip_prefix(TARGET_PREFIX)).unwrap_or("");
        let body = request.body().bytes().ok_or_else(|| ConnectorError::user("a streaming body".into()))?;
        if self.faults.is_none() && self.recorder.is_none() {
            // A call that never yields starves the other tasks of this worker.
            tokio::task::yield_now().await;
            return Ok(operation::run(&self.db, operation, body));
        }

        let mut parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let tables = operation::tables(&parsed);
        let fault = self.faults.as_ref().and_then(|f| f.next(operation, &tables));
        let seen = self.recorder.as_ref().map(|r| r.begin(operation, tables));
        tokio::task::yield_now().await;
        let refusal = match fault {
            Some(Fault::Conflict) => Some(conflict(operation, &parsed)),
            Some(Fault::Throttle) => {
                Some(Answer::error("ProvisionedThroughputExceededException", "injected: throttled"))
            }
            Some(Fault::Timeout) => return Err(ConnectorError::timeout("injected: the request was lost".into())),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                None
            }
            Some(Fault::LostAck | Fault::Pass) | None => None,
        };
        let answer = match refusal {
            Some(answer) => answer,
            None if seen.is_some() && recorder::ask_for_capacity(operation, &mut parsed) => {
                operation::run(&self.db, operation, parsed.to_string().as_bytes())
            }
            None => operation::run(&self.db, operation, body),
        };
        if let Some(seen) = seen {
            seen.answered(&answer);
        }
        match fault {
            Some(Fault::LostAck) => Err(ConnectorError::io("injected: the answer was lost".into())),
            _ => Ok(answer),
        }
    }
}

fn response(answer: Answer) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(answer.status).map_err(|e| ConnectorError::other(e.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
    response.headers_mut().insert("content-type", CONTENT_TYPE);
    Ok(response)
}
