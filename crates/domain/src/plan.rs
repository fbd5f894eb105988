//! Plans: versioned rows with three independent parts, limits, quota and price.

use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::share::{self, Capacity};
use crate::target::TargetRules;

mod catalogue;

pub use catalogue::{by_code, catalogue};

/// Networks in a customer's allow-list where its plan names no number.
pub const ALLOW_ENTRIES: u32 = 20;

/// What a plan limits. 0 = unlimited, in every field that is a number unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tunnels at a time that are always admitted (soft).
    pub threads: u32,
    /// Hard limit = ceil(threads × this ÷ 1000).
    pub thread_burst_milli: u32,
    /// New connections and requests a second.
    pub qps: u32,
    /// Connections and requests that may come at once before `qps` holds; 0 = one second's.
    #[serde(default)]
    pub qps_burst: u32,
    /// Bytes a second of all tunnels, both directions together.
    pub rate_total: u64,
    /// Bytes a second of one tunnel, both directions together.
    #[serde(default)]
    pub rate_conn: u64,
    /// Tunnels at a time of one source address (an IPv6 /64 counts as one).
    #[serde(default)]
    pub ip_conns: u32,
    /// New connections and requests a second of one source address.
    #[serde(default)]
    pub ip_qps: u32,
    /// Bytes a second of one tunnel of one source address; the smaller of this and `rate_conn` holds.
    #[serde(default)]
    pub ip_rate: u64,
    /// Bytes a second of all tunnels of one source address.
    #[serde(default)]
    pub ip_rate_total: u64,
    /// Bytes a second of all tunnels through one listening port.
    #[serde(default)]
    pub port_rate_total: u64,
    /// Source addresses with tunnels at a time.
    #[serde(default)]
    pub max_source_ips: u32,
    /// Bytes of one period; none = unlimited.
    pub quota_bytes: Option<u64>,
    /// Lines open at a time.
    pub max_lines: u32,
    /// Sessions open at a time.
    pub max_sessions: u32,
    /// Most that may be spent on purchases for the customer on one UTC day; none = unlimited.
    pub spend_day: Option<Money>,
    /// Seconds between settlements while bytes flow.
    pub settle_s: u32,
    /// Networks in the allow-list; 0 = [`ALLOW_ENTRIES`].
    #[serde(default)]
    pub allow_entries: u32,
    /// Which targets may be asked for, beyond what edges refuse to everybody.
    #[serde(default, skip_serializing_if = "TargetRules::is_empty")]
    pub targets: TargetRules,
}

impl Limits {
    /// Most networks in the allow-list.
    #[must_use]
    pub fn max_allow_entries(&self) -> u32 {
        if self.allow_entries == 0 { ALLOW_ENTRIES } else { self.allow_entries }
    }

    /// Tunnels above which nothing is admitted; 0 = unlimited.
    #[must_use]
    pub fn hard_threads(&self) -> u32 {
        share::hard_limit(self.threads, self.thread_burst_milli)
    }

    /// What the fleet's edges split between them; 0 = unlimited, as here.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity { hard: self.hard_threads(), qps: self.qps, rate: self.rate_total }
    }
}

/// A plan row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its code.
    pub code: String,
    /// Its version; a change makes the next.
    pub ver: u32,
    /// What it limits.
    pub limits: Limits,
    /// Price of one period.
    pub base: Money,
    /// Price of one GB (1024³ bytes).
    pub per_gb: Money,
}
