//! Everything in one process: started in the order in which parts need each other, ended in the
//! opposite one.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tollgate_domain::id::EdgeId;
use tollgate_domain::time::Clock as _;
use tollgate_edge::{Edge, EdgeConfig, EdgeDeps, SystemResolver};
use tollgate_engine::Engine;
use tollgate_functions::markets::ProviderMarkets;
use tollgate_functions::passwords::{MASTER, PEPPER};
use tollgate_functions::platform::{Bounds, Platform};
use tollgate_sandbox::Sandbox;
use tollgate_store::Store;

use crate::args::Ports;
use crate::banner::RunFile;
use crate::clock::JumpClock;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::in_process::{AssignHere, LoggedEvents, Tasks};
use crate::listen::listen;
use crate::provider_rows::{self, Reach};
use crate::real_provider::RealProvider;
use crate::secrets::{ADMIN_KEY, CUSTOMER_KEY, SecretsFile, gateway, management};
use crate::seed::{self, Keys};
use crate::{http_api, schedules, simulator};

pub(crate) const DATABASE: &str = "dynamodb.sqlite";
const EDGE_DIR: &str = "edge";
const RUN_FILE: &str = "run.json";
const EDGE: &str = "local";
const SIMULATED_NAME: &str = "Bright Data (SIMULATED)";
/// Tunnels get this long to end by themselves.
const DRAIN: Duration = Duration::from_secs(5);

/// What a run is told.
pub struct Settings {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whether to begin with an empty one.
    pub reset: bool,
    /// Where to listen.
    pub ports: Ports,
    /// Credentials of the real provider.
    pub real: Option<RealProvider>,
    /// Price of one address at the simulator, in micro-dollars; none = as it is.
    pub price: Option<u64>,
    /// How long the edge waits after a line's last tunnel; none = the product's.
    pub linger: Option<Duration>,
}

/// Where everything listens.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// The edge's gateway.
    pub gateway: SocketAddr,
    /// Customer and admin APIs.
    pub api: SocketAddr,
    /// The edge's health and metrics.
    pub edge_admin: SocketAddr,
    /// The simulated management API.
    pub sandbox_api: SocketAddr,
    /// The simulated super-proxy.
    pub sandbox_gateway: SocketAddr,
}

/// A running system.
pub struct System {
    /// Where everything listens.
    pub at: Addresses,
    /// Keys of the seeded accounts.
    pub keys: Keys,
    /// The wall clock of all parts.
    pub clock: Arc<JumpClock>,
    /// What the stories run on.
    pub platform: Arc<Platform>,
    /// The simulated provider.
    pub sandbox: Sandbox,
    /// The edge.
    pub edge: Edge,
    /// The data directory, held until the end.
    pub dir: DataDir,
    /// Whether real addresses are bought.
    pub real: bool,
    schedules: JoinSet<()>,
    api: JoinHandle<std::io::Result<()>>,
    api_end: oneshot::Sender<()>,
}

impl System {
    /// Starts everything; when this returns, every address answers.
    ///
    /// # Errors
    /// The first part that does not start, in words for people. Nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, Failure> {
        let dir = DataDir::open(&settings.data_dir, settings.reset)?;
        // Ports first: who finds one taken has changed nothing yet.
        let ports = settings.ports;
        let gateway_listener = listen(ports.gateway, "--gateway")?;
        let api_listener = listen(ports.api, "--api")?;
        let admin_listener = listen(ports.edge_admin, "--edge-admin")?;

        let clock = Arc::new(JumpClock::default());
        let secrets = Arc::new(SecretsFile::open(&dir, &secret_names(), lent(settings.real.as_ref()))?);
        let engine = Engine::open(dir.join(DATABASE)).map_err(|e| Failure::part("the embedded database", e))?;
        let sandbox = simulator::start(&dir, &ports, &clock, &secrets, settings.price).await?;
        let store = Store::new(engine.client(), "");
        store.create_tables().await.map_err(|e| Failure::part("the store", e))?;
        providers(&store, &sandbox, &settings, &clock).await?;

        let edge_endpoint = local_addr(&gateway_listener)?.to_string();
        let platform = Arc::new_cyclic(|whole| Platform {
            store: store.clone(),
            clock: Arc::clone(&clock) as _,
            markets: Arc::new(ProviderMarkets::new(Arc::clone(&secrets) as _)),
            secrets: Arc::clone(&secrets) as _,
            events: Arc::new(LoggedEvents),
            later: Arc::new(Tasks::new(whole.clone(), Arc::clone(&clock))),
            edge_endpoint,
            // Everybody who can reach this run comes from loopback.
            bounds: Bounds { private_sources: true, ..Bounds::default() },
        });
        let keys = seed::accounts(&platform, &secrets).await?;
        let at = Addresses {
            gateway: local_addr(&gateway_listener)?,
            api: local_addr(&api_listener)?,
            edge_admin: local_addr(&admin_listener)?,
            sandbox_api: sandbox.api_addr(),
            sandbox_gateway: sandbox.gateway_addr(),
        };

