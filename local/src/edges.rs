//! The edges of a run: one in this process, or several as processes of their own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tollgate_domain::id::EdgeId;
use tollgate_edge::{Edge, EdgeConfig, EdgeDeps, SystemResolver};
use tollgate_engine::Engine;
use tollgate_functions::passwords::PEPPER;
use tollgate_functions::platform::Platform;

use crate::args::Ports;
use crate::data_dir::DataDir;
use crate::edge_process::{Place, Shared};
use crate::failure::Failure;
use crate::fleet::{self, Fleet, Reserved};
use crate::in_process::AssignHere;
use crate::listen::{listen, local_addr};
use crate::run_file::RunFile;
use crate::secrets::{SecretsFile, random};
use crate::seed::fixed;
use crate::{front, http_api};

/// Name and folder of the edge in this process; folder of those that have their own.
const EDGE: &str = "local";
const EDGE_DIR: &str = "edge";
const EDGES_DIR: &str = "edges";
/// Tunnels get this long to end by themselves.
const DRAIN: Duration = Duration::from_secs(5);
/// The simulated super-proxy listens on loopback; everything else special stays refused.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Where edges will listen: held from the beginning.
pub enum Doors {
    /// Of one edge in this process.
    Here {
        /// Its gateway.
        gateway: TcpListener,
        /// Its health and metrics.
        admin: TcpListener,
        /// Where both are.
        place: Place,
    },
    /// Of several processes.
    Processes(Reserved),
}

/// What edges are started with.
pub struct Around<'a> {
    /// The data directory.
    pub dir: &'a DataDir,
    /// How long an edge in this process waits after a line's last tunnel; none = the product's.
    pub linger: Option<Duration>,
    /// The embedded database.
    pub engine: &'a Engine,
    /// What the stories run on.
    pub platform: &'a Arc<Platform>,
    /// Secrets.
    pub secrets: &'a Arc<SecretsFile>,
    /// Where it is written which process is which.
    pub run_file: &'a Arc<RunFile>,
}

/// Running edges.
pub enum Edges {
    /// One, in this process.
    Here(Box<Edge>),
    /// Several, each a process, and what they reach this one by.
    Processes(Fleet, [JoinHandle<()>; 2]),
}

impl Doors {
    /// Listens for `count` edges as processes, or for one in this process.
    ///
    /// # Errors
    /// A port that is taken.
    pub fn open(ports: &Ports, count: Option<u8>) -> Result<Self, Failure> {
        if let Some(count) = count {
            return Ok(Self::Processes(fleet::reserve(ports, count)?));
        }
        let gateway = listen(ports.gateway, "--gateway")?;
        let admin = listen(ports.edge_admin, "--edge-admin")?;
        let place = Place { id: fixed(EdgeId::new(EDGE)), gateway: local_addr(&gateway)?, admin: local_addr(&admin)? };
        Ok(Self::Here { gateway, admin, place })
    }

    /// Where each edge will listen, the first one first.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        match self {
            Self::Here { place, .. } => vec![place.clone()],
            Self::Processes(reserved) => reserved.places.clone(),
        }
    }

    /// Starts the edges; when this returns, all of them serve.
    ///
    /// # Errors
    /// An edge that does not serve; then none is left.
    pub async fn start(self, around: &Around<'_>) -> Result<Edges, Failure> {
        match self {
            Self::Here { gateway, admin, place } => {
                around.run_file.started(&place.id, Some(std::process::id()));
                Ok(Edges::Here(Box::new(here(around, place.id, gateway, admin).await?)))
            }
            Self::Processes(reserved) => processes(around, reserved).await,
        }
    }
}

impl Edges {
    /// Drains the edges, so that every byte is settled.
    ///
    /// # Errors
    /// An edge that could not settle all it had counted; its journal keeps the rest.
    pub async fn drain(self) -> Result<(), Failure> {
        match self {
            Self::Here(edge) => edge.drain(DRAIN).await.map_err(|e| Failure::part("the edge", e)),
            Self::Processes(fleet, reached_by) => {
                let ended = fleet.stop().await;
                reached_by.iter().for_each(JoinHandle::abort);
                ended
            }
        }
    }
}

async fn here(around: &Around<'_>, id: EdgeId, gateway: TcpListener, admin: TcpListener) -> Result<Edge, Failure> {
    let mut config = EdgeConfig::new(id, around.dir.join(EDGE_DIR));
    config.dial_allow = LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect();
    config.access_log.path = Some(config.data_dir.join("access.log"));
    config.linger = around.linger.unwrap_or(config.linger);
    let deps = EdgeDeps {
        store: around.platform.store.clone(),
        clock: Arc::clone(&around.platform.clock),
        resolver: Arc::new(SystemResolver),
        assigner: Arc::new(AssignHere::new(Arc::clone(around.platform))),
        secrets: Arc::clone(around.secrets) as _,
        pepper: around.secrets.need(PEPPER)?,
    };
    Edge::start(config, deps, gateway, admin).await.map_err(|e| Failure::part("the edge", e))
}

/// What the processes reach this one by, the database and the functions, is on loopback and behind
/// a key of this run.
async fn processes(around: &Around<'_>, reserved: Reserved) -> Result<Edges, Failure> {
    let key = random("")?;
    let (database, database_at) = loopback().await?;
    let (functions, front_at) = loopback().await?;
    let router = front::router(around.platform, around.secrets, key.clone());
    let served = tokio::spawn(async move {
        // It ends with the run: who asks until then are its own edges.
        let _ = http_api::serve(functions, router, std::future::pending()).await;
    });
    let reached_by = [around.engine.serve_with_key(database, key.clone()), served];
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let shared = Shared {
        key,
        database: database_at,
        front: front_at,
        data_dir: around.dir.join(EDGES_DIR),
        workers: (processors / reserved.places.len().max(1)).max(1),
        dial_allow: LOOPBACK.join(","),
        drain: DRAIN,
        log: std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
    };
    match Fleet::start(reserved, shared, Arc::clone(around.run_file)).await {
        Ok(fleet) => Ok(Edges::Processes(fleet, reached_by)),
        Err(e) => {
            reached_by.iter().for_each(JoinHandle::abort);
            Err(e)
        }
    }
}

async fn loopback() -> Result<(tokio::net::TcpListener, SocketAddr), Failure> {
    let failed = |e: std::io::Error| Failure::part("a listener", e);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    Ok((listener, at))
}
