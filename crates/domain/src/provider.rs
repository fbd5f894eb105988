//! Providers: rows of data. Credentials are never part of a row; they live in the secret store
//! under `<provider>/management` (functions only) and `<provider>/gateway` (edges only).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::ProviderId;
use crate::money::Money;
use crate::proxy::{ProxyClass, UpstreamKind};
use crate::time::Timestamp;
use crate::upstream::{self, Facts, Scheme};

/// Whose wire format a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderType {
    /// Bright Data ISP and data-centre zones.
    BrightData,
}

/// The smallest time that a provider bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BillingGrain {
    /// By the hour.
    Hour,
    /// By the day.
    Day,
    /// By thirty days.
    Month,
}

impl BillingGrain {
    /// Length of one billed period.
    #[must_use]
    pub fn period(self) -> Duration {
        const HOUR: u64 = 3600;
        Duration::from_secs(match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Month => 30 * 24 * HOUR,
        })
    }
}

/// When an idle address is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueRule {
    /// One idle time after it became idle.
    Strict,
    /// Shortly before the period that is already paid ends.
    PaidThrough,
}

/// A provider as operators configure it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Which provider.
    pub id: ProviderId,
    /// For people.
    pub name: String,
    /// Whose wire format it speaks.
    #[serde(rename = "type")]
    pub kind: ProviderType,
    /// What owning one of its upstreams means.
    pub upstream: UpstreamKind,
    /// Kind of network.
    pub class: ProxyClass,
    /// Base URL of its management API.
    pub api_url: String,
    /// Account id at the provider, as its user names spell it.
    pub account: String,
    /// Zone to buy in.
    pub zone: String,
    /// Gateway host that edges dial.
    pub gateway_host: String,
    /// Gateway port.
    pub gateway_port: u16,
    /// What the gateway speaks.
    #[serde(default)]
    pub protocol: Scheme,
    /// User name at the gateway, with the fields of [`crate::upstream::fill`]; none = the grammar of
    /// the provider's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_template: Option<String>,
    /// What one address costs for one billing period.
    pub price: Money,
    /// Billing period.
    pub billing_grain: BillingGrain,
    /// When an idle address is given back.
    pub due_rule: DueRule,
    /// Seconds an address stays idle before its release is due.
    pub idle_ttl_s: u64,
    /// Most that may be spent on one UTC day; none = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_cap_day: Option<Money>,
    /// Whether it may be bought from.
    pub active: bool,
    /// Health, 0–100.
    pub health: u8,
    /// Counts writes.
    pub ver: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Margin before the end of a paid period at which `paid_through` gives back.
pub const PAID_THROUGH_MARGIN: Duration = Duration::from_secs(10 * 60);

impl Provider {
    /// When an address that became idle at `idle_since` and is paid until `paid_until` is due
    /// for release.
    #[must_use]
    pub fn due(&self, idle_since: Timestamp, paid_until: Timestamp) -> Timestamp {
        let strict = idle_since.plus(Duration::from_secs(self.idle_ttl_s));
        match self.due_rule {
            DueRule::Strict => strict,
            DueRule::PaidThrough => strict.max(paid_until.minus(PAID_THROUGH_MARGIN)),
        }
    }

    /// Until when an address bought at `purchased_at` is paid at `now`: whole periods.
    #[must_use]
    pub fn paid_until(&self, purchased_at: Timestamp, now: Timestamp) -> Timestamp {
        let period = u64::try_from(self.billing_grain.period().as_millis()).unwrap_or(u64::MAX);
        let passed = now.as_millis().saturating_sub(purchased_at.as_millis());
        let periods = passed / period + 1;
        Timestamp::from_millis(purchased_at.as_millis().saturating_add(periods.saturating_mul(period)))
    }

    /// User name under which an edge dials the gateway: the row's own template, else the grammar
    /// of its kind (Bright Data: `brd-customer-<account>-zone-<zone>-ip-<ip>`).
    #[must_use]
    pub fn gateway_user(&self, facts: &Facts<'_>) -> String {
        match (&self.user_template, self.kind) {
            (Some(template), _) => upstream::fill(template, facts),
            (None, ProviderType::BrightData) => {
                format!("brd-customer-{}-zone-{}-ip-{}", self.account, self.zone, facts.ip)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn provider() -> Provider {
        Provider {
            id: "brd".parse().unwrap(),
            name: "Bright Data".into(),
            kind: ProviderType::BrightData,
            upstream: UpstreamKind::Exclusive,
            class: ProxyClass::Isp,
            api_url: "http://127.0.0.1:1".into(),
            account: "c_1".into(),
            zone: "isp".into(),
            gateway_host: "127.0.0.1".into(),
            gateway_port: 44445,
            protocol: Scheme::Http,
            user_template: None,
            price: Money::usd_micros(4_000_000),
            billing_grain: BillingGrain::Month,
            due_rule: DueRule::Strict,
            idle_ttl_s: 3600,
            spend_cap_day: None,
            active: true,
            health: 100,
            ver: 1,
            created_at: Timestamp::from_secs(0),
            updated_at: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn strict_gives_back_after_the_idle_time_and_paid_through_keeps_what_is_paid() {
        let mut p = provider();
        let at = Timestamp::from_secs;
        let paid = p.paid_until(at(0), at(10));
        assert_eq!(paid, at(30 * 86_400));
        assert_eq!(p.due(at(100), paid), at(3700));
        p.due_rule = DueRule::PaidThrough;
        assert_eq!(p.due(at(100), paid), at(30 * 86_400 - 600));
        assert_eq!(p.due(at(30 * 86_400 - 60), paid), at(30 * 86_400 + 3540));
    }

    #[test]
    fn periods_are_whole() {
        let mut p = provider();
        p.billing_grain = BillingGrain::Hour;
        let at = Timestamp::from_secs;
        assert_eq!(p.paid_until(at(0), at(3599)), at(3600));
        assert_eq!(p.paid_until(at(0), at(3600)), at(7200));
        p.billing_grain = BillingGrain::Day;
        assert_eq!(p.paid_until(at(0), at(1)), at(86_400));
        let facts = Facts { user: "c_1", session: "chip1", ip: "203.0.113.7", ..Facts::default() };
        assert_eq!(p.gateway_user(&facts), "brd-customer-c_1-zone-isp-ip-203.0.113.7");
        p.user_template = Some("{user}_session-{session}".into());
        assert_eq!(p.gateway_user(&facts), "c_1_session-chip1");
    }
}
