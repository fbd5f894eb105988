//! The same bytes as the edge, the simulator and the store have counted them.

use tollgate_domain::time::{Clock as _, Timestamp};
use tollgate_edge::Edge;

use crate::demo::client::Bytes;
use crate::demo::watch::until;
use crate::failure::Failure;
use crate::seed::{self, store};
use crate::system::System;

/// What the edge has counted since its start, once that is what the client did. A client sees a
/// byte a moment before the edge has counted it; a difference that stays is for the receipt to
/// show.
pub async fn by_edge(system: &System, client: Bytes) -> Bytes {
    let now = || {
        let Some(seen) = system.edge().map(Edge::snapshot) else { return (Bytes::default(), 0) };
        (Bytes { up: seen.ingress, down: seen.egress }, seen.open_tunnels)
    };
    let agreed = until("the edge has counted what the client did", || async {
        let (bytes, open) = now();
        Ok((open == 0 && bytes == client).then_some(bytes))
    });
    agreed.await.unwrap_or_else(|_| now().0)
}

/// What the simulated super-proxy has counted since its start.
pub fn by_simulator(system: &System) -> Bytes {
    let sum = system.sandbox.total_bytes();
    Bytes { up: sum.up, down: sum.down }
}

/// What the rows in the store say since `began`, after everything counted so far was settled.
///
/// # Errors
/// An edge that cannot settle, a store that fails.
pub async fn by_store(system: &System, began: Timestamp) -> Result<Bytes, Failure> {
    let settled = match system.edge() {
        Some(edge) => edge.settle().await,
        None => false,
    };
    if !settled {
        return Err(Failure::Demo("the edge could not settle".into()));
    }
    let mut sum = Bytes::default();
    // The story takes little more than an hour: two months at most.
    let (first, last) = (began.month(), system.clock.now().month());
    for month in if first == last { vec![first] } else { vec![first, last] } {
        for (_, row) in system.platform.store.usage(&seed::demo(), &month).await.map_err(store)? {
            sum = sum.plus(Bytes { up: row.ingress, down: row.egress });
        }
    }
    Ok(sum)
}

/// Bytes charged to the customer's allowance.
///
/// # Errors
/// A store that fails.
pub async fn charged(system: &System) -> Result<u64, Failure> {
    let buckets = system.platform.store.allowances(&seed::demo()).await.map_err(store)?;
    Ok(buckets.iter().map(|(_, bucket)| bucket.used()).sum())
}
