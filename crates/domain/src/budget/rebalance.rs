//! Rebalancing: what one edge holds and does not use goes to another that has run dry.

use std::time::Duration;

use super::{Allowance, BudgetRefusal, LeaseState};
use crate::id::EdgeSession;

impl Allowance {
    /// Takes back `n` bytes that a lease holds and settles it at `settled` (cumulative) in one step.
    /// Its session has given them up *before*: nobody spends them any more.
    ///
    /// # Errors
    /// [`BudgetRefusal`]; nothing changed.
    pub fn give_back(&mut self, who: &EdgeSession, n: u64, settled: u64, seq: u64) -> Result<(), BudgetRefusal> {
        let l = self.leases.get_mut(who).ok_or(BudgetRefusal::NoLease)?;
        Self::check(l, seq)?;
        let least = settled.checked_add(l.doubt).and_then(|used| used.checked_add(n));
        if settled < l.settled || least.is_none_or(|least| least > l.taken) {
            return Err(BudgetRefusal::Overspent);
        }
        l.taken -= n;
        l.settled = settled;
        l.seq += 1;
        self.available += n;
        Ok(())
    }

    /// Bytes that open leases of these sessions took and have not settled: what they may have left
    /// to give, at most.
    #[must_use]
    pub fn held_by(&self, whom: impl Fn(&EdgeSession) -> bool) -> u64 {
        let open = self.leases.iter().filter(|(who, l)| l.state == LeaseState::Open && whom(who));
        open.fold(0u64, |sum, (_, l)| sum.saturating_add(l.taken.saturating_sub(l.settled.saturating_add(l.doubt))))
    }
}

/// Over which time it is measured what a session uses.
const SECOND: Duration = Duration::from_secs(1);

/// What a session uses: the bytes that the last second moved. What it holds beyond them it can give
/// to others.
///
/// ```
/// use std::time::Duration;
/// use tollgate_domain::budget::Pace;
/// let mut pace = Pace::default();
/// assert_eq!(pace.note(Duration::from_millis(500), 300), 300);
/// assert_eq!(pace.note(Duration::from_secs(2), 1000), 500); // nobody looked for longer: the mean
/// assert_eq!(pace.note(Duration::from_millis(2900), 1000), 500);
/// assert_eq!(pace.note(Duration::from_secs(3), 1000), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    at: Duration,
    moved: u64,
    /// Bytes of a second, when it was last measured.
    second: u64,
}

impl Pace {
    /// Takes in that `moved` bytes moved in all by `at`, a time since the beginning on a clock that
    /// runs evenly; bytes that the last second moved.
    pub fn note(&mut self, at: Duration, moved: u64) -> u64 {
        let (elapsed, since) = (at.saturating_sub(self.at), moved.saturating_sub(self.moved));
        if elapsed < SECOND {
            return self.second.max(since);
        }
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        *self = Self { at, moved, second: since.saturating_mul(1000) / ms };
        self.second
    }
}
