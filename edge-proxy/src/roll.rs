//! The list of edges, kept short: one that is dead and has left nothing open is taken off it by
//! any other, long after it was last heard of.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tollgate_domain::id::EdgeSession;
use tollgate_domain::share::Watch;
use tollgate_store::StoreError;
use tollgate_store::edge::Sign;

use crate::core::Core;
use crate::retry;

/// How often the list is read, at most: 15 min.
const READ: Duration = Duration::from_secs(900);
/// Silence after which an edge is dead for good, unless it comes back: one hour.
const GONE_AFTER: Duration = Duration::from_secs(3600);

/// Keeps it so for ever.
pub(crate) async fn follow(core: Arc<Core>) {
    let (began, mut watch) = (Instant::now(), Watch::default());
    loop {
        let full = u64::try_from(READ.as_millis()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_millis(full - retry::random() % (full / 5))).await;
        if let Err(e) = call(&core, &mut watch, began).await {
            watch.restart();
            core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(transition = "edges", error = %e, "store call failed");
        }
    }
}

async fn call(core: &Core, watch: &mut Watch<Sign>, began: Instant) -> Result<(), StoreError> {
    let asked = began.elapsed();
    let mut edges = core.store.edges().await?;
    let answered = began.elapsed();
    edges.retain(|(id, _)| *id != core.session.edge);
    for (id, row) in &edges {
        let last = EdgeSession { edge: id.clone(), epoch: row.epoch };
        if let Some(sign) = row.sign(&last) {
            watch.look(&last, sign, asked, answered);
        }
    }
    watch.retain(|s| edges.iter().any(|(id, row)| *id == s.edge && row.epoch == s.epoch));
    for (session, _) in watch.silent(GONE_AFTER) {
        let Some((id, row)) = edges.iter().find(|(id, _)| *id == session.edge) else { continue };
        if core.store.unlist_edge(id, row).await? {
            tracing::info!(session = %session, "a dead edge that left nothing open is listed no more");
        }
    }
    Ok(())
}
