//! Failed logins per source: too many within a window, and the source is refused before
//! anything is looked up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sources remembered at a time. Beyond, those whose window is over go first, then any.
const MAX_SOURCES: usize = 65_536;

/// Counts failures by source.
pub(crate) struct Throttle {
    limit: u32,
    window: Duration,
    block: Duration,
    sources: Mutex<HashMap<IpAddr, Source>>,
    /// Sources remembered: while none is, nothing is locked.
    known: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Source {
    failures: u32,
    since: Instant,
    blocked_until: Option<Instant>,
}

impl Throttle {
    pub fn new(limit: u32, window: Duration, block: Duration) -> Self {
        Self { limit, window, block, sources: Mutex::default(), known: AtomicUsize::new(0) }
    }

    /// How long `source` is still blocked at `now`.
    pub fn blocked(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        if self.known.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let until = sources.get(&source)?.blocked_until?;
        until.checked_duration_since(now).filter(|d| !d.is_zero())
    }

    /// Counts a failure.
    pub fn failed(&self, source: IpAddr, now: Instant) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, s| self.live(s, now));
            if sources.len() >= MAX_SOURCES {
                let any = sources.keys().next().copied();
                any.map(|k| sources.remove(&k));
            }
        }
        let s = sources.entry(source).or_insert(Source { failures: 0, since: now, blocked_until: None });
        if !self.live(s, now) {
            *s = Source { failures: 0, since: now, blocked_until: None };
        }
        s.failures = s.failures.saturating_add(1);
        if self.limit > 0 && s.failures >= self.limit {
            s.blocked_until = Some(now + self.block);
        }
        self.known.store(sources.len(), Ordering::Relaxed);
    }

    fn live(&self, s: &Source, now: Instant) -> bool {
        s.blocked_until.map_or(now < s.since + self.window, |until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_within_the_window_block_the_source_and_no_other() {
        let t = Throttle::new(10, Duration::from_secs(600), Duration::from_secs(1800));
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        for n in 0..9 {
            t.failed(a, at(n));
        }
        assert_eq!(t.blocked(a, at(9)), None);
        t.failed(a, at(10));
        assert_eq!(t.blocked(a, at(10)), Some(Duration::from_secs(1800)));
        assert_eq!(t.blocked(b, at(10)), None);
        assert_eq!(t.blocked(a, at(1811)), None);
        t.failed(a, at(1811));
        assert_eq!(t.blocked(a, at(1811)), None);
    }

    #[test]
    fn failures_outside_the_window_are_forgotten() {
        let t = Throttle::new(2, Duration::from_secs(10), Duration::from_secs(10));
        let (a, start) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        t.failed(a, start);
        t.failed(a, start + Duration::from_secs(11));
        assert_eq!(t.blocked(a, start + Duration::from_secs(11)), None);
    }
}
