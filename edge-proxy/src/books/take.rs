//! Taking: which bucket, how much, and what the store's answer means for the tunnels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_domain::budget::{Allowance, Bucket, lease_size};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::allowance::{Rostered, Take};

use super::{Books, Held};
use crate::ledger::Lease;
use crate::retry::Backoff;
use crate::tunnel::CloseReason;

/// A lease that ran dry within this time was too small.
const HASTE: Duration = Duration::from_secs(1);
/// An exhausted customer who asks again is looked up at most this often.
const RECHECK: Duration = Duration::from_secs(1);

impl Books {
    /// Gets bytes for who asked; keeps trying while the store fails and somebody waits.
    pub(super) async fn supply_until_told(&mut self) {
        let mut backoff = Backoff::default();
        while let Err(e) = self.supply().await {
            self.failed("take", &e);
            if self.account.live() == 0 {
                return;
            }
            backoff.pause().await;
        }
    }

    pub(super) async fn supply(&mut self) -> Result<(), StoreError> {
        let wanted = self.account.ledger.wanted();
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
                let little = |h: &Held| wanted > h.lease.left();
                let quiescent = (little(&self.held[n]) || self.held[n].lease.left() == 0) && self.quiescent(n).await;
                if self.held[n].lease.left() > 0 || !quiescent {
                    if quiescent && little(&self.held[n]) {
                        return self.elsewhere(n, wanted, now).await;
                    }
                    self.held[n].lease.last();
                    self.account.ledger.announce(false);
                    return Ok(());
                }
                self.begin_closing(n);
                self.finish_closing().await?;
            }
        }
        self.next_bucket(now, wanted).await
    }

    /// What a bucket has left is too little for who waits for `wanted` bytes in one piece: another
    /// may have them, else nobody does.
    async fn elsewhere(&mut self, n: usize, wanted: u64, now: Timestamp) -> Result<(), StoreError> {
        self.look().await?;
        let here = self.held[n].lease.bucket.clone();
        if !self.buckets.iter().any(|(b, a)| *b != here && a.spendable(now) && a.available >= wanted) {
            self.held[n].lease.last();
            self.account.ledger.announce_too_much(wanted);
            return Ok(());
        }
        self.begin_closing(n);
        self.finish_closing().await?;
        self.next_bucket(now, wanted).await
    }

    /// Opens a lease on the first bucket that has `wanted` bytes; if none has, on the first that has any.
    pub(super) async fn next_bucket(&mut self, now: Timestamp, wanted: u64) -> Result<(), StoreError> {
        self.look().await?;
        let having = |least: u64| {
            let open = move |(_, a): &&(Bucket, Allowance)| a.spendable(now) && a.available >= least;
            self.buckets.iter().filter(open).map(|(b, _)| b.clone()).collect::<Vec<_>>()
        };
        let mut candidates = having(wanted.max(1));
        let others: Vec<_> = having(1).into_iter().filter(|b| !candidates.contains(b)).collect();
        candidates.extend(others);
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

    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        self.buckets = self.core.store.allowances(&self.account.id).await?;
        self.looked = Some(Instant::now());
        Ok(())
    }

    pub(super) async fn open(&mut self, bucket: &Bucket) -> Result<bool, StoreError> {
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
        self.account.ledger.opened(&lease);
        // The rate is measured lease by lease.
        self.took = None;
        self.held.push(Held { lease, seq: 0, taken: 0, settled: 0, closing: false });
        let n = self.held.len() - 1;
        let took = self.take_more(n).await?;
        if !took {
            self.begin_closing(n);
            self.finish_closing().await?;
        }
        Ok(took)
    }

    /// Takes more of a lease's bucket. `false`: it has no more.
    pub(super) async fn take_more(&mut self, n: usize) -> Result<bool, StoreError> {
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

    pub(super) async fn take(&mut self, n: usize, bytes: u64) -> Result<Take, StoreError> {
        let h = &self.held[n];
        // Nothing has moved before the first take; a write that loses its answer is repeated with
        // the same figures by `take`'s own sequence.
        let settled = if h.seq == 0 { 0 } else { self.account.moved(&self.core.journal, &h.lease) };
        let (lease, seq) = (Arc::clone(&h.lease), h.seq);
        self.core.store.take(&self.account.id, &lease.bucket, &self.core.session, bytes, settled, seq).await
    }

    /// What the store says becomes what the books say; bytes that are new go to the tunnels.
    pub(super) fn adopt(&mut self, n: usize, seq: u64, taken: u64, settled: u64) {
        let h = &mut self.held[n];
        let got = taken.saturating_sub(h.taken);
        (h.seq, h.taken, h.settled) = (seq, taken, settled);
        h.lease.note_taken(taken);
        if got > 0 {
            h.lease.add(got);
            // In force from its first bytes on, whichever attempt brought them.
            self.account.ledger.install(Some(Arc::clone(&h.lease)));
            self.account.ledger.announce(false);
        }
    }

    pub(super) fn note(&mut self, bucket: &Bucket, available: u64) {
        if let Some((_, a)) = self.buckets.iter_mut().find(|(b, _)| b == bucket) {
            a.available = available;
        }
    }

    /// Sizes the next take: five seconds of the rate since the last, twice as much as before if
    /// that ran dry in haste.
    pub(super) fn aim(&mut self, n: usize) {
        let Some((at, moved)) = self.took else { return };
        let now_moved = self.account.moved(&self.core.journal, &self.held[n].lease);
        let ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = now_moved.saturating_sub(moved).saturating_mul(1000) / ms;
        let by_rate = rate.saturating_mul(5);
        self.desired = if at.elapsed() < HASTE { by_rate.max(self.desired.saturating_mul(2)) } else { by_rate };
        self.desired = self.desired.clamp(1, 1 << 40);
    }

    pub(super) fn bucket_ended(&self, n: usize, now: Timestamp) -> bool {
        let bucket = &self.held[n].lease.bucket;
        self.buckets.iter().find(|(b, _)| b == bucket).is_some_and(|(_, a)| !a.spendable(now))
    }
}
