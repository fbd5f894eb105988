//! Rows of providers: the simulated one, and the real one where credentials are given.

use std::net::SocketAddr;

use tollgate_domain::id::ProviderId;
use tollgate_domain::money::Money;
use tollgate_domain::provider::{BillingGrain, DueRule, Provider, ProviderType};
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::time::Timestamp;
use tollgate_domain::upstream::Scheme;
use tollgate_store::Store;

use crate::failure::Failure;
use crate::real_provider::RealProvider;
use crate::seed::{fixed, store};

/// What one address costs at the provider for one month unless somebody says otherwise.
const PRICE_MICROS: u64 = 4_000_000;
/// Attempts to write a row that somebody else changes at the same time.
const RACES: u32 = 8;

/// Row of the simulated provider.
#[must_use]
pub fn simulated() -> ProviderId {
    fixed(ProviderId::new("brd"))
}

/// Row of the real one, where credentials are given.
#[must_use]
pub fn real() -> ProviderId {
    fixed(ProviderId::new("brightdata"))
}

/// How a provider is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    api_url: String,
    account: String,
    zone: String,
    host: String,
    port: u16,
}

impl Reach {
    /// The simulated provider, where it listens now.
    #[must_use]
    pub fn simulated(api: SocketAddr, gateway: SocketAddr) -> Self {
        Self {
            api_url: format!("http://{api}"),
            account: "c_sandbox".to_owned(),
            zone: "isp_sandbox".to_owned(),
            host: gateway.ip().to_string(),
            port: gateway.port(),
        }
    }

    /// The real provider.
    #[must_use]
    pub fn real(p: &RealProvider) -> Self {
        Self {
            api_url: p.api_url.clone(),
            account: p.account.clone(),
            zone: p.zone.clone(),
            host: p.host.clone(),
            port: p.port,
        }
    }
}

/// Writes a provider's row, or changes in it only how it is reached, whether it is bought from,
/// and its price if one is given. What operators set stays.
///
/// # Errors
/// A store that fails.
pub async fn write(
    db: &Store,
    id: &ProviderId,
    name: &str,
    reach: &Reach,
    price: Option<u64>,
    now: Timestamp,
) -> Result<(), Failure> {
    for _ in 0..RACES {
        let found = db.provider(id).await.map_err(store)?;
        let mut row = found.clone().unwrap_or_else(|| new_provider(id, name, reach, now));
        row.api_url.clone_from(&reach.api_url);
        row.account.clone_from(&reach.account);
        row.zone.clone_from(&reach.zone);
        row.gateway_host.clone_from(&reach.host);
        row.gateway_port = reach.port;
        row.active = true;
        if let Some(micros) = price {
            row.price = Money::usd_micros(micros);
        }
        if found.as_ref() == Some(&row) || put(db, row, now).await? {
            return Ok(());
        }
    }
    Err(Failure::part("the store", format!("provider {id} keeps changing")))
}

/// Ends buying at a provider that this run does not reach, if there is such a row.
///
/// # Errors
/// A store that fails.
pub async fn retire(db: &Store, id: &ProviderId, now: Timestamp) -> Result<(), Failure> {
    for _ in 0..RACES {
        let Some(mut row) = db.provider(id).await.map_err(store)?.filter(|row| row.active) else { return Ok(()) };
        row.active = false;
        if put(db, row, now).await? {
            return Ok(());
        }
    }
    Err(Failure::part("the store", format!("provider {id} keeps changing")))
}

/// How many addresses of a provider are held.
///
/// # Errors
/// A store that fails.
pub async fn held(db: &Store, id: &ProviderId) -> Result<usize, Failure> {
    Ok(db.proxies(id).await.map_err(store)?.iter().filter(|p| p.state.is_held()).count())
}

async fn put(db: &Store, mut row: Provider, now: Timestamp) -> Result<bool, Failure> {
    row.ver += 1;
    row.updated_at = now;
    db.put_provider(&row, now).await.map_err(store)
}

fn new_provider(id: &ProviderId, name: &str, reach: &Reach, now: Timestamp) -> Provider {
    Provider {
        id: id.clone(),
        name: name.to_owned(),
        kind: ProviderType::BrightData,
        upstream: UpstreamKind::Exclusive,
        class: ProxyClass::Isp,
        api_url: reach.api_url.clone(),
        account: reach.account.clone(),
        zone: reach.zone.clone(),
        gateway_host: reach.host.clone(),
        gateway_port: reach.port,
        protocol: Scheme::Http,
        user_template: None,
        price: Money::usd_micros(PRICE_MICROS),
        billing_grain: BillingGrain::Month,
        due_rule: DueRule::Strict,
        idle_ttl_s: 3600,
        spend_cap_day: None,
        active: true,
        health: 100,
        ver: 0,
        created_at: now,
        updated_at: now,
    }
}
