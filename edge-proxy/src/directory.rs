//! Who is active here: logins by user name, accounts by customer, gateways by provider. Loaded on
//! first use, kept while active, changed by the feed. Workers keep the logins they use, so this
//! is asked on misses only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::sync::mpsc;
use tollgate_domain::country::Country;
use tollgate_domain::id::{CustomerId, LineLabel, ProviderId, UserName};
use tollgate_domain::provider::Provider;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::upstream::Facts;

use crate::account::{Account, Login};
use crate::books::Books;
use crate::core::{Core, store_refusal};
use crate::retry::Backoff;
use crate::shares;
use crate::sources::Sources;

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
    /// The user name and password under which an address is dialled for a line; `life_min` is
    /// what a session asked for.
    pub fn credentials(
        &self,
        ip: &str,
        line: &LineLabel,
        country: Option<Country>,
        life_min: Option<u32>,
    ) -> (String, SecretString) {
        let facts = Facts { user: &self.provider.account, session: line.as_str(), country, life_min, ip };
        (self.provider.gateway_user(&facts), self.password.clone())
    }
}

/// See the module.
pub(crate) struct Directory {
    logins: Mutex<HashMap<UserName, Arc<Login>>>,
    unknown: Mutex<HashMap<UserName, Instant>>,
    accounts: Mutex<HashMap<CustomerId, Arc<Account>>>,
    gateways: Mutex<HashMap<ProviderId, Arc<Gateway>>>,
    /// Listed source addresses.
    pub sources: Sources,
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
            sources: Sources::default(),
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
    let account = account(Arc::clone(&core), credential.customer.clone()).await?;
    // Another connection may have been faster; a login is one object for all.
    let mut logins = lock(&dir.logins);
    if let Some(known) = logins.get(&user).filter(|l| Arc::ptr_eq(&l.account, &account)) {
        return Ok(Arc::clone(known));
    }
    account.add_login(&user);
    let login = Arc::new(Login { user: user.clone(), account, credential: RwLock::new(Some(credential)) });
    logins.insert(user, Arc::clone(&login));
    Ok(login)
}

/// The account of a customer, loaded if need be. Runs on the control thread.
pub(crate) async fn account(core: Arc<Core>, id: CustomerId) -> Result<Arc<Account>, Refusal> {
    loop {
        let one = core.directory.loading(&id).lock().await;
        match core.directory.account(&id) {
            Some(account) if !account.gone() => return Ok(account),
            // Its books are being closed: they must be before new ones open.
            Some(_) => {
                drop(one);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None => return load_account(&core, &id).await,
        }
    }
}

async fn load_account(core: &Arc<Core>, id: &CustomerId) -> Result<Arc<Account>, Refusal> {
    // The strike clock may have locked it out, whichever edge it was at.
    let found = tokio::try_join!(core.store.customer(id), core.store.cap(id));
    let (found, cap) = found.map_err(|e| store_refusal(&e))?;
    let profile = found.ok_or_else(unknown_user)?;
    let lapses = core.pulse.lapses();
    let (share, need) = shares::first(core, &profile).await.map_err(|e| store_refusal(&e))?;
    let (orders, inbox) = mpsc::unbounded_channel();
    let account = Arc::new(Account::new(profile, share, orders));
    account.set_lapses_told(lapses);
    if share.limits.of_need(need).exceeds(share.may) {
        // Whoever asks for it waits.
        account.lack();
    }
    account.set_struck(cap.and_then(|c| c.strike.locked_until));
    lock(&core.directory.accounts).insert(account.id.clone(), Arc::clone(&account));
    tokio::spawn(Books::new(Arc::clone(core), Arc::clone(&account)).keep(inbox));
    Ok(account)
}

/// Gives back the share of a customer that is active here no longer, once the store answers; unless
/// the customer comes back before. This edge lives, so nobody else would free it.
pub(crate) async fn give_back(core: Arc<Core>, id: CustomerId) {
    let mut backoff = Backoff::default();
    loop {
        backoff.pause().await;
        // It cannot come back while this goes on.
        let _one = core.directory.loading(&id).lock().await;
        if core.directory.account(&id).is_some() || core.store.leave_share(&id, &core.session).await.is_ok() {
            return;
        }
    }
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
