//! What all parts of one edge share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use secrecy::SecretString;
use tokio::sync::watch;
use tollgate_domain::id::EdgeSession;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::{Host, Target};
use tollgate_domain::time::Clock;
use tollgate_store::{Store, StoreError};

use crate::access_log::AccessLog;
use crate::config::{EdgeConfig, Live, LiveConfig};
use crate::deps::{Assigner, GatewaySecrets, Resolver};
use crate::directory::Directory;
use crate::ingress::listeners::Listeners;
use crate::ingress::strangers::Strangers;
use crate::ingress::tls::{self, TlsError, TlsIdentity};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::peers::{Peers, Pulse};
use crate::reach::Reach;
use crate::throttle::Throttle;
use crate::upstreams::Upstreams;

/// Both ends of TLS.
pub(crate) struct Tls {
    pub identity: Option<TlsIdentity>,
    pub upstream: Arc<rustls::ClientConfig>,
}

impl Tls {
    /// Reads the files of `config`.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(config: &EdgeConfig) -> Result<Self, TlsError> {
        let files = config.tls.as_ref();
        let identity = files.map(|f| TlsIdentity::load(&f.certificate, &f.key)).transpose()?;
        Ok(Self { identity, upstream: tls::client_config(config.upstream_ca_file.as_slice())? })
    }
}

/// What a core is made of, besides what it is given.
pub(crate) struct Parts {
    pub journal: Journal,
    pub listeners: Arc<Listeners>,
    pub upstreams: Upstreams,
    pub tls: Tls,
    pub access_log: AccessLog,
}

/// Shared by workers and the control thread.
pub(crate) struct Core {
    pub config: EdgeConfig,
    pub session: EdgeSession,
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub assigner: Arc<dyn Assigner>,
    pub secrets: Arc<dyn GatewaySecrets>,
    pub pepper: SecretString,
    pub resolver: Arc<dyn Resolver>,
    /// Who we are towards clients that speak TLS.
    pub identity: Option<TlsIdentity>,
    /// What we trust in HTTPS upstreams.
    pub upstream_tls: Arc<rustls::ClientConfig>,
    pub journal: Journal,
    pub directory: Directory,
    pub throttle: Throttle,
    /// Connections that have not authenticated, by source.
    pub strangers: Arc<Strangers>,
    pub metrics: Arc<Metrics>,
    /// How long the store has been silent.
    pub reach: Reach,
    /// Other edges that have shares of customers who are active here.
    pub peers: Peers,
    /// When others last had a sign of life of this edge.
    pub pulse: Pulse,
    /// What workers accept from.
    pub listeners: Arc<Listeners>,
    /// Upstreams that come from a file, and their ports.
    pub upstreams: Upstreams,
    /// Where everything that talks to the store runs.
    pub control: tokio::runtime::Handle,
    /// What SIGHUP may change of `config`.
    pub live: Arc<Live>,
    pub access_log: AccessLog,
    /// Where the admin listener is.
    pub admin: OnceLock<SocketAddr>,
    /// The highest sequence of daily rows that this session has come to.
    pub row_seq: AtomicU64,
    /// Earlier lives whose processes still end their tunnels.
    elders: RwLock<Vec<EdgeSession>>,
    /// A successor accepts; what was accepted here is served to its end.
    leaving: AtomicBool,
    draining: watch::Sender<bool>,
}

/// Hears when the edge begins to shut down.
pub(crate) struct DrainSignal(watch::Receiver<bool>);

impl DrainSignal {
    /// Waits for it.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Core {
    pub fn new(
        config: EdgeConfig,
        session: EdgeSession,
        deps: crate::deps::EdgeDeps,
        parts: Parts,
        control: tokio::runtime::Handle,
    ) -> Self {
        let throttle = Throttle::new(config.auth_failures, config.auth_window, config.auth_block);
        Self {
            directory: Directory::new(config.unknown_ttl),
            throttle,
            strangers: Arc::default(),
            metrics: Arc::new(Metrics::new(config.workers)),
            reach: Reach::new(deps.clock.now()),
            peers: Peers::default(),
            pulse: Pulse::new(config.dead_after),
            listeners: parts.listeners,
            upstreams: parts.upstreams,
            session,
            store: deps.store,
            clock: deps.clock,
            assigner: deps.assigner,
            secrets: deps.secrets,
            pepper: deps.pepper,
            resolver: deps.resolver,
            identity: parts.tls.identity,
            upstream_tls: parts.tls.upstream,
            journal: parts.journal,
            control,
            live: Arc::new(Live::new(LiveConfig::from(&config))),
            access_log: parts.access_log,
            admin: OnceLock::new(),
            row_seq: AtomicU64::new(0),
            elders: RwLock::default(),
            leaving: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            config,
        }
    }

    pub fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Begins to shut down, or to drain in place; whether this began it.
    pub fn start_draining(&self) -> bool {
        self.draining.send_if_modified(|draining| !std::mem::replace(draining, true))
    }

    /// A successor accepts: connections are served on, but kept alive no longer.
    pub fn start_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether a connection must not be kept alive for another request.
    pub fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire) || self.draining()
    }

    pub fn elders(&self) -> Vec<EdgeSession> {
        self.elders.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_elders(&self, elders: Vec<EdgeSession>) {
        *self.elders.write().unwrap_or_else(PoisonError::into_inner) = elders;
    }

    pub fn drain_signal(&self) -> DrainSignal {
        DrainSignal(self.draining.subscribe())
    }

    /// Whether `address` is one of our own doors, or where operators ask how we are.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if self.admin.get() == Some(&SocketAddr::new(ip, address.port())) {
            return true;
        }
        let named = || self.live.get().own_hosts.iter().any(|h| h.parse::<IpAddr>().is_ok_and(|own| own == ip));
        self.listeners.any(|door| {
            let own = door.ip().to_canonical();
            door.port() == address.port() && (own == ip || (own.is_unspecified() && is_local(ip)) || named())
        })
    }

    /// Refuses a target that is the edge itself, as far as its name or address tells.
    ///
    /// # Errors
    /// `LOOP`.
    pub fn check_own(&self, target: &Target) -> Result<(), Refusal> {
        if self.live.get().own_hosts.is_empty() {
            return Ok(());
        }
        let host = match &target.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_canonical().to_string(),
        };
        let ours = self.live.get().own_hosts.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(&host));
        if ours && self.listeners.any(|door| door.port() == target.port) {
            return Err(Refusal::new(Code::Loop, "the target is this edge itself"));
        }
        Ok(())
    }

    /// Runs `future` on the control thread and waits for it.
    pub async fn on_control<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        match self.control.spawn(future).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::new(Code::EdgeDraining, "the edge is shutting down")),
        }
    }
}

/// Whether `ip` is an address of this machine: what is sent there is sent from there.
fn is_local(ip: IpAddr) -> bool {
    let any = if ip.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        // Nothing is sent: the system only says which way it would go.
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    ip.is_loopback() || source().is_ok_and(|from| from.ip() == ip)
}

/// A store that failed, as customers hear of it. The cause goes to the log, not to them.
pub(crate) fn store_refusal(e: &StoreError) -> Refusal {
    tracing::warn!(error = %e, "store call failed");
    Refusal::new(Code::StoreUnavailable, "the store did not answer")
}
