//! The change feed: `CHANGE#<shard> / <ulid>`. A writer puts an entry in the transaction of its
//! mutation; live edges query the shards each second over an overlapping window.

use std::time::Duration;

use tollgate_domain::feed::{Change, Command, Entity};
use tollgate_domain::time::Timestamp;
use ulid::Ulid;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::item::{decode, encode, sort_key};
use crate::{Store, StoreError, Table, keys};

/// Entries are kept this long; edges resync from the items themselves well before.
const KEPT: Duration = Duration::from_secs(86_400);

/// The write that tells edges of `entity` at `version`. Call it anew for each attempt: an entry
/// keeps the time of its making, and edges only look back 30 s.
pub(crate) fn announce(entity: &Entity, version: u64, now: Timestamp) -> Result<Write, Failure> {
    entry(&ulid_at(now), entity, version, now)
}

fn entry(id: &str, entity: &Entity, version: u64, now: Timestamp) -> Result<Write, Failure> {
    let key = keys::change(keys::shard(&format!("{entity:?}")), id);
    let change = Change { entity: entity.clone(), version };
    let item = encode(&key, &change, Some(now.plus(KEPT)))?;
    Ok(Write::put(key, item).when(ABSENT))
}

/// A new ULID whose time is `now`.
pub(crate) fn ulid_at(now: Timestamp) -> String {
    Ulid::from_parts(now.as_millis(), Ulid::generate().random()).to_string()
}

impl Store {
    /// Tells all edges to do something. Each call is a command of its own: one that is sent twice
    /// is done twice, which no command minds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn announce_command(&self, command: &Command, now: Timestamp) -> Result<(), StoreError> {
        self.tell(&Entity::Command(command.clone()), now).await
    }

    /// Writes an entry that no other write goes with.
    pub(crate) async fn tell(&self, entity: &Entity, now: Timestamp) -> Result<(), StoreError> {
        // One entry for all attempts of the client: its key is nobody else's.
        let id = ulid_at(now);
        match self.write(|| entry(&id, entity, 0, now)).await {
            // It is there already: an attempt whose answer was lost.
            Ok(_) | Err(Failure::Condition(_)) => Ok(()),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Entries written at `from` or later, of all shards, with their ULIDs. Order across shards
    /// means nothing: a consumer applies only higher versions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_since(&self, from: Timestamp) -> Result<Vec<(String, Change)>, StoreError> {
        let start = Ulid::from_parts(from.as_millis(), 0).to_string();
        let shards = (0..keys::SHARDS).map(|n| {
            let start = start.clone();
            async move { self.query(Table::Usage, &keys::change_list(n), &start, "~", None).await }
        });
        let mut changes = Vec::new();
        for items in futures_util::future::try_join_all(shards).await? {
            for item in items {
                let id = sort_key(&item).to_owned();
                changes.push((id, decode(item)?));
            }
        }
        Ok(changes)
    }
}
