//! All upstreams of an edge by id: read per connection, changed while it runs.
//!
//! Rows are immutable; a change replaces a row. A reader takes one of the shards' read locks for
//! a look-up and no longer, so that a writer holds up a sixteenth of the readers for one insertion.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use tollgate_domain::id::ProxyId;

use crate::upstream::spec::Upstream;

const SHARDS: usize = 16;

/// See the module.
pub(crate) struct Table {
    shards: [RwLock<HashSet<ById>>; SHARDS],
    hasher: RandomState,
}

/// An upstream as its own key: the id is not stored twice.
struct ById(Arc<Upstream>);

impl Borrow<ProxyId> for ById {
    fn borrow(&self) -> &ProxyId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Default for Table {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), hasher: RandomState::new() }
    }
}

impl Table {
    /// The upstream with this id.
    #[allow(dead_code)] // wired with the port map's routes
    pub fn get(&self, id: &ProxyId) -> Option<Arc<Upstream>> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner).get(id).map(|u| Arc::clone(&u.0))
    }

    /// Puts an upstream in; the one with its id that was there before.
    pub fn insert(&self, upstream: Arc<Upstream>) -> Option<Arc<Upstream>> {
        let mut shard = self.shard(&upstream.id).write().unwrap_or_else(PoisonError::into_inner);
        shard.replace(ById(upstream)).map(|u| u.0)
    }

    /// Takes an upstream out; who uses it goes on with it.
    pub fn remove(&self, id: &ProxyId) -> Option<Arc<Upstream>> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).take(id).map(|u| u.0)
    }

    /// Rows.
    #[allow(dead_code)] // wired with the port map's routes
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, id: &ProxyId) -> &RwLock<HashSet<ById>> {
        #[allow(clippy::cast_possible_truncation)] // any bits will do
        let hash = self.hasher.hash_one(id) as usize;
        &self.shards[hash % SHARDS]
    }
}
