//! **Share**: capacity of live edges, independent of periods. Threads, QPS and bandwidth of one
//! customer are split between the edges that serve it; the sum never exceeds the plan.
//!
//! One item per customer, read, changed here, written back on its version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::EdgeSession;
use crate::time::Timestamp;

/// What one edge session holds and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Tunnels this edge may carry.
    pub held: u32,
    /// Tunnels it carries.
    pub in_use: u32,
    /// New connections and requests a second it may admit; 0 = unlimited.
    pub qps: u32,
    /// Bytes a second it may move; 0 = unlimited.
    pub rate: u64,
}

/// The split of one customer's capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Counts writes; a write names the one it follows.
    pub ver: u64,
    /// Since when the fleet's sum has been above the soft limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strike_since: Option<Timestamp>,
    /// Shares by edge session.
    #[serde(rename = "N", default)]
    pub nodes: BTreeMap<EdgeSession, Node>,
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

impl Cap {
    /// Tunnels that all edges together carry.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.nodes.values().map(|n| u64::from(n.in_use)).sum()
    }

    /// Gives `who` all that nobody else holds, and records what it uses. A lone edge holds all.
    /// What it holds never falls below what it uses, unless others hold the rest.
    pub fn join(&mut self, who: &EdgeSession, limits: Capacity, in_use: u32) -> Node {
        let others =
            |f: fn(&Node) -> u64| -> u64 { self.nodes.iter().filter(|(k, _)| *k != who).map(|(_, n)| f(n)).sum() };
        let rest = |total: u64, held: u64| total.saturating_sub(held);
        let node = Node {
            held: narrow(rest(u64::from(limits.hard), others(|n| u64::from(n.held)))),
            in_use,
            qps: narrow(rest(u64::from(limits.qps), others(|n| u64::from(n.qps)))),
            rate: rest(limits.rate, others(|n| n.rate)),
        };
        self.nodes.insert(who.clone(), node);
        self.ver += 1;
        node
    }

    /// Ends `who`'s share (drain, or an observer saw it die). Returns whether it held one.
    pub fn leave(&mut self, who: &EdgeSession) -> bool {
        let held = self.nodes.remove(who).is_some();
        if held {
            self.ver += 1;
        }
        held
    }

    /// Shrinks every share in order of session until the sums fit `limits` (a downgrade).
    pub fn shrink(&mut self, limits: Capacity) {
        let (mut hard, mut qps, mut rate) = (limits.hard, limits.qps, limits.rate);
        for n in self.nodes.values_mut() {
            n.held = n.held.min(hard);
            hard -= n.held;
            n.qps = n.qps.min(qps);
            qps -= n.qps;
            n.rate = n.rate.min(rate);
            rate -= n.rate;
        }
        self.ver += 1;
    }

    /// Whether the shares fit the limits.
    #[must_use]
    pub fn fits(&self, limits: Capacity) -> bool {
        let sum = |f: fn(&Node) -> u64| self.nodes.values().map(f).sum::<u64>();
        sum(|n| u64::from(n.held)) <= u64::from(limits.hard)
            && sum(|n| u64::from(n.qps)) <= u64::from(limits.qps)
            && sum(|n| n.rate) <= limits.rate
    }
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn who(n: u8) -> EdgeSession {
        EdgeSession { edge: format!("e{n}").parse().unwrap(), epoch: 1 }
    }

    #[test]
    fn a_lone_edge_holds_all() {
        let mut cap = Cap::default();
        let limits = Capacity { hard: 10, qps: 20, rate: 1 << 20 };
        assert_eq!(cap.join(&who(1), limits, 3), Node { held: 10, in_use: 3, qps: 20, rate: 1 << 20 });
        assert_eq!(cap.join(&who(2), limits, 0).held, 0);
        assert_eq!(cap.in_use(), 3);
        assert!(cap.leave(&who(1)));
        assert!(!cap.leave(&who(1)));
        assert_eq!(cap.join(&who(2), limits, 0).held, 10);
    }

    proptest! {
        #[test]
        fn shares_always_fit_the_limits(
            steps in prop::collection::vec((0u8..4, 0u8..3, 1u32..50, 0u32..20), 1..60),
        ) {
            let mut cap = Cap::default();
            let mut limits = Capacity { hard: 20, qps: 20, rate: 1000 };
            for (w, what, hard, used) in steps {
                let before = cap.ver;
                match what {
                    0 => { cap.join(&who(w), limits, used); }
                    1 => { cap.leave(&who(w)); }
                    _ => {
                        limits = Capacity { hard, qps: hard, rate: u64::from(hard) * 50 };
                        cap.shrink(limits);
                    }
                }
                prop_assert!(cap.fits(limits), "{cap:?} against {limits:?}");
                prop_assert!(cap.ver >= before);
            }
        }
    }
}
