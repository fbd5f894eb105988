//! The change feed, read each second over an overlapping window; and what time alone changes.

mod seen;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tollgate_domain::allow::Block;
use tollgate_domain::assignment::AssignmentState;
use tollgate_domain::feed::Entity;
use tollgate_domain::id::{CustomerId, LineKey, UserName};
use tollgate_store::StoreError;

use crate::account::Account;
use crate::books::Order;
use crate::command::command;
use crate::core::Core;
use crate::tunnel::CloseReason;
use crate::{retry, shares, sources};
use seen::{Seen, written_at};

/// Reads the feed for ever.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut from = core.clock.now();
    let mut seen = Seen::default();
    loop {
        // Within the interval, at a point of its own: edges do not ask all at once.
        tokio::time::sleep(core.config.feed_interval).await;
        let (began, now) = (Instant::now(), core.clock.now());
        match core.store.changes_since(from.minus(core.config.feed_overlap)).await {
            Ok(changes) => {
                let (mut whole, mut answered) = (true, true);
                for (id, change) in changes {
                    if !seen.is_new(&id, &change) {
                        continue;
                    }
                    match apply(&core, &change.entity).await {
                        Ok(()) => {
                            if let Some(at) = written_at(&id) {
                                core.metrics.feed.applied(at);
                            }
                        }
                        Err(e) => {
                            // Read again with the next window.
                            seen.forget(&id, &change);
                            whole = false;
                            // One row that cannot be read says nothing of the store.
                            answered &= matches!(e, StoreError::Corrupt { .. });
                            failed(&core, "change", &e);
                        }
                    }
                }
                if whole {
                    from = now;
                    core.metrics.feed.read(began);
                }
                seen.trim(from.minus(core.config.feed_overlap));
                if answered {
                    core.reach.heard(now, began);
                } else {
                    core.reach.failed();
                }
            }
            Err(e) => {
                core.reach.failed();
                failed(&core, "feed", &e);
            }
        }
    }
}

/// Expiry, locks and kicks act on live tunnels when their time comes, feed or not; and so does
/// the end of what an edge may do without the store.
pub(crate) async fn watch_time(core: Arc<Core>) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = core.clock.now();
        let lost = core.reach.look(now, core.live.get().staleness);
        for account in core.directory.accounts() {
            account.enforce(now);
            if lost {
                account.kill(|_| Some(CloseReason::Stale));
            }
        }
    }
}

/// Reads active customers again from time to time, whatever the feed said.
pub(crate) async fn resync(core: Arc<Core>) {
    loop {
        let full = u64::try_from(core.config.resync_interval.as_millis()).unwrap_or(u64::MAX).max(10);
        tokio::time::sleep(Duration::from_millis(full - retry::random() % (full / 5))).await;
        for account in core.directory.accounts() {
            if let Err(e) = customer(&core, &account).await {
                failed(&core, "resync", &e);
            }
            for user in account.logins() {
                if let Err(e) = credential(&core, &user).await {
                    failed(&core, "resync", &e);
                }
            }
        }
    }
}

fn failed(core: &Core, what: &str, e: &StoreError) {
    core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(transition = what, error = %e, "store call failed");
}

async fn apply(core: &Arc<Core>, entity: &Entity) -> Result<(), StoreError> {
    match entity {
        Entity::Customer(id) => with(core, id, |a| async move { customer(core, &a).await }).await,
        Entity::Credential(user) => credential(core, user).await,
        Entity::Line(key) => with(core, &key.customer, |a| async move { line(core, &a, key).await }).await,
        Entity::Provider(id) => {
            core.directory.forget_gateway(id);
            for account in core.directory.accounts() {
                for line in account.lines() {
                    if let Some(route) = line.route().filter(|r| r.provider() == id) {
                        line.drop_route(&route);
                    }
                }
            }
            Ok(())
        }
        Entity::Allowance(id) => {
            if let Some(account) = core.directory.account(id) {
                let _ = account.orders.send(Order::Reload);
            }
            Ok(())
        }
        Entity::AllowBlock(block) => {
            core.directory.sources.forget(block);
            for account in core.directory.accounts() {
                sources::enforce(core, &account, |ip| Block::of(ip) == *block).await?;
            }
            Ok(())
        }
        Entity::Share(id) => with(core, id, |a| async move { share(core, &a).await }).await,
        Entity::ShareWanted(id) => {
            // Who holds more than its part gives, without waiting for its time to tell; and no
            // ban waits for that.
            if let Some(account) = core.directory.account(id) {
                tokio::spawn(shares::tell_if_heard(Arc::clone(core), account));
            }
            Ok(())
        }
        Entity::BytesWanted { customer, bucket, by } => {
            if *by != core.session
                && let Some(account) = core.directory.account(customer)
            {
                let _ = account.orders.send(Order::Wanted(bucket.clone()));
            }
            Ok(())
        }
        Entity::Command(told) => command(core, told).await,
    }
}

/// The strike clock locked a customer out, or an operator ended that.
async fn share(core: &Core, account: &Account) -> Result<(), StoreError> {
    let share = core.store.cap(&account.id).await?;
    account.set_struck(share.and_then(|s| s.strike.locked_until));
    account.enforce(core.clock.now());
    Ok(())
}

async fn with<F: Future<Output = Result<(), StoreError>>>(
    core: &Core,
    id: &CustomerId,
    act: impl FnOnce(Arc<Account>) -> F,
) -> Result<(), StoreError> {
    match core.directory.account(id) {
        Some(account) => act(account).await,
        None => Ok(()),
    }
}

async fn customer(core: &Arc<Core>, account: &Arc<Account>) -> Result<(), StoreError> {
    let now = core.clock.now();
    match core.store.customer(&account.id).await? {
        Some(profile) => {
            account.set_profile(profile);
            account.enforce(now);
            sources::enforce(core, account, |_| true).await?;
        }
        None => account.kill(|_| Some(CloseReason::Deleted)),
    }
    let _ = account.orders.send(Order::Reload);
    Ok(())
}

async fn credential(core: &Core, user: &UserName) -> Result<(), StoreError> {
    core.directory.forget_unknown(user);
    let Some(login) = core.directory.known_login(user) else { return Ok(()) };
    let found = core.store.credential(user).await?.filter(|c| c.customer == login.account.id);
    if found.is_none() {
        core.directory.forget_login(user);
    }
    *login.credential.write().unwrap_or_else(std::sync::PoisonError::into_inner) = found;
    login.account.enforce(core.clock.now());
    Ok(())
}

/// A line was closed or rebound: its route is looked up anew, tunnels over another proxy end.
async fn line(core: &Core, account: &Account, key: &LineKey) -> Result<(), StoreError> {
    let found = core.store.assignment(key).await?;
    let bound = found.filter(|a| a.state == AssignmentState::Bound);
    let mut stale = Vec::new();
    for line in account.lines() {
        let route = line.route();
        // A session uses the assignment of another line.
        let of_it = line.key == *key || route.as_ref().is_some_and(|r| r.line == key.label);
        if of_it {
            stale.push(line.key.label.clone());
            // The one that the entry tells of may be known already: who assigned it told us too.
            if let Some(route) = route.filter(|r| !bound.as_ref().is_some_and(|a| r.serves(a))) {
                line.drop_route(&route);
            }
        }
    }
    let proxy = bound.and_then(|a| a.proxy);
    account.kill(|t| (stale.contains(&t.line) && proxy.as_ref() != Some(&t.route.proxy)).then_some(CloseReason::Line));
    Ok(())
}
