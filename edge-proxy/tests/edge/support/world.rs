//! A store with one customer, an upstream, and an edge between them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use tempfile::TempDir;
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, AssignmentState, RefusalWire};
use tollgate_domain::budget::{Allowance, Bucket};
use tollgate_domain::country::Country;
use tollgate_domain::customer::{AuthMode, Ban, Credential, Customer};
use tollgate_domain::id::{CustomerId, ProviderId, ProxyId};
use tollgate_domain::money::Money;
use tollgate_domain::plan::Limits;
use tollgate_domain::provider::{BillingGrain, DueRule, Provider, ProviderType};
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::refusal::Refusal;
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_domain::upstream::Scheme;
use tollgate_domain::username::Session;
use tollgate_edge::takeover::{ListenerKind, NamedListener};
use tollgate_edge::{
    Assigner, AssignerError, BoxFuture, Edge, EdgeConfig, EdgeDeps, GatewaySecrets, SecretError, StartError,
};
use tollgate_engine::Engine;
use tollgate_store::Store;
use tollgate_store::allowance::Grant;
use tollgate_store::days::{DAY_SHARDS, MarkedDay};
use tollgate_store::usage::DayUsage;

use super::Upstream;
use super::resolver::TestResolver;

pub const PASSWORD: &str = "demo-password";
pub const PEPPER: &str = "pepper";
/// 2024-02-29T12:00:00Z
pub const NOON: Timestamp = Timestamp::from_secs(1_709_208_000);

/// A wall clock that tests move.
pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn jump(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::AcqRel);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Acquire))
    }
}

/// Gives every line an address of its own, or a refusal. Sessions use what line `a` has.
#[derive(Default)]
pub struct TestAssigner {
    pub asked: Mutex<Vec<AssignRequest>>,
    pub refusal: Mutex<Option<Refusal>>,
    /// Whether each line's address is sold by a provider that is called as the line is.
    pub by_line: AtomicBool,
}

impl Assigner for TestAssigner {
    fn assign(&self, req: AssignRequest) -> BoxFuture<'_, Result<AssignReply, AssignerError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(req.clone());
            if let Some(refusal) = self.refusal.lock().unwrap().as_ref() {
                return Ok(AssignReply::Refused { refusal: RefusalWire::from(refusal) });
            }
            let mut bound = assignment(&req);
            if let Some(proxy) = bound.proxy.as_mut().filter(|_| self.by_line.load(Ordering::Acquire)) {
                proxy.provider = req.line.label.as_str().parse().unwrap();
            }
            Ok(AssignReply::Bound { assignment: Box::new(bound) })
        })
    }
}

pub fn assignment(req: &AssignRequest) -> Assignment {
    let be = Country::parse("be").unwrap();
    let mut line = req.line.clone();
    if Session::from_label(&line.label).is_some() {
        line.label = "a".parse().unwrap();
    }
    serde_json::from_value(serde_json::json!({
        "line": line, "state": AssignmentState::Bound, "attempt": "a1", "until": 0, "ver": 1,
        "requested": req.country.unwrap_or(be), "class": req.class.unwrap_or(ProxyClass::Isp),
        "country": "nl", "proxy": ProxyId { provider: "brd".parse().unwrap(), ip: "203.0.113.7".into() },
        "kind": UpstreamKind::Exclusive, "since": 0,
    }))
    .unwrap()
}

struct TestSecrets;

impl GatewaySecrets for TestSecrets {
    fn gateway(&self, _: &ProviderId) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        Box::pin(async { Ok("zone-password".to_owned().into()) })
    }
}

/// See the module.
pub struct World {
    pub engine: Engine,
    pub store: Store,
    pub clock: Arc<TestClock>,
    pub assigner: Arc<TestAssigner>,
    pub resolver: Arc<TestResolver>,
    pub upstream: Upstream,
    pub dir: TempDir,
    pub config: EdgeConfig,
}

