//! Money: integer micro-units of a currency. Never a float, never without its currency.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Currency {
    /// United States dollar.
    #[serde(rename = "USD")]
    Usd,
    /// Brazilian real.
    #[serde(rename = "BRL")]
    Brl,
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usd => "USD",
            Self::Brl => "BRL",
        })
    }
}

/// An amount: `micros` millionths of one unit of `currency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Millionths of a unit.
    pub micros: u64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// `micros` millionths of a US dollar.
    #[must_use]
    pub const fn usd_micros(micros: u64) -> Self {
        Self { micros, currency: Currency::Usd }
    }

    /// The amount `n` times; `None` on overflow.
    #[must_use]
    pub fn times(self, n: u64) -> Option<Self> {
        Some(Self { micros: self.micros.checked_mul(n)?, ..self })
    }

    /// The sum; `None` on overflow or if the currencies differ.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        Some(Self { micros: self.micros.checked_add(other.micros)?, ..self })
    }
}

/// Two decimals where they suffice, otherwise as many as the amount has: `4.00 USD`, `0.0125 USD`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frac = format!("{:06}", self.micros % 1_000_000);
        let mut end = frac.trim_end_matches('0').len();
        if end < 2 {
            end = 2;
        }
        write!(f, "{}.{} {}", self.micros / 1_000_000, &frac[..end], self.currency)
    }
}

/// Bytes in one megabyte, as prices and limits count (1024²).
pub const MB: u64 = 1 << 20;
/// Bytes in one gigabyte, as prices and limits count (1024³).
pub const GB: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_with_their_currency() {
        assert_eq!(Money::usd_micros(4_000_000).to_string(), "4.00 USD");
        assert_eq!(Money::usd_micros(12_500).to_string(), "0.0125 USD");
        assert_eq!(Money { micros: 25_100_000, currency: Currency::Brl }.to_string(), "25.10 BRL");
    }

    #[test]
    fn sums_refuse_mixed_currencies_and_overflow() {
        let a = Money::usd_micros(u64::MAX);
        assert_eq!(a.plus(Money::usd_micros(1)), None);
        assert_eq!(a.times(2), None);
        assert_eq!(Money::usd_micros(1).plus(Money { micros: 1, currency: Currency::Brl }), None);
        assert_eq!(Money::usd_micros(2).plus(Money::usd_micros(3)), Some(Money::usd_micros(5)));
    }
}
