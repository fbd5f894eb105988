//! Whether the store is in reach. An edge that is cut off serves the customers it knows from what it
//! holds; after `staleness` nobody can say any more who was banned meanwhile, and it carries nobody
//! until the store answers again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reach {
    heard: Mutex<Heard>,
    /// The last look at the feed failed.
    failing: AtomicBool,
    lost: AtomicBool,
}

/// When the feed was last read: what it told was true then.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Timestamp,
    since: Instant,
}

impl Heard {
    /// Whether it is longer ago than `staleness`. A wall clock that jumps while the store answers
    /// says nothing of the store.
    fn is_stale(&self, now: Timestamp, elapsed: Duration, failing: bool, staleness: Duration) -> bool {
        elapsed > staleness || (failing && now.since(self.at) > staleness)
    }
}

impl Reach {
    /// The store answered at `at`.
    pub fn new(at: Timestamp) -> Self {
        Self {
            heard: Mutex::new(Heard { at, since: Instant::now() }),
            failing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// The feed was read; what it says is true of `at` and `since`, when it was asked.
    pub fn heard(&self, at: Timestamp, since: Instant) {
        *self.last() = Heard { at, since };
        self.failing.store(false, Ordering::Release);
    }

    /// The feed could not be read.
    pub fn failed(&self) {
        self.failing.store(true, Ordering::Release);
    }

    /// Whether the last look at the feed failed.
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Looks at the clocks: whether the edge carries nobody from now on.
    pub fn look(&self, now: Timestamp, staleness: Duration) -> bool {
        let heard = *self.last();
        let lost = heard.is_stale(now, heard.since.elapsed(), self.failing(), staleness);
        match (self.lost.swap(lost, Ordering::AcqRel), lost) {
            (false, true) => {
                tracing::error!(heard_at = %heard.at, "cut off from the store for too long: nobody is carried");
            }
            (true, false) => tracing::info!("the store answers again: customers are carried"),
            _ => {}
        }
        lost
    }

    /// Whether nobody is carried, as of the last look.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Refuses while nobody is carried.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.lost() { Err(refusal()) } else { Ok(()) }
    }

    fn last(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What who is no longer carried is told.
pub(crate) fn refusal() -> Refusal {
    Refusal::new(Code::StoreUnavailable, "this edge has not heard from the store for too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(900);

    #[test]
    fn either_clock_ends_what_was_heard_but_a_jump_alone_does_not() {
        let at = Timestamp::from_secs(1_000_000);
        let heard = Heard { at, since: Instant::now() };
        let later = |s| at.plus(Duration::from_secs(s));
        let s = Duration::from_secs;
        assert!(!heard.is_stale(later(900), s(900), true, CAP));
        assert!(heard.is_stale(later(901), s(1), true, CAP));
        assert!(!heard.is_stale(later(901), s(1), false, CAP), "the wall clock jumped");
        // A call that never comes back has not failed; a clock that goes back hides nothing.
        assert!(heard.is_stale(later(0), s(901), false, CAP));
        assert!(heard.is_stale(at.minus(s(5000)), s(901), true, CAP));
    }

    #[test]
    fn it_recovers_once_the_feed_is_read() {
        let at = Timestamp::from_secs(1_000_000);
        let reach = Reach::new(at);
        let late = at.plus(Duration::from_secs(901));
        assert!(!reach.look(late, CAP) && reach.check().is_ok());
        reach.failed();
        assert!(reach.look(late, CAP) && reach.failing());
        assert_eq!(reach.check().unwrap_err().code, Code::StoreUnavailable);
        reach.heard(late, Instant::now());
        assert!(!reach.look(late, CAP) && reach.check().is_ok() && !reach.failing());
    }
}
