//! Earlier lives of this edge that live on: a hand-over is two epochs of one edge at once. The
//! lock on an elder's journal says that its process lives; nothing of it is settled meanwhile,
//! and its share of a customer's capacity is its own.

use std::sync::Arc;

use crate::books::Order;
use crate::core::Core;
use crate::{journal, recovery, shares};

/// Looks after them until the last is over. One that died in the middle is settled here, not only by
/// the next start.
pub(crate) async fn follow(core: Arc<Core>) {
    while !core.elders().is_empty() {
        tokio::time::sleep(core.config.heartbeat_interval).await;
        if let Err(e) = recovery::settle_all(&core.config, &core.store, core.clock.now()).await {
            tracing::warn!(error = %e, "what a predecessor left behind is not settled; tried again");
            continue;
        }
        match journal::living(&core.config.data_dir, &core.config.edge) {
            Ok(mut living) => {
                living.retain(|s| *s != core.session);
                let over: Vec<_> = core.elders().into_iter().filter(|s| !living.contains(s)).collect();
                if !over.is_empty() {
                    tracing::info!(session = %core.session, left = living.len(), "a predecessor is over");
                }
                core.set_elders(living);
                for life in over {
                    if let Err(e) = core.store.end_session(&life, core.clock.now()).await {
                        // Others see that it is silent.
                        tracing::warn!(session = %life, error = %e, "the end of a predecessor is not told");
                    }
                }
            }
            Err(e) => tracing::warn!(error = %e, "predecessors cannot be looked for"),
        }
        // What they gave up is this life's.
        for account in core.directory.accounts() {
            let _ = account.orders.send(Order::Reload);
        }
    }
}

/// Keeps of this life's shares only what its tunnels need: a successor admits customers now.
pub(crate) async fn withdraw(core: Arc<Core>) {
    for account in core.directory.accounts() {
        if let Err(e) = shares::tell(&core, &account).await {
            // The successor counts what this life last said, and asks again.
            tracing::warn!(customer = %account.id, error = %e, "the share cannot be withdrawn");
        }
    }
}
