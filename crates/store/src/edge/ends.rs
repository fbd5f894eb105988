//! Lives that drain, end by themselves, or leave something behind.

use std::collections::BTreeMap;

use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::time::Timestamp;

use super::EdgeRow;
use crate::expr::Write;
use crate::item::{n, value};
use crate::{Store, StoreError, keys};

impl Store {
    /// Notes that `session` accepts no more, if it is the life in force; the first time counts.
    /// `false`: it is not, and who hands over is known to drain.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn begin_draining(&self, session: &EdgeSession, now: Timestamp) -> Result<bool, StoreError> {
        let write = || {
            Ok(Write::update(keys::edge(&session.edge), "SET draining_at = if_not_exists(draining_at, :now)")
                .when("epoch = :e")
                .value(":e", n(session.epoch))
                .value(":now", value(&now)?))
        };
        self.applied(write).await
    }

    /// Notes that `session` ended by itself, every lease closed: the next start finds nothing of
    /// it. Of a life that handed over, its successor's row forgets it. `false`: the edge has gone
    /// on without it.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn end_session(&self, session: &EdgeSession, now: Timestamp) -> Result<bool, StoreError> {
        let last = || {
            Ok(Write::update(keys::edge(&session.edge), "SET ended_at = if_not_exists(ended_at, :now)")
                .when("epoch = :e")
                .value(":e", n(session.epoch))
                .value(":now", value(&now)?))
        };
        if self.applied(last).await? {
            return Ok(true);
        }
        let elder = || {
            Ok(Write::update(keys::edge(&session.edge), "REMOVE leaving.#s")
                .when("attribute_exists(leaving.#s)")
                .name("#s", session.to_string()))
        };
        self.applied(elder).await
    }

    /// The lives that the next one finds: those that did not end by themselves. Of those that an
    /// earlier start found too, the ones that hold something still.
    pub(super) async fn left_behind(
        &self,
        edge: &EdgeId,
        row: &EdgeRow,
        elders: &[EdgeSession],
    ) -> Result<BTreeMap<EdgeSession, Timestamp>, StoreError> {
        let mut left = BTreeMap::new();
        for (session, at) in row.unsettled.iter().chain(&row.leaving) {
            if !elders.contains(session) && self.holds_something(session).await? {
                left.insert(session.clone(), *at);
            }
        }
        let last = EdgeSession { edge: edge.clone(), epoch: row.epoch };
        if row.ended_at.is_none() && !elders.contains(&last) {
            left.insert(last, row.heartbeat);
        }
        Ok(left)
    }
}