pub fn verifier(password: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(PEPPER.as_bytes()).unwrap();
    mac.update(password.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

impl World {
    /// A customer `demo` with `quota` bytes and these limits.
    pub async fn new(quota: u64, limits: Limits) -> Self {
        Self::with_provider(quota, limits, |_| {}).await
    }

    /// The same, with another provider.
    pub async fn with_provider(quota: u64, limits: Limits, change: impl FnOnce(&mut Provider)) -> Self {
        let engine = Engine::memory().unwrap();
        let store = Store::new(engine.client(), "t-");
        store.create_tables().await.unwrap();
        let upstream = Upstream::start().await;
        let dir = TempDir::new().unwrap();
        let mut config = EdgeConfig::new("edge1".parse().unwrap(), dir.path());
        config.workers = 2;
        config.linger = Duration::from_millis(100);
        config.feed_interval = Duration::from_millis(100);
        config.lease_slots = 64;
        config.usage_slots = 256;
        config.dial_allow = vec!["127.0.0.0/8".parse().unwrap()];
        let clock = Arc::new(TestClock(AtomicU64::new(NOON.as_millis())));
        let (assigner, resolver) = (Arc::default(), Arc::default());
        let world = Self { engine, store, clock, assigner, resolver, upstream, dir, config };
        let credential = Credential {
            user: "demo".parse().unwrap(),
            customer: demo(),
            version: 1,
            verifier: verifier(PASSWORD),
            previous: None,
            created_at: NOON,
        };
        world.store.create_customer(&customer(limits), &credential, NOON).await.unwrap();
        let mut provider = provider(world.upstream.addr);
        change(&mut provider);
        assert!(world.store.put_provider(&provider, NOON).await.unwrap());
        if quota > 0 {
            world.grant("plan", &plan_bucket(), quota).await;
        }
        world
    }

    pub async fn grant(&self, source: &str, bucket: &Bucket, bytes: u64) {
        let grant = Grant {
            source: source.into(),
            bytes,
            plan_ver: 1,
            spend_from: NOON.month_start(),
            spend_until: NOON.next_month_start(),
        };
        assert!(self.store.grant(&demo(), bucket, &grant, self.clock.now()).await.unwrap());
    }

    /// One more customer, with `quota` bytes and a login of its own name and [`PASSWORD`].
    pub async fn another(&self, name: &str, quota: u64, limits: Limits) {
        let id: CustomerId = name.parse().unwrap();
        let credential = Credential {
            user: name.parse().unwrap(),
            customer: id.clone(),
            version: 1,
            verifier: verifier(PASSWORD),
            previous: None,
            created_at: NOON,
        };
        let row = Customer { id: id.clone(), ..customer(limits) };
        self.store.create_customer(&row, &credential, NOON).await.unwrap();
        let grant = Grant {
            source: "plan".into(),
            bytes: quota,
            plan_ver: 1,
            spend_from: NOON.month_start(),
            spend_until: NOON.next_month_start(),
        };
        assert!(self.store.grant(&id, &plan_bucket(), &grant, NOON).await.unwrap());
    }

    /// A bucket that the machine's own clock may spend from.
    pub async fn grant_for_today(&self) {
        let now = tollgate_store::SystemClock.now();
        let grant = Grant {
            source: "today".into(),
            bytes: 1 << 20,
            plan_ver: 1,
            spend_from: now.month_start(),
            spend_until: now.next_month_start(),
        };
        let bucket = Bucket::Plan { start: now.month_start() };
        assert!(self.store.grant(&demo(), &bucket, &grant, now).await.unwrap());
    }

    pub async fn start(&self) -> Edge {
        self.try_start(self.store.clone()).await.unwrap()
    }

    /// Starts an edge that has a listener for TLS alone; where that is.
    pub async fn start_tls(&self) -> (Edge, SocketAddr) {
        let bind = |kind| NamedListener::new(kind, std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let listeners = vec![bind(ListenerKind::Gateway), bind(ListenerKind::Tls), bind(ListenerKind::Admin)];
        let tls = listeners[1].name.address;
        (Edge::start_on(self.config.clone(), self.deps(self.store.clone()), listeners).await.unwrap(), tls)
    }

    pub async fn try_start(&self, store: Store) -> Result<Edge, StartError> {
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Edge::start(self.config.clone(), self.deps(store), bind(), bind()).await
    }

    pub fn deps(&self, store: Store) -> EdgeDeps {
        EdgeDeps {
            store,
            clock: Arc::clone(&self.clock) as _,
            assigner: Arc::clone(&self.assigner) as _,
            secrets: Arc::new(TestSecrets),
            resolver: Arc::clone(&self.resolver) as _,
            pepper: PEPPER.to_owned().into(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn ban(&self) {
        let ban = Ban { at: self.now(), reason: "abuse".into(), by: "op".into() };
        self.store.ban_customer(&demo(), ban, self.now()).await.unwrap().unwrap();
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The customer's allowance in a bucket.
    pub async fn allowance(&self, bucket: &Bucket) -> Allowance {
        let found = self.store.allowances(&demo()).await.unwrap();
        let allowance = found.into_iter().find(|(b, _)| b == bucket).unwrap().1;
        assert!(allowance.is_sound(), "{allowance:?}");
        allowance
    }

    /// What the daily rows say, summed: ingress, egress, connections.
    pub async fn rows(&self) -> DayUsage {
        let rows = self.store.usage(&demo(), &NOON.month()).await.unwrap();
        rows.into_iter().fold(DayUsage::default(), |mut sum, (_, u)| {
            sum.ingress += u.ingress;
            sum.egress += u.egress;
            sum.connections += u.connections;
            sum
        })
    }

    /// The days that rows are written of and that nobody added up.
    pub async fn marked(&self) -> Vec<MarkedDay> {
        let mut all = Vec::new();
        for shard in 0..DAY_SHARDS {
            all.extend(self.store.days_written(shard, "9999", None, 100).await.unwrap());
        }
        all
    }

    /// Names of the files in the data folder.
    pub fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.data_dir()).unwrap();
        names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub fn demo() -> CustomerId {
    "demo".parse().unwrap()
}

pub fn plan_bucket() -> Bucket {
    Bucket::Plan { start: NOON.month_start() }
}

/// Ten threads, strictly.
pub fn limits() -> Limits {
    Limits { threads: 10, thread_burst_milli: 1000, settle_s: 1, ..Limits::default() }
}

fn customer(limits: Limits) -> Customer {
    Customer {
        id: demo(),
        name: "Demo".into(),
        ver: 1,
        plan: "test".into(),
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
        created_at: NOON,
    }
}

pub fn provider(gateway: SocketAddr) -> Provider {
    Provider {
        id: "brd".parse().unwrap(),
        name: "Bright Data".into(),
        kind: ProviderType::BrightData,
        upstream: UpstreamKind::Exclusive,
        class: ProxyClass::Isp,
        api_url: "http://127.0.0.1:1".into(),
        account: "c_1".into(),
        zone: "isp".into(),
        gateway_host: gateway.ip().to_string(),
        gateway_port: gateway.port(),
        protocol: Scheme::Http,
        user_template: None,
        price: Money::usd_micros(4_000_000),
        billing_grain: BillingGrain::Month,
        due_rule: DueRule::Strict,
        idle_ttl_s: 3600,
        spend_cap_day: None,
        active: true,
        health: 100,
        ver: 1,
        created_at: NOON,
        updated_at: NOON,
    }
}
