//! **Daily rows**: what one edge session moved, by UTC day and place (for the edge a line and a
//! proxy). They are what invoices count.
//!
//! A row has one writer, its figures are cumulative, and a write applies if its sequence is
//! higher: any repetition heals. [`Daybook`] is that writer's memory; [`Marks`] is what the
//! journal remembers of it, so that whoever settles a crash adds what no row has, once.
//! [`DayTotal`] is a customer's day added up, once nobody writes it any more.

mod book;
#[cfg(test)]
mod tests;
mod total;

pub use book::Daybook;
pub use total::{DayTotal, MOST_PROXIES, Moved, OfProxy};

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What one edge session moved at one place on one UTC day. Cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayUsage {
    /// Counts the row's writes.
    pub seq: u64,
    /// Bytes from the customer.
    pub ingress: u64,
    /// Bytes to the customer.
    pub egress: u64,
    /// Tunnels and requests that began.
    pub connections: u64,
    /// When the first bytes of the day were counted.
    pub first_at: Timestamp,
    /// When the last ones were.
    pub last_at: Timestamp,
}

impl DayUsage {
    /// Bytes of both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ingress.saturating_add(self.egress)
    }

    /// Adds what was counted since the last write.
    pub fn add(&mut self, more: Counters) {
        self.ingress += more.ingress;
        self.egress += more.egress;
        self.connections += more.connections;
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        self.ingress += more.ingress;
        self.egress += more.egress;
        self.connections += more.connections;
    }
}

/// Bytes and tunnels of one counter. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes from the customer.
    pub ingress: u64,
    /// Bytes to the customer.
    pub egress: u64,
    /// Tunnels and requests that began.
    pub connections: u64,
}

impl Counters {
    /// Bytes of both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ingress.saturating_add(self.egress)
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: Self) -> Self {
        Self {
            ingress: self.ingress.saturating_sub(before.ingress),
            egress: self.egress.saturating_sub(before.egress),
            connections: self.connections.saturating_sub(before.connections),
        }
    }
}

/// What a journal remembers of one counter's way into the rows: what they are known to include,
/// and what the latest write, which may or may not have been applied, included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Included for certain.
    pub confirmed: Counters,
    /// Included by the latest write.
    pub sent: Counters,
    /// That write's sequence.
    pub sent_seq: u64,
}

impl Marks {
    /// What the rows include, if the latest of them has sequence `stored`.
    #[must_use]
    pub fn recorded(&self, stored: u64) -> Counters {
        if stored >= self.sent_seq { self.sent } else { self.confirmed }
    }
}
