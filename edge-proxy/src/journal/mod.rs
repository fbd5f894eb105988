//! The journal: what moved, on file, before the store knows.
//!
//! One file per life of the edge, under `flock`, bound to this machine and edge, fully allocated
//! at its making. A worker announces each operation in its op slot, does it, and counts it: after
//! a crash `Σ counters ≤ moved ≤ Σ counters + Σ max(0, base + g − counter)`.
//!
//! Counters have one writer each (a worker); everything else is written under one short lock.
//! Slots carry a checksum over what does not change.

mod file;
mod layout;
mod map;
mod read;
#[cfg(test)]
mod tests;

pub use file::JournalError;
pub(crate) use file::{earlier, living};
pub(crate) use read::{LeaseLeft, Remains, UsageLeft};

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tollgate_domain::budget::Bucket;
pub(crate) use tollgate_domain::daily::Counters;
use tollgate_domain::id::{CustomerId, LineLabel, ProxyId};
use tollgate_domain::time::Timestamp;

use layout::{Layout, checksum, pack};
use map::Map;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the customer.
    Ingress,
    /// To the customer.
    Egress,
}

impl Direction {
    fn word(self) -> usize {
        match self {
            Self::Ingress => layout::usage::INGRESS,
            Self::Egress => layout::usage::EGRESS,
        }
    }
}

/// The journal of this life.
pub(crate) struct Journal {
    path: PathBuf,
    map: Map,
    layout: Layout,
    free: Mutex<Free>,
    /// Holds the lock.
    _file: std::fs::File,
}

struct Free {
    leases: Vec<usize>,
    usages: Vec<usize>,
}

impl Journal {
    /// A new lease slot; `None` if there is no room (or the bucket's name does not fit).
    pub fn open_lease(&self, customer: &CustomerId, bucket: &Bucket) -> Option<usize> {
        let customer = pack(customer.as_str(), layout::lease::CUSTOMER_WORDS)?;
        let bucket = pack(&bucket.to_string(), layout::lease::BUCKET_WORDS)?;
        let slot = self.free().leases.pop()?;
        let at = self.layout.lease(slot);
        self.store(at + layout::lease::FOLDED, 0);
        self.write(at + layout::lease::CUSTOMER, &customer);
        self.write(at + layout::lease::BUCKET, &bucket);
        self.store(at + layout::lease::CHECKSUM, checksum(customer.into_iter().chain(bucket)));
        self.store(at + layout::lease::USED, 1);
        Some(slot)
    }

    /// Forgets a lease whose closing the store has confirmed.
    pub fn free_lease(&self, slot: usize) {
        self.store(self.layout.lease(slot) + layout::lease::USED, 0);
        self.free().leases.push(slot);
    }

    /// A new usage slot of a lease, counted by `worker` alone; `seq` is the sequence of the customer's
    /// latest collection of daily rows.
    pub fn open_usage(
        &self,
        lease: usize,
        worker: usize,
        line: &LineLabel,
        proxy: &ProxyId,
        (now, seq): (Timestamp, u64),
    ) -> Option<usize> {
        use layout::usage as u;
        let line = pack(line.as_str(), u::LINE_WORDS)?;
        let proxy = pack(&proxy.to_string(), u::PROXY_WORDS)?;
        let slot = self.free().usages.pop()?;
        let at = self.layout.usage(slot);
        let identity = [lease as u64, worker as u64, now.as_millis()];
        self.write(at + u::INGRESS, &[0; 3]);
        self.write(at + u::CONFIRMED, &[0; 8]);
        self.store(at + u::SEEN_SEQ, seq.max(1));
        self.write(at + u::LEASE, &identity);
        self.write(at + u::LINE, &line);
        self.write(at + u::PROXY, &proxy);
        self.store(at + u::CHECKSUM, checksum(identity.into_iter().chain(line).chain(proxy)));
        self.store(at + u::USED, 1);
        Some(slot)
    }

    /// Moves a finished usage slot's bytes into its lease's folded counter and frees the slot.
    /// The redo record makes it one step, whenever the process ends.
    pub fn fold_usage(&self, slot: usize, lease: usize) {
        let mut free = self.free();
        let folded = self.layout.lease(lease) + layout::lease::FOLDED;
        let after = self.load(folded) + self.counters(slot).bytes();
        let redo = layout::header::REDO;
        self.store(redo + layout::redo::LEASE, lease as u64);
        self.store(redo + layout::redo::USAGE, slot as u64);
        self.store(redo + layout::redo::FOLDED, after);
        self.store(redo + layout::redo::VALID, 1);
        self.store(folded, after);
        self.store(self.layout.usage(slot) + layout::usage::USED, 0);
        self.store(redo + layout::redo::VALID, 0);
        free.usages.push(slot);
    }

