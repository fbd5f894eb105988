//! An active customer on this edge: its profile, its logins, its lines, its tunnels, its ledger.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Add;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::mpsc;
use tollgate_domain::customer::{Credential, Customer, Standing};
use tollgate_domain::id::{CustomerId, LineKey, LineLabel, ProxyId, UserName};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;

use crate::books::Order;
use crate::journal::{Counters, Journal};
use crate::ledger::{Lease, Ledger};
use crate::limits::Rates;
use crate::line::LineUse;
use crate::tunnel::{CloseReason, Tunnel};

/// Set in the tunnel count of an account that is no longer in use: load it anew.
const GONE: u32 = 1 << 31;

/// A customer while it is active here.
pub(crate) struct Account {
    pub id: CustomerId,
    pub ledger: Ledger,
    pub rates: Arc<Rates>,
    pub orders: mpsc::UnboundedSender<Order>,
    profile: RwLock<Arc<Customer>>,
    /// End of the lock-out that the strike clock set, in milliseconds since 1970; 0 = none.
    struck_until_ms: AtomicU64,
    /// Whether the strike clock ran when the store last said so.
    clock_runs: AtomicBool,
    /// Tunnels that the store last heard of.
    told: AtomicU32,
    live: AtomicU32,
    /// Tunnels this edge may carry; `u32::MAX` = unlimited.
    threads: AtomicU32,
    refused: AtomicU32,
    tunnels: Mutex<HashMap<u64, Arc<Tunnel>>>,
    lines: Mutex<HashMap<LineLabel, Arc<LineUse>>>,
    usages: Mutex<HashMap<UsageId, UsageSlot>>,
    logins: Mutex<Vec<UserName>>,
    /// What counters that are gone had counted.
    past: Mutex<Counters>,
    began: Instant,
    seen_ms: AtomicU64,
}

/// What this edge may carry of a customer's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Tunnels; `u32::MAX` = unlimited.
    pub threads: u32,
    /// New connections and requests a second; 0 = unlimited.
    pub qps: u32,
    /// Bytes a second; 0 = unlimited.
    pub rate: u64,
}

impl Share {
    /// No limit in any figure.
    pub const UNLIMITED: Self = Self { threads: u32::MAX, qps: 0, rate: 0 };
}

/// What one journal counter stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UsageId {
    pub lease: usize,
    /// The lease's serial: slots are used again.
    pub serial: u64,
    pub line: LineLabel,
    pub proxy: ProxyId,
    pub worker: usize,
}

/// A journal counter and how many tunnels count on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsageSlot {
    pub slot: usize,
    pub users: u32,
}

/// A credential in use here; none once it is removed.
pub(crate) struct Login {
    pub user: UserName,
    pub account: Arc<Account>,
    pub credential: RwLock<Option<Credential>>,
}

