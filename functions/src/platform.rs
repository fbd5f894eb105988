//! What every story needs: the store, a clock, and narrow ports to the world outside.
//!
//! On AWS the ports are Secrets Manager, EventBridge, Lambda and real providers; in the local
//! run a secrets file, a log and the same stories in process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tollgate_domain::assignment::AssignRequest;
use tollgate_domain::id::ProviderId;
use tollgate_domain::provider::Provider;
use tollgate_domain::time::{Clock, Timestamp};
use tollgate_providers::ProxyMarket;
use tollgate_store::Store;

/// The secret store could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret.
    #[error("there is no secret named {0}")]
    Missing(String),
    /// It cannot be read or written now.
    #[error("the secret store is unavailable: {0}")]
    Unavailable(String),
}

/// Secrets by name, as `<provider>/management`, `<provider>/gateway`, `passwords/master`.
pub trait Secrets: Send + Sync {
    /// The secret with this name.
    fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>>;
    /// Stores a secret (write-only from the API's point of view).
    fn put(&self, name: &str, value: SecretString) -> BoxFuture<'_, Result<(), SecretError>>;
}

/// Something that people or other systems may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened, in dotted words: `proxy.assigned`, `proxy.released`, `proxy.adopted`.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// The facts; no secret.
    pub detail: serde_json::Value,
}

/// Where events go.
pub trait Events: Send + Sync {
    /// Sends `event`; losing one loses no state.
    fn emit(&self, event: Event) -> BoxFuture<'_, ()>;
}

/// Work that goes on after this story has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "story")]
pub enum Deferred {
    /// Look at the provider's list, not before that instant.
    Reconcile {
        /// Which provider.
        provider: ProviderId,
        /// Not before.
        not_before: Timestamp,
    },
    /// Go on with a walk that ran out of time.
    Assign {
        /// What was asked.
        request: AssignRequest,
    },
}

/// Starts deferred work: an asynchronous invocation on AWS, a task in the local run.
pub trait Later: Send + Sync {
    /// Starts it. At least once; every story bears being run twice.
    fn start(&self, work: Deferred) -> BoxFuture<'_, ()>;
}

/// No client could be made for a provider.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no client for provider {provider}: {why}")]
pub struct MarketError {
    /// Which provider.
    pub provider: ProviderId,
    /// Why not.
    pub why: String,
}

/// Clients of providers, made from their rows and secrets.
pub trait Markets: Send + Sync {
    /// The client for `provider`.
    fn market(&self, provider: &Provider) -> BoxFuture<'_, Result<Arc<dyn ProxyMarket>, MarketError>>;
}

/// What bounds the stories: times, counts, and what an operator permits. The defaults are the product's.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// An assign answers within this.
    pub assign: Duration,
    /// A purchase call ends within this.
    pub purchase_call: Duration,
    /// A purchase call is only started with this much time left.
    pub purchase_needs: Duration,
    /// Who finds a line pending waits this long.
    pub pending_wait: Duration,
    /// "Out of stock" is remembered this long.
    pub no_stock_memory: Duration,
    /// Reading and releasing calls end within this.
    pub provider_call: Duration,
    /// Customers may list source addresses of special ranges (loopback, private ...): where the
    /// edge's clients come from such ones, and one address is one client's.
    pub private_sources: bool,
    /// Answers of edges about their tunnels are waited for this long.
    pub live_wait: Duration,
    /// An edge whose heartbeat stays as it is for this long may be declared lost: more than two
    /// heartbeats, less than a request may take.
    pub edge_silence: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            assign: Duration::from_secs(20),
            purchase_call: Duration::from_secs(8),
            purchase_needs: Duration::from_secs(11),
            pending_wait: Duration::from_secs(2),
            no_stock_memory: Duration::from_secs(60),
            provider_call: Duration::from_secs(10),
            private_sources: false,
            live_wait: Duration::from_secs(3),
            edge_silence: Duration::from_secs(12),
        }
    }
}

/// Everything the stories run on.
pub struct Platform {
    /// The store.
    pub store: Store,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Clients of providers.
    pub markets: Arc<dyn Markets>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Events.
    pub events: Arc<dyn Events>,
    /// Deferred work.
    pub later: Arc<dyn Later>,
    /// `host:port` of the gateway that customers use.
    pub edge_endpoint: String,
    /// Bounds of the stories.
    pub bounds: Bounds,
}

impl Platform {
    /// The current instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Emits an event of `kind` with `detail`.
    pub async fn emit(&self, kind: &str, detail: serde_json::Value) {
        self.events.emit(Event { kind: kind.to_owned(), at: self.now(), detail }).await;
    }
}
