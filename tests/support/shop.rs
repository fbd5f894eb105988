//! A cloud with a provider to buy from and one customer, made through the admin API's function.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::budget::Bucket;
use tollgate_domain::customer::Credential;
use tollgate_domain::id::{CustomerId, LineKey};
use tollgate_domain::plan;
use tollgate_domain::time::Clock;
use tollgate_sandbox::{Sandbox, SandboxConfig};
use tollgate_store::SystemClock;
use tollgate_store::allowance::{Grant, Rostered, Take};
use tollgate_store::api_key::{ApiKey, Holder, Role};
use tollgate_store::customer::Created;
use tollgate_store::line::LineMark;
use tollgate_store::usage::{DayUsage, UsageKey};

use crate::cloud::Cloud;
use crate::payload::{Request, answer};

/// Key of the operator.
pub const ADMIN_KEY: &str = "tga_EXAMPLE_OPERATOR_KEY";
/// The simulator's management key.
pub const MANAGEMENT_KEY: &str = "EXAMPLE_MANAGEMENT_KEY";

/// Everything that a story needs.
pub struct Shop {
    /// AWS.
    pub cloud: Arc<Cloud>,
    /// The provider.
    pub sandbox: Sandbox,
    /// API key of the customer `demo`.
    pub key: String,
    /// Password of the proxy user `demo`.
    pub password: String,
}

impl Shop {
    /// A provider with `stock`, and the customer `demo` on the plan `pro`.
    ///
    /// # Panics
    /// If any of it fails.
    pub async fn open(stock: &[(&str, u32)]) -> Self {
        let mut config =
            SandboxConfig::new(Arc::new(SystemClock), MANAGEMENT_KEY.into(), "EXAMPLE_ZONE_PASSWORD".into());
        for (country, count) in stock {
            config = config.with_stock(country, *count);
        }
        let sandbox = Sandbox::start(config).await.unwrap();
        let cloud = Cloud::start().await;
        // As the template makes them: the keys random, the provider's still without a value.
        cloud.put_secret("passwords/master", "EXAMPLE_MASTER_KEY_OF_THE_TESTS");
        cloud.put_secret("passwords/pepper", "EXAMPLE_PEPPER_OF_THE_TESTS");
        cloud.put_secret("brd/management", "unset");
        cloud.put_secret("brd/gateway", "unset");
        let now = SystemClock.now();
        let operator = Holder::Admin { name: "ops".into(), role: Role::Owner };
        cloud.store().ensure_api_key(&ApiKey::new(ADMIN_KEY, operator, now)).await.unwrap();
        cloud.store().seed_plans(&plan::catalogue()).await.unwrap();
        let mut shop = Self { cloud, sandbox, key: String::new(), password: String::new() };
        let provider = shop.provider();
        shop.admin("POST", "/admin/proxies/providers", Some(&provider), 201).await;
        let demo = json!({ "id": "demo", "name": "Demo", "plan": "pro", "defaultCountry": "be" });
        let made = shop.admin("POST", "/admin/users", Some(&demo), 201).await;
        made["password"].as_str().expect("a password").clone_into(&mut shop.password);
        let key = shop.admin("POST", "/admin/users/demo/keys", Some(&json!({})), 201).await;
        key["apiKey"].as_str().unwrap_or_else(|| panic!("no key: {key}")).clone_into(&mut shop.key);
        shop
    }

