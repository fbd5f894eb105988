//! Whether a customer may pass: its row, and the strike clock with what it is told.

use std::sync::atomic::Ordering;

use tollgate_domain::customer::Standing;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;

use super::Account;
use crate::tunnel::CloseReason;

impl Account {
    /// Refusals for want of threads since the last call: they feed the strike clock.
    pub fn take_refused(&self) -> u32 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Puts refusals back that could not be told.
    pub fn untold_refused(&self, refused: u32) {
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// Whether the store has something to hear, or to say, of this customer.
    pub fn to_tell(&self, now: Timestamp) -> bool {
        self.live() > 0
            || self.told.load(Ordering::Relaxed)
            || self.refused.load(Ordering::Relaxed) > 0
            // Others may have given something back meanwhile.
            || self.is_partial()
            || self.clock_runs.load(Ordering::Relaxed)
            || now < self.struck_until()
    }

    /// Notes whether the store heard that something is used or needed here, for which others
    /// may wait, and whether the strike clock runs.
    pub fn told(&self, needs: bool, clock_runs: bool) {
        self.told.store(needs, Ordering::Relaxed);
        self.clock_runs.store(clock_runs, Ordering::Relaxed);
    }

    fn struck_until(&self) -> Timestamp {
        Timestamp::from_millis(self.struck_until_ms.load(Ordering::Acquire))
    }

    /// Takes in the lock-out of the strike clock, as the share says it; none = there is none.
    pub fn set_struck(&self, until: Option<Timestamp>) {
        self.struck_until_ms.store(until.map_or(0, Timestamp::as_millis), Ordering::Release);
    }

    /// What the customer may do at `now`, by its row and by the strike clock.
    fn standing(&self, now: Timestamp) -> Standing {
        let struck = self.struck_until();
        match self.profile().standing(now) {
            Standing::Active if now < struck => Standing::Locked { until: struck },
            Standing::Locked { until } => Standing::Locked { until: until.max(struck) },
            other => other,
        }
    }

    /// Refuses who may not pass at `now`.
    pub fn check_standing(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.standing(now) {
            Standing::Active => Ok(()),
            Standing::Locked { until } => {
                let left = u32::try_from(until.since(now).as_secs() + 1).unwrap_or(u32::MAX);
                Err(Refusal::new(Code::LockedOut, format!("locked until {until}")).retry_after(left))
            }
            Standing::Expired { at } => Err(Refusal::new(Code::PlanExpired, format!("the plan ended at {at}"))),
            Standing::Banned => Err(Refusal::new(Code::Banned, "the account is banned")),
            Standing::Deleted => Err(Refusal::new(Code::AuthFailed, "no such account")),
        }
    }

    /// Ends the tunnels that may not go on at `now`.
    pub fn enforce(&self, now: Timestamp) {
        if self.live() == 0 {
            return;
        }
        let profile = self.profile();
        let out = match self.standing(now) {
            Standing::Active => None,
            Standing::Locked { .. } => Some(CloseReason::Locked),
            Standing::Expired { .. } => Some(CloseReason::Expired),
            Standing::Banned => Some(CloseReason::Banned),
            Standing::Deleted => Some(CloseReason::Deleted),
        };
        self.kill(|t| {
            out.or_else(|| profile.kicked_at.filter(|at| t.opened_at < *at).map(|_| CloseReason::Kicked))
                .or_else(|| (!t.pass.holds(now)).then_some(CloseReason::Credential))
        });
    }
}
