//! What an edge needs of a customer's capacity, from what it carried and what it refused.
//!
//! What was refused is needed until as much was admitted, or until there is room for who was
//! admitted since and nobody else was refused, and for [`PATIENCE`] at most: who was refused comes
//! again. How much more is needed nobody knows; so the wish grows with what is in use already.

use std::time::Duration;

use super::{Capacity, Part};

/// How long a refusal counts as a wish: 10 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// Least time over which a rate is measured.
const SPAN: Duration = Duration::from_secs(1);
/// Needs of a rate are told in steps of a 32nd of the limit: what wavers by less is not told.
const STEPS: u64 = 32;
/// What who needs nothing keeps of a rate to begin with: a 64th of the limit.
const TRICKLE: u64 = 64;
/// What who has only just come asks for of a rate: an eighth of the limit.
const BEGINNING: u64 = 8;

/// What an edge saw of one customer since it last looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Tunnels it carries.
    pub in_use: u32,
    /// Tunnels admitted.
    pub entered: u32,
    /// Tunnels refused, because it may carry no more.
    pub refused: u32,
    /// Connections and requests that came, those that were refused too.
    pub asked: u64,
    /// Whether one was refused, because it may admit no more a second.
    pub asked_in_vain: bool,
    /// Bytes that moved.
    pub moved: u64,
    /// Whether bytes had to wait, because it may move no more a second.
    pub held_back: bool,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tunnels wished for beyond those in use.
    more: u32,
    more_until: Duration,
    /// Whether somebody was admitted since somebody was refused.
    met: bool,
    qps: Flow,
    rate: Flow,
}

/// A rate as measured, and until when it counts as too low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    per_second: u64,
    sum: u64,
    since: Duration,
    vain_until: Duration,
}

impl Demand {
    /// What an edge needs that did not carry the customer until now.
    #[must_use]
    pub fn first(limits: Capacity) -> Part {
        let some = |limit: u64| if limit == 0 { 0 } else { (limit / BEGINNING).max(1) };
        let [_, qps, rate] = limits.amounts();
        Part::of([1, some(qps), some(rate)])
    }

    /// What is needed at `now` (a monotonic time), after `seen`, where the edge may use `may`.
    pub fn look(&mut self, seen: Seen, may: Part, limits: Capacity, now: Duration) -> Part {
        self.more = self.more.saturating_sub(seen.entered);
        self.met |= seen.entered > 0;
        if seen.refused > 0 {
            let more = seen.refused.max(seen.in_use / 2 + 1);
            // In powers of two: a client that insists is not a new wish each time.
            self.more = more.checked_next_power_of_two().unwrap_or(u32::MAX);
            self.more_until = now + PATIENCE;
            self.met = false;
        }
        let past = self.met && seen.in_use < may.threads;
        if past || now >= self.more_until {
            self.more = 0;
        }
        let [_, may_qps, may_rate] = may.amounts();
        let [_, qps, rate] = limits.amounts();
        let asked = self.qps.look(seen.asked, seen.asked_in_vain, now);
        let moved = self.rate.look(seen.moved, seen.held_back, now);
        let step = |limit: u64| (limit / STEPS).max(1);
        Part::of([
            u64::from(seen.in_use.saturating_add(self.more)),
            match asked {
                // What was refused came as well: it is known how much is needed, but for bursts.
                (used, true) => used.next_multiple_of(step(qps)).max(may_qps.saturating_add(step(qps))).min(qps),
                (used, false) => content(used, step(qps), qps, may_qps),
            },
            match moved {
                // As much as there is.
                (_, true) => rate,
                (used, false) => content(used, step(rate), rate, may_rate),
            },
        ])
    }
}

/// What is needed by who was never held back: what it uses, and at least a little to begin with.
fn content(used: u64, step: u64, limit: u64, may: u64) -> u64 {
    used.next_multiple_of(step).max(limit / TRICKLE).min(may)
}

