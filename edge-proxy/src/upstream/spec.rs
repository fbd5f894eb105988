//! One upstream, as a row says it: where it is, what it speaks, who may use it.

use secrecy::SecretString;
use tollgate_domain::country::Country;
use tollgate_domain::id::{CustomerId, ProxyId};
use tollgate_domain::upstream::Scheme;

/// An upstream that the edge can dial.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Its name in counters and logs.
    pub id: ProxyId,
    /// What it speaks.
    pub scheme: Scheme,
    /// Host name or address literal, without brackets; empty where `scheme` is direct.
    pub host: String,
    /// Port; 0 where `scheme` is direct.
    pub port: u16,
    /// User-name template and password towards it.
    pub credentials: Option<(String, SecretString)>,
    /// The only customer who may use it; none = everybody.
    pub owner: Option<CustomerId>,
    /// Where it is, as far as known.
    pub country: Option<Country>,
    /// Rows of one pool stand in for each other where one cannot be reached; none = nobody does.
    pub pool: Option<String>,
}
