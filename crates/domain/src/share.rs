//! **Share**: capacity of live edges, independent of periods. Threads, QPS and bandwidth of one
//! customer are split between the edges that serve it; the sum never exceeds the plan.
//!
//! One item per customer, read, changed here, written back on its version. The item is never
//! behind what edges allow themselves: an edge lowers its own limits first and says so then, and
//! raises them once the store has confirmed it. So the sum of what edges allow fits the plan at
//! every instant, whatever answers are lost.
//!
//! Nobody takes from an edge that lives. Who lacks something says what it wants; who holds more
//! than its part gives it ([`Cap::report`]). What nobody lacks stays where it is. A dead edge's
//! share is taken back by an observer who timed its silence ([`Watch`]).
//!
//! - [`Part`], [`Capacity`], [`Terms`]: amounts.
//! - `split`: how much of one limit an edge should hold.
//! - [`Demand`]: what an edge needs.
//! - [`Watch`]: who is silent.

mod amounts;
mod demand;
mod split;
mod watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::EdgeSession;
use crate::strike::{Sample, Strike};
use crate::time::Timestamp;

pub use amounts::{Capacity, Part, Terms, hard_limit};
use amounts::{KINDS, THREADS};
pub use demand::{Demand, Seen};
use split::Claim;
pub use watch::Watch;

/// What one edge session holds, uses and wants. Amounts of what the plan does not limit are 0 and
/// mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Tunnels this edge may carry; 0 = none.
    pub held: u32,
    /// Tunnels it carries.
    pub in_use: u32,
    /// New connections and requests a second it may admit; 0 = none.
    pub qps: u32,
    /// Bytes a second it may move; 0 = none.
    pub rate: u64,
    /// What it needs beyond what it holds.
    #[serde(default, skip_serializing_if = "Part::is_nothing")]
    pub want: Part,
    /// Version of the item since which it has wanted without getting threads; 0 = it wants nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Node {
    /// What it holds.
    #[must_use]
    pub fn share(&self) -> Part {
        Part { threads: self.held, qps: self.qps, rate: self.rate }
    }

    /// What it holds and needs of one kind, as far as the item tells.
    fn claim(&self, kind: usize) -> Claim {
        let (held, want) = (self.share().amounts()[kind], self.want.amounts()[kind]);
        let need = match (want, kind) {
            (0, THREADS) => u64::from(self.in_use),
            // What it uses of a rate it looks at itself, with its own report.
            (0, _) => held,
            (want, _) => held.saturating_add(want),
        };
        Claim { held, need, since: self.waits_since(), fresh: false }
    }

    fn waits_since(&self) -> u64 {
        if self.want.is_nothing() { u64::MAX } else { self.since }
    }
}

/// The split of one customer's capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Counts writes; a write names the one it follows.
    pub ver: u64,
    /// What is split, as the newest row says that any edge knows.
    #[serde(default)]
    pub terms: Terms,
    /// The clock that runs while the fleet's sum is above the soft limit.
    #[serde(flatten)]
    pub strike: Strike,
    /// Shares by edge session.
    #[serde(rename = "N", default)]
    pub nodes: BTreeMap<EdgeSession, Node>,
}

/// What an edge says every few seconds of one customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tunnels it carries.
    pub in_use: u32,
    /// Tunnels it has admitted since it last said so.
    pub entered: u32,
    /// Tunnels it has refused since it last said so, because it may carry no more.
    pub refused: u32,
    /// What it needs, see [`Demand`]; of threads at least those in use.
    pub need: Part,
    /// What its own limits allow at this moment: what it says that it holds is never less.
    pub kept: Part,
}

/// Other lives that a report speaks of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others<'a> {
    /// Earlier lives of the same edge that live on (a hand-over): they keep what their tunnels need.
    pub elders: &'a [EdgeSession],
    /// Lives that were seen to be silent for so long that their shares are taken back.
    pub dead: &'a [EdgeSession],
}

/// What comes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the item says that the edge holds.
    pub held: Part,
    /// What the edge may allow itself from now on. Where that is less than it holds, others lack
    /// it: the edge lowers its own limits to it and reports again.
    pub may: Part,
    /// Whether this report struck: the customer is locked out.
    pub struck: bool,
}

