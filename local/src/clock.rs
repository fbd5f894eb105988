//! A wall clock that can jump forward, so that an hour of a story takes no hour.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_store::SystemClock;

/// The machine's clock and what it has jumped. Timers of sockets and tunnels run true; only the
/// instants that are written down, and the schedules that wait for them, jump.
#[derive(Debug)]
pub struct JumpClock {
    ahead_ms: AtomicU64,
    jumps: watch::Sender<()>,
}

impl Default for JumpClock {
    fn default() -> Self {
        Self { ahead_ms: AtomicU64::new(0), jumps: watch::channel(()).0 }
    }
}

impl JumpClock {
    /// Moves the clock forward. Whoever waits for an instant that has come with it wakes up.
    pub fn jump(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
        self.jumps.send_replace(());
    }

    /// Returns when it is `at` or later.
    pub async fn wait_until(&self, at: Timestamp) {
        let mut jumps = self.jumps.subscribe();
        loop {
            let now = self.now();
            if now >= at {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(at.since(now)) => {}
                _ = jumps.changed() => {}
            }
        }
    }
}

impl Clock for JumpClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_an_hour_wakes_when_the_clock_jumps_over_it() {
        let clock = Arc::new(JumpClock::default());
        let start = clock.now();
        let at = start.plus(Duration::from_secs(3600));
        let waiter = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move {
                clock.wait_until(at).await;
                clock.now()
            }
        });
        clock.jump(Duration::from_secs(1800));
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        clock.jump(Duration::from_secs(1800));
        assert!(waiter.await.unwrap() >= at);
    }
}
