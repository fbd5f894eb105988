//! Bright Data's account-management API: dedicated ISP and data-centre addresses.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::json;
use tollgate_domain::country::Country;
use tollgate_domain::intent::PurchaseAnswer;
use tollgate_domain::money::Money;
use tollgate_domain::refusal::Code;

use crate::api::{Api, Call, ConfigError, Outcome};
use crate::market::{AccountStatus, Balance, BuyOrder, Listed, ProviderError, ProxyMarket, ReleaseAnswer};

mod purchase;
mod read;
mod refusal;
mod release;
mod shape;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// Most bytes of a zone's list: about 110 for each address.
const MAX_LIST: usize = 16 << 20;

/// Most addresses of one order.
const MAX_ORDER: u32 = 1000;

/// A client of one Bright Data account. Debug output shows no secret.
#[derive(Debug)]
pub struct BrightData {
    api: Api,
    account: String,
    pool: Option<&'static str>,
}

impl BrightData {
    /// A client of the ISP zones of `account` (the `customer` of the API, the part after
    /// `brd-customer-` in user names) at `base_url`: `https://api.brightdata.com`. The key needs
    /// the permissions of *Admin*, or of *Ops* if nobody asks for costs and balance.
    ///
    /// # Errors
    /// [`ConfigError`] if the address or the key cannot be used. Nothing is sent.
    pub fn new(base_url: &str, account: &str, api_key: SecretString) -> Result<Self, ConfigError> {
        Ok(Self { api: Api::new(base_url, api_key)?, account: account.to_owned(), pool: Some("static_res") })
    }

    /// The same client for data-centre zones: availability is counted in the other pool.
    #[must_use]
    pub fn datacenter(self) -> Self {
        Self { pool: None, ..self }
    }

    async fn buy_once(&self, order: BuyOrder, within: Duration) -> PurchaseAnswer {
        if order.zone.is_empty() || !(1..=MAX_ORDER).contains(&order.count) {
            let reason = format!("not sent: an order names a zone and 1 to {MAX_ORDER} addresses");
            return PurchaseAnswer::Refused { code: Code::ProviderRefused.as_str(), reason };
        }
        let body = json!({
            "customer": self.account,
            "zone": order.zone,
            "count": order.count,
            // Lower case: an upper-case code reads as "no IPs available".
            "country": order.country.as_str(),
        });
        let call =
            Call { method: Method::POST, path: "/zone/ips", query: Vec::new(), body: Some(body), limit: MAX_ANSWER };
        purchase::answer(self.api.send(&call, within).await)
    }

    /// The stock of `country`; the documents give two paths for it.
    async fn count(&self, country: Country, within: Duration) -> Result<u64, ProviderError> {
        let mut plan = json!({"ips_type": "dedicated", "country": country.as_str()});
        if let Some(pool) = self.pool {
            plan["pool_ip_type"] = pool.into();
        }
        let deadline = tokio::time::Instant::now() + within;
        let query = vec![("plan", plan.to_string())];
        let first = read::ask(&self.api, &get("/zone/count_available_ips", query.clone()), deadline).await;
        let answer = match first {
            Err(failed) if failed.status == Some(StatusCode::NOT_FOUND) => {
                read::ask(&self.api, &get("/count_available_ips", query), deadline).await
            }
            first => first,
        };
        shape::count(&answer.map_err(|f| f.error)?)
    }

    async fn ask(&self, call: Call, within: Duration) -> Result<crate::api::Answer, ProviderError> {
        let deadline = tokio::time::Instant::now() + within;
        read::ask(&self.api, &call, deadline).await.map_err(|f| f.error)
    }
}

impl ProxyMarket for BrightData {
    fn buy(&self, order: BuyOrder, within: Duration) -> BoxFuture<'_, PurchaseAnswer> {
        Box::pin(self.buy_once(order, within))
    }

    fn release(&self, zone: &str, ips: &[String], within: Duration) -> BoxFuture<'_, ReleaseAnswer> {
        Box::pin(release::release(self, zone.to_owned(), ips.to_vec(), within))
    }

    fn list(&self, zone: &str, within: Duration) -> BoxFuture<'_, Result<Vec<Listed>, ProviderError>> {
        let call = Call { limit: MAX_LIST, ..get("/zone/ips", vec![("zone", zone.to_owned())]) };
        Box::pin(async move { shape::listed(&self.ask(call, within).await?) })
    }

    fn count_available(
        &self,
        _: &str,
        country: Country,
        within: Duration,
    ) -> BoxFuture<'_, Result<u64, ProviderError>> {
        Box::pin(self.count(country, within))
    }

    fn cost(&self, zone: &str, within: Duration) -> BoxFuture<'_, Result<Money, ProviderError>> {
        let call = get("/zone/cost", vec![("zone", zone.to_owned())]);
        Box::pin(async move { shape::cost(&self.ask(call, within).await?, &self.account) })
    }

    fn balance(&self, within: Duration) -> BoxFuture<'_, Result<Balance, ProviderError>> {
        Box::pin(async move { shape::balance(&self.ask(get("/customer/balance", Vec::new()), within).await?) })
    }

    fn status(&self, within: Duration) -> BoxFuture<'_, Result<AccountStatus, ProviderError>> {
        Box::pin(async move { shape::status(&self.ask(get("/status", Vec::new()), within).await?) })
    }
}

impl BrightData {
    /// Asks to take exactly `ips` out of `zone`. Both are always named: an omitted list or zone
    /// would mean all of them.
    async fn delete(&self, zone: &str, ips: &[String], within: Duration) -> Outcome {
        let body = Some(json!({"zone": zone, "ips": ips}));
        let (method, limit) = (Method::DELETE, MAX_ANSWER);
        self.api.send(&Call { method, path: "/zone/ips", query: Vec::new(), body, limit }, within).await
    }
}

fn get(path: &'static str, query: Vec<(&'static str, String)>) -> Call {
    Call { method: Method::GET, path, query, body: None, limit: MAX_ANSWER }
}
