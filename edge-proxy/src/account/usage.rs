//! What a customer moved, counter by counter, and what its leases have left of it.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_domain::id::{LineLabel, ProxyId};
use tollgate_domain::time::Timestamp;

use super::{Account, lock};
use crate::journal::{Counters, Journal};
use crate::ledger::Lease;

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

impl Account {
    /// The journal counter for `id`, one more tunnel counting on it. `None`: the journal is full.
    pub fn join_usage(&self, journal: &Journal, id: &UsageId, now: Timestamp) -> Option<usize> {
        let mut usages = lock(&self.usages);
        if let Some(found) = usages.get_mut(id) {
            found.users += 1;
            return Some(found.slot);
        }
        // Under the lock: whoever collects lists this counter, or has noted its sequence before.
        let seq = self.row_seq.load(Ordering::Acquire);
        let slot = journal.open_usage(id.lease, id.worker, &id.line, &id.proxy, (now, seq))?;
        usages.insert(id.clone(), UsageSlot { slot, users: 1 });
        Some(slot)
    }

    /// Notes the sequence of a collection of daily rows that is about to begin.
    pub fn note_row_seq(&self, seq: u64) {
        self.row_seq.store(seq, Ordering::Release);
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
        *lock(&self.past) += last;
        journal.fold_usage(slot, lease);
    }

    /// All that was counted since the account became active.
    pub fn counted(&self, journal: &Journal) -> Counters {
        let usages = lock(&self.usages);
        usages.values().fold(*lock(&self.past), |mut sum, u| {
            sum += journal.counters(u.slot);
            sum
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
