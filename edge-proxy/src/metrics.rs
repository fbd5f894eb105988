//! What the edge counts. Labels come from fixed lists and a bounded table: their number is bounded.

mod dials;
mod events;
mod feed;
mod page;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tollgate_domain::refusal::Code;

use crate::journal::Direction;

pub(crate) use dials::DIRECT;
use dials::DialFailures;
pub(crate) use events::EventCounts;
use feed::FeedMark;
pub(crate) use page::page;

/// Counters since the start of the process.
pub(crate) struct Metrics {
    /// One per worker: a byte counted here costs no other worker a cache line.
    moved: Vec<Moved>,
    pub connections: AtomicU64,
    pub open_connections: AtomicU64,
    /// Closed at once: too many were open.
    pub connections_over_limit: AtomicU64,
    /// Connections that the system could not give us.
    pub accept_failures: AtomicU64,
    pub tunnels: AtomicU64,
    pub open_tunnels: AtomicU64,
    pub dial_failures: DialFailures,
    pub store_failures: AtomicU64,
    /// Reloads applied, and reloads whose settings were refused.
    pub reloads: AtomicU64,
    pub reloads_refused: AtomicU64,
    pub events: EventCounts,
    pub feed: FeedMark,
    refusals: Vec<AtomicU64>,
}

/// Bytes moved by one worker.
#[derive(Default)]
#[repr(align(128))]
struct Moved {
    ingress: AtomicU64,
    egress: AtomicU64,
}

impl Metrics {
    pub fn new(workers: usize) -> Self {
        let zero = AtomicU64::default;
        Self {
            moved: (0..workers.max(1)).map(|_| Moved::default()).collect(),
            connections: zero(),
            open_connections: zero(),
            connections_over_limit: zero(),
            accept_failures: zero(),
            tunnels: zero(),
            open_tunnels: zero(),
            dial_failures: DialFailures::default(),
            store_failures: zero(),
            reloads: zero(),
            reloads_refused: zero(),
            events: EventCounts::default(),
            feed: FeedMark::new(Instant::now()),
            refusals: Code::ALL.iter().map(|_| zero()).collect(),
        }
    }

    pub fn moved(&self, worker: usize, direction: Direction, bytes: u64) {
        let Some(moved) = self.moved.get(worker) else { return };
        match direction {
            Direction::Ingress => &moved.ingress,
            Direction::Egress => &moved.egress,
        }
        .fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn refused(&self, code: Code) {
        if let Some(n) = Code::ALL.iter().position(|c| *c == code) {
            self.refusals[n].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Refusals so far, by code; zeros left out.
    pub fn refusals(&self) -> Vec<(Code, u64)> {
        let counts = self.refusals.iter().map(|n| n.load(Ordering::Relaxed));
        Code::ALL.iter().copied().zip(counts).filter(|(_, n)| *n > 0).collect()
    }

    /// Bytes so far: from customers, to customers.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |f: fn(&Moved) -> &AtomicU64| self.moved.iter().map(|m| f(m).load(Ordering::Relaxed)).sum();
        (sum(|m| &m.ingress), sum(|m| &m.egress))
    }
}
