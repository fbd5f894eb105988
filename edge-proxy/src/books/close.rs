//! Closing: what moved is folded, the rest goes back, the journal forgets.

use std::sync::Arc;
use std::time::Duration;

use tollgate_store::StoreError;
use tollgate_store::allowance::{Close, Closing, Rostered};
use tollgate_store::lost::Late;

use super::Books;
use crate::ledger::Lease;

impl Books {
    pub(super) fn begin_closing(&mut self, n: usize) {
        // The pool is given up before the call: nothing can be reserved from it any more.
        self.held[n].closing = true;
        self.account.ledger.install(None);
    }

    /// Whether every byte taken is either left or counted: no operation is under way.
    pub(super) async fn quiescent(&self, n: usize) -> bool {
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
    pub(super) async fn finish_closing(&mut self) -> Result<(), StoreError> {
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
                        lease.note_taken(taken);
                        continue;
                    }
                    Close::Lost => self.tell_late(&lease, moved).await?,
                    refused => tracing::error!(customer = %self.account.id, ?refused, "closing refused"),
                }
            }
            let entry = Rostered { customer: self.account.id.clone(), bucket: lease.bucket.clone() };
            self.core.store.roster_remove(&self.core.session, &entry).await?;
            // Its slot may be another's from here on.
            self.account.ledger.closed(&lease);
            self.account.free_lease(&self.core.journal, &lease);
            self.seen.retain(|id, _| id.serial != lease.serial);
            self.held.remove(n);
        }
        Ok(())
    }

    /// Somebody declared this life lost while it carried on: what it moved since is shown, not billed.
    async fn tell_late(&self, lease: &Lease, moved: u64) -> Result<(), StoreError> {
        let settled = self.held.iter().find(|h| h.lease.serial == lease.serial).map_or(0, |h| h.settled);
        let late = Late {
            session: self.core.session.clone(),
            bucket: lease.bucket.clone(),
            moved,
            settled,
            doubt: 0,
            at: self.core.clock.now(),
        };
        tracing::error!(customer = %self.account.id, late_bytes = late.bytes(), "the lease was declared lost");
        self.core.store.record_late(&self.account.id, &late).await.map(drop)
    }

    pub(super) async fn close_all(&mut self) -> bool {
        if self.account.live() > 0 {
            return false;
        }
        for n in 0..self.held.len() {
            self.begin_closing(n);
        }
        let closed = self.finish_closing().await;
        self.check(closed, "close_lease") && self.write_rows().await
    }
}
