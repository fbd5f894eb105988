//! Giving addresses back. It may be repeated, and "it is not there" is what is wanted; but it
//! is believed only after a look at the list, because a wrong path or zone sounds the same and
//! the address would go on costing money.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use tollgate_domain::refusal::Code;

use super::{BrightData, refusal};
use crate::api::{Answer, Outcome};
use crate::market::{ProxyMarket, ReleaseAnswer};

pub(super) async fn release(client: &BrightData, zone: String, ips: Vec<String>, within: Duration) -> ReleaseAnswer {
    if ips.is_empty() {
        return ReleaseAnswer::Gone;
    }
    if zone.is_empty() || ips.iter().any(|ip| ip.parse::<IpAddr>().is_err()) {
        return retry("not sent: a release names a zone and addresses".into());
    }
    let deadline = Instant::now() + within;
    let left = || deadline.saturating_duration_since(Instant::now());
    let refused = match client.delete(&zone, &ips, left()).await {
        Outcome::Answered(answer) if done(&answer) => return ReleaseAnswer::Gone,
        Outcome::Answered(answer) if says_gone(&answer) => answer,
        other => return undone(other),
    };
    // One address that is gone makes the provider refuse the whole list.
    let listed = match client.list(&zone, left()).await {
        Ok(listed) => listed,
        Err(e) => return retry(format!("{}; and its list cannot be read: {e}", refused.summary())),
    };
    let still = ips.iter().filter(|ip| listed.iter().any(|l| same(&l.ip, ip))).cloned().collect::<Vec<_>>();
    if still.is_empty() {
        return ReleaseAnswer::Gone;
    }
    if still.len() == ips.len() {
        return retry(format!("{}; but its list holds them", refused.summary()));
    }
    match client.delete(&zone, &still, left()).await {
        Outcome::Answered(answer) if done(&answer) => ReleaseAnswer::Gone,
        other => undone(other),
    }
}

/// A body that broke off changes nothing: what `ips` in it means is undocumented anyway.
fn done(answer: &Answer) -> bool {
    answer.status.is_success() && answer.error_code.is_none()
}

fn says_gone(answer: &Answer) -> bool {
    let said = answer.words().to_ascii_lowercase();
    let gone =
        ["not found", "not allocated", "not_allocated", "no such", "does not exist", "not in zone", "not in the zone"];
    answer.status.as_u16() == 404
        || (answer.status.is_client_error()
            && refusal::code(answer) == Code::ProviderRefused
            && gone.iter().any(|g| said.contains(g)))
}

fn undone(outcome: Outcome) -> ReleaseAnswer {
    match outcome {
        Outcome::Answered(answer) => ReleaseAnswer::Retry { reason: answer.summary(), retry_after: answer.retry_after },
        Outcome::NotSent(reason) | Outcome::Lost(reason) => retry(reason),
    }
}

fn retry(reason: String) -> ReleaseAnswer {
    ReleaseAnswer::Retry { reason, retry_after: None }
}

fn same(a: &str, b: &str) -> bool {
    a.parse::<IpAddr>().ok().is_some_and(|a| b.parse() == Ok(a))
}
