//! What a sandbox is told at its start.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tollgate_domain::time::Clock;

use crate::dialect::Dialects;

/// The name that the super-proxy resolves to the sandbox's own origin, on ports 80 and 443.
pub const ORIGIN_NAME: &str = "origin.test";

/// How long one payment for an address lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingPeriod {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 30 days.
    Month,
}

impl BillingPeriod {
    /// Its length.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
        })
    }
}

/// What the zone sells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneKind {
    /// Static residential addresses (`pool_ip_type: static_res`).
    Isp,
    /// Datacenter addresses: what `count_available_ips` counts when the plan names no pool.
    Datacenter,
}

/// Where the four listeners bind: loopback only, port 0 = any free port.
#[derive(Clone, Copy, Debug)]
pub struct Binds {
    /// Management API and `/sandbox/*`.
    pub api: SocketAddr,
    /// Super-proxy.
    pub gateway: SocketAddr,
    /// Origin, plain.
    pub origin_http: SocketAddr,
    /// Origin, TLS.
    pub origin_https: SocketAddr,
}

impl Default for Binds {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { api: any, gateway: any, origin_http: any, origin_https: any }
    }
}

/// Everything a sandbox needs to know. [`SandboxConfig::new`] fills in the defaults.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The wall clock that money is charged by. It may jump forward.
    pub clock: Arc<dyn Clock>,
    /// Key of the management API and of `/sandbox/*` (`Authorization: Bearer …`).
    pub api_key: SecretString,
    /// Customer id: the part after `brd-customer-`, and `customer` in purchases.
    pub account: String,
    /// Name of the one zone. No hyphen: it would collide with the user-name grammar.
    pub zone: String,
    /// What the zone sells.
    pub zone_kind: ZoneKind,
    /// Password of the zone at the super-proxy.
    pub zone_password: SecretString,
    /// Price of one address for one billing period, in millionths of a US dollar.
    pub price_micros: u64,
    /// Length of a billing period.
    pub billing: BillingPeriod,
    /// Addresses for sale per country (lower case); an absent country has none.
    pub stock: BTreeMap<String, u32>,
    /// What `/customer/balance` starts from, in millionths of a US dollar.
    pub opening_balance_micros: u64,
    /// How the undocumented corners answer.
    pub dialects: Dialects,
    /// Names besides [`ORIGIN_NAME`] that the super-proxy resolves: `name:port` → address.
    pub names: BTreeMap<String, SocketAddr>,
    /// A file that keeps stock, held addresses and ledger over restarts; written at each change.
    pub state_file: Option<PathBuf>,
    /// Where to listen.
    pub bind: Binds,
}

impl SandboxConfig {
    /// Account `c_sandbox`, zone `isp_sandbox` of ISP addresses at 4 USD per 30 days, nothing in
    /// stock, 1000 USD of balance, default dialects, free loopback ports, no state file.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, api_key: SecretString, zone_password: SecretString) -> Self {
        Self {
            clock,
            api_key,
            account: "c_sandbox".to_owned(),
            zone: "isp_sandbox".to_owned(),
            zone_kind: ZoneKind::Isp,
            zone_password,
            price_micros: 4_000_000,
            billing: BillingPeriod::Month,
            stock: BTreeMap::new(),
            opening_balance_micros: 1_000_000_000,
            dialects: Dialects::default(),
            names: BTreeMap::new(),
            state_file: None,
            bind: Binds::default(),
        }
    }

    /// With `count` addresses of `country` (lower case) for sale.
    #[must_use]
    pub fn with_stock(mut self, country: &str, count: u32) -> Self {
        self.stock.insert(country.to_owned(), count);
        self
    }
}

/// Without the clock; secrets redacted.
impl fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("account", &self.account)
            .field("zone", &self.zone)
            .field("price_micros", &self.price_micros)
            .field("billing", &self.billing)
            .field("stock", &self.stock)
            .field("dialects", &self.dialects)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}
