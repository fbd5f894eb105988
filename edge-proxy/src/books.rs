//! The books of one active customer: takes leases, settles what moved, writes the daily
//! counters, closes leases. One task per customer, on the control thread; nobody else writes a
//! customer's leases in this session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tollgate_domain::budget::{Allowance, Bucket, LEASE_FIRST, lease_size};
use tollgate_domain::customer::Customer;
use tollgate_domain::id::{LineLabel, ProxyId};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::allowance::{Close, Closing, Rostered, Take};
use tollgate_store::usage::{DayUsage, UsageKey};

use crate::account::{Account, UsageId};
use crate::core::Core;
use crate::directory;
use crate::journal::Counters;
use crate::ledger::Lease;
use crate::retry::Backoff;
use crate::tunnel::CloseReason;

/// Seconds between settlements where the plan says nothing.
const SETTLE_S: u32 = 5;
/// A lease that ran dry within this time was too small.
const HASTE: Duration = Duration::from_secs(1);
/// An exhausted customer who asks again is looked up at most this often.
const RECHECK: Duration = Duration::from_secs(1);
/// Settlements for which an unused counter stays in the journal.
const FOLD_AFTER: u32 = 12;

/// What the books are told to do.
pub(crate) enum Order {
    /// The allowance or the profile changed: look again.
    Reload,
    /// Settle and write all counters, then answer whether it worked.
    Settle(oneshot::Sender<bool>),
    /// Close all leases and end, if no tunnel is left; then answer whether it worked.
    Close(oneshot::Sender<bool>),
}

/// A lease and what the store knows of it.
struct Held {
    lease: Arc<Lease>,
    seq: u64,
    taken: u64,
    settled: u64,
    closing: bool,
}

/// One day's counters of (line, proxy), and whether the store has them.
#[derive(Default)]
struct Row {
    usage: DayUsage,
    unconfirmed: bool,
}

/// Day, line, proxy.
type RowKey = (String, LineLabel, ProxyId);

/// See the module.
pub(crate) struct Books {
    core: Arc<Core>,
    account: Arc<Account>,
    buckets: Vec<(Bucket, Allowance)>,
    looked: Option<Instant>,
    held: Vec<Held>,
    rows: HashMap<RowKey, Row>,
    /// Sequence of the latest writes of rows: grows over all rows of the session.
    row_seq: u64,
    loaded: bool,
    /// What each journal counter said when it was last added to its row, and for how many
    /// settlements it has said so.
    seen: HashMap<UsageId, (Counters, u32)>,
    desired: u64,
    took: Option<(Instant, u64)>,
}

impl Books {
    pub fn new(core: Arc<Core>, account: Arc<Account>) -> Self {
        Self {
            core,
            account,
            buckets: Vec::new(),
            looked: None,
            held: Vec::new(),
            rows: HashMap::new(),
            row_seq: 0,
            loaded: false,
            seen: HashMap::new(),
            desired: LEASE_FIRST,
            took: None,
        }
    }

