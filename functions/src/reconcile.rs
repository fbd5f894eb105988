//! Story: what the provider lists against what we own. Unknown purchases find their addresses,
//! oldest first; addresses that nothing explains are taken in, idle; purchases that the list
//! never shows fail after 15 minutes. Nothing here bills anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_domain::assignment::{AssignmentState, Hop};
use tollgate_domain::country::Country;
use tollgate_domain::id::{IntentId, ProviderId, ProxyId};
use tollgate_domain::intent::{Intent, IntentState, STALE_CALL, Verdict, match_addresses};
use tollgate_domain::provider::Provider;
use tollgate_domain::proxy::{ProxyIp, ProxyState};
use tollgate_domain::time::Timestamp;
use tollgate_providers::Listed;
use tollgate_store::StoreError;
use tollgate_store::intent::Confirm;

use crate::assign::{bought, idle};
use crate::platform::Platform;

/// A released address may still be listed for so long (delayed listing).
const LISTING_LAG: Duration = Duration::from_secs(600);

/// What one look did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Unknown purchases that found their address.
    pub matched: u32,
    /// Purchases that never happened.
    pub failed: u32,
    /// Addresses taken in that no purchase explains.
    pub adopted: u32,
    /// Addresses in release that the provider does not list any more.
    pub released: u32,
    /// Purchases still open.
    pub open: u32,
}

/// The provider's list could not be read; nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider could not be asked.
    #[error("provider {0}: {1}")]
    Provider(ProviderId, String),
}

/// Looks at every provider, all at the same time: a slow one delays no other.
///
/// # Errors
/// [`StoreError`] if the providers cannot be read.
pub async fn reconcile_all(
    platform: &Platform,
) -> Result<Vec<(ProviderId, Result<Reconciled, ReconcileError>)>, StoreError> {
    let rows = platform.store.providers().await?;
    let looks = rows.into_iter().map(|row| async move {
        let result = look(platform, &row).await;
        if let Err(e) = &result {
            tracing::error!(provider = %row.id, error = %e, "reconcile failed");
        }
        (row.id, result)
    });
    Ok(futures_util::future::join_all(looks).await)
}

/// Looks at one provider.
///
/// # Errors
/// [`ReconcileError`]; safe to repeat, and to run twice at once.
pub async fn reconcile(platform: &Platform, provider: &ProviderId) -> Result<Reconciled, ReconcileError> {
    match platform.store.provider(provider).await? {
        Some(row) => look(platform, &row).await,
        None => Err(ReconcileError::Provider(provider.clone(), "has no row".to_owned())),
    }
}

async fn look(platform: &Platform, provider: &Provider) -> Result<Reconciled, ReconcileError> {
    let store = &platform.store;
    let asked = |e: String| ReconcileError::Provider(provider.id.clone(), e);
    let market = platform.markets.market(provider).await.map_err(|e| asked(e.to_string()))?;
    // In this order: an address bought after the list was made is not in it; one bought before
    // is either explained by an open intent or already ours when the rows are read.
    let listed = market.list(&provider.zone, platform.bounds.provider_call).await.map_err(|e| asked(e.to_string()))?;
    let open = store.open_intents(&provider.id).await?;
    let rows = store.proxies(&provider.id).await?;
    let mut done = Reconciled::default();
    let open = lose_patience(platform, open).await?;
    let unowned = unowned(&listed, &rows, platform.now());
    let matched = match_unknown(platform, provider, &open, unowned, &mut done).await?;
    fail_unlisted(platform, &open, &matched, &mut done).await?;
    end_unlisted_releases(platform, &listed, rows.into_iter().filter(|p| p.zone == provider.zone), &mut done).await?;
    if done.matched + done.failed + done.adopted + done.released > 0 {
        tracing::info!(provider = %provider.id, ?done, "reconciled");
    }
    Ok(done)
}

/// Calls whose caller died are unknown from now on.
async fn lose_patience(platform: &Platform, open: Vec<Intent>) -> Result<Vec<Intent>, StoreError> {
    let mut kept = Vec::with_capacity(open.len());
    for intent in open {
        let now = platform.now();
        match intent.verdict_when_unlisted(now) {
            Verdict::Unknown(why) if intent.state == IntentState::Calling => {
                let next = platform.store.step_intent(&intent, IntentState::Unknown, now, Some(why.to_owned())).await?;
                kept.extend(next);
            }
            _ => kept.push(intent),
        }
    }
    Ok(kept)
}

/// Listed addresses that we do not hold and did not just give back.
fn unowned(listed: &[Listed], rows: &[ProxyIp], now: Timestamp) -> Vec<Listed> {
    let ours: BTreeSet<&str> = rows
        .iter()
        .filter(|p| p.state.is_held() || p.released_at.is_some_and(|at| now.since(at) < LISTING_LAG))
        .map(|p| p.id.ip.as_str())
        .collect();
    listed.iter().filter(|l| !ours.contains(l.ip.as_str())).cloned().collect()
}

