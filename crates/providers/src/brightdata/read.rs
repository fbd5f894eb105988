//! Calls that change nothing, and so may be repeated.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use tollgate_domain::refusal::Code;

use super::refusal;
use crate::api::{Answer, Api, Body, Call, Outcome};
use crate::market::ProviderError;

/// Repetitions of a call that failed for a passing reason.
const RETRIES: u32 = 2;

/// Wait before the first repetition; it doubles, and half of it is chance.
const BACKOFF: Duration = Duration::from_millis(200);

/// Why there is no answer.
pub(super) struct Failed {
    pub(super) error: ProviderError,
    /// The provider's status, if it gave one.
    pub(super) status: Option<StatusCode>,
    passing: bool,
    retry_after: Option<Duration>,
}

/// A whole answer with a status of success, before `deadline`.
pub(super) async fn ask(api: &Api, call: &Call, deadline: Instant) -> Result<Answer, Failed> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut attempt = 0;
    loop {
        let failed = match api.send(call, left()).await {
            Outcome::Answered(answer) if answer.is_success() => return Ok(answer),
            outcome => failure(&outcome),
        };
        let wait = failed.retry_after.unwrap_or_else(|| backoff(attempt));
        if !failed.passing || attempt == RETRIES || wait >= left() {
            return Err(failed);
        }
        tracing::debug!(path = call.path, attempt, error = %failed.error, "asking the provider again");
        sleep(wait).await;
        attempt += 1;
    }
}

fn failure(outcome: &Outcome) -> Failed {
    let answer = match outcome {
        Outcome::NotSent(reason) | Outcome::Lost(reason) => {
            let error = ProviderError { code: Code::ProviderUnavailable.as_str(), reason: reason.clone() };
            return Failed { error, status: None, passing: true, retry_after: None };
        }
        Outcome::Answered(answer) => answer,
    };
    let (code, reason) = match answer.status.as_u16() {
        400..500 if answer.words().to_ascii_lowercase().contains("wrong zone plan") => {
            let reason = format!("the zone rotates and has no addresses of its own ({})", answer.summary());
            (Code::ProviderRefused, reason)
        }
        408 | 425 => (Code::ProviderUnavailable, answer.summary()),
        400..500 => (refusal::code(answer), answer.summary()),
        200..300 if answer.body == Body::Broken => (Code::ProviderUnavailable, "the answer broke off".into()),
        200..300 if answer.body == Body::TooLarge => (Code::ProviderUnavailable, "the answer is too large".into()),
        _ => (Code::ProviderUnavailable, answer.summary()),
    };
    let passing = matches!(code, Code::ProviderRateLimited)
        || (code == Code::ProviderUnavailable && answer.body != Body::TooLarge && !answer.status.is_redirection());
    Failed {
        error: ProviderError { code: code.as_str(), reason },
        status: Some(answer.status),
        passing,
        retry_after: answer.retry_after,
    }
}

fn backoff(attempt: u32) -> Duration {
    let full = BACKOFF * 2u32.pow(attempt);
    // Without chance, callers merely come at the same time.
    let chance = getrandom::u32().unwrap_or(u32::MAX);
    full / 2 + (full / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
