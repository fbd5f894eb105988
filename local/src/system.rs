//! Everything: started in the order in which parts need each other, ended in the opposite one. In
//! one process, or with several edges beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tollgate_domain::time::Clock as _;
use tollgate_edge::Edge;
use tollgate_engine::Engine;
use tollgate_functions::markets::ProviderMarkets;
use tollgate_functions::passwords::{MASTER, PEPPER};
use tollgate_functions::platform::{Bounds, Platform};
use tollgate_sandbox::Sandbox;
use tollgate_store::Store;

use crate::args::Ports;
use crate::clock::JumpClock;
use crate::data_dir::DataDir;
use crate::edge_process::Place;
use crate::edges::{Around, Doors, Edges};
use crate::failure::Failure;
use crate::in_process::{LoggedEvents, Tasks};
use crate::listen::{listen, local_addr};
use crate::provider_rows::{self, Reach};
use crate::real_provider::RealProvider;
use crate::run_file::RunFile;
use crate::secrets::{ADMIN_KEY, CUSTOMER_KEY, SecretsFile, gateway, management};
use crate::seed::{self, Keys};
use crate::{http_api, schedules, simulator};

pub(crate) const DATABASE: &str = "dynamodb.sqlite";
const SIMULATED_NAME: &str = "Bright Data (SIMULATED)";
/// Requests to the APIs that have begun get this long.
const FINISHING: Duration = Duration::from_secs(5);

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
    /// How long the edge waits after a line's last tunnel; none = the product's. For an edge in
    /// this process.
    pub linger: Option<Duration>,
    /// How many edges run as processes of their own; none = one, in this process.
    pub edges: Option<u8>,
}

/// Where everything listens.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// The first edge's gateway.
    pub gateway: SocketAddr,
    /// Customer and admin APIs.
    pub api: SocketAddr,
    /// The first edge's health and metrics.
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
    /// The edges.
    pub edges: Edges,
    /// Where each edge listens, the first one first.
    pub places: Vec<Place>,
    /// The data directory, held until the end.
    pub dir: DataDir,
    /// Whether real addresses are bought.
    pub real: bool,
    run_file: Arc<RunFile>,
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
        let doors = Doors::open(&ports, settings.edges)?;
        let api_listener = listen(ports.api, "--api")?;

        let clock = Arc::new(JumpClock::default());
        let secrets = Arc::new(SecretsFile::open(&dir, &secret_names(), lent(settings.real.as_ref()))?);
        let engine = Engine::open(dir.join(DATABASE)).map_err(|e| Failure::part("the embedded database", e))?;
        let sandbox = simulator::start(&dir, &ports, &clock, &secrets, settings.price).await?;
        let store = Store::new(engine.client(), "");
        store.create_tables().await.map_err(|e| Failure::part("the store", e))?;
        providers(&store, &sandbox, &settings, &clock).await?;

        let places = doors.places();
        let Some(first) = places.first() else { unreachable!("at least one edge is asked for") };
        let platform = Arc::new_cyclic(|whole| Platform {
            store: store.clone(),
            clock: Arc::clone(&clock) as _,
            markets: Arc::new(ProviderMarkets::new(Arc::clone(&secrets) as _)),
            secrets: Arc::clone(&secrets) as _,
            events: Arc::new(LoggedEvents),
            later: Arc::new(Tasks::new(whole.clone(), Arc::clone(&clock))),
            edge_endpoint: first.gateway.to_string(),
            // Everybody who can reach this run comes from loopback.
            bounds: Bounds { private_sources: true, ..Bounds::default() },
        });
        let keys = seed::accounts(&platform, &secrets).await?;
        let at = Addresses {
            gateway: first.gateway,
            api: local_addr(&api_listener)?,
            edge_admin: first.admin,
            sandbox_api: sandbox.api_addr(),
            sandbox_gateway: sandbox.gateway_addr(),
        };

        let run_file = Arc::new(RunFile::new(&dir, at.clone(), &places));
        let around = Around {
            dir: &dir,
            linger: settings.linger,
            engine: &engine,
            platform: &platform,
            secrets: &secrets,
            run_file: &run_file,
        };
        let edges = doors.start(&around).await?;
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
            edges,
            places,
            dir,
            real: settings.real.is_some(),
            run_file,
            schedules,
            api,
            api_end,
        };
        system.run_file.publish()?;
        Ok(system)
    }

    /// The edge, if it runs in this process.
    #[must_use]
    pub fn edge(&self) -> Option<&Edge> {
        match &self.edges {
            Edges::Here(edge) => Some(edge),
            Edges::Processes(..) => None,
        }
    }

    /// Drains the edges, so that every byte is settled, then ends the rest.
    ///
    /// # Errors
    /// An edge that could not settle all it had counted; its journal keeps the rest.
    pub async fn shutdown(mut self) -> Result<(), Failure> {
        let drained = self.edges.drain().await;
        self.schedules.shutdown().await;
        // Who holds a connection open must not hold up the end.
        let _ = self.api_end.send(());
        if tokio::time::timeout(FINISHING, &mut self.api).await.is_err() {
            self.api.abort();
        }
        self.sandbox.shutdown().await;
        self.run_file.remove();
        drained
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
