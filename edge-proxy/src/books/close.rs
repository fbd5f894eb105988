//! Closing: what moved is folded, the rest goes back, the journal forgets.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::budget::{Ended, Ending};
use tollgate_store::StoreError;
use tollgate_store::allowance::Rostered;
use tollgate_store::lost::Late;

use super::Books;

impl Books {
    pub(super) fn begin_closing(&mut self, n: usize) {
        // The pool is given up before the call: nothing can be reserved from it any more.
        self.held[n].known.begin_closing();
        self.account.ledger.install(None);
    }

    /// Whether every byte taken is either left or counted: no operation is under way.
    pub(super) async fn quiescent(&self, n: usize) -> bool {
        let h = &self.held[n];
        for _ in 0..50 {
            if h.lease.left() + self.account.moved(&self.core.journal, &h.lease) == h.known.given() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// Takes back what is left of a closing lease; whether every byte of it is back or counted: no
    /// operation is under way.
    async fn given_back(&mut self, n: usize) -> bool {
        let lease = Arc::clone(&self.held[n].lease);
        for _ in 0..1000 {
            self.held[n].given_up += lease.drain();
            let moved = self.account.moved(&self.core.journal, &lease);
            if self.held[n].given_up + moved == self.held[n].known.given() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// Closes what is to be closed: folds what moved, returns the rest.
    pub(super) async fn finish_closing(&mut self) -> Result<(), StoreError> {
        while let Some(n) = self.held.iter().position(|h| h.known.closing()) {
            let lease = Arc::clone(&self.held[n].lease);
            if !self.given_back(n).await {
                // Closed now, what it moves would be billed to nobody.
                return Err(StoreError::Unavailable("an operation is still under way".to_owned()));
            }
            let moved = self.account.moved(&self.core.journal, &lease);
            match self.held[n].known.ending(moved) {
                Ending::Nothing => {}
                Ending::Learn => {
                    let answer = self.take(n, 0).await?;
                    self.hear(n, &answer);
                    continue;
                }
                Ending::Close(last) => {
                    let (id, session) = (self.account.id.clone(), self.core.session.clone());
                    let answer = self.core.store.close_lease(&id, &lease.bucket, &session, last).await?;
                    match self.held[n].known.hear_close(answer) {
                        Ended::Done => {}
                        Ended::Again => {
                            lease.note_taken(self.held[n].known.taken());
                            continue;
                        }
                        Ended::Lost => self.tell_late(n, moved).await?,
                        Ended::Refused => {
                            tracing::error!(customer = %self.account.id, ?answer, "closing refused");
                        }
                    }
                }
            }
            // After the lease, which says whether it is lost; before roster and journal forget it.
            if !self.write_rows().await {
                return Err(StoreError::Unavailable("daily counters are not written yet".to_owned()));
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
    async fn tell_late(&self, n: usize, moved: u64) -> Result<(), StoreError> {
        let h = &self.held[n];
        let late = Late {
            session: self.core.session.clone(),
            bucket: h.lease.bucket.clone(),
            moved,
            settled: h.known.settled(),
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
        // Who comes back today marks the day anew.
        self.check(closed, "close_lease")
            && self.write_rows().await
            && self.pass_days(None).await
            && self.tell_proxies(self.core.clock.now(), true).await
    }
}
