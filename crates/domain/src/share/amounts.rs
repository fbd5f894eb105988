//! Amounts of capacity: what a plan allows, and parts of it.

use serde::{Deserialize, Serialize};

/// Kinds of capacity: threads, QPS, bandwidth.
pub(super) const KINDS: usize = 3;
pub(super) const THREADS: usize = 0;

/// Amounts of each kind. Here 0 is none at all; what a plan does not limit is not split, and its
/// amount means nothing: [`Capacity::limited`] tells the two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Tunnels.
    pub threads: u32,
    /// New connections and requests a second.
    pub qps: u32,
    /// Bytes a second, both directions.
    pub rate: u64,
}

impl Part {
    pub(super) fn amounts(self) -> [u64; KINDS] {
        [u64::from(self.threads), u64::from(self.qps), self.rate]
    }

    pub(super) fn of([threads, qps, rate]: [u64; KINDS]) -> Self {
        Self { threads: narrow(threads), qps: narrow(qps), rate }
    }

    /// Whether every amount is 0.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether some amount is above `other`'s.
    #[must_use]
    pub fn exceeds(self, other: Self) -> bool {
        self.amounts().iter().zip(other.amounts()).any(|(a, b)| *a > b)
    }
}

/// A customer's limits on capacity. 0 = unlimited, in every field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Tunnels above which nothing is admitted: `ceil(threads × burst)`.
    pub hard: u32,
    /// New connections and requests a second.
    pub qps: u32,
    /// Bytes a second, both directions.
    pub rate: u64,
}

impl Capacity {
    pub(super) fn amounts(self) -> [u64; KINDS] {
        [u64::from(self.hard), u64::from(self.qps), self.rate]
    }

    /// Whether anything is limited, and so split between edges.
    #[must_use]
    pub fn limited(self) -> bool {
        self != Self::default()
    }

    /// What of `need` the limits could give at most; what is not limited needs no share.
    #[must_use]
    pub fn of_need(self, need: Part) -> Part {
        let [threads, qps, rate] = need.amounts();
        let [hard, most_qps, most_rate] = self.amounts();
        Part::of([threads.min(hard), qps.min(most_qps), rate.min(most_rate)])
    }

    /// Whether `part` is all there is.
    #[must_use]
    pub fn is_whole(self, part: Part) -> bool {
        self.amounts().iter().zip(part.amounts()).all(|(limit, part)| part >= *limit)
    }
}

/// What a customer's row says of its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Version of the row. Of two edges the one that knows the newer row is right.
    pub ver: u64,
    /// The plan's threads, above which the strike clock runs; 0 = unlimited.
    pub soft: u32,
    /// What is split.
    pub limits: Capacity,
}

/// Threads above which nothing is admitted, from the plan's soft limit and its burst in
/// thousandths (2000 = twice). 0 stays 0 (unlimited).
///
/// ```
/// use tollgate_domain::share::hard_limit;
/// assert_eq!(hard_limit(5, 1500), 8); // ceil(7.5)
/// assert_eq!(hard_limit(5, 500), 5);  // never below the plan
/// assert_eq!(hard_limit(0, 2000), 0);
/// ```
#[must_use]
pub fn hard_limit(threads: u32, burst_milli: u32) -> u32 {
    let hard = (u64::from(threads) * u64::from(burst_milli)).div_ceil(1000);
    u32::try_from(hard).unwrap_or(u32::MAX).max(threads)
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
