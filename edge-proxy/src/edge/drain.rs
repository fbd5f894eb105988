//! The end of an edge's work: it accepts no more, tunnels finish or are cut, leases close. As a part
//! of its end, or in place, so that it can still be asked how it stands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tollgate_domain::id::CustomerId;

use crate::account::Account;
use crate::books::Order;
use crate::core::Core;
use crate::tunnel::CloseReason;

/// How often a condition of draining is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Time for closing leases and for what is said of lines, once tunnels have ended.
const CLOSING: Duration = Duration::from_secs(30);

/// Drains and stays: heartbeats, commands and the admin listener go on. A later call may cut tunnels
/// sooner, never later.
pub(crate) async fn in_place(core: Arc<Core>, patience: Duration) {
    tracing::info!(session = %core.session, patience_s = patience.as_secs(), "drains in place");
    if core.start_draining() {
        tell_begun(Arc::clone(&core)).await;
    }
    let unsettled = finish(&core, patience).await;
    tracing::info!(session = %core.session, unsettled = unsettled.len(), "drained in place");
}

/// Accepts no more, lets tunnels finish within `patience`, cuts the rest, tells that lines are
/// quiet, closes all leases. Returns the customers whose leases could not be closed.
pub(super) async fn finish(core: &Arc<Core>, patience: Duration) -> Vec<CustomerId> {
    core.start_draining();
    core.listeners.close();
    let open = || core.metrics.open_tunnels.load(Ordering::Relaxed);
    let live = || core.directory.accounts().iter().any(|a| a.live() > 0);
    until(Instant::now() + patience, || open() == 0 && !live()).await;
    for account in core.directory.accounts() {
        account.kill(|_| Some(CloseReason::Drain));
    }
    let end = Instant::now() + CLOSING;
    until(end, || open() == 0 && !live()).await;
    let lines = || core.directory.accounts().iter().flat_map(|a| a.lines()).collect::<Vec<_>>();
    until(end, || {
        let kept: Vec<_> = lines().into_iter().filter(|l| l.kept()).collect();
        kept.iter().for_each(|l| l.hurry());
        kept.is_empty()
    })
    .await;
    let mut unsettled = Vec::new();
    for account in core.directory.accounts() {
        if !close(&account, end).await {
            unsettled.push(account.id.clone());
        }
    }
    unsettled
}

async fn close(account: &Arc<Account>, end: Instant) -> bool {
    loop {
        let (done, answer) = oneshot::channel();
        if account.orders.send(Order::Close(done)).is_err() {
            return account.gone();
        }
        match tokio::time::timeout_at(end, answer).await {
            Ok(Ok(true)) => return true,
            // Its books were closed for idleness a moment ago.
            Ok(Err(_)) => return account.gone(),
            Ok(Ok(false)) if Instant::now() < end => tokio::time::sleep(LOOK).await,
            _ => return false,
        }
    }
}

/// Waits until `condition` holds, or until `end`.
pub(super) async fn until(end: Instant, mut condition: impl FnMut() -> bool) {
    while !condition() && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the store, for the eyes of operators, that this life accepts no more.
pub(super) async fn tell_begun(core: Arc<Core>) {
    if let Err(e) = core.store.begin_draining(&core.session, core.clock.now()).await {
        tracing::warn!(error = %e, "the store does not hear that this edge drains");
    }
}

/// Tells the store that nothing of this life is left.
pub(super) async fn tell_ended(core: Arc<Core>) {
    if let Err(e) = core.store.end_session(&core.session, core.clock.now()).await {
        tracing::warn!(error = %e, "the store does not hear that this edge has ended");
    }
}
