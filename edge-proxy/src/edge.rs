//! One running edge: started, watched, drained.

mod begin;
pub(crate) mod drain;
mod ports;
mod signs;
mod succession;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::refusal::Code;
use tollgate_store::StoreError;

use crate::account::Account;
use crate::books::Order;
use crate::config::EdgeConfig;
use crate::core::Core;
use crate::deps::EdgeDeps;
use crate::ingress::entrance::Kind;
use crate::ingress::tls::TlsError;
use crate::journal::JournalError;
use crate::takeover::{ListenerKind, NamedListener};
use crate::upstreams::ReloadError;
use crate::worker::Crew;
use crate::{admin, elders, feed, peers, roll, shares, upstreams};
use begin::begin;
use signs::{beat, checkpoint};
pub use succession::ReloadHook;

/// Time to tell the store that a life ended: it is told for the eyes of operators.
const TELLING: Duration = Duration::from_secs(2);
/// Time for the access log to write what it holds.
const LOG_CLOSING: Duration = Duration::from_secs(5);

/// Why an edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder or a socket is refused by the system.
    #[error("cannot use {what}: {why}")]
    Io {
        /// What was refused.
        what: String,
        /// What the system said.
        #[source]
        why: std::io::Error,
    },
    /// A journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store does not answer.
    #[error("the store does not answer: {0}")]
    Store(#[from] StoreError),
    /// The admin listener is reachable from other machines.
    #[error("the admin listener must be on loopback, not on {0}")]
    AdminAddress(SocketAddr),
    /// A certificate, key or authority cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The upstream file cannot be read.
    #[error(transparent)]
    Upstreams(#[from] ReloadError),
    /// The control thread ended.
    #[error("the control thread ended")]
    Control,
}

fn refused(what: &str) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.to_owned();
    move |why| StartError::Io { what, why }
}

/// A drain that could not finish cleanly. What is left is in the journal: the next start of this
/// edge settles it.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// Leases of these customers could not be closed in time.
    #[error("leases of {} customers are not closed; the next start settles them", .0.len())]
    Unsettled(Vec<CustomerId>),
    /// The journal could not be removed.
    #[error("the journal cannot be removed: {0}")]
    Journal(#[source] std::io::Error),
}

/// What an edge is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Client connections.
    pub open_connections: u64,
    /// Tunnels and requests under way.
    pub open_tunnels: u64,
    /// Bytes counted from customers, since the start.
    pub ingress: u64,
    /// Bytes counted to customers, since the start.
    pub egress: u64,
    /// Refusals since the start, by code.
    pub refusals: Vec<(Code, u64)>,
    /// Active customers.
    pub customers: Vec<CustomerSnapshot>,
}

/// One active customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerSnapshot {
    /// Which.
    pub id: CustomerId,
    /// Tunnels and requests under way.
    pub tunnels: u32,
    /// Tunnels and requests since the customer became active.
    pub connections: u64,
    /// Bytes counted from the customer since then.
    pub ingress: u64,
    /// Bytes counted to the customer since then.
    pub egress: u64,
    /// Bytes leased and not used.
    pub lease_left: u64,
}

/// One edge, running in threads of its own. Dropped without [`Edge::drain`] it stops at once, as
/// a crash would: the journal stays for the next start.
pub struct Edge {
    core: Arc<Core>,
    crew: Crew,
    control: Control,
    gateway: SocketAddr,
    admin: SocketAddr,
    admin_task: Option<AbortHandle>,
    on_reload: Vec<ReloadHook>,
}

/// The thread that talks to the store.
struct Control {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    handle: tokio::runtime::Handle,
}

