//! What this edge may carry of a customer's capacity, which the fleet's edges split between them,
//! and what it lacks of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tollgate_domain::share::{Capacity, Demand, Part, Seen, Usage};
use tollgate_store::cap::ShareReport;

use super::{Account, lock};
use crate::journal::Journal;

/// How often who lacks something asks soon again whether others gave it; then only with what is
/// told every 5 s.
const CHASES: u32 = 10;

/// A part of a plan's capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// What is split. The default has no limit.
    pub limits: Capacity,
    /// What this edge may use of it; of what is not limited it says nothing.
    pub may: Part,
}

impl Share {
    /// Tunnels; `u32::MAX` = unlimited.
    fn threads(self) -> u32 {
        if self.limits.hard == 0 { u32::MAX } else { self.may.threads }
    }

    /// New connections and requests a second; none = unlimited, 0 = none at all.
    fn qps(self) -> Option<u32> {
        (self.limits.qps > 0).then_some(self.may.qps)
    }

    /// Bytes a second; none = unlimited, 0 = none at all.
    fn rate(self) -> Option<u64> {
        (self.limits.rate > 0).then_some(self.may.rate)
    }
}

/// The share that is in force, and what is lacking.
#[derive(Debug, Default)]
pub(super) struct Split {
    now: Mutex<Now>,
    /// Whether others may hold some of what is split.
    partial: AtomicBool,
    /// Whether something is lacking.
    lacking: AtomicBool,
    /// How often to ask soon again.
    chases: AtomicU32,
    /// Lapses of this edge ([`crate::peers::Pulse`]) of which the customer's share has heard.
    lapses: AtomicU64,
}

#[derive(Debug, Default)]
struct Now {
    share: Share,
    demand: Demand,
    /// Bytes that had moved at the last look.
    moved: u64,
}

impl Account {
    /// What this edge may carry from now on, with the rest of the profile's limits.
    pub fn set_share(&self, share: Share) {
        let mut now = lock(&self.split.now);
        now.share = share;
        self.threads.set_limit(share.threads());
        self.rates.set(&self.profile().limits, share.qps(), share.rate());
        self.split.partial.store(!share.limits.is_whole(share.may), Ordering::Release);
    }

    /// Keeps at most half of the plan's rate: the rest is a successor's.
    pub fn set_rate(&self, plan: u64) {
        let Share { limits, may } = lock(&self.split.now).share;
        let most = plan.div_ceil(2);
        let rate = if limits.rate == 0 { most } else { may.rate.min(most) };
        self.set_share(Share { limits: Capacity { rate: plan, ..limits }, may: Part { rate, ..may } });
    }

    /// Puts an answer of the store in force, where `need` was said to be needed. Returns whether
    /// the own limits are lower now than what the store knows: it should be told.
    pub fn take_share(&self, report: &ShareReport, need: Part) -> bool {
        let share = Share { limits: report.limits, may: report.may };
        self.set_share(share);
        if !share.limits.of_need(need).exceeds(share.may) {
            self.split.lacking.store(false, Ordering::Relaxed);
            self.split.chases.store(0, Ordering::Relaxed);
        } else if !self.split.lacking.swap(true, Ordering::Relaxed) {
            self.split.chases.store(CHASES, Ordering::Relaxed);
        } else {
            let fewer = |n: u32| n.checked_sub(1);
            let _ = self.split.chases.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        }
        report.held.exceeds(self.kept(share))
    }

    /// What the own limits allow at this moment, with what is open beyond them.
    fn kept(&self, share: Share) -> Part {
        let threads = if share.limits.hard == 0 { 0 } else { self.threads.kept() };
        Part { threads, ..share.may }
    }

    /// What is used and needed here, and refused since the last call.
    pub fn usage(&self, journal: &Journal) -> Usage {
        let mut now = lock(&self.split.now);
        let share = now.share;
        let moved = if share.limits.rate == 0 { 0 } else { self.counted(journal).bytes() };
        let (asked, asked_in_vain, held_back) = self.rates.look();
        let (in_use, refused) = (self.live(), self.take_refused());
        let entered = self.entered.swap(0, Ordering::Relaxed);
        let more = moved.saturating_sub(now.moved);
        now.moved = moved;
        let seen = Seen { in_use, entered, refused, asked, asked_in_vain, moved: more, held_back };
        let need = now.demand.look(seen, share.may, share.limits, self.began.elapsed());
        Usage { in_use, entered, refused, need, kept: self.kept(share) }
    }

    /// Something was refused here that another edge might allow: the store is to hear of it soon.
    pub fn lack(&self) {
        if self.is_partial() && !self.split.lacking.swap(true, Ordering::Relaxed) {
            self.split.chases.store(CHASES, Ordering::Relaxed);
        }
    }

    /// Whether others may hold some of what is split.
    pub fn is_partial(&self) -> bool {
        self.split.partial.load(Ordering::Acquire)
    }

    /// Whether the store is to be asked before its time.
    pub fn chases(&self) -> bool {
        if self.rates.lacking() {
            self.lack();
        }
        self.is_partial() && self.split.chases.load(Ordering::Relaxed) > 0
    }

    /// The store did not hear: it is asked again in its time, not before.
    pub fn wait_for_sample(&self) {
        self.split.chases.store(0, Ordering::Relaxed);
    }

    /// Lapses of this edge of which the customer's share has heard.
    pub fn lapses_told(&self) -> u64 {
        self.split.lapses.load(Ordering::Relaxed)
    }

    pub fn set_lapses_told(&self, lapses: u64) {
        self.split.lapses.store(lapses, Ordering::Relaxed);
    }
}
