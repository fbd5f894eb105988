//! What each customer uses and needs here, told every 5 s, and sooner where something is lacking:
//! its share comes back, and where its strike clock stands. A customer that was above its threads
//! for too long is locked out by the telling.
//!
//! What is given to others is given in two steps: the answer says how much, the own limits are
//! lowered to it, and only then the store hears that it is free. What is taken is in force once
//! the store has confirmed it. So what all edges allow fits the plan, whatever answers are lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, stream};
use tokio::time::MissedTickBehavior;
use tollgate_domain::customer::Customer;
use tollgate_domain::share::{Demand, Part, Usage};
use tollgate_domain::strike::SAMPLE;
use tollgate_store::StoreError;
use tollgate_store::cap::{Life, ShareReport};

use crate::account::{Account, Share};
use crate::core::Core;

/// Customers told of at a time.
const AT_ONCE: usize = 8;

/// Tells for ever. What the store does not hear is told with the next sample.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut sample = tokio::time::interval(SAMPLE);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // As often as the feed is read: by it others hear what is wanted here.
    let mut soon = tokio::time::interval(core.config.feed_interval);
    soon.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let all = tokio::select! {
            _ = sample.tick() => true,
            _ = soon.tick() => false,
        };
        let now = core.clock.now();
        let mut accounts = core.directory.accounts();
        accounts.retain(|a| if all { a.to_tell(now) } else { a.chases() });
        accounts.retain(|a| a.profile().limits.capacity().limited());
        let one = |account| tell_if_heard(Arc::clone(&core), account);
        stream::iter(accounts).for_each_concurrent(AT_ONCE, one).await;
    }
}

/// As [`tell`]; what the store does not hear is told with the next sample.
pub(crate) async fn tell_if_heard(core: Arc<Core>, account: Arc<Account>) {
    if let Err(e) = tell(&core, &account).await {
        account.wait_for_sample();
        core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(customer = %account.id, transition = "report_share", error = %e, "store call failed");
    }
}

/// Tells of one customer now, and puts in force what comes back.
pub(crate) async fn tell(core: &Core, account: &Account) -> Result<(), StoreError> {
    // One at a time: an answer must not be put in force after a newer one.
    let _one = account.telling.lock().await;
    if account.gone() {
        return Ok(());
    }
    if core.leaving() {
        withdraw(core, account).await?;
    } else if report(core, account).await? {
        report(core, account).await?;
    }
    if account.gone() {
        // Its books were closed meanwhile, and its share given back: perhaps before it was told.
        core.store.leave_share(&account.id, &core.session).await?;
    }
    Ok(())
}

/// Returns whether there is more to tell: limits were lowered.
async fn report(core: &Core, account: &Account) -> Result<bool, StoreError> {
    let profile = account.profile();
    if !profile.limits.capacity().limited() {
        account.set_share(Share::default());
        return Ok(false);
    }
    let lapses = core.pulse.lapses();
    let back = lapses != account.lapses_told() || core.pulse.is_faint();
    let usage = account.usage(&core.journal);
    let answer = send(core, &profile, back, usage).await;
    let report = answer.inspect_err(|_| account.untold_refused(usage.refused))?;
    account.set_lapses_told(lapses);
    let needs = usage.need.threads > 0 || report.limits.of_need(usage.need).exceeds(report.may);
    account.told(needs, report.strike_since.is_some());
    // A change of the profile meanwhile has its own order for a share.
    let more = account.profile().ver == profile.ver && account.take_share(&report, usage.need);
    account.set_struck(report.locked_until);
    account.enforce(core.clock.now());
    Ok(more)
}

/// The first share of a customer that becomes active here.
pub(crate) async fn first(core: &Core, profile: &Customer) -> Result<(Share, Part), StoreError> {
    let limits = profile.limits.capacity();
    if !limits.limited() {
        return Ok((Share::default(), Part::default()));
    }
    let need = Demand::first(limits);
    let report = send(core, profile, false, Usage { need, ..Usage::default() }).await?;
    Ok((Share { limits: report.limits, may: report.may }, need))
}

async fn send(core: &Core, profile: &Customer, back: bool, usage: Usage) -> Result<ShareReport, StoreError> {
    let (elders, silent) = (core.elders(), core.peers.silent(core.config.dead_after));
    let life = Life { session: &core.session, elders: &elders, silent: &silent, back };
    let report = core.store.report_share(&profile.id, life, profile.terms(), usage, core.clock.now()).await?;
    core.peers.meet(&core.session.edge, &report.others);
    Ok(report)
}

/// Keeps of the share only what tunnels need: a successor admits customers now.
async fn withdraw(core: &Core, account: &Account) -> Result<(), StoreError> {
    let limits = account.profile().limits.capacity();
    if !limits.limited() {
        account.set_share(Share::default());
        return Ok(());
    }
    account.set_rate(limits.rate);
    let in_use = account.live();
    core.store.withdraw_share(&account.id, &core.session, in_use).await?;
    account.told(in_use > 0, false);
    Ok(())
}
