//! All upstreams of an edge by id: read per connection, changed while it runs. Beside it, who
//! stands in for whom: read after a failed dial alone.
//!
//! Rows are immutable; a change replaces a row. A reader takes one of the shards' read locks for
//! a look-up and no longer, so that a writer holds up a sixteenth of the readers for one insertion.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use tollgate_domain::id::{CustomerId, ProxyId};

use crate::retry;
use crate::upstream::spec::Upstream;

const SHARDS: usize = 16;

/// See the module.
pub(crate) struct Table {
    shards: [RwLock<HashSet<ById>>; SHARDS],
    hasher: RandomState,
    /// Rows by their pool's label.
    pools: RwLock<HashMap<String, Vec<Arc<Upstream>>>>,
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
        let shards = std::array::from_fn(|_| RwLock::default());
        Self { shards, hasher: RandomState::new(), pools: RwLock::default() }
    }
}

impl Table {
    /// The upstream with this id.
    #[cfg(test)]
    pub fn get(&self, id: &ProxyId) -> Option<Arc<Upstream>> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner).get(id).map(|u| Arc::clone(&u.0))
    }

    /// Another row of `row`'s pool that `customer` may use: at another gateway if there is one,
    /// else under another account; which one of several, chance says.
    pub fn beside(&self, row: &Upstream, customer: &CustomerId) -> Option<Arc<Upstream>> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let rows = pools.get(row.pool.as_ref()?)?;
        #[allow(clippy::cast_possible_truncation)] // any bits will do
        let start = retry::random() as usize % rows.len().max(1);
        let mut here = None;
        for other in rows[start..].iter().chain(&rows[..start]) {
            if other.id == row.id || other.owner.as_ref().is_some_and(|owner| owner != customer) {
                continue;
            }
            if (&other.host, other.port) != (&row.host, row.port) {
                return Some(Arc::clone(other));
            }
            here = Some(other);
        }
        here.cloned()
    }

    /// Puts an upstream in; the one with its id that was there before.
    pub fn insert(&self, upstream: Arc<Upstream>) -> Option<Arc<Upstream>> {
        let before = {
            let mut shard = self.shard(&upstream.id).write().unwrap_or_else(PoisonError::into_inner);
            shard.replace(ById(Arc::clone(&upstream))).map(|u| u.0)
        };
        self.pool(before.as_ref(), Some(&upstream));
        before
    }

    /// Takes an upstream out; who uses it goes on with it.
    pub fn remove(&self, id: &ProxyId) -> Option<Arc<Upstream>> {
        let removed = self.shard(id).write().unwrap_or_else(PoisonError::into_inner).take(id).map(|u| u.0);
        self.pool(removed.as_ref(), None);
        removed
    }

    /// Takes a row out of its pool and puts another into its own.
    fn pool(&self, gone: Option<&Arc<Upstream>>, come: Option<&Arc<Upstream>>) {
        let of = |row: Option<&Arc<Upstream>>| row.and_then(|r| r.pool.clone());
        let (old, new) = (of(gone), of(come));
        if old.is_none() && new.is_none() {
            return;
        }
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if let (Some(label), Some(gone)) = (&old, gone)
            && let Some(rows) = pools.get_mut(label)
        {
            if let Some(at) = rows.iter().position(|r| Arc::ptr_eq(r, gone)) {
                rows.swap_remove(at);
            }
            if rows.is_empty() {
                pools.remove(label);
            }
        }
        if let (Some(label), Some(come)) = (new, come) {
            pools.entry(label).or_default().push(Arc::clone(come));
        }
    }

    /// Rows.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, id: &ProxyId) -> &RwLock<HashSet<ById>> {
        #[allow(clippy::cast_possible_truncation)] // any bits will do
        let hash = self.hasher.hash_one(id) as usize;
        &self.shards[hash % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstreams::file;

    fn row(line: &str) -> Arc<Upstream> {
        file::parse(line.as_bytes(), &"file".parse().unwrap()).rows.remove(0).upstream
    }

    fn demo() -> CustomerId {
        "demo".parse().unwrap()
    }

    #[test]
    fn rows_of_a_pool_stand_in_for_each_other_and_for_nobody_else() {
        let table = Table::default();
        let rows: Vec<_> = [
            "u:p@10.0.0.1:80 pool=a",
            "v:p@10.0.0.1:80 pool=a",
            "u:p@10.0.0.2:80 pool=a",
            "u:p@10.0.0.3:80 pool=a owner=other",
            "u:p@10.0.0.4:80 pool=b",
            "u:p@10.0.0.5:80",
        ]
        .iter()
        .map(|line| row(line))
        .collect();
        for r in &rows {
            assert!(table.insert(Arc::clone(r)).is_none());
        }
        let beside = |r: &Upstream| table.beside(r, &demo()).map(|u| u.id.clone());
        // Elsewhere first.
        for _ in 0..20 {
            assert_eq!(beside(&rows[0]), Some(rows[2].id.clone()));
            assert!([&rows[0].id, &rows[1].id].contains(&&beside(&rows[2]).unwrap()));
        }
        assert_eq!((beside(&rows[4]), beside(&rows[5])), (None, None));
        // Where all is at one gateway, another account of it.
        table.remove(&rows[2].id);
        assert_eq!(beside(&rows[0]), Some(rows[1].id.clone()));
        // Another password replaces a row in its pool; another pool takes it out.
        let fresh = row("v:new@10.0.0.1:80 pool=a");
        table.insert(Arc::clone(&fresh));
        assert!(Arc::ptr_eq(&table.beside(&rows[0], &demo()).unwrap(), &fresh));
        table.insert(row("v:new@10.0.0.1:80 pool=b"));
        assert_eq!(beside(&rows[0]), None);
        assert_eq!(beside(&rows[4]), Some(fresh.id.clone()));
        // A row that has left has none beside it in a pool that is gone.
        for r in &rows {
            table.remove(&r.id);
        }
        assert!(table.pools.read().unwrap().is_empty());
        assert_eq!(beside(&rows[0]), None);
    }
}
