//! The running sandbox: start, look inside, change its mood, stop.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tollgate_domain::time::Timestamp;

use crate::bytes::{ByteCount, ByteRow};
use crate::config::SandboxConfig;
use crate::dialect::{Dialects, ShortStock};
use crate::fault::Faults;
use crate::gateway::control::GatewayControl;
use crate::gateway::names::Names;
use crate::ledger::LedgerRow;
use crate::origin::Origin;
use crate::origin::tls::OriginIdentity;
use crate::shared::{Shared, load};
use crate::zone::{PurchaseCall, Zone};
use crate::{api, gateway, lock, origin};

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A listener could not be bound.
    #[error("cannot listen on {addr} ({what}): {source}")]
    Bind {
        /// Which listener.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A listener would be reachable from outside.
    #[error("{0} is not a loopback address: a sandbox listens on loopback only")]
    NotLoopback(SocketAddr),
    /// A value of the configuration makes no sense.
    #[error("sandbox configuration: {0}")]
    Config(String),
    /// The state file cannot be read.
    #[error("cannot read the sandbox state {path}: {source}")]
    State {
        /// Its path.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The origin's certificate could not be made.
    #[error("cannot make the origin's certificate: {0}")]
    Tls(String),
}

/// A running sandbox. Dropping it stops its listeners and closes its connections.
pub struct Sandbox {
    shared: Arc<Shared>,
    listeners: JoinSet<()>,
    api_addr: SocketAddr,
    gateway_addr: SocketAddr,
    origin_http_addr: SocketAddr,
    origin_https_addr: SocketAddr,
    origin_ca_pem: String,
}

/// Its addresses alone.
impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("api", &self.api_addr)
            .field("gateway", &self.gateway_addr)
            .field("origin_http", &self.origin_http_addr)
            .field("origin_https", &self.origin_https_addr)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Binds all listeners and serves. With a state file that exists, stock, price, held addresses
    /// and ledger come from there.
    ///
    /// # Errors
    /// An address that is taken or not loopback, a configuration that makes no sense, a state file
    /// that cannot be read.
    pub async fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        check(&config)?;
        let identity = OriginIdentity::generate().map_err(SandboxError::Tls)?;
        let bind = config.bind;
        let (api_listener, api_addr) = listen("management API", bind.api).await?;
        let (gateway_listener, gateway_addr) = listen("super-proxy", bind.gateway).await?;
        let (http, origin_http_addr) = listen("origin", bind.origin_http).await?;
        let (https, origin_https_addr) = listen("origin with TLS", bind.origin_https).await?;

        let zone = restored_zone(&config)?;
        let names = Names::new(&config.names, origin_http_addr, origin_https_addr);
        let shared = Arc::new(Shared::new(config, zone, names));
        let mut listeners = JoinSet::new();
        listeners.spawn(api::run(Arc::clone(&shared), api_listener));
        listeners.spawn(gateway::run(Arc::clone(&shared), gateway_listener, gateway_addr));
        let origin = Origin::new(shared.exits.clone());
        listeners.spawn(origin::run_plain(origin.clone(), http));
        listeners.spawn(origin::run_tls(origin, https, identity.acceptor));
        let origin_ca_pem = identity.ca_pem;
        Ok(Self { shared, listeners, api_addr, gateway_addr, origin_http_addr, origin_https_addr, origin_ca_pem })
    }

    /// Where the management API and `/sandbox/*` listen (plain HTTP).
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where the super-proxy listens.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        self.gateway_addr
    }

    /// Where the plain origin listens (reached as `origin.test:80` through the super-proxy).
    #[must_use]
    pub fn origin_http_addr(&self) -> SocketAddr {
        self.origin_http_addr
    }

    /// Where the origin with TLS listens (reached as `origin.test:443` through the super-proxy).
    #[must_use]
    pub fn origin_https_addr(&self) -> SocketAddr {
        self.origin_https_addr
    }

    /// The certificate authority that signed the origin's certificate, PEM. New at each start.
    #[must_use]
    pub fn origin_ca_pem(&self) -> &str {
        &self.origin_ca_pem
    }

    /// The faults that management calls will suffer.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The super-proxy's mood.
    #[must_use]
    pub fn gateway(&self) -> &GatewayControl {
        &self.shared.gateway
    }

    /// How the undocumented corners answer.
    #[must_use]
    pub fn dialects(&self) -> Dialects {
        self.shared.dialects()
    }

    /// Changes how they answer, from the next call on.
    pub fn set_dialects(&self, dialects: Dialects) {
        *lock(&self.shared.dialects) = dialects;
    }

    /// Puts `count` addresses of `country` (lower case) up for sale, in place of what was.
    pub fn set_stock(&self, country: &str, count: u32) {
        self.shared.change(|z| z.set_stock(country, count));
    }

    /// Addresses of `country` for sale.
    #[must_use]
    pub fn stock(&self, country: &str) -> u32 {
        self.shared.read(|z| z.stock_of(country))
    }

    /// Buys `count` addresses as somebody would by hand, past the API: charged, on no record of
    /// purchase calls. Fewer, if stock is short.
    #[must_use]
    pub fn buy_by_hand(&self, country: &str, count: u32) -> Vec<Ipv4Addr> {
        let dialects = Dialects { short_stock: ShortStock::Partial, ..self.dialects() };
        let now = self.shared.now();
        self.shared.change(|z| z.buy(Some(country), count, &dialects, None, now))
    }

    /// Takes an address out of the zone as the provider does on its own (suspension, replacement).
    /// False if the zone does not hold it.
    pub fn take_away(&self, ip: Ipv4Addr) -> bool {
        let now = self.shared.now();
        self.shared.change(|z| z.release(ip, now))
    }

    /// The price of purchases and renewals from now on, in millionths of a US dollar.
    pub fn set_price(&self, micros: u64) {
        let now = self.shared.now();
        self.shared.change(|z| z.ledger().set_price(micros, now));
    }

    /// Lets the super-proxy resolve `name:port` to `addr`.
    pub fn map_name(&self, name_and_port: &str, addr: SocketAddr) {
        self.shared.names.map(name_and_port, addr);
    }

    /// The addresses the zone holds, each with its country, whatever listings show.
    #[must_use]
    pub fn held(&self) -> Vec<(Ipv4Addr, String)> {
        let with_country = |z: &mut Zone| {
            let ips = z.held_in(None).into_iter();
            ips.map(|ip| (ip, z.country_of(ip).unwrap_or_default().to_owned())).collect()
        };
        self.shared.read(with_country)
    }

    /// The money ledger with all renewals due at `now`, oldest purchase first. Renewals that a
    /// call at a later instant has charged already stay in it.
    #[must_use]
    pub fn ledger(&self, now: Timestamp) -> Vec<LedgerRow> {
        self.shared.read(|z| {
            z.ledger().bring_up_to(now);
            z.ledger().rows().to_vec()
        })
    }

    /// All that was charged up to the clock's now, in millionths of a US dollar.
    #[must_use]
    pub fn total_charged(&self) -> u64 {
        let now = self.shared.now();
        self.shared.read(|z| {
            z.ledger().bring_up_to(now);
            z.ledger().total()
        })
    }

    /// Every purchase call so far, oldest first.
    #[must_use]
    pub fn purchases(&self) -> Vec<PurchaseCall> {
        self.shared.read(|z| z.purchases().to_vec())
    }

    /// The super-proxy's byte counters. CONNECT: what followed the 200, either way. Absolute-form:
    /// the request as received and the response as sent, heads included. Refusals count nothing.
    #[must_use]
    pub fn bytes(&self) -> Vec<ByteRow> {
        self.shared.bytes.rows()
    }

    /// Bytes of one full user name.
    #[must_use]
    pub fn bytes_of_user(&self, user: &str) -> ByteCount {
        self.sum(|r| r.user == user)
    }

    /// Bytes through one exit address.
    #[must_use]
    pub fn bytes_of_ip(&self, ip: Ipv4Addr) -> ByteCount {
        self.sum(|r| r.ip == ip)
    }

    /// All bytes.
    #[must_use]
    pub fn total_bytes(&self) -> ByteCount {
        self.sum(|_| true)
    }

    fn sum(&self, wanted: impl Fn(&ByteRow) -> bool) -> ByteCount {
        let mut sum = ByteCount::default();
        for row in self.bytes().iter().filter(|r| wanted(r)) {
            sum.up += row.bytes.up;
            sum.down += row.bytes.down;
        }
        sum
    }

    /// Stops listening and closes every connection; the ports are free when this returns.
    pub async fn shutdown(mut self) {
        self.listeners.shutdown().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // These tasks hold the state that holds them: without this they would live to their end.
        lock(&self.shared.background).abort_all();
    }
}

