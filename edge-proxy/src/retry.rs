//! Pauses between attempts: growing, bounded, jittered.

use std::time::Duration;

const FIRST: u64 = 50;
const LONGEST: u64 = 5_000;

/// The pauses of one series of attempts.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// Waits before the next attempt: 50 ms doubled up to 5 s, of which up to half is left out.
    pub async fn pause(&mut self) {
        let full = (FIRST << self.attempt.min(7)).min(LONGEST);
        self.attempt += 1;
        tokio::time::sleep(Duration::from_millis(full - random() % (full / 2))).await;
    }
}

/// Spreads; secures nothing.
pub(crate) fn random() -> u64 {
    fastrand::u64(..)
}
