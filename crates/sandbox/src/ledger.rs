//! The provider's side of the money: what was charged for which address, and until when it is paid.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_domain::time::Timestamp;

/// One payment for one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// When it fell due.
    pub at: Timestamp,
    /// How much, in millionths of a US dollar.
    pub micros: u64,
    /// End of the period it pays for.
    pub paid_until: Timestamp,
}

/// One address from its purchase to its release. An address sold twice has two rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The address.
    pub ip: Ipv4Addr,
    /// Its country, lower case.
    pub country: String,
    /// When it was bought.
    pub bought_at: Timestamp,
    /// The purchase's charge, then one per renewal.
    pub charges: Vec<Charge>,
    /// When it was released; `None` while held.
    pub released_at: Option<Timestamp>,
}

impl LedgerRow {
    /// Sum of its charges in millionths of a US dollar.
    #[must_use]
    pub fn total_micros(&self) -> u64 {
        sum(self.charges.iter().map(|c| c.micros))
    }

    /// Until when it is paid.
    #[must_use]
    pub fn paid_until(&self) -> Timestamp {
        self.charges.last().map_or(self.bought_at, |c| c.paid_until)
    }

    fn renew(&mut self, now: Timestamp, price: u64, period: Duration) {
        loop {
            let due = self.paid_until();
            let paid_until = due.plus(period);
            // The second test ends the loop where time saturates.
            if due > now || paid_until <= due {
                return;
            }
            self.charges.push(Charge { at: due, micros: price, paid_until });
        }
    }
}

/// All rows, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ledger {
    rows: Vec<LedgerRow>,
    price_micros: u64,
    #[serde(skip)]
    period: Duration,
}

impl Ledger {
    pub(crate) fn new(price_micros: u64, period: Duration) -> Self {
        Self { rows: Vec::new(), price_micros, period }
    }

    /// The period is configuration, not state: a restored ledger is told it again.
    pub(crate) fn set_period(&mut self, period: Duration) {
        self.period = period;
    }

    /// The price of purchases and renewals from `now` on.
    pub(crate) fn set_price(&mut self, micros: u64, now: Timestamp) {
        self.bring_up_to(now);
        self.price_micros = micros;
    }

    /// Charges a purchase; returns the row's number.
    pub(crate) fn buy(&mut self, ip: Ipv4Addr, country: &str, now: Timestamp) -> usize {
        let charge = Charge { at: now, micros: self.price_micros, paid_until: now.plus(self.period) };
        let country = country.to_owned();
        self.rows.push(LedgerRow { ip, country, bought_at: now, charges: vec![charge], released_at: None });
        self.rows.len() - 1
    }

    pub(crate) fn release(&mut self, row: usize, now: Timestamp) {
        if let Some(r) = self.rows.get_mut(row) {
            // An address given back at the very end of its period is not renewed.
            r.renew(now.minus(Duration::from_millis(1)), self.price_micros, self.period);
            r.released_at = Some(now);
        }
    }

    /// Adds the renewals that fell due up to `now`.
    pub(crate) fn bring_up_to(&mut self, now: Timestamp) {
        for row in self.rows.iter_mut().filter(|r| r.released_at.is_none()) {
            row.renew(now, self.price_micros, self.period);
        }
    }

    pub(crate) fn rows(&self) -> &[LedgerRow] {
        &self.rows
    }

    /// What fell due from `from` (inclusive) to `until` (exclusive).
    pub(crate) fn charged_between(&self, from: Timestamp, until: Timestamp) -> u64 {
        let all = self.rows.iter().flat_map(|r| &r.charges);
        sum(all.filter(|c| c.at >= from && c.at < until).map(|c| c.micros))
    }

    pub(crate) fn total(&self) -> u64 {
        sum(self.rows.iter().map(LedgerRow::total_micros))
    }
}

/// Prices come from outside, however absurd.
fn sum(amounts: impl Iterator<Item = u64>) -> u64 {
    amounts.fold(0, u64::saturating_add)
}