    /// Keeps the books until they are closed.
    pub async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let account = Arc::clone(&self.account);
        let mut settle_at = tokio::time::Instant::now() + self.interval();
        loop {
            tokio::select! {
                () = account.ledger.asked() => self.supply_until_told().await,
                () = tokio::time::sleep_until(settle_at) => {
                    let _ = self.settle().await;
                    settle_at = tokio::time::Instant::now() + self.interval();
                    if self.idle() && self.close_all().await && self.account.retire() {
                        self.leave().await;
                        return;
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Reload) => self.reload().await,
                    Some(Order::Settle(done)) => { let _ = done.send(self.settle().await); }
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

    /// Gives back the share and forgets the account.
    async fn leave(&mut self) {
        if let Err(e) = self.core.store.leave_share(&self.account.id, &self.core.session).await {
            // The next life of this edge takes it over.
            self.failed("leave_share", &e);
        }
        self.core.directory.forget_account(&self.account);
    }

    // === taking ===

    /// Gets bytes for who asked; keeps trying while the store fails and somebody waits.
    async fn supply_until_told(&mut self) {
        let mut backoff = Backoff::default();
        while let Err(e) = self.supply().await {
            self.failed("take", &e);
            if self.account.live() == 0 {
                return;
            }
            backoff.pause().await;
        }
    }

    async fn supply(&mut self) -> Result<(), StoreError> {
        if self.account.ledger.exhausted() && self.looked.is_some_and(|t| t.elapsed() < RECHECK) {
            self.account.ledger.announce(true);
            return Ok(());
        }
        self.finish_closing().await?;
        let now = self.core.clock.now();
        let current = self.held.iter().position(|h| !h.closing);
        if let Some(n) = current {
            if self.bucket_ended(n, now) {
                self.begin_closing(n);
                self.finish_closing().await?;
            } else {
                if self.take_more(n).await? {
                    return Ok(());
                }
                // Bytes may still be in the hands of operations under way.
                if self.held[n].lease.left() > 0 || !self.quiescent(n).await {
                    self.held[n].lease.last();
                    self.account.ledger.announce(false);
                    return Ok(());
                }
                self.begin_closing(n);
                self.finish_closing().await?;
            }
        }
        self.next_bucket(now).await
    }

    /// Opens a lease on the first bucket that has bytes.
    async fn next_bucket(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.look().await?;
        let open = |(_, a): &&(Bucket, Allowance)| a.spendable(now) && a.available > 0;
        let candidates: Vec<Bucket> = self.buckets.iter().filter(open).map(|(b, _)| b.clone()).collect();
        for bucket in candidates {
            if self.open(&bucket).await? {
                return Ok(());
            }
        }
        self.account.ledger.install(None);
        self.account.ledger.announce(true);
        self.account.kill(|_| Some(CloseReason::Quota));
        Ok(())
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        self.buckets = self.core.store.allowances(&self.account.id).await?;
        self.looked = Some(Instant::now());
        Ok(())
    }

    async fn open(&mut self, bucket: &Bucket) -> Result<bool, StoreError> {
        let Some(slot) = self.core.journal.open_lease(&self.account.id, bucket) else {
            tracing::error!(customer = %self.account.id, %bucket, "no free lease slot in the journal");
            return Ok(false);
        };
        let entry = Rostered { customer: self.account.id.clone(), bucket: bucket.clone() };
        let lease = Arc::new(Lease::new(bucket.clone(), slot));
        if let Err(e) = self.core.store.roster_add(&self.core.session, &entry).await {
            self.core.journal.free_lease(slot);
            return Err(e);
        }
        self.held.push(Held { lease: Arc::clone(&lease), seq: 0, taken: 0, settled: 0, closing: false });
        let n = self.held.len() - 1;
        let took = self.take_more(n).await?;
        if took {
            self.account.ledger.install(Some(lease));
            self.account.ledger.announce(false);
        } else {
            self.begin_closing(n);
            self.finish_closing().await?;
        }
        Ok(took)
    }

    /// Takes more of a lease's bucket. `false`: it has no more.
    async fn take_more(&mut self, n: usize) -> Result<bool, StoreError> {
        let bucket = self.held[n].lease.bucket.clone();
        let known = self.buckets.iter().find(|(b, _)| *b == bucket).map(|(_, a)| (a.available, a.leases.len()));
        let (mut available, edges) = known.unwrap_or((u64::MAX, 1));
        self.aim(n);
        loop {
            let want = lease_size(self.desired.div_ceil(5), available, edges as u64);
            if want == 0 {
                return Ok(false);
            }
            match self.take(n, want).await? {
                Take::Taken { lease, available: rest } => {
                    let got = lease.taken.saturating_sub(self.held[n].taken);
                    self.note(&bucket, rest);
                    self.adopt(n, lease.seq, lease.taken, lease.settled);
                    if got > 0 {
                        self.took = Some((Instant::now(), self.account.moved(&self.core.journal, &self.held[n].lease)));
                        return Ok(true);
                    }
                    available = rest;
                }
                Take::Stale { lease } => {
                    let got = lease.taken > self.held[n].taken;
                    self.adopt(n, lease.seq, lease.taken, lease.settled);
                    if got {
                        return Ok(true);
                    }
                }
                Take::Exhausted { available: rest } => {
                    self.note(&bucket, rest);
                    available = rest;
                }
                Take::Lost | Take::NoLease | Take::NoBucket | Take::Overspent => {
                    tracing::error!(customer = %self.account.id, %bucket, "the lease is gone");
                    return Ok(false);
                }
            }
        }
    }

    async fn take(&mut self, n: usize, bytes: u64) -> Result<Take, StoreError> {
        let h = &self.held[n];
        // Nothing has moved before the first take; a write that loses its answer is repeated with
        // the same figures by `take`'s own sequence.
        let settled = if h.seq == 0 { 0 } else { self.account.moved(&self.core.journal, &h.lease) };
        let (lease, seq) = (Arc::clone(&h.lease), h.seq);
        self.core.store.take(&self.account.id, &lease.bucket, &self.core.session, bytes, settled, seq).await
    }

    /// What the store says becomes what the books say; bytes that are new go to the tunnels.
    fn adopt(&mut self, n: usize, seq: u64, taken: u64, settled: u64) {
        let h = &mut self.held[n];
        let got = taken.saturating_sub(h.taken);
        (h.seq, h.taken, h.settled) = (seq, taken, settled);
        if got > 0 {
            h.lease.add(got);
            self.account.ledger.announce(false);
        }
    }

    fn note(&mut self, bucket: &Bucket, available: u64) {
        if let Some((_, a)) = self.buckets.iter_mut().find(|(b, _)| b == bucket) {
            a.available = available;
        }
    }

    /// Sizes the next take: five seconds of the rate since the last, twice as much as before if
    /// that ran dry in haste.
    fn aim(&mut self, n: usize) {
        let Some((at, moved)) = self.took else { return };
        let now_moved = self.account.moved(&self.core.journal, &self.held[n].lease);
        let ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = now_moved.saturating_sub(moved).saturating_mul(1000) / ms;
        let by_rate = rate.saturating_mul(5);
        self.desired = if at.elapsed() < HASTE { by_rate.max(self.desired.saturating_mul(2)) } else { by_rate };
        self.desired = self.desired.clamp(1, 1 << 40);
    }

    fn bucket_ended(&self, n: usize, now: Timestamp) -> bool {
        let bucket = &self.held[n].lease.bucket;
        self.buckets.iter().find(|(b, _)| b == bucket).is_some_and(|(_, a)| !a.spendable(now))
    }

    // === settling ===

    /// Settles leases and writes counters. `false`: the store failed somewhere; the next
    /// settlement makes up for it.
    async fn settle(&mut self) -> bool {
        let mut sound = true;
        let now = self.core.clock.now();
        for n in 0..self.held.len() {
            if !self.held[n].closing && self.bucket_ended(n, now) {
                self.begin_closing(n);
            }
        }
        let closed = self.finish_closing().await;
        sound &= self.check(closed, "close_lease");
        for n in 0..self.held.len() {
            let h = &self.held[n];
            if h.closing || h.seq == 0 || self.account.moved(&self.core.journal, &h.lease) <= h.settled {
                continue;
            }
            match self.take(n, 0).await {
                Ok(Take::Taken { lease, available }) => {
                    let bucket = self.held[n].lease.bucket.clone();
                    self.note(&bucket, available);
                    self.adopt(n, lease.seq, lease.taken, lease.settled);
                }
                Ok(Take::Stale { lease }) => self.adopt(n, lease.seq, lease.taken, lease.settled),
                Ok(other) => {
                    tracing::error!(customer = %self.account.id, ?other, "settle refused");
                    sound = false;
                }
                Err(e) => sound &= self.check(Err(e), "settle"),
            }
        }
        sound &= self.write_rows().await;
        self.fold();
        self.account.trim_lines();
        sound
    }

    /// Rows of today that an earlier use of the account in this session wrote.
    async fn load_rows(&mut self) -> Result<(), StoreError> {
        if self.loaded {
            return Ok(());
        }
        let today = self.core.clock.now();
        for (key, usage) in self.core.store.usage(&self.account.id, &today.month()).await? {
            if key.session == self.core.session {
                self.row_seq = self.row_seq.max(usage.seq);
                if key.day == today.day() {
                    self.rows.insert((key.day, key.line, key.proxy), Row { usage, unconfirmed: false });
                }
            }
        }
        self.loaded = true;
        Ok(())
    }

    /// Adds what the journal counters gained to today's rows, and notes in the journal that they
    /// do. Only once all rows are confirmed: the journal remembers one write.
    fn collect(&mut self) {
        let now = self.core.clock.now();
        self.row_seq += 1;
        for (id, slot) in self.account.usages() {
            let counters = self.core.journal.counters(slot.slot);
            let (before, still) = self.seen.get(&id).copied().unwrap_or_default();
            if counters == before {
                self.seen.insert(id, (counters, still.saturating_add(1)));
                continue;
            }
            self.core.journal.sending(slot.slot, self.row_seq, counters);
            let row = self.rows.entry((now.day(), id.line.clone(), id.proxy.clone())).or_default();
            let more = counters.since(before);
            if row.usage.first_at == Timestamp::default() {
                row.usage.first_at = now;
            }
            row.usage.last_at = now;
            row.usage.seq = self.row_seq;
            row.usage.ingress += more.ingress;
            row.usage.egress += more.egress;
            row.usage.connections += more.connections;
            row.unconfirmed = true;
            self.seen.insert(id, (counters, 0));
        }
    }

    async fn write_rows(&mut self) -> bool {
        let loaded = self.load_rows().await;
        if !self.check(loaded, "usage") || !self.confirm_rows().await {
            return false;
        }
        self.collect();
        let sound = self.confirm_rows().await;
        // Days that are over are written for good.
        let today = self.core.clock.now().day();
        self.rows.retain(|(day, ..), r| r.unconfirmed || *day >= today);
        sound
    }

    /// Writes the rows that the store may not have, as they were when last tried.
    async fn confirm_rows(&mut self) -> bool {
        let due: Vec<RowKey> = self.rows.iter().filter(|(_, r)| r.unconfirmed).map(|(k, _)| k.clone()).collect();
        let mut sound = true;
        for key in due {
            let Some(usage) = self.rows.get(&key).map(|r| r.usage) else { continue };
            let (day, line, proxy) = key.clone();
            let at = UsageKey { day, line, proxy, session: self.core.session.clone() };
            match self.core.store.record_usage(&self.account.id, &at, &usage).await {
                Ok(_) => {
                    if let Some(row) = self.rows.get_mut(&key) {
                        row.unconfirmed = false;
                    }
                }
                Err(e) => sound &= self.check(Err(e), "record_usage"),
            }
        }
        sound
    }

    /// Folds counters that have been at rest, and written, for a while.
    fn fold(&mut self) {
        if self.rows.values().any(|r| r.unconfirmed) {
            return;
        }
        let journal = &self.core.journal;
        let account = &self.account;
        self.seen.retain(|id, (counters, still)| *still < FOLD_AFTER || !account.fold_usage(journal, id, *counters));
    }

    // === closing ===

    fn begin_closing(&mut self, n: usize) {
        // The pool is given up before the call: nothing can be reserved from it any more.
        self.held[n].closing = true;
        self.account.ledger.install(None);
    }

    /// Whether every byte taken is either left or counted: no operation is under way.
    async fn quiescent(&self, n: usize) -> bool {
        let h = &self.held[n];
        for _ in 0..50 {
            if h.lease.left() + self.account.moved(&self.core.journal, &h.lease) == h.taken {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// Closes what is to be closed: folds what moved, returns the rest.
    async fn finish_closing(&mut self) -> Result<(), StoreError> {
        while let Some(n) = self.held.iter().position(|h| h.closing) {
            let lease = Arc::clone(&self.held[n].lease);
            let mut given_up = lease.drain();
            for _ in 0..1000 {
                if given_up + self.account.moved(&self.core.journal, &lease) == self.held[n].taken {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                given_up += lease.drain();
            }
            // Counters must be in the store before the journal forgets them.
            if !self.write_rows().await {
                return Err(StoreError::Unavailable("daily counters are not written yet".to_owned()));
            }
            let moved = self.account.moved(&self.core.journal, &lease);
            let h = &self.held[n];
            if h.seq > 0 {
                let last = Closing { taken: h.taken, settled: moved, doubt: 0, seq: h.seq };
                let (id, session) = (self.account.id.clone(), self.core.session.clone());
                match self.core.store.close_lease(&id, &lease.bucket, &session, last).await? {
                    Close::Closed => {}
                    Close::Stale { seq, taken } => {
                        (self.held[n].seq, self.held[n].taken) = (seq, taken);
                        continue;
                    }
                    refused => tracing::error!(customer = %self.account.id, ?refused, "closing refused"),
                }
            }
            let entry = Rostered { customer: self.account.id.clone(), bucket: lease.bucket.clone() };
            self.core.store.roster_remove(&self.core.session, &entry).await?;
            self.account.free_lease(&self.core.journal, &lease);
            self.seen.retain(|id, _| id.serial != lease.serial);
            self.held.remove(n);
        }
        Ok(())
    }

    async fn close_all(&mut self) -> bool {
        if self.account.live() > 0 {
            return false;
        }
        for n in 0..self.held.len() {
            self.begin_closing(n);
        }
        let closed = self.finish_closing().await;
        self.check(closed, "close_lease") && self.write_rows().await
    }

    // === hearing ===

    /// The allowance or the profile changed.
    async fn reload(&mut self) {
        let profile: Arc<Customer> = self.account.profile();
        match directory::share(&self.core, &profile, self.account.live()).await {
            Ok(threads) => self.account.set_threads(threads),
            Err(e) => self.failed("join_share", &e),
        }
        if let Err(e) = self.look().await {
            self.failed("allowances", &e);
            return;
        }
        let now = self.core.clock.now();
        if self.buckets.iter().any(|(_, a)| a.spendable(now) && a.available > 0) {
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
