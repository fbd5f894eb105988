//! A platform on the embedded engine, its two routers, and requests to them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tollgate_domain::feed::{Command, Entity};
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_engine::{Engine, Faults};
use tollgate_functions::api::{admin_router, customer_router};
use tollgate_functions::passwords::{MASTER, PEPPER};
use tollgate_functions::platform::{Bounds, Deferred, Event, Events, Later, Platform, SecretError, Secrets};
use tollgate_store::Store;
use tollgate_store::api_key::{ApiKey, Holder, Role, Scope};
use tower::ServiceExt;

use crate::market::{Market, One};

pub const OWNER: &str = "EXAMPLE-owner-key";
pub const OPERATOR: &str = "EXAMPLE-operator-key";
pub const VIEWER: &str = "EXAMPLE-viewer-key";
/// 2027-01-15T08:00:00Z
const START: u64 = 1_800_000_000;

pub struct World {
    pub engine: Engine,
    pub platform: Arc<Platform>,
    pub faults: Arc<Faults>,
    pub market: Arc<Market>,
    pub outside: Arc<Outside>,
    customer: Router,
    admin: Router,
}

/// Clock, secrets, events and deferred work, as a test sees them.
#[derive(Default)]
pub struct Outside {
    now_s: AtomicU64,
    /// Secrets that nobody made are refused, as by Secrets Manager.
    pub only_made: AtomicBool,
    pub secrets: Mutex<HashMap<String, SecretString>>,
    pub events: Mutex<Vec<Event>>,
}

impl Outside {
    pub fn pass(&self, seconds: u64) {
        self.now_s.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn secret(&self, name: &str) -> Option<String> {
        self.secrets.lock().unwrap().get(name).map(|s| s.expose_secret().to_owned())
    }

    pub fn event_kinds(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|e| e.kind.clone()).collect()
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(START + self.now_s.load(Ordering::Relaxed))
    }
}

impl Secrets for Outside {
    fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        let found = self.secrets.lock().unwrap().get(name).cloned();
        let name = name.to_owned();
        async { found.ok_or(SecretError::Missing(name)) }.boxed()
    }
    fn put(&self, name: &str, value: SecretString) -> BoxFuture<'_, Result<(), SecretError>> {
        let mut secrets = self.secrets.lock().unwrap();
        let missing = self.only_made.load(Ordering::Relaxed) && !secrets.contains_key(name);
        let name = name.to_owned();
        if !missing {
            secrets.insert(name.clone(), value);
        }
        async move { if missing { Err(SecretError::Missing(name)) } else { Ok(()) } }.boxed()
    }
}

impl Events for Outside {
    fn emit(&self, event: Event) -> BoxFuture<'_, ()> {
        self.events.lock().unwrap().push(event);
        async {}.boxed()
    }
}

impl Later for Outside {
    fn start(&self, _: Deferred) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

impl World {
    /// Three operators, no customer, no provider; no faults until some are pushed.
    pub async fn new() -> Self {
        Self::bounded(Bounds::default()).await
    }

    /// The same where customers may list sources of special ranges.
    pub async fn permitting_private_sources() -> Self {
        Self::bounded(Bounds { private_sources: true, ..Bounds::default() }).await
    }

    /// The same within `bounds`.
    pub async fn bounded(bounds: Bounds) -> Self {
        let engine = Engine::memory().unwrap();
        let faults = Faults::script(Vec::<tollgate_engine::Step>::new());
        let store = Store::new(engine.client_with(faults.clone()), "");
        store.create_tables().await.unwrap();
        let outside = Arc::new(Outside::default());
        for (name, value) in [(MASTER, "EXAMPLE master of passwords"), (PEPPER, "EXAMPLE pepper of passwords")] {
            outside.put(name, value.into()).await.unwrap();
        }
        for (name, role, key) in
            [("olga", Role::Owner, OWNER), ("otto", Role::Operator, OPERATOR), ("vera", Role::Viewer, VIEWER)]
        {
            let row = ApiKey::new(key, Holder::Admin { name: name.into(), role }, outside.now());
            store.ensure_api_key(&row).await.unwrap();
        }
        let market = Arc::new(Market::default());
        let platform = Arc::new(Platform {
            store,
            clock: outside.clone(),
            markets: Arc::new(One(market.clone())),
            secrets: outside.clone(),
            events: outside.clone(),
            later: outside.clone(),
            edge_endpoint: "gate.example:3128".into(),
            bounds,
        });
        let (customer, admin) = (customer_router(platform.clone()), admin_router(platform.clone()));
        Self { engine, platform, faults, market, outside, customer, admin }
    }

    /// The same with a customer `demo` on the plan `basic`, who has a key with all scopes, and a
    /// provider `brd`.
    pub async fn with_demo() -> (Self, String) {
        let world = Self::new().await;
        world.customer("demo").await;
        world.provider("brd").await;
        let key = world.key("demo", &Scope::ALL).await;
        (world, key)
    }

