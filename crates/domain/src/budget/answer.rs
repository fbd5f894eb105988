//! What a bucket answers to the writes of an edge session, and how a write that did not apply
//! reads: whoever keeps the bucket gives the old item back, and the reason is found in it.

use super::{Allowance, Lease, LeaseState};
use crate::id::EdgeSession;

/// What came of a take, a settle, or a giving back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// Applied, now or by an earlier attempt whose answer was lost.
    Taken {
        /// The lease as it stands: its `taken` is the truth, whatever an attempt asked for.
        lease: Lease,
        /// Bytes that nobody holds.
        available: u64,
    },
    /// Fewer bytes are available than asked for. Nothing changed.
    Exhausted {
        /// Bytes that nobody holds.
        available: u64,
    },
    /// The lease is at another sequence: the caller lost track. Nothing changed.
    Stale {
        /// The lease as it stands.
        lease: Lease,
    },
    /// The lease was declared lost. Nothing changed.
    Lost,
    /// The session holds no lease. Nothing changed.
    NoLease,
    /// There is no such bucket.
    NoBucket,
    /// Settled bytes fell, or exceed what was taken. Nothing changed.
    Overspent,
}

/// What came of closing a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Closed, now or earlier: the session holds no lease of the bucket.
    Closed,
    /// The lease is at another sequence or holds another sum. Nothing changed.
    Stale {
        /// The sequence found.
        seq: u64,
        /// The bytes taken.
        taken: u64,
    },
    /// The lease was declared lost: its bytes stay charged. Nothing changed.
    Lost,
    /// The figures exceed what was taken, or fell. Nothing changed.
    Overspent,
}

/// The last figures of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Bytes ever taken by the lease.
    pub taken: u64,
    /// Bytes that moved.
    pub settled: u64,
    /// Bytes that may have moved when the edge crashed.
    pub doubt: u64,
    /// The sequence this follows.
    pub seq: u64,
}

impl Closing {
    /// Bytes that the closing folds: settled and in doubt. `None`: more than were taken.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        self.settled.checked_add(self.doubt).filter(|used| *used <= self.taken)
    }
}

impl Allowance {
    /// Why a take that did not apply did not, by the bucket as it stands, in the order in which
    /// [`Allowance::take`] checks. A lease at `seq + 1` settled at `settled` is the same take,
    /// applied by an earlier attempt. A giving back ([`Allowance::give_back`]) that did not apply reads
    /// as a take of 0 bytes.
    #[must_use]
    pub fn refused_take(&self, session: &EdgeSession, bytes: u64, settled: u64, seq: u64) -> Take {
        let lease = self.leases.get(session);
        if let Some(l) = lease
            && (l.seq, l.settled, l.state) == (seq + 1, settled, LeaseState::Open)
        {
            return Take::Taken { lease: l.clone(), available: self.available };
        }
        if self.available < bytes {
            return Take::Exhausted { available: self.available };
        }
        match lease {
            None => Take::NoLease,
            Some(l) if l.state == LeaseState::Lost => Take::Lost,
            Some(l) if l.seq == seq => Take::Overspent,
            Some(l) => Take::Stale { lease: l.clone() },
        }
    }

    /// Why a closing that did not apply did not, by the bucket as it stands. A lease that is not
    /// there was closed by an earlier attempt.
    #[must_use]
    pub fn refused_close(&self, session: &EdgeSession, last: Closing) -> Close {
        match self.leases.get(session) {
            None => Close::Closed,
            Some(l) if l.state == LeaseState::Lost => Close::Lost,
            Some(l) if l.seq == last.seq && l.taken == last.taken => Close::Overspent,
            Some(l) => Close::Stale { seq: l.seq, taken: l.taken },
        }
    }
}
