//! Settling: what moved, to the lease and to the daily rows.

use std::sync::atomic::Ordering;

use tollgate_domain::budget::Heard;
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::usage::UsageKey;

use super::Books;

/// Settlements for which an unused counter stays in the journal.
const FOLD_AFTER: u32 = 12;

impl Books {
    /// Settles leases and writes counters. `false`: the store failed somewhere; the next
    /// settlement makes up for it.
    pub(super) async fn settle(&mut self) -> bool {
        let mut sound = true;
        let now = self.core.clock.now();
        self.note_pace();
        for n in 0..self.held.len() {
            if !self.held[n].known.closing() && self.bucket_ended(n, now) {
                self.begin_closing(n);
            }
        }
        let closed = self.finish_closing().await;
        sound &= self.check(closed, "close_lease");
        for n in 0..self.held.len() {
            let h = &self.held[n];
            if !h.known.owes(self.account.moved(&self.core.journal, &h.lease)) {
                continue;
            }
            // What was given up and is not back yet goes along.
            let told = if h.known.given_up() > 0 { self.give_back(n).await } else { self.take(n, 0).await };
            match told {
                Ok(answer) => {
                    if !matches!(self.hear(n, &answer), Heard::Agreed { .. }) {
                        tracing::error!(customer = %self.account.id, ?answer, "settle refused");
                        sound = false;
                    }
                }
                Err(e) => sound &= self.check(Err(e), "settle"),
            }
        }
        sound &= self.write_rows().await;
        sound &= self.pass_days(Some(now.day().as_str())).await;
        sound &= self.tell_proxies(now, false).await;
        self.fold();
        self.account.trim_lines();
        sound
    }

    /// Rows of `now`'s day that this session has written and the books do not have in mind: by an
    /// earlier use of the account, or before the clock was set back.
    pub(super) async fn load_rows(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.rows.knows(now) {
            return Ok(());
        }
        let found = self.core.store.usage(&self.account.id, &now.month()).await?;
        let ours = found.into_iter().filter(|(key, _)| key.session == self.core.session);
        self.rows.load(now, ours.map(|(key, usage)| ((key.day, (key.line, key.proxy)), usage)));
        Ok(())
    }

    /// Adds what the journal counters gained to today's rows, and notes in the journal that they
    /// do. Only once all rows are confirmed: the journal remembers one write. What a lost lease
    /// moved is not billed.
    pub(super) fn collect(&mut self, now: Timestamp) {
        let seq = self.rows.begin(now);
        self.core.row_seq.fetch_max(seq, Ordering::Relaxed);
        // Before the counters are listed: one that is not among them begins with this sequence.
        self.account.note_row_seq(seq);
        for (id, slot) in self.account.usages() {
            if self.held.iter().any(|h| h.known.lost() && h.lease.serial == id.serial) {
                continue;
            }
            let counters = self.core.journal.counters(slot.slot);
            let (before, still) = self.seen.get(&id).copied().unwrap_or_default();
            if counters == before {
                self.core.journal.nothing_new(slot.slot, seq);
                self.seen.insert(id, (counters, still.saturating_add(1)));
                continue;
            }
            self.core.journal.sending(slot.slot, seq, counters);
            let gained = counters.since(before);
            self.rows.add(now, (id.line.clone(), id.proxy.clone()), gained);
            self.carried(&id.proxy, gained.bytes(), now);
            self.seen.insert(id, (counters, 0));
        }
    }

    pub(super) async fn write_rows(&mut self) -> bool {
        // One instant for all: the day that is loaded is the day that is added to.
        let now = self.core.clock.now();
        let loaded = self.load_rows(now).await;
        if !self.check(loaded, "usage") || !self.confirm_rows().await {
            return false;
        }
        self.collect(now);
        let sound = self.confirm_rows().await;
        self.rows.trim(now);
        sound
    }

    /// Writes the rows that the store may not have, as they were when last tried.
    pub(super) async fn confirm_rows(&mut self) -> bool {
        let mut sound = true;
        for (key, usage) in self.rows.due() {
            let (day, (line, proxy)) = key.clone();
            let begun = self.begin_day(&day).await;
            if !self.check(begun, "begin_day") {
                sound = false;
                continue;
            }
            let at = UsageKey { day, line, proxy, session: self.core.session.clone() };
            match self.core.store.record_usage(&self.account.id, &at, &usage).await {
                Ok(_) => self.rows.confirm(&key),
                Err(e) => {
                    self.doubt_day(&at.day);
                    sound &= self.check(Err(e), "record_usage");
                }
            }
        }
        sound
    }

    /// Folds counters that have been at rest, and written, for a while.
    pub(super) fn fold(&mut self) {
        if !self.rows.confirmed() {
            return;
        }
        let journal = &self.core.journal;
        let account = &self.account;
        self.seen.retain(|id, (counters, still)| *still < FOLD_AFTER || !account.fold_usage(journal, id, *counters));
    }
}
