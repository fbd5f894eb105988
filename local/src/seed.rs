//! What a new installation holds: plans, one customer, two API keys, budgets. Seeding again
//! changes nothing.

use secrecy::{ExposeSecret as _, SecretString};
use tollgate_domain::country::Country;
use tollgate_domain::customer::{AuthMode, Credential, Customer};
use tollgate_domain::id::{CustomerId, InvalidId, UserName};
use tollgate_domain::plan;
use tollgate_domain::time::Timestamp;
use tollgate_functions::create_budgets;
use tollgate_functions::passwords::Passwords;
use tollgate_functions::platform::Platform;
use tollgate_store::api_key::{ApiKey, Holder, Role, Scope};
use tollgate_store::customer::Created;
use tollgate_store::{Store, StoreError};

use crate::failure::Failure;
use crate::secrets::{ADMIN_KEY, CUSTOMER_KEY, SecretsFile};

/// The plan of the seeded customer.
const PLAN: &str = "pro";
/// Its id, and the name of its credential.
const DEMO: &str = "demo";
/// Where a line without a country begins to look.
const DEFAULT_COUNTRY: &str = "us";
const MAX_HOPS: u8 = 7;

/// The seeded customer.
#[must_use]
pub fn demo() -> CustomerId {
    fixed(CustomerId::new(DEMO))
}

fn demo_user() -> UserName {
    fixed(UserName::new(DEMO))
}

pub(crate) fn fixed<T>(id: Result<T, InvalidId>) -> T {
    match id {
        Ok(id) => id,
        Err(e) => unreachable!("{e}"),
    }
}

pub(crate) fn store(e: StoreError) -> Failure {
    Failure::part("the store", e)
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
        auth: AuthMode::Either,
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
