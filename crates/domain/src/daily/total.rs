//! A day's rows added up: a view of them, never in their place. Invoices count the rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DayUsage;
use crate::id::ProxyId;
use crate::time::Timestamp;

/// Most proxies that a total names: those that moved most. An item's size is bounded.
pub const MOST_PROXIES: usize = 1000;

/// What some rows of a day say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Bytes from the customer.
    pub ingress: u64,
    /// Bytes to the customer.
    pub egress: u64,
    /// Tunnels and requests that began.
    pub connections: u64,
    /// When the first bytes were counted.
    pub first_at: Timestamp,
    /// When the last ones were.
    pub last_at: Timestamp,
}

impl Moved {
    /// Bytes of both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ingress.saturating_add(self.egress)
    }

    fn plus(self, more: Self) -> Self {
        Self {
            ingress: self.ingress.saturating_add(more.ingress),
            egress: self.egress.saturating_add(more.egress),
            connections: self.connections.saturating_add(more.connections),
            first_at: self.first_at.min(more.first_at),
            last_at: self.last_at.max(more.last_at),
        }
    }
}

impl From<&DayUsage> for Moved {
    fn from(row: &DayUsage) -> Self {
        let DayUsage { ingress, egress, connections, first_at, last_at, .. } = *row;
        Self { ingress, egress, connections, first_at, last_at }
    }
}

/// What moved over one proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfProxy {
    /// Which.
    pub proxy: ProxyId,
    /// How much.
    pub moved: Moved,
}

/// What a customer moved on one UTC day: the sum of its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTotal {
    /// Sum of the rows' sequences. It tells totals apart: a row that changes has a higher sequence,
    /// and rows are never removed, so of two totals that with the larger sum is of later rows.
    pub seqs: u64,
    /// How many rows.
    pub rows: u64,
    /// All of it.
    pub moved: Moved,
    /// By proxy, in order of name.
    pub proxies: Vec<OfProxy>,
    /// What moved over the proxies beyond [`MOST_PROXIES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Moved>,
}

impl DayTotal {
    /// The total of all rows of a day, each with its proxy.
    #[must_use]
    pub fn of<'a>(rows: impl IntoIterator<Item = (&'a ProxyId, &'a DayUsage)>) -> Self {
        let mut total = Self::default();
        let mut by_proxy: BTreeMap<&ProxyId, Moved> = BTreeMap::new();
        for (proxy, row) in rows {
            total.seqs = total.seqs.saturating_add(row.seq);
            total.rows += 1;
            let more = Moved::from(row);
            by_proxy.entry(proxy).and_modify(|m| *m = m.plus(more)).or_insert(more);
        }
        total.moved = sum(by_proxy.values()).unwrap_or_default();
        let mut proxies: Vec<_> = by_proxy.into_iter().collect();
        if proxies.len() > MOST_PROXIES {
            proxies.sort_by(|a, b| b.1.bytes().cmp(&a.1.bytes()).then_with(|| a.0.cmp(b.0)));
            total.rest = sum(proxies.split_off(MOST_PROXIES).iter().map(|(_, moved)| moved));
            proxies.sort_by(|a, b| a.0.cmp(b.0));
        }
        total.proxies = proxies.into_iter().map(|(proxy, moved)| OfProxy { proxy: proxy.clone(), moved }).collect();
        total
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Moved>) -> Option<Moved> {
    all.copied().reduce(Moved::plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, ingress: u64, at: u64) -> DayUsage {
        let (first_at, last_at) = (Timestamp::from_secs(at), Timestamp::from_secs(at + 10));
        DayUsage { seq, ingress, egress: 2 * ingress, connections: 1, first_at, last_at }
    }

    fn proxy(n: usize) -> ProxyId {
        ProxyId { provider: "brd".parse().unwrap(), ip: format!("{n:04}") }
    }

    #[test]
    fn a_total_is_the_sum_of_its_rows_and_of_its_proxies() {
        let rows = [(proxy(2), row(5, 10, 100)), (proxy(1), row(6, 1, 50)), (proxy(2), row(7, 100, 120))];
        let total = DayTotal::of(rows.iter().map(|row| (&row.0, &row.1)));
        let (first_at, last_at) = (Timestamp::from_secs(50), Timestamp::from_secs(130));
        let all = Moved { ingress: 111, egress: 222, connections: 3, first_at, last_at };
        assert_eq!((total.seqs, total.rows, total.moved, total.rest), (18, 3, all, None));
        assert_eq!(total.moved.bytes(), 333);
        let names: Vec<_> = total.proxies.iter().map(|p| (p.proxy.ip.as_str(), p.moved.bytes())).collect();
        assert_eq!(names, [("0001", 3), ("0002", 330)]);
        assert_eq!(DayTotal::of([]), DayTotal::default());
    }

    #[test]
    fn a_total_names_the_proxies_that_moved_most_and_adds_up_the_rest() {
        let n = MOST_PROXIES + 3;
        let rows: Vec<_> = (0..n).map(|i| (proxy(i), row(1, u64::try_from(i).unwrap(), 100))).collect();
        let total = DayTotal::of(rows.iter().map(|row| (&row.0, &row.1)));
        assert_eq!(total.proxies.len(), MOST_PROXIES);
        assert_eq!(total.proxies[0].proxy, proxy(3), "in order of name");
        let rest = total.rest.unwrap();
        assert_eq!((rest.ingress, rest.connections), (1 + 2, 3));
        let named: u64 = total.proxies.iter().map(|p| p.moved.bytes()).sum();
        assert_eq!(named + rest.bytes(), total.moved.bytes());
    }

    #[test]
    fn a_total_of_later_rows_has_the_larger_sum() {
        let (one, two) = (proxy(1), proxy(2));
        let seqs = |rows: &[(&ProxyId, &DayUsage)]| DayTotal::of(rows.iter().copied()).seqs;
        let before = seqs(&[(&one, &row(5, 10, 100))]);
        assert!(seqs(&[(&one, &row(6, 10, 100))]) > before, "a row that changed");
        assert!(seqs(&[(&one, &row(5, 10, 100)), (&two, &row(1, 1, 1))]) > before, "a row more");
    }
}
