//! The change feed: what live edges must hear of, within 2 s.

use serde::{Deserialize, Serialize};

use crate::id::{CustomerId, LineKey, ProviderId, UserName};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entity", content = "key")]
pub enum Entity {
    /// A customer's profile: plan, limits, ban, lock, expiry, kick.
    Customer(CustomerId),
    /// A credential: made, rotated or removed.
    Credential(UserName),
    /// A line: closed or rebound.
    Line(LineKey),
    /// A provider's row.
    Provider(ProviderId),
    /// A customer's allowance: a bucket was made or got a grant.
    Allowance(CustomerId),
}

/// One entry of the feed. Entries may arrive twice and out of order: only a higher version of an
/// entity is acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What changed.
    #[serde(flatten)]
    pub entity: Entity,
    /// The version written with it.
    pub version: u64,
}
