//! Taking: which bucket, how much, and what the store's answer means for the tunnels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_domain::budget::{Allowance, Bucket, Heard, Holding, aim, lease_size};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::allowance::{Rostered, Take};

use super::{Books, Held};
use crate::ledger::Lease;
use crate::retry::Backoff;
use crate::tunnel::CloseReason;

/// An exhausted customer who asks again is looked up at most this often.
const RECHECK: Duration = Duration::from_secs(1);

impl Books {
    /// Gets bytes for who asked; keeps trying while the store fails and somebody waits.
    pub(super) async fn supply_until_told(&mut self) {
        let mut backoff = Backoff::default();
        while let Err(e) = self.supply().await {
            self.failed("take", &e);
            if self.account.live() == 0 {
                self.hunger.end();
                return;
            }
            backoff.pause().await;
        }
    }

    pub(super) async fn supply(&mut self) -> Result<(), StoreError> {
        if self.hunger.waits() || self.sated() {
            return Ok(());
        }
        let wanted = self.account.ledger.wanted();
        if self.account.ledger.exhausted() && self.looked.is_some_and(|t| t.elapsed() < RECHECK) {
            // Who asks is told so without us.
            return Ok(());
        }
        self.finish_closing().await?;
        let now = self.core.clock.now();
        let current = self.held.iter().position(|h| !h.known.closing());
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
                    self.hunger.end();
                    if quiescent && little(&self.held[n]) {
                        return self.elsewhere(n, wanted, now).await;
                    }
                    self.held[n].lease.last();
                    self.account.ledger.announce(false);
                    return Ok(());
                }
                if self.keeps(n, now).await? {
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
    /// If none has any, others may: who waits goes on waiting, or hears that the quota is used up.
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
        if self.ask_others(now).await {
            return Ok(());
        }
        self.account.ledger.install(None);
        match self.hunger.in_vain() {
            Some(believed) => self.account.ledger.announce_dry_for(believed),
            None => self.account.ledger.announce(true),
        }
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
        self.held.push(Held { lease, known: Holding::new(), given_up: 0 });
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
            let want = lease_size(self.desired, available, edges as u64);
            if want == 0 {
                return Ok(false);
            }
            let answer = self.take(n, want).await?;
            match self.hear(n, &answer) {
                Heard::Agreed { got: 0, available: rest } => available = rest.unwrap_or(available),
                Heard::Agreed { available: rest, .. } => {
                    if rest.is_some() {
                        self.took = Some((Instant::now(), self.account.moved(&self.core.journal, &self.held[n].lease)));
                    }
                    return Ok(true);
                }
                Heard::Short { available: rest } => available = rest,
                Heard::Gone => {
                    tracing::error!(customer = %self.account.id, %bucket, "the lease is gone");
                    return Ok(false);
                }
            }
        }
    }

    pub(super) async fn take(&mut self, n: usize, bytes: u64) -> Result<Take, StoreError> {
        let h = &mut self.held[n];
        let lease = Arc::clone(&h.lease);
        let ask = h.known.ask(bytes, self.account.moved(&self.core.journal, &lease));
        let (id, session) = (&self.account.id, &self.core.session);
        self.core.store.take(id, &lease.bucket, session, ask.bytes, ask.settled, ask.seq).await
    }

    /// What the store says becomes what the books say; bytes that are new go to the tunnels.
    pub(super) fn hear(&mut self, n: usize, answer: &Take) -> Heard {
        let h = &mut self.held[n];
        let heard = h.known.hear(answer);
        let lease = Arc::clone(&h.lease);
        lease.note_taken(h.known.taken());
        match heard {
            Heard::Agreed { available: Some(rest), .. } | Heard::Short { available: rest } => {
                self.note(&lease.bucket, rest);
            }
            Heard::Agreed { available: None, .. } | Heard::Gone => {}
        }
        if let Heard::Agreed { got, .. } = heard
            && got > 0
        {
            lease.add(got);
            self.hunger.fed();
            // In force from its first bytes on, whichever attempt brought them.
            self.account.ledger.install(Some(lease));
            self.account.ledger.announce(false);
        }
        heard
    }

    pub(super) fn note(&mut self, bucket: &Bucket, available: u64) {
        if let Some((_, a)) = self.buckets.iter_mut().find(|(b, _)| b == bucket) {
            a.available = available;
        }
    }

    /// Sizes the next take by the rate since the last.
    pub(super) fn aim(&mut self, n: usize) {
        let Some((at, before)) = self.took else { return };
        let moved = self.account.moved(&self.core.journal, &self.held[n].lease);
        self.desired = aim(self.desired, moved.saturating_sub(before), at.elapsed());
    }

    pub(super) fn bucket_ended(&self, n: usize, now: Timestamp) -> bool {
        let bucket = &self.held[n].lease.bucket;
        self.buckets.iter().find(|(b, _)| b == bucket).is_some_and(|(_, a)| !a.spendable(now))
    }
}
