//! Limits as operators write them, of a plan or of one customer, and as they are shown.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tollgate_domain::money::Money;
use tollgate_domain::plan::Limits;
use tollgate_domain::target::TargetRules;

use super::body::invalid;
use super::envelope::Refused;

/// Most of anything that is counted: tunnels, requests a second, addresses, lines.
const MOST: u64 = 1_000_000;
/// Highest rate, in bytes a second: 1 TiB/s.
const FASTEST: u64 = 1 << 40;
/// Most bytes of a quota and most micros of a day: 2^50, so that sums stay exact everywhere.
const LARGEST: u64 = 1 << 50;
/// Most networks in an allow-list: the list is read as a whole.
const MOST_ALLOW_ENTRIES: u64 = 1000;

/// A value of a limit, for its bounds; none = unlimited.
trait Bounded {
    fn amount(self) -> Option<u64>;
}

impl Bounded for u32 {
    fn amount(self) -> Option<u64> {
        Some(self.into())
    }
}

impl Bounded for u64 {
    fn amount(self) -> Option<u64> {
        Some(self)
    }
}

impl Bounded for Option<u64> {
    fn amount(self) -> Option<u64> {
        self
    }
}

impl Bounded for Option<Money> {
    fn amount(self) -> Option<u64> {
        self.map(|m| m.micros)
    }
}

macro_rules! limits {
    ($($wire:literal $field:ident: $kind:ty, $least:literal to $most:expr;)*) => {
        /// Some of the limits: what is absent stays as it is. 0 = unlimited; where nothing may be
        /// meant by 0 (`quotaBytes`, `spendDay`) `null` = unlimited.
        #[derive(Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct LimitsPatch {
            $(#[serde(rename = $wire, deserialize_with = "given")] $field: Option<$kind>,)*
            #[serde(deserialize_with = "rules")]
            targets: Option<TargetRules>,
        }

        impl LimitsPatch {
            /// Whether nothing is said.
            pub fn is_empty(&self) -> bool {
                self.targets.is_none() $(&& self.$field.is_none())*
            }

            /// Whether these limits are all said.
            pub fn has(&self, names: &[&str]) -> Result<(), Refused> {
                $(if names.contains(&$wire) && self.$field.is_none() {
                    return Err(invalid(concat!("missing field `limits.", $wire, "`")));
                })*
                Ok(())
            }

            /// Refuses what is out of bounds.
            pub fn check(&self) -> Result<(), Refused> {
                $(if self.$field.and_then(Bounded::amount).is_some_and(|n| !($least..=$most).contains(&n)) {
                    return Err(invalid(format!("{}: {} to {}", $wire, $least, $most)));
                })*
                Ok(())
            }

            /// Sets what is said.
            pub fn apply(&self, limits: &mut Limits) {
                $(if let Some(value) = self.$field {
                    limits.$field = value;
                })*
                if let Some(targets) = &self.targets {
                    limits.targets = targets.clone();
                }
            }
        }

        fn written(limits: &Limits) -> Value {
            json!({ $($wire: limits.$field),* })
        }
    };
}

// name in JSON, field, least to most; rates are bytes a second
limits! {
    "threads" threads: u32, 0 to MOST;
    "threadBurstMilli" thread_burst_milli: u32, 1000 to 100_000;
    "qps" qps: u32, 0 to MOST;
    "qpsBurst" qps_burst: u32, 0 to MOST;
    "rateTotal" rate_total: u64, 0 to FASTEST;
    "rateConn" rate_conn: u64, 0 to FASTEST;
    "ipConns" ip_conns: u32, 0 to MOST;
    "ipQps" ip_qps: u32, 0 to MOST;
    "ipRate" ip_rate: u64, 0 to FASTEST;
    "ipRateTotal" ip_rate_total: u64, 0 to FASTEST;
    "portRateTotal" port_rate_total: u64, 0 to FASTEST;
    "maxSourceIps" max_source_ips: u32, 0 to MOST;
    "quotaBytes" quota_bytes: Option<u64>, 0 to LARGEST;
    "maxLines" max_lines: u32, 0 to MOST;
    "maxSessions" max_sessions: u32, 0 to MOST;
    "spendDay" spend_day: Option<Money>, 0 to LARGEST;
    "settleSeconds" settle_s: u32, 1 to 300;
    "allowEntries" allow_entries: u32, 0 to MOST_ALLOW_ENTRIES;
}

/// Limits as both APIs show them: as written, but with the number of listed sources that holds.
pub(super) fn shown(limits: &Limits) -> Value {
    let mut shown = written(limits);
    shown["allowEntries"] = limits.max_allow_entries().into();
    let TargetRules { allowed_ports, denied_ports, denied_names } = &limits.targets;
    shown["targets"] =
        json!({ "allowedPorts": allowed_ports, "deniedPorts": denied_ports, "deniedNames": denied_names });
    shown
}

/// Absent and empty = nothing beyond what edges refuse to everybody.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct WantedTargets {
    allowed_ports: Vec<u16>,
    denied_ports: Vec<u16>,
    denied_names: Vec<String>,
}

fn rules<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TargetRules>, D::Error> {
    let WantedTargets { allowed_ports, denied_ports, denied_names } = WantedTargets::deserialize(from)?;
    let rules = TargetRules { allowed_ports, denied_ports, denied_names };
    rules.checked().map(Some).map_err(|e| D::Error::custom(format_args!("targets: {e}")))
}

/// A field that is there, whatever it says: `null` is no absence.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
