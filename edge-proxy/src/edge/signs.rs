//! Signs of life: the heartbeat in the store, the journal on the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tollgate_store::edge::Heartbeat;

use super::drain;
use crate::core::Core;

/// Tells the store that the edge lives.
pub(super) async fn beat(core: Arc<Core>) {
    loop {
        tokio::time::sleep(core.config.heartbeat_interval).await;
        let (sent, tunnels) = (Instant::now(), core.metrics.open_tunnels.load(Ordering::Relaxed));
        match core.store.heartbeat(&core.session, tunnels, core.clock.now()).await {
            Ok(Heartbeat::Beating) => {
                if core.pulse.beat(sent) {
                    back(&core).await;
                }
            }
            // Its successor knows of it.
            Ok(Heartbeat::Leaving { .. }) => {
                core.pulse.beat(sent);
            }
            Ok(Heartbeat::Superseded { epoch }) => {
                tracing::warn!(session = %core.session, epoch, "a later life of this edge has started");
            }
            Ok(Heartbeat::Lost) => {
                // What moves from here on is nobody's: only a new life may carry customers.
                tracing::error!(session = %core.session, "this life was declared lost: it carries nobody until it is started again");
                drain::in_place(core, Duration::ZERO).await;
                return;
            }
            Err(e) => {
                core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = %e, "heartbeat failed");
            }
        }
    }
}

/// Others may have thought that this edge was dead.
async fn back(core: &Core) {
    tracing::warn!(session = %core.session, "heard again after a time without a heartbeat");
    if let Err(e) = core.store.list_edge(&core.session.edge).await {
        tracing::warn!(error = %e, "the edge may not be listed");
    }
}

/// Brings the journal to the disk each second, off the control thread.
pub(super) async fn checkpoint(core: Arc<Core>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let this = Arc::clone(&core);
        let done = tokio::task::spawn_blocking(move || this.journal.checkpoint(this.clock.now())).await;
        if let Ok(Err(e)) = done {
            tracing::error!(error = %e, "the journal cannot be brought to the disk");
        }
    }
}
