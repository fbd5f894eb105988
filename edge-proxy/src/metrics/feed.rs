//! How far behind the change feed this edge is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tollgate_domain::time::Timestamp;

/// See the module.
pub(crate) struct FeedMark {
    began: Instant,
    /// When the last reading began of which all was applied, in milliseconds after `began`.
    read_ms: AtomicU64,
    /// When the newest change that was applied was written, in milliseconds since 1970; 0 = none was.
    newest_ms: AtomicU64,
}

impl FeedMark {
    /// The feed counts as read at `began`.
    pub fn new(began: Instant) -> Self {
        Self { began, read_ms: AtomicU64::new(0), newest_ms: AtomicU64::new(0) }
    }

    /// Notes that all was applied that a reading begun at `at` found.
    pub fn read(&self, at: Instant) {
        let ms = at.saturating_duration_since(self.began).as_millis();
        self.read_ms.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago, at `now`, the feed was read and applied as a whole. It grows while the store
    /// is away, and while a reading hangs.
    pub fn lag(&self, now: Instant) -> Duration {
        let read = Duration::from_millis(self.read_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.began).saturating_sub(read)
    }

    /// Notes that a change written at `at` was applied.
    pub fn applied(&self, at: Timestamp) {
        self.newest_ms.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// When the newest change that was applied was written; none if none was.
    pub fn newest(&self) -> Option<Timestamp> {
        Some(self.newest_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_grows_until_all_is_applied() {
        let began = Instant::now();
        let after = |s| began + Duration::from_secs(s);
        let mark = FeedMark::new(began);
        assert_eq!(mark.lag(after(4)), Duration::from_secs(4));
        mark.read(after(5));
        assert_eq!((mark.lag(after(5)), mark.lag(after(25))), (Duration::ZERO, Duration::from_secs(20)));
    }

    #[test]
    fn the_newest_change_counts_in_whatever_order_they_are_applied() {
        let mark = FeedMark::new(Instant::now());
        assert_eq!(mark.newest(), None);
        for s in [20, 30, 10] {
            mark.applied(Timestamp::from_secs(s));
        }
        assert_eq!(mark.newest(), Some(Timestamp::from_secs(30)));
    }
}
