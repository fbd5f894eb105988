//! What a new installation holds: plans, one provider, one customer, two API keys, budgets.
//! Seeding again changes nothing but where providers are reached.

use std::net::SocketAddr;

use secrecy::{ExposeSecret as _, SecretString};
use tollgate_domain::country::Country;
use tollgate_domain::customer::{Credential, Customer};
use tollgate_domain::id::{CustomerId, InvalidId, ProviderId, UserName};
use tollgate_domain::money::Money;
use tollgate_domain::plan;
use tollgate_domain::provider::{BillingGrain, DueRule, Provider, ProviderType};
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::time::Timestamp;
use tollgate_functions::create_budgets;
use tollgate_functions::passwords::Passwords;
use tollgate_functions::platform::Platform;
use tollgate_store::api_key::{ApiKey, Holder, Role, Scope};
use tollgate_store::customer::Created;
use tollgate_store::{Store, StoreError};

use crate::failure::Failure;
use crate::real_provider::RealProvider;
use crate::secrets::{ADMIN_KEY, CUSTOMER_KEY, SecretsFile};

/// The plan of the seeded customer.
const PLAN: &str = "pro";
/// Its id, and the name of its credential.
const DEMO: &str = "demo";
/// Where a line without a country begins to look.
const DEFAULT_COUNTRY: &str = "us";
const MAX_HOPS: u8 = 7;
/// What one address costs at the provider for one month unless somebody says otherwise.
const PRICE_MICROS: u64 = 4_000_000;
/// Attempts to write a provider's row that somebody else changes at the same time.
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

/// The seeded customer.
#[must_use]
pub fn demo() -> CustomerId {
    fixed(CustomerId::new(DEMO))
}

fn demo_user() -> UserName {
    fixed(UserName::new(DEMO))
}

fn fixed<T>(id: Result<T, InvalidId>) -> T {
    match id {
        Ok(id) => id,
        Err(e) => unreachable!("{e}"),
    }
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

fn store(e: StoreError) -> Failure {
    Failure::part("the store", e)
}

/// Writes a provider's row, or changes in it only how it is reached, whether it is bought from,
/// and its price if one is given. What operators set stays.
///
/// # Errors
/// A store that fails.
pub async fn provider(
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
pub async fn retire_provider(db: &Store, id: &ProviderId, now: Timestamp) -> Result<(), Failure> {
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

/// What a person needs to use the seeded installation.
pub struct Keys {
    /// User name of the seeded credential.
    pub user: UserName,
    /// Its password.
    pub password: SecretString,
    /// Key of the admin API.
    pub admin: SecretString,
    /// The customer's API key.
    pub customer: SecretString,
}

/// Makes sure of plans, customer, keys and budgets; tells the keys.
///
/// # Errors
/// A store or secrets that fail.
pub async fn accounts(platform: &Platform, secrets: &SecretsFile) -> Result<Keys, Failure> {
    let (db, now) = (&platform.store, platform.now());
    db.seed_plans(&plan::catalogue()).await.map_err(store)?;
    let passwords = Passwords::load(secrets).await.map_err(|e| Failure::part("secrets", e))?;
    let user = demo_user();
    customer(db, &user, &passwords, now).await?;
    // A rotation, or another owner of the name, is respected: the row says which version counts.
    let version = db.credential(&user).await.map_err(store)?.map_or(1, |c| c.version);
    let keys = Keys {
        password: passwords.password(&user, version),
        user,
        admin: secrets.need(ADMIN_KEY)?,
        customer: secrets.need(CUSTOMER_KEY)?,
    };
    let admin = Holder::Admin { name: "local".to_owned(), role: Role::Owner };
    let customer = Holder::Customer { id: demo(), scopes: Scope::ALL.to_vec() };
    for (key, holder) in [(&keys.admin, admin), (&keys.customer, customer)] {
        db.ensure_api_key(&ApiKey::new(key.expose_secret(), holder, now)).await.map_err(store)?;
    }
    create_budgets::create_budgets(platform).await.map_err(|e| Failure::part("budgets", e))?;
    Ok(keys)
}

async fn customer(db: &Store, user: &UserName, passwords: &Passwords, now: Timestamp) -> Result<(), Failure> {
    if db.customer(&demo()).await.map_err(store)?.is_some() {
        return Ok(());
    }
    let Some(plan) = plan::by_code(PLAN) else { unreachable!("{PLAN} is in the catalogue") };
    let customer = Customer {
        id: demo(),
        name: "Demo".to_owned(),
        ver: 1,
        plan: plan.code,
        plan_ver: plan.ver,
        limits: plan.limits,
        default_country: Country::parse(DEFAULT_COUNTRY),
        allow_fallback: true,
        max_hops: MAX_HOPS,
        ban: None,
        locked_until: None,
        expires_at: None,
        kicked_at: None,
        deleted_at: None,
        created_at: now,
    };
    let credential = Credential {
        user: user.clone(),
        customer: demo(),
        version: 1,
        verifier: passwords.verifier(&passwords.password(user, 1)),
        previous: None,
        created_at: now,
    };
    match db.create_customer(&customer, &credential, now).await.map_err(store)? {
        Created::Created | Created::IdTaken => Ok(()),
        Created::UserTaken => Err(Failure::part("seed", format!("the user name {user} belongs to somebody else"))),
    }
}