/// Gives unowned addresses to unknown purchases of their country, and takes in the rest.
async fn match_unknown(
    platform: &Platform,
    provider: &Provider,
    open: &[Intent],
    unowned: Vec<Listed>,
    done: &mut Reconciled,
) -> Result<BTreeSet<IntentId>, StoreError> {
    let mut by_country: BTreeMap<Country, Vec<String>> = BTreeMap::new();
    for l in unowned {
        match l.country {
            Some(c) => by_country.entry(c).or_default().push(l.ip),
            None => tracing::warn!(provider = %provider.id, ip = %l.ip, "listed without a country we know"),
        }
    }
    let mut matched = BTreeSet::new();
    for (country, ips) in by_country {
        let here = || open.iter().filter(move |i| i.country == country);
        let unknown =
            here().filter(|i| i.state == IntentState::Unknown).map(|i| (i.planned_at, i.id.clone())).collect();
        let pairing = match_addresses(unknown, ips);
        for (id, ip) in pairing.pairs {
            let Some(intent) = here().find(|i| i.id == id) else { continue };
            if give(platform, provider, intent, ip).await? {
                done.matched += 1;
            }
            matched.insert(id);
        }
        // A call under way may own what looks like surplus: it is left for the next look.
        let under_way = here().any(|i| matches!(i.state, IntentState::Planned | IntentState::Calling));
        if under_way {
            continue;
        }
        for ip in pairing.surplus {
            if adopt(platform, provider, country, ip).await? {
                done.adopted += 1;
            }
        }
    }
    Ok(matched)
}

/// The address of an unknown purchase: for its line if it still waits, else for the pool.
async fn give(platform: &Platform, provider: &Provider, intent: &Intent, ip: String) -> Result<bool, StoreError> {
    let store = &platform.store;
    let now = platform.now();
    let proxy = bought(provider, intent, ip, now);
    let claim = store.assignment(&intent.line).await?;
    let waiting = claim.filter(|a| a.state == AssignmentState::Pending && a.attempt == intent.attempt);
    let mut result = Confirm::LineMoved;
    if let Some(claim) = waiting {
        let mut hops = claim.hops;
        hops.push(Hop {
            country: intent.country,
            provider: Some(provider.id.clone()),
            outcome: "bought_answer_lost".to_owned(),
            intent: Some(intent.id.clone()),
        });
        result = store.confirm_bound(intent, &proxy, &hops, now).await?;
    }
    if result == Confirm::LineMoved {
        result = store.confirm_idle(intent, &idle(provider, proxy.clone(), now), now).await?;
    }
    if result == Confirm::Done {
        let detail = json!({"intent": intent.id, "proxy": proxy.id.to_string(), "line": intent.line.to_string()});
        platform.emit("purchase.matched", detail).await;
    }
    Ok(result == Confirm::Done)
}

async fn adopt(platform: &Platform, provider: &Provider, country: Country, ip: String) -> Result<bool, StoreError> {
    let now = platform.now();
    let paid_until = provider.paid_until(now, now);
    let proxy = ProxyIp {
        id: ProxyId { provider: provider.id.clone(), ip },
        zone: provider.zone.clone(),
        country,
        class: provider.class,
        state: ProxyState::Idle,
        ver: 1,
        intent: None,
        line: None,
        price: provider.price,
        purchased_at: now,
        paid_until,
        idle_since: Some(now),
        due: Some(provider.due(now, paid_until)),
        released_at: None,
        recycled: 0,
        release_failures: 0,
        health: 100,
    };
    let adopted = platform.store.adopt(&proxy).await?;
    if adopted {
        tracing::warn!(proxy = %proxy.id, %country, "an address that no purchase explains was taken in");
        let detail = json!({"proxy": proxy.id.to_string(), "country": country, "due": proxy.due});
        platform.emit("proxy.adopted", detail).await;
    }
    Ok(adopted)
}

async fn fail_unlisted(
    platform: &Platform,
    open: &[Intent],
    matched: &BTreeSet<IntentId>,
    done: &mut Reconciled,
) -> Result<(), StoreError> {
    for intent in open.iter().filter(|i| !matched.contains(&i.id)) {
        let now = platform.now();
        match intent.verdict_when_unlisted(now) {
            Verdict::Fail(why) if platform.store.fail_intent(intent, now, why, None).await? => {
                platform.store.forget_intent(intent).await?;
                done.failed += 1;
                let detail = json!({"intent": intent.id, "line": intent.line.to_string(), "reason": why});
                platform.emit("purchase.failed", detail).await;
            }
            _ => done.open += 1,
        }
    }
    Ok(())
}

/// What is in release and not listed any more is gone. Only after its call can have ended.
async fn end_unlisted_releases(
    platform: &Platform,
    listed: &[Listed],
    rows: impl Iterator<Item = ProxyIp>,
    done: &mut Reconciled,
) -> Result<(), StoreError> {
    let now = platform.now();
    for p in rows.filter(|p| p.state == ProxyState::Releasing) {
        let settled = now.since(p.purchased_at) > STALE_CALL;
        if settled && !listed.iter().any(|l| l.ip == p.id.ip) && platform.store.end_release(&p, now).await? {
            done.released += 1;
        }
    }
    Ok(())
}