impl Cap {
    /// Tunnels that all edges together carry.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.nodes.values().map(|n| u64::from(n.in_use)).sum()
    }

    /// Takes what `who` says: earlier lives of its edge, and the dead, are over; `who` gives what
    /// others lack and takes what nobody holds; the strike clock gets a sample.
    ///
    /// Terms older than those the item knows are not used.
    pub fn report(
        &mut self,
        who: &EdgeSession,
        others: Others<'_>,
        terms: Terms,
        usage: Usage,
        now: Timestamp,
    ) -> Answer {
        let over = |s: &EdgeSession| s.edge == who.edge && s.epoch < who.epoch && !others.elders.contains(s);
        self.nodes.retain(|s, _| s == who || !(over(s) || others.dead.contains(s)));
        if terms.ver >= self.terms.ver {
            self.terms = terms;
        }
        for elder in others.elders {
            let theirs = self.nodes.get(elder).map_or(0, |n| n.in_use);
            self.withdraw(elder, theirs);
        }
        let room = self.room(who);
        let (node, may) = self.part(who, usage);
        self.nodes.insert(who.clone(), node);
        self.ver += 1;
        let (soft, hard) = (self.terms.soft, self.terms.limits.hard);
        // What this edge refused while there was room was refused by the split, not by the plan.
        let refused = usage.refused > 0 && room == 0;
        let sample = Sample { in_use: self.in_use(), soft, strict: hard == soft, refused };
        let struck = self.strike.sample(sample, now);
        Answer { held: node.share(), may, struck }
    }

    /// Threads that others hold and do not use, or that nobody holds.
    fn room(&self, who: &EdgeSession) -> u64 {
        let others = self.nodes.iter().filter(|(s, _)| *s != who);
        let unused = others.map(|(_, n)| u64::from(n.held.saturating_sub(n.in_use))).sum::<u64>();
        // Who holds nothing yet had nothing to refuse by.
        if self.nodes.contains_key(who) { unused + self.free_threads() } else { unused }
    }

    /// Threads that nobody holds.
    fn free_threads(&self) -> u64 {
        let held = self.nodes.values().map(|n| u64::from(n.held)).sum::<u64>();
        u64::from(self.terms.limits.hard).saturating_sub(held)
    }

    /// What `who` holds from now on, and what it may allow itself.
    fn part(&self, who: &EdgeSession, usage: Usage) -> (Node, Part) {
        let before = self.nodes.get(who).copied().unwrap_or_default();
        let mut nodes = self.nodes.clone();
        nodes.insert(who.clone(), before);
        let mine = nodes.keys().position(|s| s == who).unwrap_or(0);
        let in_use = u64::from(usage.in_use);
        let (mut needs, mut kept) = (usage.need.amounts(), usage.kept.amounts());
        needs[THREADS] = needs[THREADS].max(in_use);
        // Threads that it may use, wished for a moment ago, and has not used yet.
        let fresh = usage.entered == 0 && needs[THREADS] > in_use && kept[THREADS] > in_use;
        // Tunnels that stand are not ended for the sake of others.
        kept[THREADS] = kept[THREADS].max(in_use);
        let had = before.share().amounts();
        let (mut held, mut may, mut want) = ([0; KINDS], [0; KINDS], [0; KINDS]);
        for (kind, limit) in self.terms.limits.amounts().into_iter().enumerate() {
            if limit == 0 {
                continue;
            }
            let need = needs[kind].min(limit);
            let mut claims: Vec<Claim> = nodes.values().map(|n| n.claim(kind)).collect();
            let fresh = fresh && kind == THREADS;
            claims[mine] = Claim { held: had[kind], need, since: before.waits_since(), fresh };
            let target = split::target(limit, &claims, mine);
            may[kind] = target;
            held[kind] = if target < had[kind] { target.max(kept[kind]).min(had[kind]) } else { target };
            want[kind] = need.saturating_sub(held[kind]);
        }
        let want = Part::of(want);
        let since = match (want.is_nothing(), before.want.is_nothing() || held[THREADS] > had[THREADS]) {
            (true, _) => 0,
            // It has only begun to wait, or it got something: others go first.
            (false, true) => self.ver + 1,
            (false, false) => before.since,
        };
        let Part { threads: held, qps, rate } = Part::of(held);
        (Node { held, in_use: usage.in_use, qps, rate, want, since }, Part::of(may))
    }

    /// Whether nothing but the version tells the two apart: then there is nothing to write.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.nodes == other.nodes && self.strike == other.strike && self.terms == other.terms
    }

    /// Whether `who` wants something here that `before` did not say, and another holds some: then
    /// the others must hear of it.
    #[must_use]
    pub fn asks_for_more_than(&self, before: Option<&Self>, who: &EdgeSession) -> bool {
        let want = |cap: &Self| cap.nodes.get(who).map_or(Part::default(), |n| n.want);
        let held = self.nodes.iter().filter(|(s, _)| *s != who).any(|(_, n)| !n.share().is_nothing());
        held && want(self).exceeds(before.map_or(Part::default(), want))
    }

    /// Keeps for `who`, which hands over to its successor and admits nobody new, what its tunnels
    /// need: their number, and at most half of the rate. The rest is free for the successor.
    pub fn withdraw(&mut self, who: &EdgeSession, in_use: u32) {
        let limits = self.terms.limits;
        let free = self.free_threads();
        let Some(node) = self.nodes.get_mut(who) else { return };
        // Its successor may have taken for free what it had not said to be in use.
        let most = u64::from(node.held).saturating_add(free).min(u64::from(in_use));
        let kept = Node {
            held: if limits.hard == 0 { 0 } else { u32::try_from(most).unwrap_or(in_use) },
            in_use,
            // Kept-alive connections get one more answer each.
            qps: node.qps.min(1),
            rate: node.rate.min(limits.rate.div_ceil(2)),
            want: Part::default(),
            since: 0,
        };
        if *node != kept {
            *node = kept;
            self.ver += 1;
        }
    }

    /// Ends `who`'s share (it drained). Returns whether it held one.
    pub fn leave(&mut self, who: &EdgeSession) -> bool {
        let held = self.nodes.remove(who).is_some();
        if held {
            self.ver += 1;
        }
        held
    }

    /// Whether the shares fit the limits.
    #[must_use]
    pub fn fits(&self) -> bool {
        let sum = |kind: usize| self.nodes.values().map(|n| n.share().amounts()[kind]).sum::<u64>();
        self.terms.limits.amounts().into_iter().enumerate().all(|(kind, limit)| limit == 0 || sum(kind) <= limit)
    }
}

#[cfg(test)]
mod tests;
