//! Who is active here: logins by user name, accounts by customer, gateways by provider. Loaded on
//! first use, kept while active, changed by the feed. Workers keep the logins they use, so this
//! is asked on misses only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tollgate_domain::customer::{Credential, Customer};
use tollgate_domain::id::{CustomerId, ProviderId, UserName};
use tollgate_domain::provider::Provider;
use tollgate_domain::refusal::{Code, Refusal};

use crate::account::{Account, Login};
use crate::books::Books;
use crate::core::{Core, store_refusal};

/// Unknown names remembered at a time.
const MAX_UNKNOWN: usize = 8192;
/// Customers that may be loaded at a time.
const LOADING: usize = 64;

/// A provider's gateway, ready to be dialled.
pub(crate) struct Gateway {
    pub provider: Provider,
    password: SecretString,
}

impl Gateway {
    /// The value of `Proxy-Authorization` for an address.
    pub fn authorization(&self, ip: &str) -> SecretString {
        let pair = format!("{}:{}", self.provider.gateway_user(ip), self.password.expose_secret());
        format!("Basic {}", STANDARD.encode(pair)).into()
    }
}

/// See the module.
pub(crate) struct Directory {
    logins: Mutex<HashMap<UserName, Arc<Login>>>,
    unknown: Mutex<HashMap<UserName, Instant>>,
    accounts: Mutex<HashMap<CustomerId, Arc<Account>>>,
    gateways: Mutex<HashMap<ProviderId, Arc<Gateway>>>,
    /// One load of a customer at a time: two would make two accounts. Customers are spread over
    /// the locks, so that one does not wait for many.
    loading: Vec<tokio::sync::Mutex<()>>,
    unknown_ttl: Duration,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown_user() -> Refusal {
    Refusal::new(Code::AuthFailed, "user name or password is wrong")
}

impl Directory {
    pub fn new(unknown_ttl: Duration) -> Self {
        Self {
            logins: Mutex::default(),
            unknown: Mutex::default(),
            accounts: Mutex::default(),
            gateways: Mutex::default(),
            loading: (0..LOADING).map(|_| tokio::sync::Mutex::default()).collect(),
            unknown_ttl,
        }
    }

    /// The login of `user`, if it is active here.
    pub fn known_login(&self, user: &UserName) -> Option<Arc<Login>> {
        lock(&self.logins).get(user).filter(|l| !l.account.gone()).cloned()
    }

    pub fn account(&self, id: &CustomerId) -> Option<Arc<Account>> {
        lock(&self.accounts).get(id).cloned()
    }

    pub fn accounts(&self) -> Vec<Arc<Account>> {
        lock(&self.accounts).values().cloned().collect()
    }

    pub fn forget_gateway(&self, id: &ProviderId) {
        lock(&self.gateways).remove(id);
    }

    pub fn forget_unknown(&self, user: &UserName) {
        lock(&self.unknown).remove(user);
    }

    pub fn forget_login(&self, user: &UserName) {
        lock(&self.logins).remove(user);
    }

    /// Drops a retired account.
    pub fn forget_account(&self, account: &Account) {
        let mut logins = lock(&self.logins);
        for user in account.logins() {
            logins.remove(&user);
        }
        lock(&self.accounts).remove(&account.id);
    }

    fn loading(&self, customer: &CustomerId) -> &tokio::sync::Mutex<()> {
        let hash = customer.as_str().bytes().fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(usize::from(b)));
        &self.loading[hash % LOADING]
    }

    fn is_unknown(&self, user: &UserName) -> bool {
        lock(&self.unknown).get(user).is_some_and(|until| Instant::now() < *until)
    }

    fn note_unknown(&self, user: &UserName) {
        let mut unknown = lock(&self.unknown);
        let now = Instant::now();
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|_, until| now < *until);
            if unknown.len() >= MAX_UNKNOWN {
                unknown.clear();
            }
        }
        unknown.insert(user.clone(), now + self.unknown_ttl);
    }
}

/// The login of `user`, loaded with its account if need be. Runs on the control thread.
pub(crate) async fn login(core: Arc<Core>, user: UserName) -> Result<Arc<Login>, Refusal> {
    let dir = &core.directory;
    loop {
        if let Some(login) = dir.known_login(&user) {
            return Ok(login);
        }
        if dir.is_unknown(&user) {
            return Err(unknown_user());
        }
        let Some(credential) = core.store.credential(&user).await.map_err(|e| store_refusal(&e))? else {
            dir.note_unknown(&user);
            return Err(unknown_user());
        };
        let one = dir.loading(&credential.customer).lock().await;
        if dir.known_login(&user).is_some() {
            continue;
        }
        let account = match dir.account(&credential.customer) {
            Some(account) if !account.gone() => account,
            // Its books are being closed: they must be before new ones open.
            Some(_) => {
                drop(one);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            None => load_account(&core, &credential).await?,
        };
        account.add_login(&user);
        let login = Arc::new(Login { user: user.clone(), account, credential: RwLock::new(Some(credential)) });
        lock(&dir.logins).insert(user.clone(), Arc::clone(&login));
        return Ok(login);
    }
}

async fn load_account(core: &Arc<Core>, credential: &Credential) -> Result<Arc<Account>, Refusal> {
    let found = core.store.customer(&credential.customer).await.map_err(|e| store_refusal(&e))?;
    let profile = found.ok_or_else(unknown_user)?;
    let threads = share(core, &profile, 0).await.map_err(|e| store_refusal(&e))?;
    let (orders, inbox) = mpsc::unbounded_channel();
    let account = Arc::new(Account::new(profile, threads, orders));
    lock(&core.directory.accounts).insert(account.id.clone(), Arc::clone(&account));
    tokio::spawn(Books::new(Arc::clone(core), Arc::clone(&account)).keep(inbox));
    Ok(account)
}

/// Tunnels that this edge may carry for a customer: its share of the plan's hard limit.
pub(crate) async fn share(core: &Core, profile: &Customer, in_use: u32) -> Result<u32, tollgate_store::StoreError> {
    let limits = profile.limits.capacity();
    if limits.hard == 0 && limits.qps == 0 && limits.rate == 0 {
        return Ok(u32::MAX);
    }
    let node = core.store.join_share(&profile.id, &core.session, limits, in_use).await?;
    Ok(if limits.hard == 0 { u32::MAX } else { node.held })
}

/// A provider's gateway. Runs on the control thread.
pub(crate) async fn gateway(core: &Core, id: &ProviderId) -> Result<Arc<Gateway>, Refusal> {
    if let Some(found) = lock(&core.directory.gateways).get(id) {
        return Ok(Arc::clone(found));
    }
    let row = core.store.provider(id).await.map_err(|e| store_refusal(&e))?;
    let provider =
        row.ok_or_else(|| Refusal::new(Code::UpstreamConnect, format!("provider {id} is not configured")))?;
    let password = core.secrets.gateway(id).await.map_err(|e| {
        tracing::error!(provider = %id, error = %e, "gateway secret cannot be read");
        Refusal::new(Code::UpstreamAuth, format!("the credentials of provider {id} cannot be read"))
    })?;
    let gateway = Arc::new(Gateway { provider, password });
    lock(&core.directory.gateways).insert(id.clone(), Arc::clone(&gateway));
    Ok(gateway)
}
