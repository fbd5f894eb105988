//! Story, every minute: lines that nobody uses close, and addresses whose time is up are given
//! back. Running twice at once is harmless: every step has its condition.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_domain::id::ProviderId;
use tollgate_domain::line::LineState;
use tollgate_domain::proxy::{ProxyIp, ProxyState};
use tollgate_domain::time::Timestamp;
use tollgate_providers::ReleaseAnswer;
use tollgate_store::StoreError;
use tollgate_store::line::{DUE_SHARDS, DueLine};
use tollgate_store::proxy::DueProxy;

use crate::close_line::{Closed, close_if};
use crate::platform::Platform;

/// Reminders read at once, per shard: one run handles at most this many of each kind per shard
/// and round, so that one run stays within a function's time.
const BATCH: usize = 50;
/// Rounds per shard of one run.
const ROUNDS: usize = 20;
/// When an address in release is looked at again if this run dies.
const RELEASE_LEASE: Duration = Duration::from_secs(120);
/// Longest pause between two attempts to release.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Lines closed.
    pub lines_closed: u32,
    /// Addresses given back, confirmed by the provider.
    pub released: u32,
    /// Addresses whose release failed and is tried again.
    pub postponed: u32,
    /// Reminders that meant nothing any more.
    pub stale: u32,
    /// Steps that failed; the next run repeats them.
    pub failed: u32,
}

/// One sweep at the platform's time.
///
/// # Errors
/// [`StoreError`] only when the lists themselves cannot be read: one bad row does not stop the
/// sweep.
pub async fn release_idle(platform: &Platform) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    for shard in 0..DUE_SHARDS {
        close_due_lines(platform, shard, &mut swept).await?;
    }
    for shard in 0..DUE_SHARDS {
        release_due(platform, shard, &mut swept).await?;
    }
    if swept != Swept::default() {
        tracing::info!(?swept, "swept");
    }
    Ok(swept)
}

async fn close_due_lines(platform: &Platform, shard: u8, swept: &mut Swept) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        let due = platform.store.due_lines(shard, platform.now(), BATCH).await?;
        let full = due.len() == BATCH;
        let failed = swept.failed;
        for reminder in due {
            match close_due_line(platform, &reminder).await {
                Ok(Closed::Closed { .. }) => swept.lines_closed += 1,
                Ok(_) => swept.stale += 1,
                Err(e) => {
                    tracing::error!(line = %reminder.line, error = %e, "closing a due line failed");
                    swept.failed += 1;
                }
            }
        }
        if !full || swept.failed > failed {
            break;
        }
    }
    Ok(())
}

async fn close_due_line(platform: &Platform, reminder: &DueLine) -> Result<Closed, StoreError> {
    let at = reminder.at;
    let closed = close_if(platform, &reminder.line, "unused", |line| {
        line.open.is_empty() && line.close_due == Some(at) && line.state == LineState::Open
    })
    .await?;
    platform.store.drop_due_line(reminder).await?;
    Ok(closed)
}

async fn release_due(platform: &Platform, shard: u8, swept: &mut Swept) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        let now = platform.now();
        let due = platform.store.due_proxies(shard, now, BATCH).await?;
        let full = due.len() == BATCH;
        let failed = swept.failed;
        let mut leaving: BTreeMap<(ProviderId, String), Vec<ProxyIp>> = BTreeMap::new();
        for reminder in due {
            match leave_pool(platform, &reminder, now).await {
                Ok(Some(p)) => leaving.entry((p.id.provider.clone(), p.zone.clone())).or_default().push(p),
                Ok(None) => swept.stale += 1,
                Err(e) => {
                    tracing::error!(proxy = %reminder.id, error = %e, "a due address could not be looked at");
                    swept.failed += 1;
                }
            }
        }
        for ((provider, zone), proxies) in leaving {
            give_back(platform, &provider, &zone, proxies, swept).await;
        }
        if !full || swept.failed > failed {
            break;
        }
    }
    Ok(())
}

