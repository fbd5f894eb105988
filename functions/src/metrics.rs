//! Story: what is held, where, and what it costs.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_domain::proxy::{ProxyIp, ProxyState};
use tollgate_store::StoreError;

use crate::platform::Platform;

/// The figures of `GET /admin/proxies/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyMetrics {
    /// Addresses that the provider bills.
    pub total: u32,
    /// Of them, held by a line.
    pub active: u32,
    /// Of them, held by nobody.
    pub idle: u32,
    /// Of them, being given back.
    pub releasing: u32,
    /// Of them, unhealthy.
    pub quarantined: u32,
    /// Purchases whose outcome is not known yet.
    pub unknown: u32,
    /// Addresses by country.
    pub by_country: BTreeMap<String, u32>,
    /// Of them, held by a line.
    pub active_by_country: BTreeMap<String, u32>,
    /// Sum of the monthly prices of all addresses, in micro-units of the providers' currency.
    pub estimated_monthly_cost_micros: u64,
    /// The same in whole units, rounded to cents, for people: `40.0`. Never computed with.
    pub estimated_monthly_cost: f64,
    /// Times an address was handed on without a purchase.
    pub recycled: u64,
}

/// Counts every address of every provider.
///
/// # Errors
/// [`StoreError`].
pub async fn proxy_metrics(platform: &Platform) -> Result<ProxyMetrics, StoreError> {
    let mut m = ProxyMetrics::default();
    for provider in platform.store.providers().await? {
        for proxy in platform.store.proxies(&provider.id).await? {
            m.add(&proxy);
        }
        let open = platform.store.open_intents(&provider.id).await?;
        m.unknown += u32::try_from(open.len()).unwrap_or(u32::MAX);
    }
    let cents = m.estimated_monthly_cost_micros.saturating_add(5000) / 10_000;
    m.estimated_monthly_cost = f64::from(u32::try_from(cents).unwrap_or(u32::MAX)) / 100.0;
    Ok(m)
}

impl ProxyMetrics {
    fn add(&mut self, p: &ProxyIp) {
        self.recycled += u64::from(p.recycled);
        if !p.state.is_held() {
            return;
        }
        self.total += 1;
        *self.by_country.entry(p.country.to_string()).or_default() += 1;
        self.estimated_monthly_cost_micros = self.estimated_monthly_cost_micros.saturating_add(p.price.micros);
        match p.state {
            ProxyState::Active => {
                self.active += 1;
                *self.active_by_country.entry(p.country.to_string()).or_default() += 1;
            }
            ProxyState::Idle => self.idle += 1,
            ProxyState::Releasing => self.releasing += 1,
            ProxyState::Quarantined => self.quarantined += 1,
            ProxyState::Released | ProxyState::Lost => {}
        }
    }
}
