//! Bugs on purpose. The simulation is worth its name only if it finds them.

use tollgate_domain::budget::{Bucket, Lease, LeaseState, Take};
use tollgate_domain::id::EdgeSession;

use crate::store_model::Model;

/// A bug to plant into the simulated store or the simulated nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A take or a settle does not ask for the sequence that it follows.
    SettlesWithoutItsSequence,
    /// A lease whose edge was silent for some time is given back.
    ReturnsALeaseByTime,
    /// Bytes are counted before the system call that moves them.
    CountsBeforeTheCall,
    /// A lease is closed while it is still spent from.
    GivesBackWhatItSpends,
    /// What goes back to the bucket stays in the pool too.
    GivesBackWhatItKeeps,
    /// A lease is forgotten although its first take may have been applied.
    ForgetsItsFirstTake,
    /// What the journal says to be in doubt is not charged.
    DoubtsNothing,
    /// Not in the product: writes arrive however late, even at the next lease of the same session.
    /// The sequence of a lease begins anew with each lease, so that one is not told from another.
    ArrivesAfterItsLease,
}

/// `take` without `#L.#e.k = :k` and without `attribute_not_exists(#L.#e)`.
pub fn take_unguarded(model: &mut Model, bucket: &Bucket, who: &EdgeSession, n: u64, settled: u64, seq: u64) -> Take {
    let Some(a) = model.allowances.get_mut(bucket) else { return Take::NoBucket };
    if a.available < n {
        return a.refused_take(who, n, settled, seq);
    }
    let next = match a.leases.get(who) {
        _ if seq == 0 => Lease { taken: n, settled: 0, doubt: 0, seq: 1, state: LeaseState::Open },
        Some(l) if l.state == LeaseState::Open => {
            Lease { taken: l.taken + n, settled, doubt: 0, seq: seq + 1, state: LeaseState::Open }
        }
        _ => return a.refused_take(who, n, settled, seq),
    };
    a.available -= n;
    a.leases.insert(who.clone(), next.clone());
    Take::Taken { lease: next, available: a.available }
}

/// Closes the leases of a silent session with what they settled, and gives back the rest.
pub fn return_by_time(model: &mut Model, who: &EdgeSession) {
    for a in model.allowances.values_mut() {
        if a.leases.get(who).is_some_and(|l| l.state == LeaseState::Open)
            && let Some(l) = a.leases.remove(who)
        {
            a.available += l.taken - l.settled;
            a.folded += l.settled;
        }
    }
}
