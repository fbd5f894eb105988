//! Instants as values. The domain never reads a clock: callers pass [`Timestamp`]s in.

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// Latest instant that [`Timestamp`]'s calendar methods accept: 9999-12-30.
const MAX_CIVIL_MS: u64 = 253_402_128_000_000;

impl Timestamp {
    /// The instant `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// The instant `s` seconds after the epoch.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// The instant that an RFC 3339 text names; `None` if it names none, or one before the epoch
    /// or after 9999.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        const LONGEST: usize = 40;
        if s.len() > LONGEST {
            return None;
        }
        let ms = s.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        u64::try_from(ms).ok().filter(|ms| *ms <= MAX_CIVIL_MS).map(Self)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch (DynamoDB's TTL unit).
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The instant `d` later, saturating.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The instant `d` earlier, saturating at the epoch.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn date(self) -> Date {
        let ms = i64::try_from(self.0.min(MAX_CIVIL_MS)).unwrap_or(0);
        jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(TimeZone::UTC).date()
    }

    /// The UTC day, `yyyy-mm-dd`.
    #[must_use]
    pub fn day(self) -> String {
        let d = self.date();
        format!("{:04}-{:02}-{:02}", d.year(), d.month(), d.day())
    }

    /// The UTC month, `yyyy-mm`.
    #[must_use]
    pub fn month(self) -> String {
        let d = self.date();
        format!("{:04}-{:02}", d.year(), d.month())
    }

    /// The first instant of this UTC month.
    #[must_use]
    pub fn month_start(self) -> Self {
        Self::of(self.date().first_of_month())
    }

    /// The first instant of the next UTC month.
    #[must_use]
    pub fn next_month_start(self) -> Self {
        let last = self.date().last_of_month();
        Self::of(last.tomorrow().unwrap_or(last))
    }

    /// The first instant of the UTC day.
    #[must_use]
    pub fn day_start(self) -> Self {
        Self(self.0 - self.0 % 86_400_000)
    }

    fn of(d: Date) -> Self {
        let ms = d.to_zoned(TimeZone::UTC).map_or(0, |z| z.timestamp().as_millisecond());
        Self(u64::try_from(ms).unwrap_or(0))
    }
}

/// RFC 3339 with milliseconds, UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 % 1000;
        let s = self.0 / 1000 % 86_400;
        write!(f, "{}T{:02}:{:02}:{:02}.{ms:03}Z", self.day(), s / 3600, s / 60 % 60, s % 60)
    }
}

/// Where the wall clock is read. Implementations live outside the domain; tests and the demo
/// inject one that they can move.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for ms in [0, 1, 1_800_000_000_123, MAX_CIVIL_MS] {
            let t = Timestamp::from_millis(ms);
            assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
        }
        assert_eq!(Timestamp::parse("1970-01-01T02:00:01+02:00"), Some(Timestamp::from_secs(1)));
        for bad in
            ["", "1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "2026-01-01", "9999-12-31T00:00:00Z", &"1".repeat(99)]
        {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn calendar_of_a_leap_day() {
        let t = Timestamp::from_secs(1_709_208_000); // 2024-02-29T12:00:00Z
        assert_eq!(t.day(), "2024-02-29");
        assert_eq!(t.month(), "2024-02");
        assert_eq!(t.month_start().to_string(), "2024-02-01T00:00:00.000Z");
        assert_eq!(t.next_month_start().to_string(), "2024-03-01T00:00:00.000Z");
        assert_eq!(t.to_string(), "2024-02-29T12:00:00.000Z");
        assert_eq!(t.day_start().to_string(), "2024-02-29T00:00:00.000Z");
    }

    #[test]
    fn arithmetic_saturates() {
        let t = Timestamp::from_millis(5);
        assert_eq!(t.minus(Duration::from_secs(1)), Timestamp::from_millis(0));
        assert_eq!(t.since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(u64::MAX).plus(Duration::from_secs(1)).as_millis(), u64::MAX);
        assert_eq!(Timestamp::from_millis(u64::MAX).day(), "9999-12-30");
    }
}
