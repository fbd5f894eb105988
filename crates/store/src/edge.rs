//! Edges: `EDGE#<id>`, which life an edge is in and when it was last heard of.

use serde::{Deserialize, Serialize};
use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::time::Timestamp;
use ulid::Ulid;

use crate::allowance::old_item;
use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::item::{decode, encode, n, value};
use crate::{Store, StoreError, keys};

/// An edge as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeRow {
    /// Its current life.
    pub epoch: u64,
    /// When that began.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub heartbeat: Timestamp,
    /// Tells one start from another, so that a start whose answer was lost knows itself again.
    pub start: String,
}

/// What came of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// Heard.
    Beating,
    /// A later life of this edge has started; this one must stop taking.
    Superseded {
        /// The life in force.
        epoch: u64,
    },
}

impl Store {
    /// Begins the next life of `edge`: its epoch, conditional on the one found, so that two
    /// starts get two epochs.
    ///
    /// # Errors
    /// [`StoreError`]; repeating may skip an epoch, which harms nothing.
    pub async fn start_epoch(&self, edge: &EdgeId, now: Timestamp) -> Result<EdgeSession, StoreError> {
        let key = keys::edge(edge);
        let start = Ulid::generate().to_string();
        loop {
            let found: Option<EdgeRow> = self.read(&key).await?;
            let before = found.as_ref().map_or(0, |row| row.epoch);
            let row = EdgeRow { epoch: before + 1, started_at: now, heartbeat: now, start: start.clone() };
            let write = || {
                let w = Write::put(key.clone(), encode(&key, &row, None)?);
                Ok(match before {
                    0 => w.when(ABSENT),
                    e => w.when("epoch = :e").value(":e", n(e)),
                })
            };
            match self.write(write).await {
                Ok(_) => return Ok(EdgeSession { edge: edge.clone(), epoch: row.epoch }),
                Err(Failure::Condition(old)) => {
                    let old: Option<EdgeRow> = old_item(old).map(decode).transpose()?;
                    if let Some(ours) = old.filter(|o| o.start == start) {
                        return Ok(EdgeSession { edge: edge.clone(), epoch: ours.epoch });
                    }
                }
                Err(e) => return Err(e.into_store()),
            }
        }
    }

    /// Tells that `session` lives, if no later life has started.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn heartbeat(&self, session: &EdgeSession, now: Timestamp) -> Result<Heartbeat, StoreError> {
        let write = || {
            Ok(Write::update(keys::edge(&session.edge), "SET heartbeat = :now")
                .when("epoch = :e")
                .value(":e", n(session.epoch))
                .value(":now", value(&now)?))
        };
        match self.write(write).await {
            Ok(_) => Ok(Heartbeat::Beating),
            Err(Failure::Condition(old)) => {
                let old: Option<EdgeRow> = old_item(old).map(decode).transpose()?;
                Ok(Heartbeat::Superseded { epoch: old.map_or(0, |row| row.epoch) })
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// The edge with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn edge(&self, id: &EdgeId) -> Result<Option<EdgeRow>, StoreError> {
        self.read(&keys::edge(id)).await
    }
}
