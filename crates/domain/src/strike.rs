//! The **strike clock**: how long a customer may keep more tunnels than its plan's threads (the
//! soft limit) before all of them close and it is locked out for [`LOCKOUT`].
//!
//! It runs on samples of the fleet's sum, one every [`SAMPLE`] per edge, kept in the customer's
//! share item. Above the soft limit it runs; [`CLEARED_AFTER`] at or under it, it is cleared;
//! [`ALLOWED`] above, it strikes. A strict plan (hard = soft) cannot be above: there, refusals
//! count as being above.
//!
//! A steady customer costs no write: a sample changes the clock when the customer crosses the
//! limit, and once a minute above it, so that a time without samples is not taken for one above.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::customer::LOCKOUT;
use crate::time::Timestamp;

/// Time between two samples of one edge: 5 s.
pub const SAMPLE: Duration = Duration::from_secs(5);
/// Time at or under the soft limit that clears the clock: 60 s.
pub const CLEARED_AFTER: Duration = Duration::from_secs(60);
/// Time above the soft limit that is let pass: 15 min.
pub const ALLOWED: Duration = Duration::from_secs(900);
/// How old the last sample above may grow in the item before it is noted again: 60 s.
const NOTED_AFTER: Duration = Duration::from_secs(60);
/// Without a sample for this long nobody knows that the customer stayed above: 120 s.
const UNHEARD: Duration = Duration::from_secs(120);

/// One look at what a customer uses, over all edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Tunnels of the fleet.
    pub in_use: u64,
    /// The plan's threads; 0 = unlimited.
    pub soft: u32,
    /// Whether the hard limit is the soft one.
    pub strict: bool,
    /// Whether a tunnel was refused, since the last look, because the plan allows no more.
    pub refused: bool,
}

impl Sample {
    fn above(&self) -> bool {
        self.soft > 0 && (self.in_use > u64::from(self.soft) || (self.strict && self.refused))
    }
}

/// The clock of one customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// Since when the customer has been above its soft limit.
    #[serde(rename = "strike_since", default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it was last noted to be above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_at: Option<Timestamp>,
    /// Since when it has been at or under the limit, while the clock runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calm_since: Option<Timestamp>,
    /// The end of the lock-out that the last strike set; stays as a record once it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

impl Strike {
    /// The end of the lock-out, while it holds at `now`.
    #[must_use]
    pub fn locked(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| now < *until)
    }

    /// Takes one sample. Returns whether this one struck: the customer is then locked out.
    pub fn sample(&mut self, sample: Sample, now: Timestamp) -> bool {
        // Locked out: what is still open is on its way out.
        if self.locked(now).is_some() || self.lapsed(now) || sample.soft == 0 {
            self.stop();
        }
        if self.locked(now).is_some() {
            return false;
        }
        if !sample.above() {
            self.calm(sample.strict, now);
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= ALLOWED {
            self.stop();
            self.locked_until = Some(now.plus(LOCKOUT));
            return true;
        }
        self.calm_since = None;
        // A strict plan is calm between refusals: the last one must be known to a sample.
        let due = if sample.strict { SAMPLE } else { NOTED_AFTER };
        if self.above_at.is_none_or(|at| now.since(at) >= due) {
            self.above_at = Some(now);
        }
        false
    }

    /// Ends a lock-out and clears the clock (an operator's word). Returns whether there was
    /// anything to end.
    pub fn forgive(&mut self) -> bool {
        std::mem::take(self) != Self::default()
    }

    fn stop(&mut self) {
        *self = Self { locked_until: self.locked_until, ..Self::default() };
    }

    /// Whether the clock is cleared, or nobody knows any more that it should run.
    fn lapsed(&self, now: Timestamp) -> bool {
        match self.calm_since {
            Some(calm) => now.since(calm) >= CLEARED_AFTER,
            None => self.above_at.is_some_and(|at| now.since(at) >= UNHEARD),
        }
    }

    fn calm(&mut self, strict: bool, now: Timestamp) {
        if self.since.is_none() || self.calm_since.is_some() {
            return;
        }
        let last = self.above_at.unwrap_or(now);
        self.calm_since = match strict {
            // Refusals come through one edge, samples from all.
            true => (now.since(last) >= 2 * SAMPLE).then_some(last),
            false => Some(now),
        };
    }
}

#[cfg(test)]
mod tests;