impl Control {
    fn start() -> std::io::Result<Self> {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = rt.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            let _ = rt.block_on(stopped);
            rt.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), handle })
    }

    fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.control.stop();
        self.crew.stop();
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge")
            .field("session", &self.core.session)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Starts an edge on these sockets: settles what earlier lives left behind, then serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn start(
        config: EdgeConfig,
        deps: EdgeDeps,
        gateway: TcpListener,
        admin: TcpListener,
    ) -> Result<Self, StartError> {
        let named =
            |kind, l| NamedListener::new(kind, l).map_err(|why| StartError::Io { what: "a listener".to_owned(), why });
        let listeners = vec![named(ListenerKind::Gateway, gateway)?, named(ListenerKind::Admin, admin)?];
        Self::start_on(config, deps, listeners).await
    }

    /// As [`Self::start`], on any number of sockets; exactly one is the admin's, at least one is
    /// where customers connect.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn start_on(
        config: EdgeConfig,
        deps: EdgeDeps,
        mut listeners: Vec<NamedListener>,
    ) -> Result<Self, StartError> {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let admin = listeners.iter().position(|l| l.name.kind == ListenerKind::Admin).ok_or_else(missing);
        let admin = listeners.swap_remove(admin.map_err(refused("the admin listener"))?).listener;
        let gateway = listeners
            .iter()
            .min_by_key(|l| l.name.kind)
            .ok_or_else(missing)
            .map_err(refused("the gateway listener"))?;
        let gateway_addr = gateway.name.address;
        let admin_addr = admin.local_addr().map_err(refused("the admin listener"))?;
        if !admin_addr.ip().is_loopback() {
            return Err(StartError::AdminAddress(admin_addr));
        }
        std::fs::create_dir_all(&config.data_dir).map_err(refused(&config.data_dir.display().to_string()))?;
        let control = Control::start().map_err(refused("a thread"))?;
        let handle = control.handle.clone();
        // On the control thread from the first call: connections of the store's client live there.
        let (ports, doors): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|l| l.name.kind == ListenerKind::Port);
        let begin = begin(config, deps, handle.clone(), ports);
        let core = handle.spawn(begin).await.map_err(|_| StartError::Control)??;
        let _ = core.admin.set(admin_addr);
        for door in doors {
            let kind = if door.name.kind == ListenerKind::Tls { Kind::Tls } else { Kind::Gateway };
            core.listeners.add(door.listener, kind, None).map_err(refused("a listener"))?;
        }
        let mut edge = Self {
            admin_task: None,
            on_reload: Vec::new(),
            crew: Crew::start(&core).map_err(refused("a thread"))?,
            core,
            control,
            gateway: gateway_addr,
            admin: admin_addr,
        };
        if let Err(why) = edge.watch(admin) {
            edge.crew.stop();
            return Err(StartError::Io { what: "the admin listener".to_owned(), why });
        }
        tracing::info!(session = %edge.core.session, gateway = %gateway_addr, admin = %admin_addr, "edge serves");
        Ok(edge)
    }

    /// Starts what runs beside the connections.
    fn watch(&mut self, admin: TcpListener) -> std::io::Result<()> {
        let core = &self.core;
        admin.set_nonblocking(true)?;
        let _in_control = self.control.handle.enter();
        let admin = tokio::net::TcpListener::from_std(admin)?;
        self.admin_task = Some(self.control.handle.spawn(admin::serve(Arc::clone(core), admin)).abort_handle());
        self.control.handle.spawn(feed::follow(Arc::clone(core)));
        self.control.handle.spawn(feed::watch_time(Arc::clone(core)));
        self.control.handle.spawn(feed::resync(Arc::clone(core)));
        self.control.handle.spawn(shares::follow(Arc::clone(core)));
        self.control.handle.spawn(peers::follow(Arc::clone(core)));
        self.control.handle.spawn(roll::follow(Arc::clone(core)));
        self.control.handle.spawn(beat(Arc::clone(core)));
        self.control.handle.spawn(elders::follow(Arc::clone(core)));
        self.control.handle.spawn(checkpoint(Arc::clone(core)));
        self.control.handle.spawn(upstreams::follow(Arc::clone(core)));
        Ok(())
    }

    /// Where customers connect.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        self.gateway
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Which life of which edge this is.
    #[must_use]
    pub fn session(&self) -> &EdgeSession {
        &self.core.session
    }

    /// What it is doing now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.core)
    }

    /// Settles every active customer now: what was counted is in the store when this returns
    /// `true`; `false` if the store failed somewhere.
    pub async fn settle(&self) -> bool {
        let mut sound = true;
        for account in self.core.directory.accounts() {
            let (done, answer) = oneshot::channel();
            if account.orders.send(Order::Settle(done)).is_ok() {
                sound &= answer.await.unwrap_or(true);
            }
        }
        sound
    }

    /// Accepts no more, lets tunnels finish until `deadline`, cuts the rest, tells that lines are
    /// quiet, closes all leases, and removes the journal.
    ///
    /// # Errors
    /// [`DrainError`] if something is left for the next start; the edge is stopped all the same.
    pub async fn drain(mut self, deadline: Duration) -> Result<(), DrainError> {
        let core = Arc::clone(&self.core);
        // The store's client lives on the control thread. Who ends does not wait to be heard.
        self.control.handle.spawn(drain::tell_begun(Arc::clone(&core)));
        let unsettled = drain::finish(&core, deadline).await;
        if unsettled.is_empty() {
            let told = self.control.handle.spawn(drain::tell_ended(Arc::clone(&core)));
            let _ = tokio::time::timeout(TELLING, told).await;
        }
        self.crew.stop();
        core.access_log.close(LOG_CLOSING);
        self.control.stop();
        tracing::info!(session = %core.session, unsettled = unsettled.len(), "edge drained");
        if !unsettled.is_empty() {
            return Err(DrainError::Unsettled(unsettled));
        }
        core.journal.delete().map_err(DrainError::Journal)
    }
}

pub(crate) fn snapshot(core: &Core) -> Snapshot {
    let (ingress, egress) = core.metrics.bytes();
    let of = |account: &Arc<Account>| {
        let counted = account.counted(&core.journal);
        CustomerSnapshot {
            id: account.id.clone(),
            tunnels: account.live(),
            connections: counted.connections,
            ingress: counted.ingress,
            egress: counted.egress,
            lease_left: account.ledger.left(),
        }
    };
    Snapshot {
        open_connections: core.metrics.open_connections.load(Ordering::Relaxed),
        open_tunnels: core.metrics.open_tunnels.load(Ordering::Relaxed),
        ingress,
        egress,
        refusals: core.metrics.refusals(),
        customers: core.directory.accounts().iter().map(of).collect(),
    }
}
