//! The books of one active customer: takes leases, settles what moved, writes the daily
//! counters, closes leases. One task per customer, on the control thread; nobody else writes a
//! customer's leases in this session.

mod close;
mod days;
mod events;
mod proxies;
mod settle;
mod take;
mod want;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tollgate_domain::budget::{Allowance, Bucket, Holding, LEASE_FIRST, Pace};
use tollgate_domain::daily::Daybook;
use tollgate_domain::id::{LineLabel, ProxyId};
use tollgate_store::StoreError;

use crate::account::{Account, UsageId};
use crate::core::Core;
use crate::directory;
use crate::journal::Counters;
use crate::ledger::Lease;
use crate::shares;
use events::Transfers;
use proxies::Carried;
use want::Hunger;

/// Seconds between settlements where the plan says nothing.
const SETTLE_S: u32 = 5;

/// What the books are told to do.
pub(crate) enum Order {
    /// The allowance or the profile changed: look again.
    Reload,
    /// Another edge has run dry of a bucket: give back what is not used of it.
    Wanted(Bucket),
    /// Many usage events wait: have them written.
    Events,
    /// Settle and write all counters and events, then answer whether it worked.
    Settle(oneshot::Sender<bool>),
    /// Close all leases and end, if no tunnel is left; then answer whether it worked.
    Close(oneshot::Sender<bool>),
}

/// A lease, and what is known of it in the store.
struct Held {
    lease: Arc<Lease>,
    known: Holding,
    /// Bytes that were taken back from the tunnels, for it is closing.
    given_up: u64,
}

/// See the module.
pub(crate) struct Books {
    core: Arc<Core>,
    account: Arc<Account>,
    buckets: Vec<(Bucket, Allowance)>,
    looked: Option<Instant>,
    held: Vec<Held>,
    /// Daily rows by line and proxy.
    rows: Daybook<(LineLabel, ProxyId)>,
    /// Days that this session marked as written, and has not passed; whether the mark stands for certain.
    days: BTreeMap<String, bool>,
    /// What is told of the proxies in use, and when that was done last.
    proxies: BTreeMap<ProxyId, Carried>,
    proxies_told: Option<Instant>,
    /// What each journal counter said when it was last added to its row, and for how many
    /// settlements it has said so.
    seen: HashMap<UsageId, (Counters, u32)>,
    desired: u64,
    took: Option<(Instant, u64)>,
    began: Instant,
    pace: Pace,
    hunger: Hunger,
    transfers: Transfers,
}

impl Books {
    pub fn new(core: Arc<Core>, account: Arc<Account>) -> Self {
        // Sequences of rows never fall within a session, whatever its clock does.
        let floor = core.row_seq.load(Ordering::Relaxed);
        account.note_row_seq(floor);
        let rows = Daybook::new(floor);
        Self {
            core,
            account,
            buckets: Vec::new(),
            looked: None,
            held: Vec::new(),
            rows,
            days: BTreeMap::new(),
            proxies: BTreeMap::new(),
            proxies_told: None,
            seen: HashMap::new(),
            desired: LEASE_FIRST,
            took: None,
            began: Instant::now(),
            pace: Pace::default(),
            hunger: Hunger::default(),
            transfers: Transfers::default(),
        }
    }

    /// Keeps the books until they are closed.
    pub async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let account = Arc::clone(&self.account);
        let mut settle_at = tokio::time::Instant::now() + self.interval();
        loop {
            let hungry = self.hunger.retry_at();
            tokio::select! {
                () = account.ledger.asked() => self.supply_until_told().await,
                () = tokio::time::sleep_until(hungry.unwrap_or(settle_at)), if hungry.is_some() => {
                    self.supply_until_told().await;
                }
                () = tokio::time::sleep_until(settle_at) => {
                    let _ = self.settle().await;
                    self.have_events_written();
                    settle_at = tokio::time::Instant::now() + self.interval();
                    // Cut off, what is held is all there is.
                    let idle = self.idle() && !self.core.reach.failing();
                    if idle && self.close_all().await && self.account.retire() {
                        self.leave().await;
                        return;
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Reload) => self.reload().await,
                    Some(Order::Wanted(bucket)) => self.part_with(&bucket).await,
                    Some(Order::Events) => self.have_events_written(),
                    Some(Order::Settle(done)) => {
                        let settled = self.settle().await;
                        self.write_events().await;
                        let _ = done.send(settled);
                    }
                    Some(Order::Close(done)) => {
                        let closed = self.close_all().await && self.account.retire();
                        if closed {
                            self.leave().await;
                        }
                        let _ = done.send(closed);
                        if closed {
                            return;
                        }
                    }
                    None => return,
                },
            }
        }
    }

    fn interval(&self) -> Duration {
        let s = self.account.profile().limits.settle_s;
        Duration::from_secs(u64::from(if s == 0 { SETTLE_S } else { s }))
    }

    fn idle(&self) -> bool {
        self.account.live() == 0 && u128::from(self.account.idle_ms()) > self.core.config.lease_idle.as_millis()
    }

    /// Writes the last events, gives back the share and forgets the account.
    async fn leave(&mut self) {
        self.last_events().await;
        // Who tells of the share meanwhile is done first: late, it would give back what the
        // customer gets who comes again.
        let account = Arc::clone(&self.account);
        let _one = account.telling.lock().await;
        if let Err(e) = self.core.store.leave_share(&self.account.id, &self.core.session).await {
            self.failed("leave_share", &e);
            tokio::spawn(directory::give_back(Arc::clone(&self.core), self.account.id.clone()));
        }
        self.core.directory.forget_account(&self.account);
    }

    /// The allowance or the profile changed.
    async fn reload(&mut self) {
        if let Err(e) = shares::tell(&self.core, &self.account).await {
            self.failed("report_share", &e);
        }
        if let Err(e) = self.look().await {
            self.failed("allowances", &e);
            return;
        }
        let now = self.core.clock.now();
        if self.buckets.iter().any(|(_, a)| a.spendable(now) && a.available > 0) {
            self.hunger.hurry();
            self.account.ledger.announce(false);
        }
    }

    fn check(&self, result: Result<(), StoreError>, what: &str) -> bool {
        if let Err(e) = &result {
            self.failed(what, e);
        }
        result.is_ok()
    }

    fn failed(&self, what: &str, e: &StoreError) {
        self.core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(customer = %self.account.id, transition = what, error = %e, "store call failed");
    }
}