        let edge = start_edge(&dir, &settings, &platform, &secrets, gateway_listener, admin_listener).await?;
        let api_listener =
            tokio::net::TcpListener::from_std(api_listener).map_err(|e| Failure::part("a listener", e))?;
        let (api_end, ended) = oneshot::channel();
        let router = http_api::router(&platform);
        let api = tokio::spawn(http_api::serve(api_listener, router, async move {
            let _ = ended.await;
        }));
        let schedules = schedules::start(&platform, &clock, &engine);
        let system = Self {
            at,
            keys,
            clock,
            platform,
            sandbox,
            edge,
            dir,
            real: settings.real.is_some(),
            schedules,
            api,
            api_end,
        };
        system.write_run_file()?;
        Ok(system)
    }

    fn write_run_file(&self) -> Result<(), Failure> {
        let origin_ca = self.dir.join(simulator::CA);
        let run = RunFile { pid: std::process::id(), at: &self.at, origin_ca: &origin_ca };
        let text = serde_json::to_vec_pretty(&run).map_err(|e| Failure::part(RUN_FILE, e))?;
        self.dir.replace(RUN_FILE, &text)
    }

    /// Drains the edge, so that every byte is settled, then ends the rest.
    ///
    /// # Errors
    /// An edge that could not settle all it had counted; its journal keeps the rest.
    pub async fn shutdown(mut self) -> Result<(), Failure> {
        let drained = self.edge.drain(DRAIN).await.map_err(|e| Failure::part("the edge", e));
        self.schedules.shutdown().await;
        // Who holds a connection open must not hold up the end.
        let _ = self.api_end.send(());
        if tokio::time::timeout(DRAIN, &mut self.api).await.is_err() {
            self.api.abort();
        }
        self.sandbox.shutdown().await;
        let _ = std::fs::remove_file(self.dir.join(RUN_FILE));
        drained.map(drop)
    }
}

/// Secrets that every installation has, with the prefix that tells people what they look at.
fn secret_names() -> Vec<(String, &'static str)> {
    let brd = provider_rows::simulated();
    vec![
        (MASTER.to_owned(), ""),
        (PEPPER.to_owned(), ""),
        (ADMIN_KEY.to_owned(), "tga_"),
        (CUSTOMER_KEY.to_owned(), "tgc_"),
        (management(&brd), ""),
        (gateway(&brd), ""),
    ]
}

fn lent(real: Option<&RealProvider>) -> BTreeMap<String, secrecy::SecretString> {
    let id = provider_rows::real();
    let both = real.map(|p| [(management(&id), p.api_key.clone()), (gateway(&id), p.zone_password.clone())]);
    both.into_iter().flatten().collect()
}

async fn providers(store: &Store, sandbox: &Sandbox, settings: &Settings, clock: &JumpClock) -> Result<(), Failure> {
    let now = clock.now();
    let reach = Reach::simulated(sandbox.api_addr(), sandbox.gateway_addr());
    provider_rows::write(store, &provider_rows::simulated(), SIMULATED_NAME, &reach, settings.price, now).await?;
    match &settings.real {
        Some(real) => {
            // An idle simulated address would be handed to somebody who asked for a real one.
            if let n @ 1.. = provider_rows::held(store, &provider_rows::simulated()).await? {
                let why = format!("USE_PROXY=true, but the data directory holds {n} simulated address(es)");
                return Err(Failure::Environment(format!("{why}: name another one with --data-dir, or use --reset")));
            }
            provider_rows::retire(store, &provider_rows::simulated(), now).await?;
            provider_rows::write(store, &provider_rows::real(), "Bright Data", &Reach::real(real), None, now).await
        }
        None => {
            if let n @ 1.. = provider_rows::held(store, &provider_rows::real()).await? {
                tracing::warn!(
                    addresses = n,
                    "real addresses are held, and cost money: without USE_PROXY=true and credentials they are not given back"
                );
            }
            provider_rows::retire(store, &provider_rows::real(), now).await
        }
    }
}

async fn start_edge(
    dir: &DataDir,
    settings: &Settings,
    platform: &Arc<Platform>,
    secrets: &Arc<SecretsFile>,
    gateway: TcpListener,
    admin: TcpListener,
) -> Result<Edge, Failure> {
    let mut config = EdgeConfig::new(edge_id(), dir.join(EDGE_DIR));
    // The simulated super-proxy listens on loopback; everything else special stays refused.
    config.dial_allow = LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect();
    config.access_log.path = Some(config.data_dir.join("access.log"));
    config.linger = settings.linger.unwrap_or(config.linger);
    let deps = EdgeDeps {
        store: platform.store.clone(),
        clock: Arc::clone(&platform.clock),
        resolver: Arc::new(SystemResolver),
        assigner: Arc::new(AssignHere::new(Arc::clone(platform))),
        secrets: Arc::clone(secrets) as _,
        pepper: secrets.need(PEPPER)?,
    };
    Edge::start(config, deps, gateway, admin).await.map_err(|e| Failure::part("the edge", e))
}

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

fn edge_id() -> EdgeId {
    match EdgeId::new(EDGE) {
        Ok(id) => id,
        Err(e) => unreachable!("{e}"),
    }
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|e| Failure::part("a listener", e))
}
