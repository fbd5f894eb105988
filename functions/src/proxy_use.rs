//! Story: what one proxy carried so far, when it was last used, and how many tunnels are open over it
//! now, in all and by customer.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::id::{CustomerId, EdgeId, EdgeSession, ProxyId};
use tollgate_domain::proxy::ProxyIp;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;
use tollgate_store::edge::EdgeRow;
use tollgate_store::proxy_use::ProxyUser;

use crate::live::FRESH;
use crate::outcome::store;
use crate::platform::Platform;

/// Use of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes of both directions.
    pub bytes: u64,
    /// When it was last known to be in use.
    pub last_at: Timestamp,
    /// Tunnels at edges that live, as of a minute ago at most.
    pub open: u64,
}

/// A proxy, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its row; none for upstreams that are not bought.
    pub proxy: Option<ProxyIp>,
    /// All use of it; none = never used.
    pub used: Option<Used>,
    /// The same by customer.
    pub customers: BTreeMap<CustomerId, Used>,
}

/// The summary of `id`.
///
/// # Errors
/// `NOT_FOUND`; `STORE_UNAVAILABLE`.
pub async fn summary(platform: &Platform, id: &ProxyId) -> Result<Summary, Refusal> {
    let read = futures_util::future::try_join(platform.store.proxy(id), platform.store.proxy_users(id));
    let (proxy, users) = Box::pin(read).await.map_err(store)?;
    if proxy.is_none() && users.is_empty() {
        return Err(Refusal::new(Code::NotFound, "no such proxy was ever held or used"));
    }
    let edges = edges(platform, &users).await?;
    let now = platform.now();
    let mut customers: BTreeMap<CustomerId, Used> = BTreeMap::new();
    for user in users {
        let row = edges.get(&user.session.edge);
        let lives = row.is_some_and(|row| lives(row, &user.session, now));
        let open = if lives { u64::from(user.used.open) } else { 0 };
        add(
            customers.entry(user.customer).or_default(),
            Used { bytes: user.used.bytes, last_at: user.used.last_at, open },
        );
    }
    let used = customers.values().copied().reduce(|mut sum, one| {
        add(&mut sum, one);
        sum
    });
    Ok(Summary { proxy, used, customers })
}

/// The rows of edges that say they have tunnels open.
async fn edges(platform: &Platform, users: &[ProxyUser]) -> Result<BTreeMap<EdgeId, EdgeRow>, Refusal> {
    let named: BTreeSet<EdgeId> = users.iter().filter(|u| u.used.open > 0).map(|u| u.session.edge.clone()).collect();
    let mut rows = BTreeMap::new();
    for id in named {
        if let Some(row) = platform.store.edge(&id).await.map_err(store)? {
            rows.insert(id, row);
        }
    }
    Ok(rows)
}

fn lives(row: &EdgeRow, session: &EdgeSession, now: Timestamp) -> bool {
    let over = row.lost.contains_key(session)
        || row.unsettled.contains_key(session)
        || (session.epoch == row.epoch && row.ended_at.is_some());
    !over && row.last_heard(session).is_some_and(|heard| now.since(heard) <= FRESH)
}

fn add(sum: &mut Used, one: Used) {
    sum.bytes = sum.bytes.saturating_add(one.bytes);
    sum.last_at = sum.last_at.max(one.last_at);
    sum.open += one.open;
}