    pub async fn customer(&self, id: &str) -> Value {
        let wanted = json!({ "id": id, "name": format!("{id} Ltd"), "plan": "basic" });
        self.post("/admin/users", wanted).await.expect(201)
    }

    pub async fn provider(&self, id: &str) -> Value {
        self.post("/admin/proxies/providers", provider(id)).await.expect(201)
    }

    /// A new key of a customer.
    pub async fn key(&self, id: &str, scopes: &[Scope]) -> String {
        let made = self.post(&format!("/admin/users/{id}/keys"), json!({ "scopes": scopes })).await.expect(201);
        made["apiKey"].as_str().unwrap().to_owned()
    }

    /// As the owner.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.admin(Method::POST, path).key("x-admin-api-key", OWNER).json(&body).send().await
    }

    /// As the owner.
    pub async fn get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path).key("x-admin-api-key", OWNER).send().await
    }

    pub fn admin(&self, method: Method, path: &str) -> Ask {
        Ask::new(self.admin.clone(), method, path)
    }

    pub fn asks(&self, method: Method, path: &str) -> Ask {
        Ask::new(self.customer.clone(), method, path)
    }

    /// As a customer.
    pub async fn get_as(&self, key: &str, path: &str) -> Answer {
        self.asks(Method::GET, path).key("x-api-key", key).send().await
    }

    /// As a customer.
    pub async fn post_as(&self, key: &str, path: &str, body: Value) -> Answer {
        self.asks(Method::POST, path).key("x-api-key", key).json(&body).send().await
    }

    /// What the change feed told from now on, of the world's clock.
    pub async fn commands(&self) -> Vec<Command> {
        let told = self.platform.store.changes_since(self.platform.now()).await.unwrap();
        let commands = told.into_iter().filter_map(|(_, c)| match c.entity {
            Entity::Command(command) => Some(command),
            _ => None,
        });
        commands.collect()
    }

    /// What the audit trail says of an action.
    pub async fn audited(&self, action: &str) -> Vec<Value> {
        let trail = self.get("/admin/audit").await.expect(200);
        let mut records = trail["records"].as_array().unwrap().clone();
        records.retain(|r| r["action"] == action);
        records
    }

    /// All that lies in the five tables, as text.
    pub async fn everything_stored(&self) -> String {
        let mut text = String::new();
        for table in ["accounts", "inventory", "usage", "billing", "audit"] {
            let items = self.engine.client().scan().table_name(table).send().await.unwrap().items.unwrap();
            let mut rows = items.iter().map(in_order).collect::<Vec<_>>();
            rows.sort();
            text += &format!("{table}: {rows:?}\n");
        }
        text
    }
}

fn in_order(fields: &HashMap<String, AttributeValue>) -> BTreeMap<&String, String> {
    let text = |v: &AttributeValue| match v {
        AttributeValue::M(m) => format!("{:?}", in_order(m)),
        other => format!("{other:?}"),
    };
    fields.iter().map(|(k, v)| (k, text(v))).collect()
}

pub fn provider(id: &str) -> Value {
    json!({
        "id": id, "name": "Bright Data", "type": "bright_data", "apiUrl": "https://api.example", "account": "c_1",
        "zone": "isp", "gatewayHost": "gw.example", "gatewayPort": 44445,
        "price": { "micros": 4_000_000, "currency": "USD" }, "billingGrain": "month",
        "managementKey": "EXAMPLE-management", "gatewayPassword": "EXAMPLE-gateway",
    })
}

pub struct Ask {
    router: Router,
    request: http::request::Builder,
    body: Body,
}

impl Ask {
    fn new(router: Router, method: Method, path: &str) -> Self {
        let from: SocketAddr = "198.51.100.9:4711".parse().unwrap();
        let request = Request::builder().method(method).uri(path).extension(ConnectInfo(from));
        Self { router, request, body: Body::empty() }
    }

    /// Comes from this address.
    pub fn from(mut self, ip: &str) -> Self {
        self.request = self.request.extension(ConnectInfo(SocketAddr::new(ip.parse().unwrap(), 4711)));
        self
    }

    pub fn key(mut self, header: &str, key: &str) -> Self {
        self.request = self.request.header(header, key);
        self
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        self.key(name, value)
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Answer {
        let answer = self.router.oneshot(self.request.body(self.body).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The body of an answer with this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The detail of a refusal, whose envelope must be whole.
    pub fn refused(&self, status: u16, code: &str) -> String {
        let e = &self.expect(status)["error"];
        assert_eq!((e["code"].as_str(), e["status"].as_u64()), (Some(code), Some(status.into())), "{}", self.text);
        assert_eq!(self.header("x-tollgate-error"), code);
        assert_eq!(e["correlation_id"].as_str().unwrap(), self.header("x-correlation-id"));
        for words in ["message", "how_to_fix", "detail"] {
            assert!(!e[words].as_str().unwrap().is_empty(), "{words}: {}", self.text);
        }
        e["detail"].as_str().unwrap().to_owned()
    }
}
