//! **Budget**: what is consumed and never given back by time. Here: the bytes of one bucket of
//! one customer, leased to edges before they move.
//!
//! [`Allowance`] is the whole invariant in one item:
//! `available + folded + Σ taken = granted`, and for each lease `settled + doubt ≤ taken`.
//! Every method either keeps it or refuses and changes nothing. The store implements the same
//! transitions as conditional writes; a conformance test holds the two together.
//!
//! [`Holding`] is the other side: what an edge session knows of its lease, what it asks, and what
//! answers, lost answers and crashes mean to it.

mod aim;
mod answer;
mod holding;
mod rebalance;
mod term;

pub use aim::aim;
pub use answer::{Close, Closing, Take};
pub use holding::{Ask, Ended, Ending, Heard, Holding, in_doubt};
pub use rebalance::Pace;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{EdgeSession, InvalidId};
use crate::time::Timestamp;

/// Bytes granted to a bucket that nothing limits (unlimited plans, overage): 2^53, so that the
/// sums stay exact in every JSON reader.
pub const UNLIMITED: u64 = 1 << 53;

/// Which part of a customer's allowance: spent in the order plan, packs by expiry, unlimited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bucket {
    /// The plan's quota of the period that starts then.
    Plan {
        /// First instant of the period.
        start: Timestamp,
    },
    /// A pack that somebody bought.
    Pack {
        /// When what is left of it lapses.
        expires: Timestamp,
        /// Which pack.
        pack: String,
    },
    /// Without limit: unlimited plans and overage that is billed.
    Unlimited {
        /// First instant of the period.
        start: Timestamp,
    },
}

/// `P#<start ms>`, `K#<expiry ms>#<pack>`, `U#<start ms>`; milliseconds in 15 digits, so that
/// order as text is order of spending.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan { start } => write!(f, "P#{:015}", start.as_millis()),
            Self::Pack { expires, pack } => write!(f, "K#{:015}#{pack}", expires.as_millis()),
            Self::Unlimited { start } => write!(f, "U#{:015}", start.as_millis()),
        }
    }
}

impl FromStr for Bucket {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        const BAD: InvalidId = InvalidId { what: "bucket", rule: "P#ms | K#ms#pack | U#ms" };
        let (kind, rest) = s.split_once('#').ok_or(BAD)?;
        let ms = |t: &str| t.parse().map(Timestamp::from_millis).map_err(|_| BAD);
        match kind {
            "P" => Ok(Self::Plan { start: ms(rest)? }),
            "U" => Ok(Self::Unlimited { start: ms(rest)? }),
            "K" => {
                let (t, pack) = rest.split_once('#').ok_or(BAD)?;
                Ok(Self::Pack { expires: ms(t)?, pack: pack.to_owned() })
            }
            _ => Err(BAD),
        }
    }
}

impl TryFrom<String> for Bucket {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<Bucket> for String {
    fn from(b: Bucket) -> String {
        b.to_string()
    }
}

/// Whether a lease may still be spent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Held by a live (or not yet proven dead) edge.
    Open,
    /// Its edge is proven dead: what it held is charged; late bytes go to late rows.
    Lost,
}

/// What one edge session holds of a bucket. All figures are sums over the life of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Bytes taken from `available` so far, less those that were given back.
    #[serde(rename = "t")]
    pub taken: u64,
    /// Bytes known to have moved.
    #[serde(rename = "s")]
    pub settled: u64,
    /// Bytes that may have moved when the edge crashed: charged, never billed.
    #[serde(rename = "d")]
    pub doubt: u64,
    /// Counts this lease's writes; a write names the one it follows.
    #[serde(rename = "k")]
    pub seq: u64,
    /// May it be spent from?
    #[serde(rename = "st")]
    pub state: LeaseState,
}

/// One bucket of one customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Bytes ever granted to this bucket.
    pub granted: u64,
    /// Bytes that nobody holds.
    pub available: u64,
    /// Bytes of closed leases: settled plus doubt.
    pub folded: u64,
    /// Version of the plan that granted.
    pub plan_ver: u32,
    /// From when it may be spent.
    pub spend_from: Timestamp,
    /// Until when it may be spent (exclusive).
    pub spend_until: Timestamp,
    /// Leases by edge session.
    #[serde(rename = "L")]
    pub leases: BTreeMap<EdgeSession, Lease>,
}

/// Why a transition was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetRefusal {
    /// Fewer bytes are available than asked for.
    #[error("the bucket has fewer bytes available than asked for")]
    Exhausted,
    /// The lease's sequence is not the one named: a lost acknowledgement, or a second writer.
    #[error("the lease moved on: its sequence is {actual}")]
    Stale {
        /// The sequence found.
        actual: u64,
    },
    /// There is no such lease (it may have been closed).
    #[error("this edge session holds no lease")]
    NoLease,
    /// The lease was declared lost.
    #[error("the lease was declared lost")]
    Lost,
    /// More settled than taken, or less than settled before.
    #[error("settled bytes must grow and stay within what was taken")]
    Overspent,
    /// The sum leaves the range of the counter.
    #[error("the sum leaves the range of the counter")]
    Overflow,
}

impl Allowance {
    /// A bucket of `granted` bytes that nobody holds yet.
    #[must_use]
    pub fn new(granted: u64, plan_ver: u32, spend_from: Timestamp, spend_until: Timestamp) -> Self {
        Self { granted, available: granted, folded: 0, plan_ver, spend_from, spend_until, leases: BTreeMap::new() }
    }