impl Login {
    /// Whether a password that matched `verifier` still passes.
    pub fn passes(&self, verifier: &str, now: Timestamp) -> bool {
        let credential = self.credential.read().unwrap_or_else(PoisonError::into_inner);
        credential.as_ref().is_some_and(|c| {
            c.verifier == verifier || c.previous.as_ref().is_some_and(|p| p.verifier == verifier && now < p.until)
        })
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    pub fn new(profile: Customer, share: Share, orders: mpsc::UnboundedSender<Order>) -> Self {
        let account = Self {
            id: profile.id.clone(),
            ledger: Ledger::default(),
            rates: Arc::default(),
            orders,
            profile: RwLock::new(Arc::new(profile)),
            struck_until_ms: AtomicU64::new(0),
            clock_runs: AtomicBool::new(false),
            told: AtomicU32::new(0),
            live: AtomicU32::new(0),
            threads: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            tunnels: Mutex::default(),
            lines: Mutex::default(),
            usages: Mutex::default(),
            logins: Mutex::default(),
            past: Mutex::default(),
            began: Instant::now(),
            seen_ms: AtomicU64::new(0),
        };
        account.set_share(share);
        account
    }

    pub fn profile(&self) -> Arc<Customer> {
        Arc::clone(&self.profile.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the profile unless a newer one is there.
    pub fn set_profile(&self, new: Customer) {
        let mut profile = self.profile.write().unwrap_or_else(PoisonError::into_inner);
        if new.ver >= profile.ver {
            *profile = Arc::new(new);
        }
    }

    /// What this edge may carry from now on, by the profile's limits.
    pub fn set_share(&self, share: Share) {
        self.threads.store(share.threads, Ordering::Release);
        self.rates.set(&self.profile().limits, share.qps, share.rate);
    }

    /// Refusals for want of threads since the last call: they feed the strike clock.
    pub fn take_refused(&self) -> u32 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Puts refusals back that could not be told.
    pub fn untold_refused(&self, refused: u32) {
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// Whether the store has something to hear, or to say, of this customer.
    pub fn to_tell(&self, now: Timestamp) -> bool {
        let load = |n: &AtomicU32| n.load(Ordering::Relaxed) > 0;
        self.live() > 0
            || load(&self.told)
            || load(&self.refused)
            || self.clock_runs.load(Ordering::Relaxed)
            || now < self.struck_until()
    }

    /// Notes what the store heard, and whether the strike clock runs.
    pub fn told(&self, in_use: u32, clock_runs: bool) {
        self.note_told(in_use);
        self.clock_runs.store(clock_runs, Ordering::Relaxed);
    }

    /// Notes what the store heard.
    pub fn note_told(&self, in_use: u32) {
        self.told.store(in_use, Ordering::Relaxed);
    }

    fn struck_until(&self) -> Timestamp {
        Timestamp::from_millis(self.struck_until_ms.load(Ordering::Acquire))
    }

    /// Takes in the lock-out of the strike clock, as the share says it; none = there is none.
    pub fn set_struck(&self, until: Option<Timestamp>) {
        self.struck_until_ms.store(until.map_or(0, Timestamp::as_millis), Ordering::Release);
    }

    /// What the customer may do at `now`, by its row and by the strike clock.
    fn standing(&self, now: Timestamp) -> Standing {
        let struck = self.struck_until();
        match self.profile().standing(now) {
            Standing::Active if now < struck => Standing::Locked { until: struck },
            Standing::Locked { until } => Standing::Locked { until: until.max(struck) },
            other => other,
        }
    }

    /// Tunnels and requests under way.
    pub fn live(&self) -> u32 {
        self.live.load(Ordering::Acquire) & !GONE
    }

    /// Whether the account was given up; load it anew.
    pub fn gone(&self) -> bool {
        self.live.load(Ordering::Acquire) & GONE != 0
    }

    /// Gives the account up if nothing is under way.
    pub fn retire(&self) -> bool {
        self.live.compare_exchange(0, GONE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// How long ago it was last used.
    pub fn idle_ms(&self) -> u64 {
        self.elapsed().saturating_sub(self.seen_ms.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts one more tunnel, within the threads. `Ok(None)`: the account was given up.
    pub fn enter(self: &Arc<Self>) -> Result<Option<Entered>, Refusal> {
        let limit = self.threads.load(Ordering::Acquire);
        let more = |n: u32| (n & GONE == 0 && n < limit).then(|| n + 1);
        match self.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => {
                self.seen_ms.store(self.elapsed(), Ordering::Relaxed);
                Ok(Some(Entered(Arc::clone(self))))
            }
            Err(n) if n & GONE != 0 => Ok(None),
            Err(n) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let detail = format!("{n} connections are open, at most {limit} may be");
                Err(Refusal::new(Code::ThreadsExceeded, detail))
            }
        }
    }

    /// Refuses who may not pass at `now`.
    pub fn check_standing(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.standing(now) {
            Standing::Active => Ok(()),
            Standing::Locked { until } => {
                let left = u32::try_from(until.since(now).as_secs() + 1).unwrap_or(u32::MAX);
                Err(Refusal::new(Code::LockedOut, format!("locked until {until}")).retry_after(left))
            }
            Standing::Expired { at } => Err(Refusal::new(Code::PlanExpired, format!("the plan ended at {at}"))),
            Standing::Banned => Err(Refusal::new(Code::Banned, "the account is banned")),
            Standing::Deleted => Err(Refusal::new(Code::AuthFailed, "no such account")),
        }
    }

    pub fn register(&self, tunnel: &Arc<Tunnel>) {
        lock(&self.tunnels).insert(tunnel.id, Arc::clone(tunnel));
    }

    pub fn unregister(&self, id: u64) {
        lock(&self.tunnels).remove(&id);
    }

    /// Where its tunnels come from, each address once.
    pub fn tunnel_sources(&self) -> BTreeSet<IpAddr> {
        lock(&self.tunnels).values().map(|t| t.source).collect()
    }

    /// The tunnels under way.
    pub fn tunnels(&self) -> Vec<Arc<Tunnel>> {
        lock(&self.tunnels).values().cloned().collect()
    }

    /// Ends every tunnel for which `why` has a reason.
    pub fn kill(&self, why: impl Fn(&Tunnel) -> Option<CloseReason>) {
        for tunnel in lock(&self.tunnels).values() {
            if let Some(reason) = why(tunnel) {
                tunnel.kill(reason);
            }
        }
    }

    /// Ends the tunnels that may not go on at `now`.
    pub fn enforce(&self, now: Timestamp) {
        if self.live() == 0 {
            return;
        }
        let profile = self.profile();
        let out = match self.standing(now) {
            Standing::Active => None,
            Standing::Locked { .. } => Some(CloseReason::Locked),
            Standing::Expired { .. } => Some(CloseReason::Expired),
            Standing::Banned => Some(CloseReason::Banned),
            Standing::Deleted => Some(CloseReason::Deleted),
        };
        self.kill(|t| {
            out.or_else(|| profile.kicked_at.filter(|at| t.opened_at < *at).map(|_| CloseReason::Kicked))
                .or_else(|| (!t.pass.holds(now)).then_some(CloseReason::Credential))
        });
    }

    /// The line with this label, made on first use.
    pub fn line(&self, label: &LineLabel) -> Arc<LineUse> {
        let mut lines = lock(&self.lines);
        let make = || Arc::new(LineUse::new(LineKey { customer: self.id.clone(), label: label.clone() }));
        Arc::clone(lines.entry(label.clone()).or_insert_with(make))
    }

    /// All lines known here.
    pub fn lines(&self) -> Vec<Arc<LineUse>> {
        lock(&self.lines).values().cloned().collect()
    }

    /// Forgets lines that nobody uses, where there are many.
    pub fn trim_lines(&self) {
        let mut lines = lock(&self.lines);
        if lines.len() > 1024 {
            lines.retain(|_, l| Arc::strong_count(l) > 1);
        }
    }

    pub fn add_login(&self, user: &UserName) {
        let mut logins = lock(&self.logins);
        if !logins.contains(user) {
            logins.push(user.clone());
        }
    }

    pub fn logins(&self) -> Vec<UserName> {
        lock(&self.logins).clone()
    }

    /// The journal counter for `id`, one more tunnel counting on it. `None`: the journal is full.
    pub fn join_usage(&self, journal: &Journal, id: UsageId, now: Timestamp) -> Option<usize> {
        let mut usages = lock(&self.usages);
        if let Some(found) = usages.get_mut(&id) {
            found.users += 1;
            return Some(found.slot);
        }
        let slot = journal.open_usage(id.lease, id.worker, &id.line, &id.proxy, now)?;
        usages.insert(id, UsageSlot { slot, users: 1 });
        Some(slot)
    }

    pub fn leave_usage(&self, id: &UsageId) {
        if let Some(found) = lock(&self.usages).get_mut(id) {
            found.users = found.users.saturating_sub(1);
        }
    }

    /// All counters.
    pub fn usages(&self) -> Vec<(UsageId, UsageSlot)> {
        lock(&self.usages).iter().map(|(id, slot)| (id.clone(), *slot)).collect()
    }

    /// Folds a counter into its lease, if nobody counts on it and it says what `seen` says.
    pub fn fold_usage(&self, journal: &Journal, id: &UsageId, seen: Counters) -> bool {
        let mut usages = lock(&self.usages);
        let idle = |u: &UsageSlot| u.users == 0 && journal.counters(u.slot) == seen;
        let Some(found) = usages.get(id).copied().filter(idle) else { return false };
        usages.remove(id);
        self.fold(journal, found.slot, id.lease);
        true
    }

    /// Frees a closed lease's slot and its counters. Nothing can be reserved from it any more, so
    /// nobody counts on them, whoever still holds them.
    pub fn free_lease(&self, journal: &Journal, lease: &Lease) {
        let mut usages = lock(&self.usages);
        usages.retain(|id, u| {
            let of_it = id.serial == lease.serial;
            if of_it {
                self.fold(journal, u.slot, id.lease);
            }
            !of_it
        });
        journal.free_lease(lease.slot);
    }

    fn fold(&self, journal: &Journal, slot: usize, lease: usize) {
        let last = journal.counters(slot);
        let mut past = lock(&self.past);
        past.ingress += last.ingress;
        past.egress += last.egress;
        past.connections += last.connections;
        journal.fold_usage(slot, lease);
    }

    /// All that was counted since the account became active.
    pub fn counted(&self, journal: &Journal) -> Counters {
        let usages = lock(&self.usages);
        usages.values().fold(*lock(&self.past), |sum, u| {
            let c = journal.counters(u.slot);
            Counters {
                ingress: sum.ingress + c.ingress,
                egress: sum.egress + c.egress,
                connections: sum.connections + c.connections,
            }
        })
    }

    /// What is held in open leases.
    pub fn balance(&self, journal: &Journal) -> Balance {
        let of = |lease: &Arc<Lease>| {
            let taken = lease.taken();
            Balance { leases: 1, taken, unspent: taken.saturating_sub(self.moved(journal, lease)) }
        };
        self.ledger.open().iter().map(of).fold(Balance::default(), Balance::add)
    }

    /// Bytes that moved under a lease.
    pub fn moved(&self, journal: &Journal, lease: &Lease) -> u64 {
        // Under the lock, so that no slot folds between the two sums.
        let usages = lock(&self.usages);
        let slots = usages.iter().filter(|(id, _)| id.serial == lease.serial);
        slots.fold(journal.folded(lease.slot), |sum, (_, u)| sum.saturating_add(journal.counters(u.slot).bytes()))
    }
}

/// What a customer holds of its buckets here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Open leases.
    pub leases: u64,
    /// Bytes taken for them.
    pub taken: u64,
    /// Of those, bytes that have not moved.
    pub unspent: u64,
}

impl Add for Balance {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { leases: self.leases + more.leases, taken: self.taken + more.taken, unspent: self.unspent + more.unspent }
    }
}

/// One tunnel, counted while this lives.
pub(crate) struct Entered(Arc<Account>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.seen_ms.store(self.0.elapsed(), Ordering::Relaxed);
        self.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}
