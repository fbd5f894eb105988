//! The one zone: stock, held addresses, ledger, purchase calls. Pure state; callers bring the time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_domain::time::Timestamp;

use crate::address;
use crate::dialect::{Addresses, Dialects, ShortStock};
use crate::fault::Delay;
use crate::ledger::Ledger;

/// How a purchase call was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// As documented, with the addresses.
    Bought,
    /// Nothing to be had, said as the dialect says it.
    SoldOut,
    /// With this status, by a fault.
    Status(u16),
    /// Not at all: the connection was closed or left hanging.
    Never,
    /// With something that is not JSON.
    Garbage,
}

/// One `POST /zone/ips` that was well-formed and authorised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseCall {
    /// When the work was done.
    pub at: Timestamp,
    /// The country as asked for.
    pub country: Option<String>,
    /// How many were asked for.
    pub count: u32,
    /// What was bought and charged, whatever the answer said.
    pub bought: Vec<Ipv4Addr>,
    /// What the caller was told.
    pub answered: Answered,
}

/// An address of the zone that listings still hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Hidden {
    Listings(u32),
    Until(Timestamp),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    country: String,
    row: usize,
    hidden: Option<Hidden>,
}

/// The zone's state: what a state file keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Zone {
    next_address: u32,
    stock: BTreeMap<String, u32>,
    held: BTreeMap<Ipv4Addr, Held>,
    released: Vec<(String, Ipv4Addr)>,
    ledger: Ledger,
    purchases: Vec<PurchaseCall>,
}

impl Zone {
    pub(crate) fn new(stock: BTreeMap<String, u32>, price_micros: u64, period: Duration) -> Self {
        Self {
            next_address: 0,
            stock,
            held: BTreeMap::new(),
            released: Vec::new(),
            ledger: Ledger::new(price_micros, period),
            purchases: Vec::new(),
        }
    }

    /// Buys up to `count` addresses and charges them; nothing if there is no stock.
    pub(crate) fn buy(
        &mut self,
        country: Option<&str>,
        count: u32,
        dialects: &Dialects,
        hide: Option<Delay>,
        now: Timestamp,
    ) -> Vec<Ipv4Addr> {
        let Some(country) = country.map(str::to_owned).or_else(|| self.best_stocked()) else { return Vec::new() };
        let available = self.stock_of(&country);
        let n = match dialects.short_stock {
            ShortStock::SoldOut if available < count => 0,
            ShortStock::SoldOut | ShortStock::Partial => available.min(count),
        };
        let mut bought = Vec::new();
        for _ in 0..n {
            let Some(ip) = self.pick(&country, dialects.addresses) else { break };
            let row = self.ledger.buy(ip, &country, now);
            let hidden = hide.map(|d| match d {
                Delay::Calls(n) => Hidden::Listings(n),
                Delay::For(d) => Hidden::Until(now.plus(d)),
            });
            self.held.insert(ip, Held { country: country.clone(), row, hidden });
            bought.push(ip);
        }
        if let Some(left) = self.stock.get_mut(&country) {
            *left = left.saturating_sub(u32::try_from(bought.len()).unwrap_or(u32::MAX));
        }
        bought
    }

    /// Gives an address back: no more renewals, one more in stock. False if it is not held.
    pub(crate) fn release(&mut self, ip: Ipv4Addr, now: Timestamp) -> bool {
        let Some(held) = self.held.remove(&ip) else { return false };
        self.ledger.release(held.row, now);
        let stock = self.stock.entry(held.country.clone()).or_default();
        *stock = stock.saturating_add(1);
        self.released.push((held.country, ip));
        true
    }

    pub(crate) fn holds(&self, ip: Ipv4Addr) -> bool {
        self.held.contains_key(&ip)
    }

    pub(crate) fn country_of(&self, ip: Ipv4Addr) -> Option<&str> {
        self.held.get(&ip).map(|h| h.country.as_str())
    }

    /// Held addresses of `country` (of any, if `None`), in address order.
    pub(crate) fn held_in(&self, country: Option<&str>) -> Vec<Ipv4Addr> {
        let held = self.held.iter().filter(|(_, h)| country.is_none_or(|c| c == h.country));
        held.map(|(ip, _)| *ip).collect()
    }

    /// The most recently bought held addresses, newest first, without `except`.
    pub(crate) fn newest_held(&self, n: usize, except: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
        let mut held: Vec<_> = self.held.iter().filter(|(ip, _)| !except.contains(ip)).collect();
        held.sort_by_key(|(_, h)| std::cmp::Reverse(h.row));
        held.into_iter().take(n).map(|(ip, _)| *ip).collect()
    }

    /// What a listing call sees; uses up one of the listings that hide an address.
    pub(crate) fn list(&mut self, now: Timestamp) -> Vec<(Ipv4Addr, String)> {
        let mut seen = Vec::new();
        for (ip, held) in &mut self.held {
            match held.hidden {
                Some(Hidden::Listings(n)) if n > 0 => held.hidden = Some(Hidden::Listings(n - 1)),
                Some(Hidden::Until(t)) if now < t => {}
                _ => seen.push((*ip, held.country.clone())),
            }
        }
        seen
    }

    /// What the zone's list in the answer of a purchase or release shows.
    pub(crate) fn visible(&self, now: Timestamp) -> Vec<Ipv4Addr> {
        let shown = self.held.iter().filter(|(_, h)| match h.hidden {
            Some(Hidden::Listings(n)) => n == 0,
            Some(Hidden::Until(t)) => now >= t,
            None => true,
        });
        shown.map(|(ip, _)| *ip).collect()
    }

    pub(crate) fn stock(&self) -> &BTreeMap<String, u32> {
        &self.stock
    }

    pub(crate) fn stock_of(&self, country: &str) -> u32 {
        self.stock.get(country).copied().unwrap_or(0)
    }

    pub(crate) fn set_stock(&mut self, country: &str, count: u32) {
        self.stock.insert(country.to_owned(), count);
    }

    pub(crate) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    pub(crate) fn record(&mut self, call: PurchaseCall) {
        self.purchases.push(call);
    }

    pub(crate) fn purchases(&self) -> &[PurchaseCall] {
        &self.purchases
    }

    fn best_stocked(&self) -> Option<String> {
        self.stock.iter().max_by_key(|(_, n)| **n).map(|(c, _)| c.clone())
    }

    fn pick(&mut self, country: &str, addresses: Addresses) -> Option<Ipv4Addr> {
        if addresses == Addresses::Returning
            && let Some(i) = self.released.iter().rposition(|(c, _)| c == country)
        {
            return Some(self.released.remove(i).1);
        }
        let ip = address::nth(self.next_address)?;
        self.next_address += 1;
        Some(ip)
    }
}
