//! Upstreams: what kinds there are, and the life of a bought address.

use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::id::{IntentId, LineKey, ProxyId};
use crate::money::Money;
use crate::time::Timestamp;

/// What owning an upstream means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "slots")]
pub enum UpstreamKind {
    /// A bought address: one line at a time; claimed, idle, released.
    Exclusive,
    /// A listed address that several lines share: its slots are counted.
    Shared(u32),
    /// A rotating gateway with a session suffix: nothing to own.
    Virtual,
}

/// What kind of network an address is in; the `type` key of a user name and part of the free
/// list's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyClass {
    /// Static residential address announced by an ISP.
    #[default]
    Isp,
    /// Data-centre address.
    Datacenter,
    /// Rotating residential gateway.
    Residential,
    /// Rotating mobile gateway.
    Mobile,
}

impl ProxyClass {
    /// The word used in user names, keys and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Isp => "isp",
            Self::Datacenter => "datacenter",
            Self::Residential => "residential",
            Self::Mobile => "mobile",
        }
    }

    /// The class with this word.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        [Self::Isp, Self::Datacenter, Self::Residential, Self::Mobile].into_iter().find(|c| c.as_str() == s)
    }
}

/// Where a bought address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyState {
    /// A line holds it.
    Active,
    /// Nobody holds it; it can be claimed until its release is due.
    Idle,
    /// Being given back; retried until the provider confirms.
    Releasing,
    /// Given back: billing has stopped.
    Released,
    /// Unhealthy: kept, not handed out.
    Quarantined,
    /// The provider no longer lists it.
    Lost,
}

impl ProxyState {
    /// Whether the state may follow. `releasing` never goes back to the pool.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use ProxyState::{Active, Idle, Lost, Quarantined, Released, Releasing};
        matches!(
            (self, next),
            (Active, Idle | Quarantined | Lost)
                | (Idle, Active | Releasing | Quarantined | Lost)
                | (Quarantined, Idle | Releasing | Lost)
                | (Releasing, Released)
        )
    }

    /// Whether the provider bills for it.
    #[must_use]
    pub fn is_held(self) -> bool {
        !matches!(self, Self::Released | Self::Lost)
    }
}

/// A bought address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyIp {
    /// Which address of which provider.
    pub id: ProxyId,
    /// In which zone of the provider.
    pub zone: String,
    /// Country it was bought in.
    pub country: Country,
    /// Kind of network.
    pub class: ProxyClass,
    /// Where it stands.
    pub state: ProxyState,
    /// Counts writes.
    pub ver: u64,
    /// The intent that bought it; none if it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentId>,
    /// The line that holds it, or held it last (a returning line claims it first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineKey>,
    /// What one billing period costs.
    pub price: Money,
    /// When it became ours.
    pub purchased_at: Timestamp,
    /// Until when it is paid.
    pub paid_until: Timestamp,
    /// Since when nobody holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<Timestamp>,
    /// When its release is due, while idle; when to try again, while releasing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When the provider confirmed that it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Timestamp>,
    /// How often it was handed on without a purchase.
    pub recycled: u32,
    /// Failed attempts to release it.
    #[serde(default)]
    pub release_failures: u32,
    /// 0–100.
    pub health: u8,
}

/// Health below which an address is not handed out.
pub const HEALTH_MIN: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ProxyState; 6] = [
        ProxyState::Active,
        ProxyState::Idle,
        ProxyState::Releasing,
        ProxyState::Released,
        ProxyState::Quarantined,
        ProxyState::Lost,
    ];

    #[test]
    fn what_is_given_back_never_returns_to_the_pool() {
        for s in [ProxyState::Releasing, ProxyState::Released, ProxyState::Lost] {
            assert!(!s.may_become(ProxyState::Idle) && !s.may_become(ProxyState::Active), "{s:?}");
        }
        for s in ALL {
            assert!(!s.may_become(s), "{s:?} is not its own successor");
            assert!(!ProxyState::Released.may_become(s) && !ProxyState::Lost.may_become(s));
        }
        assert!(!ProxyState::Active.may_become(ProxyState::Releasing), "an active address is closed first");
        assert_eq!(ALL.into_iter().filter(|s| s.is_held()).count(), 4);
    }

    #[test]
    fn classes_round_trip() {
        for c in ["isp", "datacenter", "residential", "mobile"] {
            assert_eq!(ProxyClass::parse(c).unwrap().as_str(), c);
        }
        assert_eq!(ProxyClass::parse("ISP"), None);
        let kind = serde_json::to_string(&UpstreamKind::Shared(3)).unwrap();
        assert_eq!(kind, r#"{"kind":"shared","slots":3}"#);
    }
}