    /// Bytes of usage slots that were folded into a lease.
    pub fn folded(&self, lease: usize) -> u64 {
        self.load(self.layout.lease(lease) + layout::lease::FOLDED)
    }

    /// What a usage slot has counted.
    pub fn counters(&self, slot: usize) -> Counters {
        let at = self.layout.usage(slot);
        Counters {
            ingress: self.load(at + layout::usage::INGRESS),
            egress: self.load(at + layout::usage::EGRESS),
            connections: self.load(at + layout::usage::CONNECTIONS),
        }
    }

    /// Notes that a write of the daily row with sequence `seq` is about to include `counters` of
    /// a usage slot. The write before it must have been confirmed.
    pub fn sending(&self, slot: usize, seq: u64, counters: Counters) {
        use layout::usage as u;
        let at = self.layout.usage(slot);
        let before: Vec<u64> = (0..3).map(|w| self.load(at + u::SENT + w)).collect();
        mark(&self.map, at, &before, seq, counters);
    }

    /// Notes that the collection with sequence `seq` found nothing new in a usage slot.
    pub fn nothing_new(&self, slot: usize, seq: u64) {
        self.store(self.layout.usage(slot) + layout::usage::SEEN_SEQ, seq);
    }

    /// One more tunnel or request on a usage slot.
    pub fn count_connection(&self, slot: usize) {
        self.word(self.layout.usage(slot) + layout::usage::CONNECTIONS).fetch_add(1, Ordering::Relaxed);
    }

    /// Runs one operation of at most `grant` bytes under the journal: announced before, counted
    /// after. `run` says how many bytes moved. Only the slot's worker may call this.
    pub fn operate<T>(
        &self,
        worker: usize,
        usage: usize,
        direction: Direction,
        grant: u64,
        run: impl FnOnce() -> (u64, T),
    ) -> (u64, T) {
        use layout::op;
        let at = self.layout.op(worker);
        let counter = self.word(self.layout.usage(usage) + direction.word());
        let base = counter.load(Ordering::Relaxed);
        // The grant goes last and comes off first: a torn slot announces nothing.
        self.word(at + op::USAGE).store(usage as u64, Ordering::Relaxed);
        self.word(at + op::DIRECTION).store(direction.word() as u64, Ordering::Relaxed);
        self.word(at + op::BASE).store(base, Ordering::Relaxed);
        self.word(at + op::GRANT).store(grant, Ordering::Release);
        let (moved, out) = run();
        let moved = moved.min(grant);
        counter.store(base + moved, Ordering::Release);
        self.word(at + op::GRANT).store(0, Ordering::Release);
        (moved, out)
    }

    /// Writes all to the disk, against power loss.
    pub fn checkpoint(&self, now: Timestamp) -> io::Result<()> {
        self.store(layout::header::ALIVE, now.as_millis());
        self.map.sync()
    }

    /// Slots in all: leases, usages.
    pub fn slots(&self) -> (usize, usize) {
        (self.layout.leases, self.layout.usages)
    }

    /// Slots in use: leases, usages.
    pub fn depth(&self) -> (usize, usize) {
        let free = self.free();
        (self.layout.leases - free.leases.len(), self.layout.usages - free.usages.len())
    }

    /// Deletes the file: all it says is in the store.
    pub fn delete(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        self.map.word(index)
    }

    fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    fn write(&self, at: usize, words: &[u64]) {
        for (n, w) in words.iter().enumerate() {
            self.store(at + n, *w);
        }
    }
}

/// Sets what a slot's daily row is known to include, and what the next write will. At every
/// instant one of the two is whole: a sequence that nobody reaches stands while the other changes.
fn mark(map: &Map, at: usize, confirmed: &[u64], seq: u64, sent: Counters) {
    use layout::usage as u;
    let store = |w: usize, v: u64| map.word(at + w).store(v, Ordering::Release);
    for (n, v) in confirmed.iter().enumerate() {
        store(u::CONFIRMED + n, *v);
    }
    store(u::SEEN_SEQ, seq);
    store(u::SENT_SEQ, u64::MAX);
    for (n, v) in [sent.ingress, sent.egress, sent.connections].into_iter().enumerate() {
        store(u::SENT + n, v);
    }
    store(u::SENT_SEQ, seq);
}
