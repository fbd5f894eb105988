//! The rows that a session writes, as it remembers them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counters, DayUsage};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    usage: DayUsage,
    unconfirmed: bool,
}

/// A session's daily rows of one customer, by day and place `P`.
///
/// In turns: all rows confirmed, then one collection ([`Self::begin`], [`Self::add`]), then its
/// writes ([`Self::due`]) until they are confirmed. The clock may be set back over midnight: a day
/// whose rows are not in mind is loaded again, never begun anew.
#[derive(Clone, Debug)]
pub struct Daybook<P> {
    rows: BTreeMap<(String, P), Row>,
    /// Days of which all rows are in `rows`.
    known: BTreeSet<String>,
    /// The latest day of which anything is known.
    latest: String,
    /// The sequence of the latest collection: grows over all rows of the session.
    seq: u64,
}

impl<P: Ord + Clone> Daybook<P> {
    /// No rows yet. Sequences start above `floor`: what earlier books of the session came to.
    #[must_use]
    pub fn new(floor: u64) -> Self {
        Self { rows: BTreeMap::new(), known: BTreeSet::new(), latest: String::new(), seq: floor }
    }

    /// Whether rows may be collected on the day of `now`: all that this session has written of it
    /// is in mind. If not, [`Self::load`] it.
    #[must_use]
    pub fn knows(&self, now: Timestamp) -> bool {
        let day = now.day();
        // What was loaded of a month told of its later days too.
        self.known.contains(&day) || (day > self.latest && self.latest.starts_with(&now.month()))
    }

    /// Takes in the rows that this session wrote in the month of `now`.
    pub fn load(&mut self, now: Timestamp, found: impl IntoIterator<Item = ((String, P), DayUsage)>) {
        let today = now.day();
        for (key, usage) in found {
            self.seq = self.seq.max(usage.seq);
            if key.0 > self.latest {
                self.latest.clone_from(&key.0);
            }
            if key.0 == today {
                self.rows.insert(key, Row { usage, unconfirmed: false });
            }
        }
        // Above all that was written before, in this month or an earlier one.
        self.seq = self.seq.max(now.as_millis());
        self.turn_to(today);
    }

    /// Begins a collection: the sequence that its rows will have.
    pub fn begin(&mut self, now: Timestamp) -> u64 {
        self.turn_to(now.day());
        self.seq += 1;
        self.seq
    }

    /// Adds what a counter gained to the row of `now`'s day.
    pub fn add(&mut self, now: Timestamp, place: P, more: Counters) {
        let row = self.rows.entry((now.day(), place)).or_default();
        if row.usage.first_at == Timestamp::default() {
            row.usage.first_at = now;
        }
        row.usage.last_at = now;
        row.usage.seq = self.seq;
        row.usage.add(more);
        row.unconfirmed = true;
    }

    /// Rows that the store may not have, as they were when last tried.
    #[must_use]
    pub fn due(&self) -> Vec<((String, P), DayUsage)> {
        self.rows.iter().filter(|(_, r)| r.unconfirmed).map(|(k, r)| (k.clone(), r.usage)).collect()
    }

    /// Notes that the store has a row.
    pub fn confirm(&mut self, key: &(String, P)) {
        if let Some(row) = self.rows.get_mut(key) {
            row.unconfirmed = false;
        }
    }

    /// Whether the store has every row.
    #[must_use]
    pub fn confirmed(&self) -> bool {
        !self.rows.values().any(|r| r.unconfirmed)
    }

    /// Forgets days that are over and written.
    pub fn trim(&mut self, now: Timestamp) {
        let today = now.day();
        self.rows.retain(|(day, _), r| r.unconfirmed || *day >= today);
        let rows = &self.rows;
        self.known.retain(|day| *day >= today || rows.keys().any(|(d, _)| d == day));
    }

    /// The sequence of the latest collection.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    fn turn_to(&mut self, day: String) {
        if day > self.latest {
            self.latest.clone_from(&day);
        }
        self.known.insert(day);
    }
}
