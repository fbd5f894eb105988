//! A market that sells what it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tollgate_domain::country::Country;
use tollgate_domain::intent::PurchaseAnswer;
use tollgate_domain::money::Money;
use tollgate_domain::provider::Provider;
use tollgate_functions::platform::{MarketError, Markets};
use tollgate_providers::{BuyOrder, Listed, ProviderError, ProxyMarket, ReleaseAnswer};

/// Addresses for sale by country, and those sold.
#[derive(Default)]
pub struct Market {
    stock: Mutex<HashMap<Country, u32>>,
    sold: Mutex<Vec<Listed>>,
}

impl Market {
    pub fn put(&self, country: &str, addresses: u32) {
        self.stock.lock().unwrap().insert(Country::parse(country).unwrap(), addresses);
    }

    pub fn sold(&self) -> usize {
        self.sold.lock().unwrap().len()
    }
}

impl ProxyMarket for Market {
    fn buy(&self, order: BuyOrder, _: Duration) -> BoxFuture<'_, PurchaseAnswer> {
        let mut stock = self.stock.lock().unwrap();
        let left = stock.entry(order.country).or_default();
        let answer = if *left < order.count {
            PurchaseAnswer::NoStock { reason: "none left".into() }
        } else {
            *left -= order.count;
            let mut sold = self.sold.lock().unwrap();
            let from = sold.len();
            let new_ips = (from..).take(order.count as usize).map(|n| format!("203.0.113.{n}")).collect::<Vec<_>>();
            sold.extend(new_ips.iter().map(|ip| Listed { ip: ip.clone(), country: Some(order.country) }));
            PurchaseAnswer::Bought { new_ips }
        };
        async { answer }.boxed()
    }
    fn release(&self, _: &str, _: &[String], _: Duration) -> BoxFuture<'_, ReleaseAnswer> {
        async { ReleaseAnswer::Gone }.boxed()
    }
    fn list(&self, _: &str, _: Duration) -> BoxFuture<'_, Result<Vec<Listed>, ProviderError>> {
        let sold = self.sold.lock().unwrap().clone();
        async { Ok(sold) }.boxed()
    }
    fn count_available(&self, _: &str, country: Country, _: Duration) -> BoxFuture<'_, Result<u64, ProviderError>> {
        let left = self.stock.lock().unwrap().get(&country).copied().unwrap_or_default();
        async move { Ok(left.into()) }.boxed()
    }
    fn cost(&self, _: &str, _: Duration) -> BoxFuture<'_, Result<Money, ProviderError>> {
        async { Ok(Money::usd_micros(0)) }.boxed()
    }
}

/// The one market, whoever asks.
pub struct One(pub Arc<Market>);

impl Markets for One {
    fn market(&self, _: &Provider) -> BoxFuture<'_, Result<Arc<dyn ProxyMarket>, MarketError>> {
        let market: Arc<dyn ProxyMarket> = self.0.clone();
        async { Ok(market) }.boxed()
    }
}
