//! What can go wrong: with a call, and with a node.

use tollgate_domain::budget::{Bucket, LeaseState};
use tollgate_domain::id::EdgeSession;

use crate::dice::Dice;
use crate::life::Stage;
use crate::planted::{self, Planted};
use crate::store_model::Terms;
use crate::world::World;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Applied and answered.
    Clean,
    /// Not applied: the store is throttling.
    Throttled,
    /// Not applied: another transaction was in the way for too long.
    Conflict,
    /// It never arrived.
    Unreached,
    /// Applied; the answer is lost.
    LostAnswer,
    /// Applied, its answer lost on the way, and sent again under the hood: that answer arrives.
    Doubled,
    /// Applied and answered; an earlier attempt of it is still under way.
    Shadowed,
    /// Given up by the caller, and still under way.
    Delayed,
}

impl Fate {
    /// By the dice. What a cut-off node sends may at best arrive when nobody waits any more.
    pub fn draw(dice: &mut Dice, cut: bool) -> Self {
        if cut {
            return if dice.one_in(4) { Self::Delayed } else { Self::Unreached };
        }
        match dice.roll(20) {
            0 => Self::Throttled,
            1 => Self::Conflict,
            2 => Self::Unreached,
            3..=4 => Self::LostAnswer,
            5 => Self::Doubled,
            6 => Self::Shadowed,
            7 => Self::Delayed,
            _ => Self::Clean,
        }
    }

    /// As it is counted and told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "answered",
            Self::Throttled => "throttled",
            Self::Conflict => "conflict",
            Self::Unreached => "unreached",
            Self::LostAnswer => "lost answer",
            Self::Doubled => "doubled",
            Self::Shadowed => "shadowed",
            Self::Delayed => "delayed",
        }
    }

    /// Whether the store does it now.
    pub fn applies(self) -> bool {
        matches!(self, Self::Clean | Self::LostAnswer | Self::Doubled | Self::Shadowed)
    }

    /// Whether the caller hears of it.
    pub fn answers(self) -> bool {
        matches!(self, Self::Clean | Self::Doubled | Self::Shadowed)
    }

    /// Whether it may arrive later.
    pub fn stays_under_way(self) -> bool {
        matches!(self, Self::Shadowed | Self::Delayed)
    }
}

impl World {
    /// Something happens to node `n`, or to the customer's buckets.
    pub(crate) fn mishap(&mut self, n: usize) {
        let serious = !self.calm;
        match self.dice.roll(24) {
            0..6 => self.start(n),
            6..8 if serious => self.crash(n, true),
            8 if serious => self.crash(n, false),
            9 if serious => self.declare_node_lost(n),
            10..13 => self.reach(n, self.nodes[n].cut),
            13..15 => self.jump(n),
            15..17 => self.grant(n),
            17 => self.withdraw(n),
            18 => self.stop(n, true),
            19..21 => self.stop(n, false),
            21..24 if self.planted == Some(Planted::ReturnsALeaseByTime) => {
                if let Some(life) = &self.nodes[n].life {
                    let session = life.session.clone();
                    self.return_by_time(&session);
                }
            }
            // Most runs would end before anybody has started, or is reached again.
            _ if self.nodes[n].cut => self.reach(n, true),
            _ => self.start(n),
        }
    }

    fn reach(&mut self, n: usize, reached: bool) {
        self.nodes[n].cut = !reached;
        self.meet(n, if reached { "is reached again" } else { "is cut off" });
    }

    fn start(&mut self, n: usize) {
        if self.nodes[n].life.is_none() {
            let now = self.now(n);
            self.nodes[n].start(now);
            self.meet(n, "starts");
        }
    }

    fn crash(&mut self, n: usize, keeps_journal: bool) {
        let node = &mut self.nodes[n];
        let Some(life) = node.life.take() else { return };
        let in_recovery = !matches!(life.stage, Stage::Serving);
        let (session, workers) = (life.session.clone(), node.workers as u64);
        if keeps_journal && session.epoch > 0 {
            node.left.push(life.journal);
        }
        if let Some(sent) = life.call {
            // It may have arrived, or arrive yet.
            match self.dice.roll(3) {
                0 => self.apply_unheard(&sent),
                1 if !sent.call.only_reads() => self.keep_under_way(sent),
                _ => {}
            }
        }
        self.end_connections_of(&session);
        if session.epoch == 0 {
            return;
        }
        self.truth.crashes += 1;
        if keeps_journal {
            self.truth.crashed_workers += workers;
            self.meet(n, if in_recovery { "crashes while it recovers" } else { "crashes" });
        } else {
            self.truth.orphans.insert(session);
            self.meet(n, "crashes without its journal");
        }
    }

    /// The latest life of a node that may hold something is declared lost: rightly, or by mistake.
    fn declare_node_lost(&mut self, n: usize) {
        let node = &self.nodes[n];
        let alive = node.life.as_ref().filter(|_| node.cut).map(|l| l.session.clone());
        let Some(session) = alive.or_else(|| node.left.last().map(|j| j.session.clone())) else { return };
        self.declare_lost(&session);
        self.meet(n, "is declared lost");
    }

    /// Declares all that a life holds lost.
    pub(crate) fn declare_lost(&mut self, session: &EdgeSession) {
        for bucket in self.buckets.clone() {
            if self.model.lose_lease(&bucket, session).is_some() {
                self.truth.lost.insert(session.clone());
            }
        }
        // What it wrote last in its rows may never be told again.
        if self.truth.orphans.contains(session) {
            self.truth.lost.insert(session.clone());
        }
    }

    fn return_by_time(&mut self, session: &EdgeSession) {
        for bucket in self.buckets.clone() {
            let lease = self.model.allowances.get(&bucket).and_then(|a| a.leases.get(session)).cloned();
            if let Some(lease) = lease.filter(|l| l.state == LeaseState::Open) {
                self.truth.bytes.entry(bucket).or_default().settled += lease.settled;
            }
        }
        planted::return_by_time(&mut self.model, session);
    }

    /// A node's clock is set, to within ten hours of the truth.
    fn jump(&mut self, n: usize) {
        let to = i64::try_from(self.dice.roll(20 * 3600)).unwrap_or(0) - 10 * 3600;
        self.nodes[n].drift = if self.dice.one_in(2) { to * 1000 } else { to };
        self.meet(n, "has its clock set");
    }

    fn grant(&mut self, n: usize) {
        let (bucket, source) = (self.any_bucket(), self.source());
        let bytes = self.dice.roll(2 << 20);
        let Some(a) = self.model.allowances.get(&bucket) else { return };
        let terms = Terms { plan_ver: a.plan_ver + 1, spend_from: a.spend_from, spend_until: a.spend_until };
        self.model.grant(&bucket, &source, bytes, terms);
        self.meet(n, "sees a grant");
    }

    fn withdraw(&mut self, n: usize) {
        let (bucket, source) = (self.any_bucket(), self.source());
        let most = self.dice.roll(4 << 20);
        if self.model.withdraw(&bucket, &source, most) > 0 {
            self.meet(n, "sees a withdrawal");
        }
    }

    fn any_bucket(&mut self) -> Bucket {
        self.buckets[self.dice.index(self.buckets.len())].clone()
    }

    /// A process leaves, or its books end because nobody uses them.
    fn stop(&mut self, n: usize, leaves: bool) {
        let Some(life) = &mut self.nodes[n].life else { return };
        if leaves {
            life.leaving = true;
        } else if !life.leaving {
            life.retiring = true;
        }
        self.meet(n, if leaves { "begins to leave" } else { "falls idle" });
    }
}
