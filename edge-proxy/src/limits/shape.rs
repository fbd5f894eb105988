//! How fast one tunnel's bytes may go: as fast as the slowest of its own rate, its source
//! address's, its customer's and its port's.
//!
//! A direction reserves a small quantum ahead of its system call and waits until that is due;
//! reservations are handed out in order, so the sockets of a customer get equal parts. What is
//! not used when the stream falls idle goes back.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Rates;
use super::rate::{Schedule, now_ns};
use super::source::Source;
use crate::journal::Direction;

/// Who waits looks this often whether the rate has changed.
const LOOK: Duration = Duration::from_millis(250);

/// The schedules that one tunnel is subject to.
#[derive(Debug)]
pub(crate) struct Shape {
    rates: Arc<Rates>,
    source: Option<Arc<Source>>,
    port: Option<Arc<Schedule>>,
    own: Schedule,
    /// Only the first total that is set holds: customer, source address, port.
    first_wins: bool,
    /// Bytes that are due and not used: from the customer, to the customer.
    due: [Cell<u64>; 2],
}

fn slot(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl Shape {
    pub fn new(rates: Arc<Rates>, source: Option<Arc<Source>>, port: Option<Arc<Schedule>>, first_wins: bool) -> Self {
        Self { rates, source, port, own: Schedule::default(), first_wins, due: [Cell::new(0), Cell::new(0)] }
    }

    /// Bytes, at most `want`, that may go now; waits until there are some. Say with
    /// [`Self::used`] how many did.
    pub async fn due(&self, direction: Direction, want: u64) -> u64 {
        if !self.rates.shaped() {
            return want;
        }
        let held = &self.due[slot(direction)];
        if held.get() == 0 {
            held.set(self.wait(want).await);
        }
        held.get().min(want)
    }

    /// Whether `bytes` may go at once, together; they count as gone.
    pub fn at_once(&self, bytes: u64) -> bool {
        if !self.rates.shaped() {
            return true;
        }
        if self.rates.stands_still() {
            self.rates.holds_back();
            return false;
        }
        let now = now_ns();
        let mut at = 0;
        self.each(|schedule, rate| at = at.max(self.reserve(schedule, now, bytes, rate)));
        if at > now {
            self.each(|schedule, rate| schedule.refund(bytes, rate));
        }
        at <= now
    }

    /// Reserves, and notes where the customer's rate is too low here.
    fn reserve(&self, schedule: &Schedule, now: u64, bytes: u64, rate: u64) -> u64 {
        let at = schedule.reserve(now, bytes, rate);
        if at > now && std::ptr::eq(schedule, &self.rates.bytes) {
            self.rates.holds_back();
        }
        at
    }

    /// `bytes` of what was due went.
    pub fn used(&self, direction: Direction, bytes: u64) {
        let held = &self.due[slot(direction)];
        held.set(held.get().saturating_sub(bytes));
    }

    /// The stream is idle: what is due and not used goes back.
    pub fn idle(&self, direction: Direction) {
        let left = self.due[slot(direction)].replace(0);
        if left > 0 {
            self.each(|schedule, rate| schedule.refund(left, rate));
        }
    }

    /// Calls `act` with each schedule in force and its rate.
    fn each<'a>(&'a self, mut act: impl FnMut(&'a Schedule, u64)) {
        let r = &*self.rates;
        let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let own = match (load(&r.conn), load(&r.ip)) {
            (0, rate) | (rate, 0) => rate,
            (a, b) => a.min(b),
        };
        if own > 0 {
            act(&self.own, own);
        }
        let totals = [
            (Some(&r.bytes), load(&r.total)),
            (self.source.as_deref().map(|s| &s.bytes), load(&r.ip_total)),
            (self.port.as_deref(), load(&r.port_total)),
        ];
        for (schedule, rate) in totals {
            if let Some(schedule) = schedule.filter(|_| rate > 0) {
                act(schedule, rate);
                if self.first_wins {
                    break;
                }
            }
        }
    }

    async fn wait(&self, want: u64) -> u64 {
        let sharing = Sharing::new(self);
        loop {
            let generation = self.rates.generation();
            if self.rates.stands_still() {
                self.rates.holds_back();
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let mut bytes = want;
            self.each(|schedule, rate| bytes = bytes.min(schedule.quantum(rate)));
            let now = now_ns();
            let mut at = now;
            self.each(|schedule, rate| at = at.max(self.reserve(schedule, now, bytes, rate)));
            loop {
                let left = at.saturating_sub(now_ns());
                if left == 0 {
                    drop(sharing);
                    return bytes;
                }
                tokio::time::sleep(Duration::from_nanos(left).min(LOOK)).await;
                if self.rates.generation() != generation {
                    break;
                }
            }
        }
    }
}

/// Counts who waits, so that quanta shrink where many do.
struct Sharing<'a> {
    schedules: [Option<&'a Schedule>; 4],
}

impl<'a> Sharing<'a> {
    fn new(shape: &'a Shape) -> Self {
        let mut schedules = [None; 4];
        let mut n = 0;
        shape.each(|schedule, _| {
            schedule.join();
            schedules[n] = Some(schedule);
            n += 1;
        });
        Self { schedules }
    }
}

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        self.schedules.iter().flatten().for_each(|s| s.leave());
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::plan::Limits;

    use super::*;

    fn shape(limits: &Limits) -> Shape {
        let rates = Arc::new(Rates::default());
        rates.set(limits, None, (limits.rate_total > 0).then_some(limits.rate_total));
        Shape::new(rates, Some(Arc::default()), Some(Arc::default()), false)
    }

    #[tokio::test]
    async fn without_limits_everything_is_due_at_once() {
        let s = shape(&Limits::default());
        assert_eq!(s.due(Direction::Egress, 1 << 30).await, 1 << 30);
        s.used(Direction::Egress, 1 << 30);
    }

    #[tokio::test]
    async fn the_slowest_rate_holds_and_what_is_not_used_goes_back() {
        let s = shape(&Limits { rate_conn: 1_000_000, ip_rate: 500_000, rate_total: 2_000_000, ..Limits::default() });
        let due = s.due(Direction::Ingress, 1 << 20).await;
        assert_eq!(due, 10_000, "20 ms of 500 kB/s");
        s.used(Direction::Ingress, 1_000);
        assert_eq!(s.due(Direction::Ingress, 1 << 20).await, 9_000);
        s.idle(Direction::Ingress);
        // Both schedules are back at what was used: the next quantum is due at once.
        let now = now_ns();
        assert!(s.own.reserve(now, 1, 500_000) <= now);
        assert!(s.rates.bytes.reserve(now, 1, 2_000_000) <= now);
    }

    #[tokio::test]
    async fn a_raised_rate_reaches_who_waits() {
        let s = shape(&Limits { rate_total: 1, ..Limits::default() });
        // Spoken for, for a long time.
        s.rates.bytes.reserve(now_ns(), 3600, 1);
        let raise = async {
            tokio::task::yield_now().await;
            s.rates.set(&Limits { rate_total: 1_000_000, ..Limits::default() }, None, Some(1_000_000));
        };
        let (due, ()) = tokio::join!(s.due(Direction::Egress, 100), raise);
        assert_eq!(due, 100);
    }

    #[tokio::test]
    async fn without_a_share_of_the_rate_bytes_wait_until_there_is_one() {
        let s = shape(&Limits::default());
        let limits = Limits { rate_total: 1_000_000, ..Limits::default() };
        s.rates.set(&limits, None, Some(0));
        assert!(!s.at_once(1));
        assert!(s.rates.lacking());
        let raise = async {
            tokio::task::yield_now().await;
            s.rates.set(&limits, None, Some(500_000));
        };
        let (due, ()) = tokio::join!(s.due(Direction::Egress, 100), raise);
        assert_eq!(due, 100);
    }

    #[tokio::test]
    async fn the_first_total_wins_where_asked_for() {
        let limits = Limits { rate_total: 1_000_000, ip_rate_total: 100_000, ..Limits::default() };
        let mut s = shape(&limits);
        let mut rates = Vec::new();
        s.each(|_, rate| rates.push(rate));
        assert_eq!(rates, [1_000_000, 100_000]);
        s.first_wins = true;
        rates.clear();
        s.each(|_, rate| rates.push(rate));
        assert_eq!(rates, [1_000_000]);
    }
}
