//! What the answer to a purchase proves. Money hangs on it: what is not proven is unknown, and
//! an unknown purchase is looked up, never repeated.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;
use tollgate_domain::intent::PurchaseAnswer;
use tollgate_domain::refusal::Code;

use super::refusal;
use crate::api::{Answer, Body, Outcome};

/// Most addresses taken from one answer; the provider's list names the others.
const MAX_NEW: usize = 4096;

pub(super) fn answer(outcome: Outcome) -> PurchaseAnswer {
    match outcome {
        Outcome::NotSent(reason) => PurchaseAnswer::Refused { code: Code::ProviderUnavailable.as_str(), reason },
        Outcome::Lost(reason) => PurchaseAnswer::Unknown { reason },
        Outcome::Answered(answer) => match answer.status.as_u16() {
            200..300 => accepted(&answer),
            // Given up by somebody on the way, or "already being done": either may have bought.
            408 | 409 | 425 | 499 => PurchaseAnswer::Unknown { reason: answer.summary() },
            400..500 => refused(&answer),
            // Redirects too: a 303 follows a purchase that was made.
            _ => PurchaseAnswer::Unknown { reason: answer.summary() },
        },
    }
}

fn refused(answer: &Answer) -> PurchaseAnswer {
    let mut reason = answer.summary();
    match refusal::code(answer) {
        Code::ProviderNoStock => PurchaseAnswer::NoStock { reason },
        code => {
            if let Some(wait) = answer.retry_after {
                reason.push_str(&format!(" (try again in {} s)", wait.as_secs()));
            }
            PurchaseAnswer::Refused { code: code.as_str(), reason }
        }
    }
}

fn accepted(answer: &Answer) -> PurchaseAnswer {
    let unknown = |reason: &str| PurchaseAnswer::Unknown { reason: format!("{}: {reason}", answer.status.as_u16()) };
    match answer.body {
        Body::Whole => {}
        Body::Broken => return unknown("the answer broke off"),
        Body::TooLarge => return unknown("the answer is too large"),
    }
    if answer.error_code.is_some() {
        return unknown(&format!("an answer with an error: {}", answer.words()));
    }
    let Ok(said) = serde_json::from_str::<Value>(&answer.text) else {
        return unknown("the answer is not JSON");
    };
    let new_ips = addresses(&said["new_ips"]);
    if new_ips.is_empty() {
        // Sold out, a quota or a billing hold: the documents do not say which, or whether the
        // purchase is still under way.
        return unknown("the answer names no new address");
    }
    PurchaseAnswer::Bought { new_ips }
}

/// The addresses in a list of texts, each once, in its order.
fn addresses(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    let ips = texts.filter_map(|t| t.trim().parse::<IpAddr>().ok());
    let mut seen = BTreeSet::new();
    ips.filter(|ip| seen.insert(*ip)).take(MAX_NEW).map(|ip| ip.to_string()).collect()
}
