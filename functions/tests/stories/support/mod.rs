//! The rig that stories play on.

pub mod books;
pub mod door;
pub mod ports;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, RefusalWire};
use tollgate_domain::country::Country;
use tollgate_domain::customer::{AuthMode, Credential, Customer};
use tollgate_domain::id::{CustomerId, LineKey, ProviderId};
use tollgate_domain::line::Hold;
use tollgate_domain::money::Money;
use tollgate_domain::plan::Limits;
use tollgate_domain::provider::{BillingGrain, DueRule, Provider, ProviderType};
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_engine::{Engine, Faults};
use tollgate_functions::assign::assign;
use tollgate_functions::markets::ProviderMarkets;
use tollgate_functions::platform::{Bounds, Platform};
use tollgate_functions::reconcile::{Reconciled, reconcile};
use tollgate_functions::release_idle::{Swept, release_idle};
use tollgate_sandbox::{Sandbox, SandboxConfig};
use tollgate_store::Store;

use ports::{Collected, Deferrals, Hands, Vault};

/// What one address costs at the provider, in millionths of a dollar.
pub const PRICE: u64 = 4_000_000;

/// An engine, a provider, a clock that moves when told, and a healthy platform on them.
pub struct Rig {
    pub engine: Engine,
    pub sandbox: Sandbox,
    pub clock: Arc<Hands>,
    pub events: Arc<Collected>,
    pub later: Arc<Deferrals>,
    pub platform: Arc<Platform>,
}

/// Bounds that keep the product's proportions at a fraction of its times.
pub fn quick() -> Bounds {
    Bounds {
        assign: Duration::from_secs(20),
        purchase_call: Duration::from_secs(3),
        purchase_needs: Duration::from_millis(3200),
        pending_wait: Duration::from_millis(300),
        no_stock_memory: Duration::from_secs(60),
        provider_call: Duration::from_secs(3),
        live_wait: Duration::from_millis(300),
        edge_silence: Duration::from_millis(300),
        private_sources: false,
    }
}

impl Rig {
    /// With a provider row `brd` and the customer `demo`, who may do everything.
    pub async fn new() -> Self {
        let clock = Hands::at("2026-03-10T12:00:00Z");
        let config = SandboxConfig::new(clock.clone(), "sandbox_key".into(), "zone_password".into());
        let sandbox = Sandbox::start(config).await.unwrap();
        let engine = Engine::memory().unwrap();
        let store = Store::new(engine.client(), "");
        store.create_tables().await.unwrap();
        let (events, later) = (Arc::new(Collected::default()), Arc::new(Deferrals::default()));
        let secrets = Vault::with("brd/management", "sandbox_key");
        let platform = Platform {
            store,
            clock: clock.clone(),
            markets: Arc::new(ProviderMarkets::new(secrets.clone())),
            secrets,
            events: events.clone(),
            later: later.clone(),
            edge_endpoint: "127.0.0.1:3128".to_owned(),
            bounds: quick(),
        };
        let rig = Self { engine, sandbox, clock, events, later, platform: Arc::new(platform) };
        rig.provider(|_| {}).await;
        rig.customer("demo", Limits::default()).await;
        rig
    }

    /// The same ports over another client of the same tables.
    pub fn on(&self, client: Client) -> Arc<Platform> {
        self.with(client, self.platform.bounds)
    }

    /// The same ports over another client, with other bounds.
    pub fn with(&self, client: Client, bounds: Bounds) -> Arc<Platform> {
        let p = &self.platform;
        Arc::new(Platform {
            store: Store::new(client, ""),
            clock: p.clock.clone(),
            markets: p.markets.clone(),
            secrets: p.secrets.clone(),
            events: p.events.clone(),
            later: p.later.clone(),
            edge_endpoint: p.edge_endpoint.clone(),
            bounds,
        })
    }

    /// A platform whose store suffers `faults`.
    pub fn faulty(&self, faults: &Arc<Faults>) -> Arc<Platform> {
        self.on(self.engine.client_with(faults.clone()))
    }

