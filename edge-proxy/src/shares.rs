//! What each customer uses here, told every 5 s: its share comes back, and where its strike clock
//! stands. A customer that was above its threads for too long is locked out by the telling.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, stream};
use tokio::time::MissedTickBehavior;
use tollgate_domain::share::{Capacity, Usage};
use tollgate_domain::strike::SAMPLE;
use tollgate_store::StoreError;
use tollgate_store::cap::Life;

use crate::account::Account;
use crate::core::Core;
use crate::directory::share_of;

/// Customers told of at a time.
const AT_ONCE: usize = 8;

/// Tells for ever. What the store does not hear is told with the next sample.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut tick = tokio::time::interval(SAMPLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = core.clock.now();
        let mut accounts = core.directory.accounts();
        accounts.retain(|a| a.to_tell(now) && a.profile().limits.capacity() != Capacity::default());
        let one = |account: Arc<Account>| {
            let core = Arc::clone(&core);
            async move {
                if let Err(e) = tell(&core, &account).await {
                    core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(customer = %account.id, transition = "report_share", error = %e, "store call failed");
                }
            }
        };
        stream::iter(accounts).for_each_concurrent(AT_ONCE, one).await;
    }
}

async fn tell(core: &Core, account: &Account) -> Result<(), StoreError> {
    if account.gone() {
        return Ok(());
    }
    let limits = account.profile().limits.capacity();
    let in_use = account.live();
    if core.leaving() {
        // It admits nobody new: what its tunnels do not need is for others.
        core.store.withdraw_share(&account.id, &core.session, limits, in_use).await?;
        account.told(in_use, false);
    } else {
        report(core, account, limits, in_use).await?;
    }
    if account.gone() {
        // Its books were closed meanwhile, and its share given back: perhaps before it was told.
        core.store.leave_share(&account.id, &core.session).await?;
    }
    Ok(())
}

async fn report(core: &Core, account: &Account, limits: Capacity, in_use: u32) -> Result<(), StoreError> {
    let elders = core.elders();
    let life = Life { session: &core.session, elders: &elders };
    let soft = account.profile().limits.threads;
    let usage = Usage { in_use, refused: account.take_refused() };
    let now = core.clock.now();
    let answer = core.store.report_share_beside(&account.id, life, limits, soft, usage, now).await;
    let report = answer.inspect_err(|_| account.untold_refused(usage.refused))?;
    account.told(in_use, report.strike_since.is_some());
    // A change of the profile meanwhile has its own order for a share.
    if account.profile().limits.capacity() == limits {
        account.set_share(share_of(limits, report.node));
    }
    account.set_struck(report.locked_until);
    account.enforce(core.clock.now());
    Ok(())
}
