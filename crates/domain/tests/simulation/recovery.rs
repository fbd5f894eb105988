//! A starting process settles what an earlier life left: its leases, then its rows, then the
//! roster. Any failure begins it anew.

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_domain::budget::{Bucket, Close, Closing};
use tollgate_domain::daily::{Counters, DayUsage, Marks};

use crate::call::{Answer, Call, Sent};
use crate::journal::{Journal, LeaseSlot, Usage};

/// How far the life's clock may have been off: its rows are looked for so much around it.
const ADRIFT: Duration = Duration::from_secs(86_400);

/// How far it has come with one journal.
#[derive(Default)]
pub struct Recovery {
    /// The roster, once it is known.
    entries: Option<Vec<Bucket>>,
    /// Of which so many are closed.
    closed: usize,
    /// How to close the next.
    closing: Option<Closing>,
    /// Those that were declared lost.
    lost: BTreeSet<Bucket>,
    /// Months whose rows are still to be read; none = not begun.
    months: Option<Vec<String>>,
    rows: Vec<(String, DayUsage)>,
    /// The raised row, once it is worked out.
    raised: Option<Option<(String, DayUsage)>>,
    /// So many entries are off the roster.
    unlisted: usize,
}

impl Recovery {
    /// What to ask next; none = all that the journal says is in the store.
    pub fn think(&mut self, journal: &mut Journal) -> Option<Sent> {
        let sent = |serial, call| Some(Sent { session: journal.session.clone(), serial, call });
        let Some(entries) = &self.entries else { return sent(0, Call::Roster) };
        if let Some(bucket) = entries.get(self.closed) {
            let Some(last) = self.closing else { return sent(0, Call::Look) };
            let serial = slot(journal, bucket).map_or(0, |l| l.serial);
            return sent(serial, Call::Close { bucket: bucket.clone(), last });
        }
        let months = self.months.get_or_insert_with(|| {
            let (mut month, mut all) = (journal.created.minus(ADRIFT).month_start(), Vec::new());
            while month <= journal.alive.max(journal.created).plus(ADRIFT) {
                all.push(month.month());
                month = month.next_month_start();
            }
            all
        });
        if let Some(month) = months.last() {
            return sent(0, Call::Usage(month.clone()));
        }
        if let Some(raised) = &self.raised {
            if let Some((day, usage)) = raised {
                return sent(0, Call::Record(day.clone(), *usage));
            }
            let entry = entries.get(self.unlisted)?;
            return sent(0, Call::RosterRemove(entry.clone()));
        }
        self.raised = Some(self.raise(journal));
        self.think(journal)
    }

    /// Takes in an answer.
    pub fn hear(&mut self, journal: &Journal, call: &Call, answer: Answer) -> Result<(), String> {
        match (answer, call) {
            (Answer::Roster(entries), _) => self.entries = Some(entries),
            (Answer::Allowances(buckets), _) => {
                let Some(entry) = self.entries.as_ref().and_then(|e| e.get(self.closed)) else { return Ok(()) };
                let bucket = buckets.into_iter().find(|(b, _)| b == entry);
                match bucket.and_then(|(_, mut a)| a.leases.remove(&journal.session)) {
                    None => self.closed += 1,
                    Some(lease) => {
                        let left = slot(journal, entry);
                        let (counted, doubt) = left.map_or((0, 0), |l| (l.counted(), journal.doubt(l.serial)));
                        self.closing = lease.after_crash(counted, doubt);
                        if self.closing.is_none() {
                            self.lost.insert(entry.clone());
                            self.closed += 1;
                        }
                    }
                }
            }
            (Answer::Close(close), _) => {
                self.closing = None;
                match close {
                    Close::Closed => self.closed += 1,
                    Close::Stale { .. } | Close::Lost => {} // looked at again
                    Close::Overspent => return Err("the journal and the lease do not fit".to_owned()),
                }
            }
            (Answer::Rows(rows), _) => {
                self.rows.extend(rows);
                if let Some(months) = &mut self.months {
                    months.pop();
                }
            }
            (Answer::Done, Call::Record(..)) => self.raised = Some(None),
            (Answer::Done, Call::RosterRemove(_)) => self.unlisted += 1,
            (answer, call) => return Err(format!("{answer:?} is no answer to {call:?}")),
        }
        Ok(())
    }

    /// The row that takes in what no row has, if anything is missing.
    fn raise(&self, journal: &mut Journal) -> Option<(String, DayUsage)> {
        let stored = self.rows.iter().map(|(_, u)| u.seq).max().unwrap_or(0);
        let mut missing = Counters::default();
        let (alive, created) = (journal.alive.max(journal.created), journal.created);
        let listed = self.entries.as_deref().unwrap_or_default();
        let billed = journal.leases.iter_mut().filter(|l| listed.contains(&l.bucket) && !self.lost.contains(&l.bucket));
        let usages: Vec<&mut Usage> = billed.flat_map(|l| l.usages.iter_mut()).collect();
        for usage in &usages {
            missing += usage.counted.since(usage.marks.recorded(stored));
        }
        if missing == Counters::default() {
            return None;
        }
        let seq = stored + 1;
        for usage in usages {
            let confirmed = usage.marks.recorded(stored);
            usage.marks = Marks { confirmed, sent: usage.counted, sent_seq: seq };
        }
        let day = alive.day();
        let before = self.rows.iter().find(|(d, _)| *d == day).map(|(_, u)| *u);
        let mut usage = before.unwrap_or(DayUsage { first_at: created, ..DayUsage::default() });
        usage.seq = seq;
        usage.last_at = alive.max(usage.last_at);
        usage.add(missing);
        Some((day, usage))
    }
}

fn slot<'a>(journal: &'a Journal, bucket: &Bucket) -> Option<&'a LeaseSlot> {
    journal.leases.iter().find(|l| l.bucket == *bucket)
}
