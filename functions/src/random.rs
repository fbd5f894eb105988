//! The one place of the control plane that asks for randomness.

use tollgate_domain::time::Timestamp;
use ulid::Ulid;

/// A random number. If the system has no randomness, 0: it only spreads load.
pub(crate) fn spread() -> u32 {
    getrandom::u32().unwrap_or(0)
}

/// A new ULID whose time is `now`.
pub(crate) fn ulid(now: Timestamp) -> String {
    Ulid::from_parts(now.as_millis(), Ulid::generate().random()).to_string()
}