    /// The provider's row as an operator sends it.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn provider(&self) -> Value {
        json!({
            "id": "brd", "name": "Bright Data", "type": "bright_data",
            "apiUrl": format!("http://{}", self.sandbox.api_addr()), "account": "c_sandbox", "zone": "isp_sandbox",
            "gatewayHost": "127.0.0.1", "gatewayPort": self.sandbox.gateway_addr().port(),
            "price": { "micros": 4_000_000, "currency": "USD" }, "billingGrain": "month",
            "managementKey": MANAGEMENT_KEY, "gatewayPassword": "EXAMPLE_ZONE_PASSWORD",
        })
    }

    /// An operator's request; the answer must have this status.
    ///
    /// # Panics
    /// If it has another.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>, status: u64) -> Value {
        self.request("admin-api", method, path, ("x-admin-api-key", ADMIN_KEY), body, status).await
    }

    /// The customer's request; the answer must have this status.
    ///
    /// # Panics
    /// If it has another.
    pub async fn customer(&self, method: &str, path: &str, body: Option<&Value>, status: u64) -> Value {
        self.request("customer-api", method, path, ("x-api-key", &self.key), body, status).await
    }

    /// The customer's request, whatever comes of it.
    ///
    /// # Panics
    /// If the function fails.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = Request::new(method, path).header("x-api-key", &self.key).json(body);
        answer(&self.cloud.function("customer-api").await.call(request.event()).await).1
    }

    async fn request(
        &self,
        binary: &str,
        method: &str,
        path: &str,
        (name, key): (&str, &str),
        body: Option<&Value>,
        expected: u64,
    ) -> Value {
        let mut request = Request::new(method, path).header(name, key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let (status, body) = answer(&self.cloud.function(binary).await.call(request.event()).await);
        assert_eq!(status, expected, "{method} {path}: {body}");
        body
    }

    /// An operator's POST with an `Idempotency-Key`; the answer must have this status.
    ///
    /// # Panics
    /// If it has another.
    pub async fn keyed(&self, path: &str, body: &Value, status: u64) {
        let request = Request::new("POST", path)
            .header("x-admin-api-key", ADMIN_KEY)
            .header("idempotency-key", &path.replace("/", "."));
        let event = request.json(body).event();
        let (answered, body) = answer(&self.cloud.function("admin-api").await.call(event).await);
        assert_eq!(answered, status, "{path}: {body}");
    }

    /// A customer whose budget nobody made yet.
    ///
    /// # Panics
    /// If it cannot be written.
    pub async fn customer_without_budget(&self, id: &str) {
        let store = self.cloud.store();
        let now = SystemClock.now();
        let mut customer = store.customer(&"demo".parse().unwrap()).await.unwrap().expect("the customer demo");
        customer.id = id.parse().unwrap();
        let credential = Credential {
            user: id.parse().unwrap(),
            customer: customer.id.clone(),
            version: 1,
            verifier: String::new(),
            previous: None,
            created_at: now,
        };
        assert_eq!(store.create_customer(&customer, &credential, now).await.unwrap(), Created::Created);
    }

    /// Grants a customer without a budget more than its plan does.
    ///
    /// # Panics
    /// If it cannot be written.
    pub async fn grant_too_much(&self, id: &str) {
        let now = SystemClock.now();
        let (start, until) = (now.month_start(), now.next_month_start());
        let grant =
            Grant { source: "tests".into(), bytes: 1 << 50, plan_ver: 1, spend_from: start, spend_until: until };
        let granted = self.cloud.store().grant(&id.parse().unwrap(), &Bucket::Plan { start }, &grant, now).await;
        assert!(granted.unwrap());
    }

    /// Marks a line of `demo` as used until an hour ago.
    ///
    /// # Panics
    /// If there is no such line.
    pub async fn fell_quiet_long_ago(&self, line: &str) {
        let store = self.cloud.store();
        let then = SystemClock.now().minus(Duration::from_secs(3600));
        let session = store.start_epoch(&"tests".parse().unwrap(), then).await.unwrap();
        let key = LineKey { customer: "demo".parse().unwrap(), label: line.parse().unwrap() };
        assert_eq!(store.line_opened(&key, &session, then).await.unwrap(), LineMark::Done);
        assert_eq!(store.line_quiet(&key, &session, then).await.unwrap(), LineMark::Done);
    }

    /// An edge with a lease of `demo` and a tunnel on its line, not heard of for an hour.
    ///
    /// # Panics
    /// If there is no such line, or it cannot be written.
    pub async fn edge_that_fell_silent(&self, edge: &str, line: &str) {
        let store = self.cloud.store();
        let then = SystemClock.now().minus(Duration::from_secs(3600));
        let session = store.start_epoch(&edge.parse().unwrap(), then).await.unwrap();
        let customer: CustomerId = "demo".parse().unwrap();
        let bucket = store.allowances(&customer).await.unwrap().remove(0).0;
        store.roster_add(&session, &Rostered { customer: customer.clone(), bucket: bucket.clone() }).await.unwrap();
        let took = store.take(&customer, &bucket, &session, 1000, 0, 0).await.unwrap();
        assert!(matches!(took, Take::Taken { .. }), "{took:?}");
        let key = LineKey { customer, label: line.parse().unwrap() };
        assert_eq!(store.line_opened(&key, &session, then).await.unwrap(), LineMark::Done);
    }

    /// An edge that is silent, with a lease of `demo` whose bucket ended three days ago, and with a row
    /// of what it carried then.
    ///
    /// # Panics
    /// If it cannot be written.
    pub async fn lease_of_a_period_long_over(&self, edge: &str) {
        let store = self.cloud.store();
        let now = SystemClock.now();
        let ago = |days: u64| now.minus(Duration::from_secs(days * 86_400));
        let customer: CustomerId = "demo".parse().unwrap();
        let (bucket, until) = (Bucket::Plan { start: ago(40) }, ago(3));
        let grant =
            Grant { source: "long over".into(), bytes: 5000, plan_ver: 1, spend_from: ago(40), spend_until: until };
        assert!(store.grant(&customer, &bucket, &grant, now).await.unwrap());
        let session = store.start_epoch(&edge.parse().unwrap(), ago(5)).await.unwrap();
        store.roster_add(&session, &Rostered { customer: customer.clone(), bucket: bucket.clone() }).await.unwrap();
        let took = store.take(&customer, &bucket, &session, 1000, 0, 0).await.unwrap();
        assert!(matches!(took, Take::Taken { .. }), "{took:?}");
        let key = UsageKey {
            day: ago(5).day(),
            line: "stranded".parse().unwrap(),
            proxy: "brd/203.0.113.7".parse().unwrap(),
            session: session.clone(),
        };
        store.begin_day(&customer, &key.day, &session).await.unwrap();
        let usage = DayUsage { seq: 1, egress: 500, first_at: ago(5), last_at: ago(5), ..DayUsage::default() };
        assert!(store.record_usage(&customer, &key, &usage).await.unwrap());
    }

    /// An edge's question for a line of the customer.
    ///
    /// # Panics
    /// If the function fails.
    pub async fn assign(&self, line: &str, country: &str) -> Value {
        let order = json!({
            "customer": "demo", "line": { "customer": "demo", "label": line }, "country": country,
            "hold": { "until": "tunnels" }, "correlation_id": format!("tests-{line}"),
        });
        self.cloud.function("assign").await.call(order).await
    }

    /// Makes what becomes idle from now on due for release at once.
    ///
    /// # Panics
    /// If the row cannot be written.
    pub async fn release_at_once(&self) {
        let store = self.cloud.store();
        let now = SystemClock.now();
        let mut row = store.provider(&"brd".parse().unwrap()).await.unwrap().expect("the provider's row");
        row.idle_ttl_s = 0;
        row.ver += 1;
        assert!(store.put_provider(&row, now).await.unwrap());
    }
}
