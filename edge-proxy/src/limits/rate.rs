//! A rate as a schedule: the time up to which capacity is spoken for, in one atomic word.
//!
//! The generic cell rate algorithm (ITU-T I.371): each use moves the schedule forward by its
//! cost; a use is allowed while the schedule is not further ahead of now than the tolerance.
//! Who must wait is told until when: places in the schedule are handed out in order of asking, so
//! waiting is fair without a queue.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Bytes may be ahead of the schedule by this much (100 ms): who is woken late makes up for it. Over
/// ten seconds it is one percent.
pub(crate) const DEPTH_NS: u64 = 100_000_000;
/// A reservation is worth at most this much time (20 ms): each costs a wake, and
/// nobody sees that bytes come fifty times a second.
pub(crate) const QUANTUM_NS: u64 = 20_000_000;
/// No reservation is smaller than a segment, where that is worth less than a quantum.
const SEGMENT: u64 = 1448;

const SECOND_NS: u128 = 1_000_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds of the monotonic clock since some fixed moment before.
pub(crate) fn now_ns() -> u64 {
    // Far from 0, so that subtracting a tolerance never meets it.
    at_ns(Instant::now())
}

/// As [`now_ns`], for a moment that is known.
pub(crate) fn at_ns(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX / 2) + 1_000_000_000
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Capacity is spoken for until then.
    until: AtomicU64,
    /// Who holds a reservation.
    sharers: AtomicU32,
}

/// Time that `n` units cost at `rate` units a second.
fn cost(n: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(n) * SECOND_NS / u128::from(rate.max(1))).unwrap_or(u64::MAX / 4)
}

