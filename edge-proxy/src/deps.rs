//! What an edge is given: the store, the clock, who assigns proxies, who knows the secrets.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use secrecy::SecretString;
use tollgate_domain::assignment::{AssignReply, AssignRequest};
use tollgate_domain::id::ProviderId;
use tollgate_domain::time::Clock;
use tollgate_store::Store;

/// A future behind a pointer, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who finds a proxy for a line: a Lambda function on AWS, the same story in process locally.
/// The edge asks once at a time per line, and never repeats a call by itself.
pub trait Assigner: Send + Sync {
    /// Asks for an assignment.
    fn assign(&self, req: AssignRequest) -> BoxFuture<'_, Result<AssignReply, AssignerError>>;
}

/// The assigner gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the assigner gave no answer: {0}")]
pub struct AssignerError(pub String);

/// Who knows the passwords of providers' gateways.
pub trait GatewaySecrets: Send + Sync {
    /// The gateway password of a provider.
    fn gateway(&self, provider: &ProviderId) -> BoxFuture<'_, Result<SecretString, SecretError>>;
}

/// A secret could not be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the secret cannot be read: {0}")]
pub struct SecretError(pub String);

/// Who knows the addresses of names that the edge dials itself.
pub trait Resolver: Send + Sync {
    /// The addresses of a name, in the order to be tried.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// What an edge works with.
pub struct EdgeDeps {
    /// The tables.
    pub store: Store,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Who finds proxies.
    pub assigner: Arc<dyn Assigner>,
    /// Who knows gateway passwords.
    pub secrets: Arc<dyn GatewaySecrets>,
    /// Who knows the addresses of names.
    pub resolver: Arc<dyn Resolver>,
    /// What verifiers of customers' passwords are keyed with.
    pub pepper: SecretString,
}

impl std::fmt::Debug for EdgeDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EdgeDeps")
    }
}