/// Takes a due address out of the pool; `None` if there is nothing to give back.
async fn leave_pool(platform: &Platform, due: &DueProxy, now: Timestamp) -> Result<Option<ProxyIp>, StoreError> {
    let store = &platform.store;
    let Some(proxy) = store.proxy(&due.id).await? else {
        store.drop_due_proxy(due).await?;
        return Ok(None);
    };
    let meant = proxy.due == Some(due.at);
    match proxy.state {
        ProxyState::Idle if meant => {
            let retry_at = now.plus(RELEASE_LEASE);
            if !store.begin_release(&proxy, now, retry_at).await? {
                return Ok(None);
            }
            Ok(store.proxy(&due.id).await?.filter(|p| p.state == ProxyState::Releasing))
        }
        ProxyState::Releasing if meant => Ok(Some(proxy)),
        _ => {
            store.drop_due_proxy(due).await?;
            Ok(None)
        }
    }
}

/// Gives addresses of one zone back: in one call, and one by one if that call fails.
async fn give_back(platform: &Platform, provider: &ProviderId, zone: &str, proxies: Vec<ProxyIp>, swept: &mut Swept) {
    let market = match platform.store.provider(provider).await {
        Ok(Some(row)) => platform.markets.market(&row).await.map_err(|e| e.to_string()),
        Ok(None) => Err(format!("provider {provider} has no row")),
        Err(e) => Err(e.to_string()),
    };
    let market = match market {
        Ok(m) => m,
        Err(why) => {
            for p in &proxies {
                postpone(platform, p, &why, None, swept).await;
            }
            return;
        }
    };
    let within = platform.bounds.provider_call;
    let ips = proxies.iter().map(|p| p.id.ip.clone()).collect::<Vec<_>>();
    match market.release(zone, &ips, within).await {
        ReleaseAnswer::Gone => {
            for p in &proxies {
                released(platform, p, swept).await;
            }
        }
        ReleaseAnswer::Retry { reason, retry_after } if proxies.len() == 1 => {
            postpone(platform, &proxies[0], &reason, retry_after, swept).await;
        }
        ReleaseAnswer::Retry { .. } => {
            for p in &proxies {
                match market.release(zone, std::slice::from_ref(&p.id.ip), within).await {
                    ReleaseAnswer::Gone => released(platform, p, swept).await,
                    ReleaseAnswer::Retry { reason, retry_after } => {
                        postpone(platform, p, &reason, retry_after, swept).await;
                    }
                }
            }
        }
    }
}

async fn released(platform: &Platform, proxy: &ProxyIp, swept: &mut Swept) {
    match platform.store.end_release(proxy, platform.now()).await {
        Ok(_) => {
            swept.released += 1;
            let detail = json!({"proxy": proxy.id.to_string(), "paid_until": proxy.paid_until});
            platform.emit("proxy.released", detail).await;
        }
        Err(e) => {
            tracing::error!(proxy = %proxy.id, error = %e, "a release was confirmed and could not be noted");
            swept.failed += 1;
        }
    }
}

async fn postpone(platform: &Platform, proxy: &ProxyIp, why: &str, after: Option<Duration>, swept: &mut Swept) {
    let backoff = Duration::from_secs(60 << proxy.release_failures.min(6)).min(BACKOFF_MAX);
    let retry_at = platform.now().plus(after.unwrap_or(backoff).clamp(Duration::from_secs(1), BACKOFF_MAX));
    tracing::warn!(proxy = %proxy.id, why, %retry_at, failures = proxy.release_failures + 1, "release failed");
    match platform.store.postpone_release(proxy, retry_at).await {
        Ok(_) => swept.postponed += 1,
        Err(e) => {
            tracing::error!(proxy = %proxy.id, error = %e, "a failed release could not be noted");
            swept.failed += 1;
        }
    }
}
