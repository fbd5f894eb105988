//! **Intent**: a purchase at a provider that has no idempotency key. Written before the call,
//! resolved after it; an answer that was lost is *unknown*, never *failed*, and is never bought
//! again. Proxies and phone numbers differ in data, not in types.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::id::{AttemptId, IntentId, LineKey, ProviderId};
use crate::money::Money;
use crate::time::Timestamp;

/// How long an unknown intent holds its cap before "the provider does not list it" means that
/// it was never bought.
pub const UNKNOWN_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentState {
    /// Written, caps held, nothing sent yet.
    Planned,
    /// The call is about to be sent, or has been.
    Calling,
    /// One address is ours because of it.
    Confirmed,
    /// Nothing was bought.
    Failed,
    /// The answer was lost or proves nothing: only the provider's list can tell.
    Unknown,
}

impl IntentState {
    /// Whether the state may follow.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use IntentState::{Calling, Confirmed, Failed, Planned, Unknown};
        matches!(
            (self, next),
            (Planned, Calling | Failed) | (Calling, Confirmed | Failed | Unknown) | (Unknown, Confirmed | Failed)
        )
    }

    /// Whether nothing more can happen to it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Confirmed | Self::Failed)
    }
}

/// A purchase of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Which intent; a ULID.
    pub id: IntentId,
    /// Where to buy.
    pub provider: ProviderId,
    /// In which zone of the provider.
    pub zone: String,
    /// In which country.
    pub country: Country,
    /// For which line.
    pub line: LineKey,
    /// On behalf of which attempt.
    pub attempt: AttemptId,
    /// What the provider charges for one billing period.
    pub price: Money,
    /// Where it stands.
    pub state: IntentState,
    /// When it was written.
    pub planned_at: Timestamp,
    /// When the call was about to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_at: Option<Timestamp>,
    /// When it became confirmed or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// The address that it bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Why it failed or is unknown, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every state it has been in, with the instant: the receipt.
    #[serde(default)]
    pub trail: Vec<(IntentState, Timestamp)>,
}

/// A transition that the machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an intent cannot go from {from:?} to {to:?}")]
pub struct IllegalStep {
    /// The state it is in.
    pub from: IntentState,
    /// The state asked for.
    pub to: IntentState,
}

/// How a purchase call ended, as far as its answer proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurchaseAnswer {
    /// The provider names these as newly bought: a claim, not a fact.
    Bought {
        /// Addresses claimed to be new, in the provider's spelling.
        new_ips: Vec<String>,
    },
    /// The provider says it has none in this country.
    NoStock {
        /// Its words.
        reason: String,
    },
    /// The provider refused before doing anything (bad key, no balance, rate limit).
    Refused {
        /// Stable code of ours: `PROVIDER_AUTH`, `PROVIDER_BALANCE`, `PROVIDER_RATE_LIMITED` …
        code: &'static str,
        /// Its words.
        reason: String,
    },
    /// Timeout, 5xx, broken answer, or a success that names nothing new.
    Unknown {
        /// What was seen.
        reason: String,
    },
}

impl Intent {
    /// The intent one step further.
    ///
    /// # Errors
    /// [`IllegalStep`] if the machine has no such step; nothing changed.
    pub fn step(&mut self, to: IntentState, now: Timestamp, reason: Option<String>) -> Result<(), IllegalStep> {
        if !self.state.may_become(to) {
            return Err(IllegalStep { from: self.state, to });
        }
        self.state = to;
        self.trail.push((to, now));
        if to == IntentState::Calling {
            self.called_at = Some(now);
        }
        if to.is_final() {
            self.resolved_at = Some(now);
        }
        if reason.is_some() {
            self.reason = reason;
        }
        Ok(())
    }

    /// What a look at the provider's list must do with an intent for which the list holds no
    /// address.
    #[must_use]
    pub fn verdict_when_unlisted(&self, now: Timestamp) -> Verdict {
        match self.state {
            // The call is only sent after `calling` is written.
            IntentState::Planned if now.since(self.planned_at) > STALE_CALL => Verdict::Fail("never called"),
            IntentState::Calling if now.since(self.called_at.unwrap_or(self.planned_at)) > STALE_CALL => {
                Verdict::Unknown("the caller died during the call")
            }
            IntentState::Unknown if now.since(self.called_at.unwrap_or(self.planned_at)) > UNKNOWN_PATIENCE => {
                Verdict::Fail("the provider does not list it after 15 minutes")
            }
            _ => Verdict::Wait,
        }
    }
}

/// A call is over, one way or the other, after this: 8 s at most, and the caller's 20 s.
pub const STALE_CALL: Duration = Duration::from_secs(30);

/// What reconciliation decides about an open intent without an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too early to tell.
    Wait,
    /// The answer is lost.
    Unknown(&'static str),
    /// Nothing was bought.
    Fail(&'static str),
}

/// Result of [`match_addresses`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Which unknown intent owns which address.
    pub pairs: Vec<(IntentId, String)>,
    /// Addresses that no intent explains: adopted idle, and announced.
    pub surplus: Vec<String>,
}

/// Gives unowned addresses of one (zone, country) to its unknown intents, oldest first.
/// Addresses of one zone and country are fungible: which one goes where does not matter, that
/// each goes once does.
#[must_use]
pub fn match_addresses(mut unknown: Vec<(Timestamp, IntentId)>, mut unowned: Vec<String>) -> Matched {
    unknown.sort();
    unowned.sort();
    unowned.dedup();
    let mut addresses = unowned.into_iter();
    let pairs = unknown.into_iter().map(|(_, id)| id).zip(addresses.by_ref()).collect::<Vec<_>>();
    Matched { pairs, surplus: addresses.collect() }
}

#[cfg(test)]
mod tests;
