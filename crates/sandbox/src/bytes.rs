//! What the super-proxy moved, per user name and exit address, counted at its client side.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tollgate_domain::time::Timestamp;

use crate::lock;

const DAY_MS: u64 = 86_400_000;

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByteCount {
    /// From the client.
    pub up: u64,
    /// To the client.
    pub down: u64,
}

impl ByteCount {
    /// Both directions.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.up + self.down
    }

    fn add(&mut self, other: Self) {
        self.up += other.up;
        self.down += other.down;
    }
}

/// The bytes of one user name through one exit address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByteRow {
    /// The full user name.
    pub user: String,
    /// The exit address.
    pub ip: Ipv4Addr,
    /// How much.
    #[serde(flatten)]
    pub bytes: ByteCount,
}

/// One row's counter. Counts are per UTC day, for queries over a range.
#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<BTreeMap<u64, ByteCount>>);

impl Counter {
    pub(crate) fn up(&self, n: usize, now: Timestamp) {
        self.add(ByteCount { up: n as u64, down: 0 }, now);
    }

    /// Counted before the write, so that whoever has seen a byte finds it counted.
    pub(crate) fn down(&self, n: usize, now: Timestamp) {
        self.add(ByteCount { up: 0, down: n as u64 }, now);
    }

    /// Takes back what a failed write did not send.
    pub(crate) fn unsent(&self, n: usize) {
        let mut left = n as u64;
        for day in lock(&self.0).values_mut().rev() {
            let back = left.min(day.down);
            day.down -= back;
            left -= back;
        }
    }

    fn add(&self, n: ByteCount, now: Timestamp) {
        lock(&self.0).entry(now.as_millis() / DAY_MS).or_default().add(n);
    }

    /// What days that begin in `[from, until)` saw.
    fn between(&self, from: Timestamp, until: Timestamp) -> ByteCount {
        let (first, end) = (from.as_millis().div_ceil(DAY_MS), until.as_millis().div_ceil(DAY_MS));
        let mut sum = ByteCount::default();
        if first < end {
            lock(&self.0).range(first..end).for_each(|(_, n)| sum.add(*n));
        }
        sum
    }
}

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Bytes(Mutex<BTreeMap<(String, Ipv4Addr), Arc<Counter>>>);

impl Bytes {
    pub(crate) fn counter(&self, user: &str, ip: Ipv4Addr) -> Arc<Counter> {
        Arc::clone(lock(&self.0).entry((user.to_owned(), ip)).or_default())
    }

    pub(crate) fn rows(&self) -> Vec<ByteRow> {
        let all = lock(&self.0);
        let row = |((user, ip), c): (&(String, Ipv4Addr), &Arc<Counter>)| ByteRow {
            user: user.clone(),
            ip: *ip,
            bytes: c.between(Timestamp::default(), Timestamp::from_millis(u64::MAX)),
        };
        all.iter().map(row).collect()
    }

    pub(crate) fn between(&self, from: Timestamp, until: Timestamp) -> ByteCount {
        let mut sum = ByteCount::default();
        lock(&self.0).values().for_each(|c| sum.add(c.between(from, until)));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_whole_days_and_unsent_bytes_are_taken_back() {
        let bytes = Bytes::default();
        let c = bytes.counter("u", Ipv4Addr::new(203, 0, 113, 1));
        let day = |n: u64| Timestamp::from_millis(n * DAY_MS);
        c.up(5, day(1));
        c.down(7, day(2));
        c.down(10, Timestamp::from_millis(2 * DAY_MS + 1));
        assert_eq!(bytes.between(day(1), day(2)), ByteCount { up: 5, down: 0 });
        assert_eq!(bytes.between(day(2), day(3)).total(), 17);
        assert_eq!(bytes.between(day(3), day(2)).total(), 0);
        c.unsent(12);
        assert_eq!(bytes.rows()[0].bytes, ByteCount { up: 5, down: 5 });
    }
}
