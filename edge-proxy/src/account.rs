//! An active customer on this edge: its profile, its logins, its lines, its tunnels, its ledger.

mod login;
mod presence;
mod split;
mod standing;
mod threads;
mod usage;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::mpsc;
use tollgate_domain::customer::Customer;
use tollgate_domain::id::{CustomerId, LineKey, LineLabel, UserName};

use crate::books::Order;
use crate::journal::Counters;
use crate::ledger::Ledger;
use crate::limits::Rates;
use crate::line::LineUse;
use crate::tunnel::Tunnel;
use crate::usage_events::EventQueue;
pub(crate) use login::Login;
pub(crate) use presence::Entered;
pub(crate) use split::Share;
use split::Split;
use threads::Threads;
use usage::UsageSlot;
pub(crate) use usage::{Balance, UsageId};

/// A customer while it is active here.
pub(crate) struct Account {
    pub id: CustomerId,
    pub ledger: Ledger,
    pub rates: Arc<Rates>,
    pub orders: mpsc::UnboundedSender<Order>,
    /// What became of connections, to be written.
    pub events: EventQueue,
    /// Held by who tells the store what is used here, until the answer is in force.
    pub telling: tokio::sync::Mutex<()>,
    profile: RwLock<Arc<Customer>>,
    /// End of the lock-out that the strike clock set, in milliseconds since 1970; 0 = none.
    struck_until_ms: AtomicU64,
    /// Whether the strike clock ran when the store last said so.
    clock_runs: AtomicBool,
    /// Whether the store last heard that something is used or needed here.
    told: AtomicBool,
    threads: Threads,
    split: Split,
    entered: AtomicU32,
    refused: AtomicU32,
    tunnels: Mutex<HashMap<u64, Arc<Tunnel>>>,
    lines: Mutex<HashMap<LineLabel, Arc<LineUse>>>,
    usages: Mutex<HashMap<UsageId, UsageSlot>>,
    logins: Mutex<Vec<UserName>>,
    /// The sequence of the latest collection of daily rows.
    row_seq: AtomicU64,
    /// What counters that are gone had counted.
    past: Mutex<Counters>,
    began: Instant,
    seen_ms: AtomicU64,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    pub fn new(profile: Customer, share: Share, orders: mpsc::UnboundedSender<Order>) -> Self {
        let account = Self {
            id: profile.id.clone(),
            ledger: Ledger::default(),
            rates: Arc::default(),
            orders,
            events: EventQueue::default(),
            telling: tokio::sync::Mutex::default(),
            profile: RwLock::new(Arc::new(profile)),
            struck_until_ms: AtomicU64::new(0),
            clock_runs: AtomicBool::new(false),
            told: AtomicBool::new(false),
            threads: Threads::default(),
            split: Split::default(),
            entered: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            tunnels: Mutex::default(),
            lines: Mutex::default(),
            usages: Mutex::default(),
            logins: Mutex::default(),
            row_seq: AtomicU64::new(0),
            past: Mutex::default(),
            began: Instant::now(),
            seen_ms: AtomicU64::new(0),
        };
        account.set_share(share);
        account
    }

    pub fn profile(&self) -> Arc<Customer> {
        Arc::clone(&self.profile.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the profile unless a newer one is there.
    pub fn set_profile(&self, new: Customer) {
        let mut profile = self.profile.write().unwrap_or_else(PoisonError::into_inner);
        if new.ver >= profile.ver {
            *profile = Arc::new(new);
        }
    }

    /// The line with this label, made on first use.
    pub fn line(&self, label: &LineLabel) -> Arc<LineUse> {
        let mut lines = lock(&self.lines);
        let make = || Arc::new(LineUse::new(LineKey { customer: self.id.clone(), label: label.clone() }));
        Arc::clone(lines.entry(label.clone()).or_insert_with(make))
    }

    /// All lines known here.
    pub fn lines(&self) -> Vec<Arc<LineUse>> {
        lock(&self.lines).values().cloned().collect()
    }

    /// Forgets lines that nobody uses, where there are many.
    pub fn trim_lines(&self) {
        let mut lines = lock(&self.lines);
        if lines.len() > 1024 {
            lines.retain(|_, l| Arc::strong_count(l) > 1);
        }
    }

    pub fn add_login(&self, user: &UserName) {
        let mut logins = lock(&self.logins);
        if !logins.contains(user) {
            logins.push(user.clone());
        }
    }

    pub fn logins(&self) -> Vec<UserName> {
        lock(&self.logins).clone()
    }
}