impl Schedule {
    /// One use of `rate` a second, `burst` of them at once (at least one). 0 = unlimited.
    ///
    /// # Errors
    /// Nanoseconds after which to try again.
    pub fn take(&self, now: u64, rate: u32, burst: u32) -> Result<(), u64> {
        if rate == 0 {
            return Ok(());
        }
        let one = cost(1, u64::from(rate));
        let tolerance = one.saturating_mul(u64::from(burst.max(1)) - 1);
        let next = |until: u64| {
            let from = until.max(now);
            (from - now <= tolerance).then(|| from + one)
        };
        match self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(until) => Err(until.saturating_sub(now + tolerance).max(1)),
        }
    }

    /// Reserves `bytes` at `rate` bytes a second. They may go at the moment that is returned.
    pub fn reserve(&self, now: u64, bytes: u64, rate: u64) -> u64 {
        let cost = cost(bytes, rate);
        let next = |until: u64| Some(until.max(now).saturating_add(cost));
        let before = self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_else(|t| t);
        before.max(now).saturating_sub(DEPTH_NS)
    }

    /// Gives back what a reservation did not use.
    pub fn refund(&self, bytes: u64, rate: u64) {
        let cost = cost(bytes, rate);
        let _ = self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |t| Some(t.saturating_sub(cost)));
    }

    /// Bytes of one reservation at `rate`: worth 20 ms, less where many share, in steps that a
    /// network can carry.
    pub fn quantum(&self, rate: u64) -> u64 {
        let sharers = u64::from(self.sharers.load(Ordering::Relaxed)).max(1);
        let worth = u64::try_from(u128::from(rate) * u128::from(QUANTUM_NS) / SECOND_NS).unwrap_or(u64::MAX);
        (worth / sharers).max(SEGMENT.min(worth)).max(1)
    }

    /// One more holds a reservation.
    pub fn join(&self) {
        self.sharers.fetch_add(1, Ordering::Relaxed);
    }

    /// One fewer.
    pub fn leave(&self) {
        self.sharers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The rate is another, `new` and no more `old`: what went ahead of the schedule, at most
    /// `most_ns` of it, stays ahead by as many units; who waits for a place asks anew. So a rate
    /// that changes often gives no more than one that stays.
    pub fn rescale(&self, now: u64, old: u64, new: u64, most_ns: u64) {
        let ahead = |until: u64| {
            let ns = u128::from(until.saturating_sub(now).min(most_ns));
            let same = if old == 0 || new == 0 { 0 } else { ns * u128::from(old) / u128::from(new) };
            u64::try_from(same.min(SECOND_NS)).unwrap_or(0)
        };
        let next = |until: u64| (until > now).then(|| now.saturating_add(ahead(until)));
        let _ = self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_lone_reservation_goes_at_once_and_the_next_wait_for_their_time() {
        let s = Schedule::default();
        // 1 MB/s: 100 kB take 100 ms, which is the depth.
        assert_eq!(s.reserve(S, 100_000, 1_000_000), S - DEPTH_NS);
        assert_eq!(s.reserve(S, 10_000, 1_000_000), S);
        assert_eq!(s.reserve(S, 10_000, 1_000_000), S + 10_000_000);
        s.refund(10_000, 1_000_000);
        assert_eq!(s.reserve(S, 1, 1_000_000), S + 10_000_000);
    }

    #[test]
    fn another_rate_forgets_who_waits_and_not_what_went() {
        let s = Schedule::default();
        // 100 kB went ahead, 500 kB wait.
        s.reserve(S, 600_000, 1_000_000);
        s.rescale(S, 1_000_000, 2_000_000, DEPTH_NS);
        assert_eq!(s.reserve(S, 0, 2_000_000), S + DEPTH_NS / 2 - DEPTH_NS);
        s.rescale(S, 2_000_000, 1_000_000, DEPTH_NS);
        assert_eq!(s.reserve(S, 0, 1_000_000), S);
        // From unlimited, or from none at all, nothing is ahead; and never more than a second.
        s.rescale(S, 1_000_000, 1, DEPTH_NS);
        assert_eq!(s.reserve(S, 0, 1), 2 * S - DEPTH_NS);
        s.rescale(S, 0, 1_000_000, DEPTH_NS);
        assert_eq!(s.reserve(S, 0, 1_000_000), S - DEPTH_NS);
    }

    #[test]
    fn quanta_are_worth_twenty_milliseconds_shared_and_at_least_a_segment() {
        let s = Schedule::default();
        assert_eq!(s.quantum(12_500_000), 250_000);
        assert_eq!(s.quantum(10_000), 200, "a slow line still moves every 20 ms");
        assert_eq!(s.quantum(1), 1);
        for _ in 0..10 {
            s.join();
        }
        assert_eq!(s.quantum(12_500_000), 25_000);
        assert_eq!(s.quantum(500_000), SEGMENT);
        assert_eq!(s.quantum(10_000), 200, "no more than is worth a quantum");
        s.leave();
        assert_eq!(s.quantum(9_000_000), 20_000);
    }

    proptest! {
        /// Over any time, what was allowed is at most the rate's worth, the depth and one quantum;
        /// and who keeps asking gets all but that.
        #[test]
        fn the_rate_is_kept(rate in 1_000u64..100_000_000, late_ns in 0u64..50_000_000, tunnels in 1usize..8) {
            let s = Schedule::default();
            let (mut now, mut moved) = (S, 0u64);
            let mut waiting: Vec<(u64, u64)> = Vec::new();
            (0..tunnels).for_each(|_| s.join());
            let end = now + 10 * S;
            for _ in 0..tunnels {
                let q = s.quantum(rate);
                waiting.push((s.reserve(now, q, rate), q));
            }
            while now < end {
                waiting.sort_unstable();
                let (at, q) = waiting.remove(0);
                // Timers are late; what is due already waits for none.
                if at > now {
                    now = at + late_ns;
                }
                if now >= end { break; }
                moved += q;
                let q = s.quantum(rate);
                waiting.push((s.reserve(now, q, rate), q));
            }
            let worth = rate * 10;
            prop_assert!(moved <= worth + rate / 10 + rate / 50 + tunnels as u64 * 1448 + 1, "{moved} of {worth}");
            // Lateness within the depth costs nothing.
            prop_assert!(moved + rate / 10 + worth / 50 + tunnels as u64 * s.quantum(rate) * 2 >= worth, "{moved} of {worth}");
        }

        #[test]
        fn uses_never_exceed_burst_and_rate(rate in 1u32..1000, burst in 1u32..100, gaps in prop::collection::vec(0u64..200_000_000, 1..300)) {
            let s = Schedule::default();
            let (mut now, mut used) = (S, 0u64);
            for gap in gaps {
                now += gap;
                if s.take(now, rate, burst).is_ok() { used += 1; }
                let worth = (now - S) as u128 * u128::from(rate) / SECOND_NS;
                prop_assert!(u128::from(used) <= worth + u128::from(burst) + 1);
            }
        }
    }
}
