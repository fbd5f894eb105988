//! Ports of a platform that a test can look into.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_functions::assign::assign;
use tollgate_functions::platform::{Deferred, Event, Events, Later, Platform, SecretError, Secrets};
use tollgate_functions::reconcile::reconcile;

/// A wall clock that stands until it is moved.
pub struct Hands(AtomicU64);

impl Hands {
    pub fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(Timestamp::parse(text).unwrap().as_millis())))
    }

    pub fn forward(&self, d: Duration) {
        self.0.fetch_add(u64::try_from(d.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn forward_secs(&self, s: u64) {
        self.forward(Duration::from_secs(s));
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Secrets in memory.
#[derive(Default)]
pub struct Vault(Mutex<BTreeMap<String, String>>);

impl Vault {
    pub fn with(name: &str, value: &str) -> Arc<Self> {
        let vault = Self::default();
        vault.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
        for name in ["passwords/master", "passwords/pepper"] {
            vault.0.lock().unwrap().insert(name.to_owned(), format!("{name}: sixteen bytes at least"));
        }
        Arc::new(vault)
    }
}

impl Secrets for Vault {
    fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        let found = self.0.lock().unwrap().get(name).cloned();
        let found = found.map(SecretString::from).ok_or_else(|| SecretError::Missing(name.to_owned()));
        async move { found }.boxed()
    }
    fn put(&self, name: &str, value: SecretString) -> BoxFuture<'_, Result<(), SecretError>> {
        use secrecy::ExposeSecret as _;
        self.0.lock().unwrap().insert(name.to_owned(), value.expose_secret().to_owned());
        async { Ok(()) }.boxed()
    }
}

/// Events, kept.
#[derive(Default)]
pub struct Collected(Mutex<Vec<Event>>);

impl Collected {
    pub fn of(&self, kind: &str) -> Vec<Event> {
        self.0.lock().unwrap().iter().filter(|e| e.kind == kind).cloned().collect()
    }
}

impl Events for Collected {
    fn emit(&self, event: Event) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push(event);
        async {}.boxed()
    }
}

/// Deferred work, kept until somebody runs it.
#[derive(Default)]
pub struct Deferrals(Mutex<Vec<Deferred>>);

impl Deferrals {
    pub fn waiting(&self) -> Vec<Deferred> {
        self.0.lock().unwrap().clone()
    }

    /// Runs what is due at the platform's time, and what that defers without a time.
    pub async fn run_due(&self, platform: &Platform) {
        loop {
            let now = platform.now();
            let due = {
                let mut waiting = self.0.lock().unwrap();
                let (due, rest) = waiting.drain(..).partition::<Vec<_>, _>(|d| match d {
                    Deferred::Reconcile { not_before, .. } => *not_before <= now,
                    Deferred::Assign { .. } => true,
                });
                *waiting = rest;
                due
            };
            if due.is_empty() {
                return;
            }
            for work in due {
                match work {
                    // What cannot be read now is looked at by the next one.
                    Deferred::Reconcile { provider, .. } => drop(Box::pin(reconcile(platform, &provider)).await),
                    Deferred::Assign { request } => drop(Box::pin(assign(platform, request)).await),
                }
            }
        }
    }
}

impl Later for Deferrals {
    fn start(&self, work: Deferred) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push(work);
        async {}.boxed()
    }
}
