//! `Idempotency-Key`: the same key and request, the same answer; another request, 422.
//!
//! Answers are kept without secrets: a handler adds them after [`Key::once`], and says so
//! (`secretReplayed`) where it cannot give one twice.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tollgate_domain::assignment::RefusalWire;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_store::idempotency::{Answer, Begin};

use super::body::Body;
use super::envelope::Refused;
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::By;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const LONGEST: usize = 128;

/// The key of a request, if it has one, and what the request is.
pub(super) struct Key {
    key: Option<String>,
    method: Method,
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Refused;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let key = read(&parts.headers)?;
        Ok(Self { key, method: parts.method.clone(), path: parts.uri.path().to_owned() })
    }
}

fn read(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|k| {
        (1..=LONGEST).contains(&k.len()) && k.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
    });
    let bad = || Refused::new(Code::Validation, format!("Idempotency-Key: [A-Za-z0-9._:-]{{1,{LONGEST}}}"));
    Ok(Some(text.ok_or_else(bad)?.to_owned()))
}

/// The answer of a request: given now, or given before.
#[derive(Debug)]
pub(super) struct Done {
    pub status: StatusCode,
    pub body: Value,
    pub replayed: bool,
}

impl Done {
    pub fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body, replayed: false }
    }

    /// Adds a secret that is shown once: a replay says that it was.
    pub fn show_once(&mut self, field: &str, secret: Option<String>) {
        match secret {
            Some(secret) => self.body[field] = secret.into(),
            None => self.body["secretReplayed"] = true.into(),
        }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(self.body)).into_response();
        if self.replayed {
            answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        answer
    }
}

impl Key {
    /// A text that is the same for the same request of the same caller, if it has a key: what
    /// identifiers are made from, so that a request carried out twice makes one thing.
    pub fn seed(&self, by: &By) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(hex::encode(Sha256::digest(format!("{}\n{key}\n{}", by.actor, self.path))))
    }

    /// Carries `work` out, unless the same request was already: then its answer is given again.
    /// Refusals that trying again can change (those with a `Retry-After`, and 5xx) are not kept.
    pub async fn once(
        self,
        platform: &Platform,
        by: &By,
        body: &Body,
        work: impl Future<Output = Result<Done, Refusal>> + Send,
    ) -> Result<Done, Refused> {
        let Some(key) = self.key else { return Ok(work.await?) };
        let mut request = Sha256::new();
        request.update(format!("{} {}\n", self.method, self.path));
        request.update(&body.0);
        let request = hex::encode(request.finalize());
        let claim = match platform.store.begin(&by.actor, &key, &request, by.at).await.map_err(store)? {
            Begin::Fresh(claim) => claim,
            Begin::Replay(answer) => return replay(&answer),
            Begin::Mismatch => {
                let detail = "this Idempotency-Key was used for another request";
                return Err(Refused::new(Code::IdempotencyMismatch, detail));
            }
            Begin::InFlight => {
                let refusal = Refusal::new(Code::Conflict, "the same request is being carried out");
                return Err(Refused(refusal.retry_after(1)));
            }
        };
        let done = work.await;
        let answer = match &done {
            Ok(d) => Some(Answer { status: d.status.as_u16(), body: d.body.to_string() }),
            Err(r) if r.retry_after_s.is_some() || r.code.status() >= 500 => None,
            Err(r) => {
                serde_json::to_string(&RefusalWire::from(r)).ok().map(|body| Answer { status: r.code.status(), body })
            }
        };
        let kept = match answer {
            Some(answer) => platform.store.finish(claim, answer).await,
            None => platform.store.abandon(claim).await,
        };
        if let Err(e) = kept {
            // The work is done: its answer is worth more than the record of it.
            tracing::error!(reason = %e, "an idempotency record was not written");
        }
        Ok(done?)
    }
}

fn replay(answer: &Answer) -> Result<Done, Refused> {
    let unreadable = || Refused::new(Code::Internal, "the kept answer is unreadable");
    if answer.status >= 400 {
        let refusal: RefusalWire = serde_json::from_str(&answer.body).map_err(|_| unreadable())?;
        return Err(Refused(refusal.into_refusal()));
    }
    let status = StatusCode::from_u16(answer.status).map_err(|_| unreadable())?;
    let body = serde_json::from_str(&answer.body).map_err(|_| unreadable())?;
    Ok(Done { status, body, replayed: true })
}