    pub fn store(&self) -> &Store {
        &self.platform.store
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes the row of `brd` (or a row made from it).
    pub async fn provider(&self, edit: impl FnOnce(&mut Provider)) -> Provider {
        let mut row = Provider {
            id: brd(),
            name: "Bright Data".to_owned(),
            kind: ProviderType::BrightData,
            upstream: UpstreamKind::Exclusive,
            class: ProxyClass::Isp,
            api_url: format!("http://{}", self.sandbox.api_addr()),
            account: "c_sandbox".to_owned(),
            zone: "isp_sandbox".to_owned(),
            gateway_host: "127.0.0.1".to_owned(),
            gateway_port: self.sandbox.gateway_addr().port(),
            protocol: tollgate_domain::upstream::Scheme::Http,
            user_template: None,
            price: Money::usd_micros(PRICE),
            billing_grain: BillingGrain::Month,
            due_rule: DueRule::Strict,
            idle_ttl_s: 3600,
            spend_cap_day: None,
            active: true,
            health: 100,
            ver: 1,
            created_at: self.now(),
            updated_at: self.now(),
        };
        edit(&mut row);
        row.ver = self.store().provider(&row.id).await.unwrap().map_or(1, |p| p.ver + 1);
        assert!(self.store().put_provider(&row, self.now()).await.unwrap());
        row
    }

    /// Makes a customer with `limits`.
    pub async fn customer(&self, id: &str, limits: Limits) -> CustomerId {
        let customer = Customer {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            ver: 1,
            plan: "custom".to_owned(),
            plan_ver: 1,
            limits,
            default_country: None,
            allow_fallback: true,
            max_hops: 7,
            auth: AuthMode::Either,
            ban: None,
            locked_until: None,
            expires_at: None,
            kicked_at: None,
            deleted_at: None,
            created_at: self.now(),
        };
        let credential = Credential {
            user: customer.id.as_str().parse().unwrap(),
            customer: customer.id.clone(),
            version: 1,
            verifier: "unused".to_owned(),
            previous: None,
            created_at: self.now(),
        };
        self.store().create_customer(&customer, &credential, self.now()).await.unwrap();
        customer.id
    }

    pub async fn edit_customer(&self, id: &str, edit: impl Fn(&mut Customer) + Send + Sync) {
        self.store().change_customer(&id.parse().unwrap(), self.now(), edit).await.unwrap().unwrap();
    }

    /// Assigns on the healthy platform.
    pub async fn assign(&self, line: &str, country: &str) -> Result<Assignment, RefusalWire> {
        ask(&self.platform, line, country).await
    }

    /// As [`Rig::assign`], where a refusal fails the test.
    pub async fn bound(&self, line: &str, country: &str) -> Assignment {
        self.assign(line, country).await.unwrap()
    }

    pub async fn refused(&self, line: &str, country: &str) -> String {
        self.assign(line, country).await.unwrap_err().code
    }

    pub async fn close(&self, line: &str) -> tollgate_functions::close_line::Closed {
        tollgate_functions::close_line::close_line(&self.platform, &key(line), "test").await.unwrap()
    }

    pub async fn sweep(&self) -> Swept {
        release_idle(&self.platform).await.unwrap()
    }

    pub async fn reconcile(&self) -> Reconciled {
        reconcile(&self.platform, &brd()).await.unwrap()
    }

    /// Leaves `n` idle addresses in `country`: bought by hand, adopted.
    pub async fn idle(&self, country: &str, n: u32) {
        if n == 0 {
            return;
        }
        self.sandbox.set_stock(country, self.sandbox.stock(country) + n);
        assert_eq!(self.sandbox.buy_by_hand(country, n).len(), n as usize);
        assert_eq!(self.reconcile().await.adopted, n);
    }

    /// Addresses bought through the API, by the provider's own record of calls.
    pub fn purchases(&self) -> usize {
        self.sandbox.purchases().iter().map(|p| p.bought.len()).sum()
    }

    /// Purchase calls that reached the provider.
    pub fn calls(&self) -> usize {
        self.sandbox.purchases().len()
    }
}

pub fn brd() -> ProviderId {
    "brd".parse().unwrap()
}

pub fn cc(code: &str) -> Country {
    Country::parse(code).unwrap()
}

/// `customer#label`, or a label of `demo`.
pub fn key(line: &str) -> LineKey {
    if line.contains('#') { line.parse().unwrap() } else { format!("demo#{line}").parse().unwrap() }
}

/// A request of a program that names a country (empty: none) and closes its lines itself.
pub fn request(line: &str, country: &str) -> AssignRequest {
    let line = key(line);
    AssignRequest {
        customer: line.customer.clone(),
        line,
        country: (!country.is_empty()).then(|| cc(country)),
        class: None,
        hold: Hold::Closed,
        correlation_id: "test".to_owned(),
        lost: None,
    }
}

pub async fn ask(platform: &Platform, line: &str, country: &str) -> Result<Assignment, RefusalWire> {
    send(platform, request(line, country)).await
}

pub async fn send(platform: &Platform, request: AssignRequest) -> Result<Assignment, RefusalWire> {
    match Box::pin(assign(platform, request)).await {
        AssignReply::Bound { assignment } => Ok(*assignment),
        AssignReply::Refused { refusal } => Err(refusal),
    }
}

/// Whether the long forms of tests were asked for.
pub fn long() -> bool {
    std::env::var_os("TOLLGATE_LONG").is_some()
}
