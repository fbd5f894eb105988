//! Tollgate's only store: five DynamoDB tables behind named transitions.
//!
//! There is no `get`/`put` here. A method of [`Store`] is one transition of one item family
//! (`claim_line`, `take`, `close_lease`); its documentation states the condition under which it
//! applies and how a failed condition reads. Conditions that fail are data; only a store that
//! cannot be reached or that holds an unreadable item is an error ([`StoreError`]).
//!
//! # Layout
//!
//! - [`tables`]: the five tables, created by code for the embedded engine.
//! - `keys`: every key string of the product, and nothing else knows one.
//! - one module per item family, named after its noun.
//!
//! Every access path is a GetItem, a Query (paged to the end) or a conditional write; there is
//! no Scan and no secondary index. Usage events alone are put without a condition: a key is its event.

pub mod allow;
pub mod allowance;
pub mod api_key;
pub mod assignment;
pub mod audit;
pub mod cap;
pub mod clock;
pub mod credential;
pub mod customer;
pub mod days;
pub mod edge;
pub mod error;
pub mod events;
mod expr;
pub mod feed;
pub mod idempotency;
pub mod intent;
mod item;
mod keys;
pub mod line;
pub mod live;
pub mod lost;
pub mod plan;
pub mod provider;
pub mod proxy;
pub mod proxy_use;
pub mod rollup;
pub mod tables;
pub mod unlock;
pub mod usage;
pub mod withdraw;

mod tx;

pub use clock::SystemClock;
pub use error::StoreError;
pub use tables::Table;

use aws_sdk_dynamodb::Client;

/// A handle on the five tables. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    db: Client,
    prefix: String,
}

impl Store {
    /// A store over `db` whose table names start with `prefix` (may be empty).
    #[must_use]
    pub fn new(db: Client, prefix: impl Into<String>) -> Self {
        Self { db, prefix: prefix.into() }
    }

    fn table(&self, t: Table) -> String {
        t.name(&self.prefix)
    }
}