impl Flow {
    /// Units a second with a quarter on top, and whether that was too little.
    fn look(&mut self, more: u64, vain: bool, now: Duration) -> (u64, bool) {
        self.sum = self.sum.saturating_add(more);
        let span = now.saturating_sub(self.since);
        if span >= SPAN {
            let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            self.per_second = self.sum.saturating_mul(1000).div_ceil(ms.max(1));
            self.sum = 0;
            self.since = now;
        }
        if vain {
            self.vain_until = now + PATIENCE;
        }
        let used = (self.per_second.saturating_add(self.per_second / 4)).min(u64::MAX / 2);
        (used, now < self.vain_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Capacity = Capacity { hard: 100, qps: 64, rate: 6400 };
    const ALL: Part = Part { threads: 100, qps: 64, rate: 6400 };

    fn at(s: u64) -> Duration {
        Duration::from_secs(1000 + s)
    }

    #[test]
    fn who_is_refused_wishes_for_more_and_forgets_it_after_a_while() {
        let mut d = Demand::default();
        let seen = |in_use, refused| Seen { in_use, refused, ..Seen::default() };
        let mut need = |in_use, refused, s| d.look(seen(in_use, refused), ALL, LIMITS, at(s)).threads;
        assert_eq!(need(3, 0, 0), 3);
        assert_eq!(need(0, 1, 5), 1);
        assert_eq!(need(0, 0, 14), 1);
        assert_eq!(need(0, 0, 15), 0);
        // The more it carries the more it wishes for; few refusals more are the same wish.
        assert_eq!((need(8, 1, 20), need(8, 5, 21), need(8, 7, 22)), (16, 16, 16));
        // Tunnels that end are places that are free again.
        assert_eq!((need(2, 0, 23), need(2, 0, 32)), (10, 2));
        // What was admitted is no longer wished for.
        let two = Part { threads: 2, ..ALL };
        d.look(seen(0, 3), two, LIMITS, at(40));
        let some = Seen { entered: 3, ..seen(2, 0) };
        assert_eq!(d.look(some, two, LIMITS, at(41)).threads, 3);
        assert_eq!(d.look(some, two, LIMITS, at(42)).threads, 2);
    }

    #[test]
    fn a_wish_is_past_once_there_is_room_for_who_came_since() {
        let mut d = Demand::default();
        let seen = |in_use, entered, refused| Seen { in_use, entered, refused, ..Seen::default() };
        let mut need = |seen, threads, s| d.look(seen, Part { threads, ..ALL }, LIMITS, at(s)).threads;
        // Many were refused, and who insisted was one.
        assert_eq!(need(seen(0, 0, 4), 0, 0), 4);
        assert_eq!(need(seen(0, 0, 0), 4, 1), 4, "nobody has come yet");
        assert_eq!(need(seen(1, 1, 0), 4, 2), 1);
        // One that is as full as before has learnt nothing.
        assert_eq!(need(seen(1, 1, 4), 1, 3), 5);
        assert_eq!(need(seen(1, 1, 0), 1, 4), 4);
        assert_eq!(need(seen(0, 0, 0), 1, 5), 0, "it has ended since");
    }

    #[test]
    fn a_rate_that_held_nobody_back_is_needed_as_far_as_it_was_used() {
        let mut d = Demand::default();
        let mut need = |asked, moved, s| {
            let need = d.look(Seen { asked, moved, ..Seen::default() }, ALL, LIMITS, at(s));
            (need.qps, need.rate)
        };
        assert_eq!(need(0, 0, 0), (1, 100), "a little to begin with");
        assert_eq!(need(50, 5000, 5), (12, 1400), "10 and 1000 a second, a quarter more, in steps");
        // Less than a second says nothing.
        let mut half = d;
        let soon = at(5) + Duration::from_millis(500);
        let seen = Seen { asked: 1000, ..Seen::default() };
        assert_eq!(half.look(seen, ALL, LIMITS, soon).qps, 12);
    }

    #[test]
    fn a_rate_that_held_somebody_back_is_needed_as_far_as_it_goes() {
        let mut d = Demand::default();
        let may = Part { threads: 1, qps: 8, rate: 800 };
        d.look(Seen::default(), may, LIMITS, at(0));
        let seen = Seen { asked: 200, asked_in_vain: true, held_back: true, ..Seen::default() };
        let need = d.look(seen, may, LIMITS, at(5));
        assert_eq!((need.qps, need.rate), (50, 6400));
        let later = d.look(Seen::default(), may, LIMITS, at(15));
        assert_eq!((later.qps, later.rate), (1, 100));
        // None at all is no reason to need nothing.
        let mut d = Demand::default();
        let seen = Seen { asked_in_vain: true, held_back: true, ..Seen::default() };
        let need = d.look(seen, Part::default(), LIMITS, at(0));
        assert_eq!((need.qps, need.rate), (2, 6400));
    }

    #[test]
    fn who_comes_asks_for_enough_to_begin() {
        assert_eq!(Demand::first(LIMITS), Part { threads: 1, qps: 8, rate: 800 });
        assert_eq!(Demand::first(Capacity { hard: 5, qps: 3, rate: 0 }), Part { threads: 1, qps: 1, rate: 0 });
    }
}
