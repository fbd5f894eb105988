//! Settling: what moved, to the lease and to the daily rows.

use tollgate_domain::budget::Heard;
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::usage::UsageKey;

use super::{Books, Row, RowKey};

/// Settlements for which an unused counter stays in the journal.
const FOLD_AFTER: u32 = 12;

impl Books {
    /// Settles leases and writes counters. `false`: the store failed somewhere; the next
    /// settlement makes up for it.
    pub(super) async fn settle(&mut self) -> bool {
        let mut sound = true;
        let now = self.core.clock.now();
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
            match self.take(n, 0).await {
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
        self.fold();
        self.account.trim_lines();
        sound
    }

    /// Rows of today that an earlier use of the account in this session wrote.
    pub(super) async fn load_rows(&mut self) -> Result<(), StoreError> {
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
        // Above all that earlier uses of the account wrote, in this month or before.
        self.row_seq = self.row_seq.max(today.as_millis());
        self.loaded = true;
        Ok(())
    }

    /// Adds what the journal counters gained to today's rows, and notes in the journal that they
    /// do. Only once all rows are confirmed: the journal remembers one write.
    pub(super) fn collect(&mut self) {
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

    pub(super) async fn write_rows(&mut self) -> bool {
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
    pub(super) async fn confirm_rows(&mut self) -> bool {
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
    pub(super) fn fold(&mut self) {
        if self.rows.values().any(|r| r.unconfirmed) {
            return;
        }
        let journal = &self.core.journal;
        let account = &self.account;
        self.seen.retain(|id, (counters, still)| *still < FOLD_AFTER || !account.fold_usage(journal, id, *counters));
    }
}