async fn listen(what: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    if !addr.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(addr));
    }
    let bind = async {
        let listener = TcpListener::bind(addr).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind.await.map_err(|source| SandboxError::Bind { what, addr, source })
}

fn check(config: &SandboxConfig) -> Result<(), SandboxError> {
    let wrong = |text: String| Err(SandboxError::Config(text));
    for country in config.stock.keys() {
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_lowercase()) {
            return wrong(format!("stock is per lower-case country code, not {country:?}"));
        }
    }
    for (what, name) in [("account", &config.account), ("zone", &config.zone)] {
        if name.is_empty() || name.contains(['-', ':']) || !name.is_ascii() {
            return wrong(format!("{what} {name:?} would not survive the user-name grammar"));
        }
    }
    if config.api_key.expose_secret().is_empty() || config.zone_password.expose_secret().is_empty() {
        return wrong("keys and passwords are not empty".to_owned());
    }
    Ok(())
}

fn restored_zone(config: &SandboxConfig) -> Result<Zone, SandboxError> {
    let period = config.billing.duration();
    let fresh = || Zone::new(config.stock.clone(), config.price_micros, period);
    let Some(path) = &config.state_file else { return Ok(fresh()) };
    let kept = load(path).map_err(|source| SandboxError::State { path: path.clone(), source })?;
    let mut zone = kept.unwrap_or_else(fresh);
    zone.ledger().set_period(period);
    Ok(zone)
}
