//! Plans: versioned rows with three independent parts, limits, quota and price.

use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::share::{self, Capacity};

mod catalogue;

pub use catalogue::{by_code, catalogue};

/// What a plan limits. 0 = unlimited, in every field that is a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tunnels at a time that are always admitted (soft).
    pub threads: u32,
    /// Hard limit = ceil(threads × this ÷ 1000).
    pub thread_burst_milli: u32,
    /// New connections and requests a second.
    pub qps: u32,
    /// Bytes a second, both directions together.
    pub rate_total: u64,
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
}

impl Limits {
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