    /// Whether the bucket may be spent from at `now`.
    #[must_use]
    pub fn spendable(&self, now: Timestamp) -> bool {
        self.spend_from <= now && now < self.spend_until
    }

    /// Bytes used: settled and in doubt, of open and of closed leases.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.leases.values().fold(self.folded, |sum, l| sum.saturating_add(l.settled).saturating_add(l.doubt))
    }

    /// Takes `n` more bytes and settles the lease at `settled` (cumulative) in one step. The
    /// first take of a session has `seq` 0.
    ///
    /// # Errors
    /// [`BudgetRefusal`]; nothing changed.
    pub fn take(&mut self, who: &EdgeSession, n: u64, settled: u64, seq: u64) -> Result<(), BudgetRefusal> {
        if n > self.available {
            return Err(BudgetRefusal::Exhausted);
        }
        match self.leases.get_mut(who) {
            None if seq == 0 && settled == 0 => {
                let lease = Lease { taken: n, settled: 0, doubt: 0, seq: 1, state: LeaseState::Open };
                self.leases.insert(who.clone(), lease);
            }
            None => return Err(BudgetRefusal::NoLease),
            Some(l) => {
                Self::check(l, seq)?;
                let taken = l.taken.checked_add(n).ok_or(BudgetRefusal::Overflow)?;
                if settled < l.settled || settled.saturating_add(l.doubt) > taken {
                    return Err(BudgetRefusal::Overspent);
                }
                l.taken = taken;
                l.settled = settled;
                l.seq += 1;
            }
        }
        self.available -= n;
        Ok(())
    }

    /// Ends a lease: its settled bytes and `doubt` are folded, the rest returns.
    ///
    /// # Errors
    /// [`BudgetRefusal`]; nothing changed.
    pub fn close(&mut self, who: &EdgeSession, settled: u64, doubt: u64, seq: u64) -> Result<(), BudgetRefusal> {
        let l = self.leases.get(who).ok_or(BudgetRefusal::NoLease)?;
        Self::check(l, seq)?;
        let used = settled.checked_add(doubt).ok_or(BudgetRefusal::Overflow)?;
        if settled < l.settled || used > l.taken {
            return Err(BudgetRefusal::Overspent);
        }
        self.available += l.taken - used;
        self.folded += used;
        self.leases.remove(who);
        Ok(())
    }

    /// Declares a lease lost, by proof that its edge is dead: all it holds stays charged.
    ///
    /// # Errors
    /// [`BudgetRefusal::NoLease`].
    pub fn lose(&mut self, who: &EdgeSession) -> Result<(), BudgetRefusal> {
        let l = self.leases.get_mut(who).ok_or(BudgetRefusal::NoLease)?;
        if l.state == LeaseState::Open {
            l.doubt = l.taken - l.settled;
            l.state = LeaseState::Lost;
            l.seq += 1;
        }
        Ok(())
    }

    /// Adds `n` bytes to the bucket.
    ///
    /// # Errors
    /// [`BudgetRefusal::Overflow`].
    pub fn grant(&mut self, n: u64) -> Result<(), BudgetRefusal> {
        let granted = self.granted.checked_add(n).ok_or(BudgetRefusal::Overflow)?;
        self.granted = granted;
        self.available += n;
        Ok(())
    }

    /// Takes back up to `n` bytes that nobody holds (a downgrade). Returns how many.
    pub fn withdraw(&mut self, n: u64) -> u64 {
        let n = n.min(self.available);
        self.available -= n;
        self.granted -= n;
        n
    }

    /// Whether the invariants hold; `false` is a bug or a corrupt item.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let taken = self.leases.values().try_fold(0u64, |sum, l| {
            (l.settled.checked_add(l.doubt)? <= l.taken).then_some(())?;
            sum.checked_add(l.taken)
        });
        taken
            .and_then(|t| self.available.checked_add(self.folded)?.checked_add(t))
            .is_some_and(|sum| sum == self.granted)
    }

    fn check(l: &Lease, seq: u64) -> Result<(), BudgetRefusal> {
        if l.state == LeaseState::Lost {
            return Err(BudgetRefusal::Lost);
        }
        if l.seq != seq {
            return Err(BudgetRefusal::Stale { actual: l.seq });
        }
        Ok(())
    }
}

/// Smallest lease an edge asks for while more is there: 64 KiB.
pub const LEASE_FLOOR: u64 = 64 << 10;
/// First lease of a session: 1 MiB, within the same clamp.
pub const LEASE_FIRST: u64 = 1 << 20;

/// How many bytes to take where `desired` is worth taking (`aim`): at least [`LEASE_FLOOR`], at
/// most the hundredth part of what is available per edge; the floor wins. Never more than is
/// available.
///
/// ```
/// use tollgate_domain::budget::{lease_size, LEASE_FLOOR};
/// assert_eq!(lease_size(10 << 20, 1 << 20, 1), LEASE_FLOOR);
/// assert_eq!(lease_size(5 << 20, 100 << 30, 1), 5 << 20);
/// assert_eq!(lease_size(1 << 20, 1000, 1), 1000);
/// ```
#[must_use]
pub fn lease_size(desired: u64, available: u64, edges: u64) -> u64 {
    let cap = available / (100 * edges.max(1));
    desired.min(cap).max(LEASE_FLOOR).min(available)
}

#[cfg(test)]
mod tests;
