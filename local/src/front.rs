//! What edges in processes of their own find where AWS would be: the function that assigns, as
//! Lambda's `Invoke`, and the secrets that an edge may read, as Secrets Manager's `GetSecretValue`.
//! On loopback, behind the run's key.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tollgate_domain::assignment::AssignRequest;
use tollgate_edge::Assigner as _;
use tollgate_functions::passwords::PEPPER;
use tollgate_functions::platform::Platform;

use crate::in_process::AssignHere;
use crate::secrets::SecretsFile;

/// Name of the function that assigns.
pub const ASSIGN: &str = "assign";
/// End of the names of gateways' secrets.
const GATEWAY: &str = "/gateway";

struct Front {
    assigner: AssignHere,
    secrets: Arc<SecretsFile>,
    key: SecretString,
}

/// Answers who signs with the access key id `key`. The signature itself is not checked, so the id
/// is the secret. Call it on the runtime that the stories run on.
pub fn router(platform: &Arc<Platform>, secrets: &Arc<SecretsFile>, key: SecretString) -> Router {
    let assigner = AssignHere::new(Arc::clone(platform));
    let front = Arc::new(Front { assigner, secrets: Arc::clone(secrets), key });
    Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .route("/", post(secret))
        .layer(from_fn_with_state(Arc::clone(&front), holders_of_the_key_only))
        .with_state(front)
}

async fn holders_of_the_key_only(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if tollgate_engine::signed_with(header, &front.key) {
        return next.run(request).await;
    }
    refused(StatusCode::FORBIDDEN, "UnrecognizedClientException", "The security token is invalid.")
}

/// Lambda: `POST /2015-03-31/functions/<name>/invocations`.
async fn invoke(State(front): State<Arc<Front>>, Path(name): Path<String>, body: Bytes) -> Response {
    if name != ASSIGN {
        return refused(StatusCode::NOT_FOUND, "ResourceNotFoundException", "There is no such function.");
    }
    let request: AssignRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(e) => return refused(StatusCode::BAD_REQUEST, "InvalidRequestContentException", &e.to_string()),
    };
    // A task of its own: an edge that hangs up ends no purchase.
    match front.assigner.assign(request).await {
        Ok(reply) => axum::Json(reply).into_response(),
        Err(e) => {
            tracing::error!(error = %e, "the function failed");
            let failed = axum::Json(json!({ "errorMessage": e.to_string() }));
            ([("x-amz-function-error", "Unhandled")], failed).into_response()
        }
    }
}

/// Secrets Manager: `GetSecretValue` of what an edge's policy grants.
async fn secret(State(front): State<Arc<Front>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if target != "secretsmanager.GetSecretValue" {
        return refused(StatusCode::BAD_REQUEST, "UnknownOperationException", "Secrets are only read here.");
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = asked["SecretId"].as_str().unwrap_or_default();
    if name != PEPPER && !name.ends_with(GATEWAY) {
        return refused(StatusCode::BAD_REQUEST, "AccessDeniedException", "An edge may not read this secret.");
    }
    match front.secrets.find(name) {
        Some(value) => axum::Json(json!({
            "ARN": format!("arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}"),
            "Name": name,
            "SecretString": value.expose_secret(),
            "VersionId": "1",
        }))
        .into_response(),
        None => refused(StatusCode::BAD_REQUEST, "ResourceNotFoundException", "There is no such secret."),
    }
}

fn refused(status: StatusCode, kind: &'static str, why: &str) -> Response {
    let body = axum::Json(json!({ "__type": kind, "Message": why, "message": why }));
    (status, [("x-amzn-errortype", kind)], body).into_response()
}
