//! **Share**: capacity of live edges, independent of periods. Threads, QPS and bandwidth of one
//! customer are split between the edges that serve it; the sum never exceeds the plan.
//!
//! One item per customer, read, changed here, written back on its version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::EdgeSession;
use crate::strike::{Sample, Strike};
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
    /// The clock that runs while the fleet's sum is above the soft limit.
    #[serde(flatten)]
    pub strike: Strike,
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

/// What an edge says every few seconds of one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Tunnels it carries.
    pub in_use: u32,
    /// Tunnels it has refused since it last said so, because it may carry no more.
    pub refused: u32,
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

    /// Takes what `who` says: earlier lives of its edge are over, shares that no longer fit the
    /// limits shrink, it holds all that nobody else does, and the strike clock gets a sample.
    /// `soft` is the plan's threads; 0 = unlimited. Returns its share, and whether this struck.
    /// `elders`: see [`Self::enter`].
    pub fn report(
        &mut self,
        who: &EdgeSession,
        elders: &[EdgeSession],
        limits: Capacity,
        soft: u32,
        usage: Usage,
        now: Timestamp,
    ) -> (Node, bool) {
        let node = self.enter(who, elders, limits, usage.in_use);
        // What this edge refused while another had room was refused by the split, not by the plan.
        let others = self.nodes.iter().filter(|(k, _)| *k != who);
        let room = others.map(|(_, n)| u64::from(n.held.saturating_sub(n.in_use))).sum::<u64>();
        let sample = Sample {
            in_use: self.in_use(),
            soft,
            strict: limits.hard == soft,
            refused: usage.refused > 0 && room == 0,
        };
        let struck = self.strike.sample(sample, now);
        (node, struck)
    }

    /// As [`Self::join`], once earlier lives of the edge are forgotten and the shares fit. Those
    /// that live on (`elders`, a hand-over) keep what their tunnels need.
    pub fn enter(&mut self, who: &EdgeSession, elders: &[EdgeSession], limits: Capacity, in_use: u32) -> Node {
        self.nodes.retain(|s, _| s.edge != who.edge || s.epoch >= who.epoch || elders.contains(s));
        for elder in elders {
            let theirs = self.nodes.get(elder).map_or(0, |n| n.in_use);
            self.withdraw(elder, limits, theirs);
        }
        if !self.fits(limits) {
            self.shrink(limits);
        }
        self.join(who, limits, in_use)
    }

    /// Whether nothing but the version tells the two apart: then there is nothing to write.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.nodes == other.nodes && self.strike == other.strike
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

    /// Keeps for `who`, which hands over to its successor and admits nobody new, what its tunnels
    /// need: their number, and at most half of the rate. The rest is free for the successor.
    pub fn withdraw(&mut self, who: &EdgeSession, limits: Capacity, in_use: u32) {
        let Some(node) = self.nodes.get_mut(who) else { return };
        let kept = Node {
            held: if limits.hard == 0 { 0 } else { in_use },
            in_use,
            // 0 would be unlimited.
            qps: node.qps.min(1),
            rate: node.rate.min(limits.rate.div_ceil(2)),
        };
        if *node != kept {
            *node = kept;
            self.ver += 1;
        }
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

    #[test]
    fn a_predecessor_keeps_what_its_tunnels_need_and_its_successor_gets_the_rest() {
        let mut cap = Cap::default();
        let limits = Capacity { hard: 10, qps: 20, rate: 1001 };
        let (old, new) = (who(1), EdgeSession { epoch: 2, ..who(1) });
        cap.join(&old, limits, 0);
        for _ in 0..2 {
            cap.withdraw(&old, limits, 3);
            assert_eq!(cap.nodes[&old], Node { held: 3, in_use: 3, qps: 1, rate: 501 });
        }
        assert_eq!(cap.join(&new, limits, 0), Node { held: 7, in_use: 0, qps: 19, rate: 500 });
        assert!(cap.fits(limits));
        let ver = cap.ver;
        cap.withdraw(&who(2), limits, 3);
        assert_eq!(cap.ver, ver, "who holds nothing has nothing to withdraw");
    }

    #[test]
    fn earlier_lives_are_forgotten_unless_they_live_on() {
        let limits = Capacity { hard: 10, qps: 20, rate: 1001 };
        let (dead, elder, new) = (who(1), EdgeSession { epoch: 2, ..who(1) }, EdgeSession { epoch: 3, ..who(1) });
        let mut cap = Cap::default();
        cap.enter(&dead, &[], limits, 4);
        cap.enter(&elder, &[], limits, 6);
        assert_eq!(cap.in_use(), 6, "the first life is over");
        for _ in 0..2 {
            let usage = Usage { in_use: 1, refused: 0 };
            let now = Timestamp::from_secs(1_000_000);
            let node = cap.report(&new, std::slice::from_ref(&elder), limits, 10, usage, now).0;
            assert_eq!(node, Node { held: 4, in_use: 1, qps: 19, rate: 500 });
            assert_eq!((cap.in_use(), cap.nodes[&elder].held), (7, 6));
        }
        cap.enter(&new, &[], limits, 1);
        assert_eq!((cap.in_use(), cap.nodes[&new].held), (1, 10));
    }

    #[test]
    fn a_strict_plans_refusals_count_where_nobody_has_room() {
        let limits = Capacity { hard: 10, qps: 0, rate: 0 };
        let at = |s: u64| Timestamp::from_secs(1_000_000 + s);
        let usage = |in_use, refused| Usage { in_use, refused };
        let mut cap = Cap::default();
        cap.report(&who(1), &[], limits, 10, usage(2, 0), at(0));
        // The first edge holds all and uses two: the second refuses because of the split.
        assert_eq!(cap.report(&who(2), &[], limits, 10, usage(0, 7), at(5)).0.held, 0);
        assert_eq!(cap.strike, Strike::default());
        cap.report(&who(1), &[], limits, 10, usage(10, 0), at(10));
        cap.report(&who(2), &[], limits, 10, usage(0, 1), at(15));
        assert_eq!(cap.strike.since, Some(at(15)));
        // A lone edge whose tunnels are short: they are over when it looks.
        let mut cap = Cap::default();
        cap.report(&who(1), &[], limits, 10, usage(0, 3), at(0));
        assert_eq!(cap.strike.since, Some(at(0)));
    }

    #[test]
    fn the_sum_of_all_edges_strikes_and_dead_lives_do_not_count() {
        let limits = Capacity { hard: 20, qps: 0, rate: 0 };
        let at = |s: u64| Timestamp::from_secs(1_000_000 + s);
        let usage = |in_use| Usage { in_use, refused: 0 };
        let mut cap = Cap::default();
        let mut struck = Vec::new();
        for s in (0..=900).step_by(5) {
            for edge in [1, 2] {
                if cap.report(&who(edge), &[], limits, 10, usage(6), at(s)).1 {
                    struck.push((edge, s));
                }
            }
        }
        // The second edge's first report made the sum 12; the first edge looks first at 900 s.
        assert_eq!(struck, [(1, 900)]);
        assert_eq!(cap.strike.locked_until, Some(at(900 + 3600)));
        let next = EdgeSession { epoch: 2, ..who(1) };
        cap.report(&next, &[], limits, 10, usage(0), at(5000));
        assert_eq!(cap.in_use(), 6);
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
