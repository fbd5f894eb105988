//! How much a session should have at hand, by how fast it spends.

use std::time::Duration;

/// A lease that ran dry within this time was too small.
const HASTE: Duration = Duration::from_secs(1);
/// Nobody holds more at a time than this: 1 TiB.
const MOST: u64 = 1 << 40;

/// Bytes to aim for next, where `desired` was aimed for before and `moved` bytes moved in the
/// `elapsed` time since: five seconds of that rate, and at least twice as much as before if it ran
/// dry in haste.
///
/// ```
/// use std::time::Duration;
/// use tollgate_domain::budget::aim;
/// assert_eq!(aim(1 << 20, 4000, Duration::from_secs(4)), 5000);
/// assert_eq!(aim(1 << 20, 4000, Duration::from_millis(999)), 2 << 20);
/// ```
#[must_use]
pub fn aim(desired: u64, moved: u64, elapsed: Duration) -> u64 {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let by_rate = (moved.saturating_mul(1000) / ms).saturating_mul(5);
    let aim = if elapsed < HASTE { by_rate.max(desired.saturating_mul(2)) } else { by_rate };
    aim.clamp(1, MOST)
}
