//! A node's journal: what moved, on file, before the store knows. It outlives the process.

use tollgate_domain::budget::{Bucket, in_doubt};
use tollgate_domain::daily::{Counters, Marks};
use tollgate_domain::id::EdgeSession;
use tollgate_domain::time::Timestamp;

/// The journal of one life.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Of which life.
    pub session: EdgeSession,
    /// When the life began, by its clock.
    pub created: Timestamp,
    /// When it was last checkpointed, by its clock.
    pub alive: Timestamp,
    /// Leases that are not known to be closed.
    pub leases: Vec<LeaseSlot>,
    /// One operation per worker.
    ops: Vec<Option<Announced>>,
}

/// A lease slot with one counter per worker.
#[derive(Clone, Debug)]
pub struct LeaseSlot {
    /// Which lease.
    pub serial: u64,
    /// Of which bucket.
    pub bucket: Bucket,
    /// By worker.
    pub usages: Vec<Usage>,
}

/// A counter and its way into the daily rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// What was counted.
    pub counted: Counters,
    /// What the rows have of it.
    pub marks: Marks,
}

/// An operation that was announced and is not counted yet.
#[derive(Clone, Copy, Debug)]
struct Announced {
    serial: u64,
    base: u64,
    grant: u64,
}

impl Journal {
    /// An empty journal.
    pub fn new(session: EdgeSession, workers: usize, now: Timestamp) -> Self {
        Self { session, created: now, alive: now, leases: Vec::new(), ops: vec![None; workers] }
    }

    /// Opens a slot, before anything is asked for.
    pub fn open(&mut self, serial: u64, bucket: Bucket) {
        let usages = vec![Usage::default(); self.ops.len()];
        self.leases.push(LeaseSlot { serial, bucket, usages });
    }

    /// Forgets a lease that the store has closed.
    pub fn free(&mut self, serial: u64) {
        self.leases.retain(|l| l.serial != serial);
    }

    fn slot(&self, serial: u64) -> Option<&LeaseSlot> {
        self.leases.iter().find(|l| l.serial == serial)
    }

    fn usage_mut(&mut self, serial: u64, worker: usize) -> Option<&mut Usage> {
        self.leases.iter_mut().find(|l| l.serial == serial).map(|l| &mut l.usages[worker])
    }

    /// Bytes counted under a lease.
    pub fn counted(&self, serial: u64) -> u64 {
        self.slot(serial).map_or(0, LeaseSlot::counted)
    }

    /// Bytes that operations under way may have moved uncounted under a lease.
    pub fn doubt(&self, serial: u64) -> u64 {
        let Some(slot) = self.slot(serial) else { return 0 };
        let of = |(worker, op): (usize, &Option<Announced>)| {
            let op = op.filter(|op| op.serial == serial)?;
            Some(in_doubt(op.base, op.grant, slot.usages[worker].counted.egress))
        };
        self.ops.iter().enumerate().filter_map(of).sum()
    }

    /// Announces an operation of up to `grant` bytes.
    pub fn announce(&mut self, worker: usize, serial: u64, grant: u64) {
        let base = self.usage_mut(serial, worker).map_or(0, |u| u.counted.egress);
        self.ops[worker] = Some(Announced { serial, base, grant });
    }

    /// Counts what the announced operation moved. The announcement stands.
    pub fn count(&mut self, worker: usize, moved: u64) {
        let Some(op) = self.ops[worker] else { return };
        if let Some(usage) = self.usage_mut(op.serial, worker) {
            usage.counted.egress = op.base + moved;
        }
    }

    /// Takes the announcement back.
    pub fn clear(&mut self, worker: usize) {
        self.ops[worker] = None;
    }
}

impl LeaseSlot {
    /// Bytes counted.
    pub fn counted(&self) -> u64 {
        self.usages.iter().map(|u| u.counted.bytes()).sum()
    }
}
