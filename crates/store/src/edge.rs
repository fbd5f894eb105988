//! Edges: `EDGE#<id>`, which life an edge is in and when it was last heard of; those that may
//! live, or have left something open, are listed under `EDGES`.

mod ends;
mod list;

use std::collections::BTreeMap;

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
    /// When it was last heard of, by its own clock.
    pub heartbeat: Timestamp,
    /// Counts its signs of life: starts and heartbeats.
    pub beats: u64,
    /// Tells one start from another, so that a start whose answer was lost knows itself again.
    pub start: String,
    /// Earlier lives that handed over and still end their tunnels, and when each was last heard
    /// of. They are no dead edges: their lines are used and their shares are theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leaving: BTreeMap<EdgeSession, Timestamp>,
    /// Earlier lives that did not end by themselves and may hold leases, and when each was last
    /// heard of: a crash whose journal was not settled yet.
    pub unsettled: BTreeMap<EdgeSession, Timestamp>,
    /// Lives that were declared lost, and when.
    pub lost: BTreeMap<EdgeSession, Timestamp>,
    /// Since when the current life has been draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_at: Option<Timestamp>,
    /// When the current life ended by itself, every lease closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Tunnels of the current life at its last heartbeat that told them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<u64>,
}

impl EdgeRow {
    /// When `session`, a life of this edge, was last heard of; none = this row knows of no
    /// such life.
    #[must_use]
    pub fn last_heard(&self, session: &EdgeSession) -> Option<Timestamp> {
        if session.epoch == self.epoch {
            return Some(self.heartbeat);
        }
        self.leaving.get(session).or_else(|| self.unsettled.get(session)).copied()
    }
}

/// What shows that a life goes on: it is another one after each heartbeat. It tells no time: who
/// wants to know how long a life has been silent times it by a clock of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    beats: u64,
    heartbeat: Timestamp,
}

impl EdgeRow {
    /// The sign of life of one of this edge's lives; none if the row knows it no more.
    #[must_use]
    pub fn sign(&self, session: &EdgeSession) -> Option<Sign> {
        if session.epoch == self.epoch {
            return Some(Sign { beats: self.beats, heartbeat: self.heartbeat });
        }
        self.leaving.get(session).map(|at| Sign { beats: 0, heartbeat: *at })
    }
}

/// What came of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// Heard.
    Beating,
    /// Heard: a later life has taken over, and knows that this one still ends its tunnels.
    Leaving {
        /// The life in force.
        epoch: u64,
    },
    /// A later life of this edge has started; this one must stop taking.
    Superseded {
        /// The life in force.
        epoch: u64,
    },
    /// Somebody declared this life lost: its leases are no longer its own. It must carry nobody.
    Lost,
}

impl Store {
    /// Begins the next life of `edge`: its epoch, conditional on the one found, so that two
    /// starts get two epochs. The edge is in [`Self::edges`] from then on.
    ///
    /// # Errors
    /// [`StoreError`]; repeating may skip an epoch, which harms nothing.
    pub async fn start_epoch(&self, edge: &EdgeId, now: Timestamp) -> Result<EdgeSession, StoreError> {
        self.start_epoch_beside(edge, &[], now).await
    }

    /// As [`Self::start_epoch`], beside earlier lives whose processes live on (`elders`).
    ///
    /// # Errors
    /// [`StoreError`]; repeating may skip an epoch, which harms nothing.
    pub async fn start_epoch_beside(
        &self,
        edge: &EdgeId,
        elders: &[EdgeSession],
        now: Timestamp,
    ) -> Result<EdgeSession, StoreError> {
        let session = self.next_epoch(edge, elders, now).await?;
        self.list_edge(edge).await?;
        Ok(session)
    }

    async fn next_epoch(
        &self,
        edge: &EdgeId,
        elders: &[EdgeSession],
        now: Timestamp,
    ) -> Result<EdgeSession, StoreError> {
        let leaving: BTreeMap<_, _> = elders.iter().map(|e| (e.clone(), now)).collect();
        let key = keys::edge(edge);
        let start = Ulid::generate().to_string();
        loop {
            let found: Option<EdgeRow> = self.read(&key).await?;
            let (before, beats) = found.as_ref().map_or((0, 0), |row| (row.epoch, row.beats));
            let unsettled = match &found {
                Some(row) => self.left_behind(edge, row, elders).await?,
                None => BTreeMap::new(),
            };
            let lost = found.map_or_else(BTreeMap::new, |row| row.lost);
            let row = EdgeRow {
                epoch: before + 1,
                started_at: now,
                heartbeat: now,
                beats: beats + 1,
                start: start.clone(),
                leaving: leaving.clone(),
                lost: lost.into_iter().filter(|(s, _)| unsettled.contains_key(s)).collect(),
                unsettled,
                draining_at: None,
                ended_at: None,
                tunnels: None,
            };
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

    /// Tells that `session` lives and carries so many tunnels, if no later life has started and
    /// nobody declared it lost.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn heartbeat(
        &self,
        session: &EdgeSession,
        tunnels: u64,
        now: Timestamp,
    ) -> Result<Heartbeat, StoreError> {
        let write = || {
            // Repeated by itself it counts twice, which is a sign of life all the same.
            let beat = "SET heartbeat = :now, beats = beats + :one, tunnels = :tunnels";
            Ok(Write::update(keys::edge(&session.edge), beat)
                .when("epoch = :e AND attribute_not_exists(lost.#s)")
                .name("#s", session.to_string())
                .value(":e", n(session.epoch))
                .value(":one", n(1))
                .value(":tunnels", n(tunnels))
                .value(":now", value(&now)?))
        };
        match self.write(write).await {
            Ok(_) => Ok(Heartbeat::Beating),
            Err(Failure::Condition(old)) => {
                let old: Option<EdgeRow> = old_item(old).map(decode).transpose()?;
                match old {
                    Some(row) if row.lost.contains_key(session) => Ok(Heartbeat::Lost),
                    Some(row) if row.leaving.contains_key(session) => {
                        self.heartbeat_leaving(session, row.epoch, now).await
                    }
                    row => Ok(Heartbeat::Superseded { epoch: row.map_or(0, |row| row.epoch) }),
                }
            }
            Err(e) => Err(e.into_store()),
        }
    }

    async fn heartbeat_leaving(
        &self,
        session: &EdgeSession,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Heartbeat, StoreError> {
        let write = || {
            Ok(Write::update(keys::edge(&session.edge), "SET leaving.#s = :now")
                .when("attribute_exists(leaving.#s) AND attribute_not_exists(lost.#s)")
                .name("#s", session.to_string())
                .value(":now", value(&now)?))
        };
        match self.write(write).await {
            Ok(_) => Ok(Heartbeat::Leaving { epoch }),
            Err(Failure::Condition(_)) => Ok(Heartbeat::Superseded { epoch }),
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
