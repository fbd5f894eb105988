//! The list of edges: who is on it, and who is taken off.

use tollgate_domain::id::{EdgeId, EdgeSession};

use super::EdgeRow;
use crate::error::Failure;
use crate::expr::Write;
use crate::item::{n, sort_key};
use crate::{Store, StoreError, Table, keys};

impl Store {
    /// Lists an edge that lives: it may have been taken off the list while it was cut off.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn list_edge(&self, edge: &EdgeId) -> Result<(), StoreError> {
        let entry = keys::edge_entry(edge);
        let put = || Ok(Write::put(entry.clone(), entry.attributes()));
        self.write(put).await.map(drop).map_err(Failure::into_store)
    }

    /// The edges that may live or have left something open, in order of id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn edges(&self) -> Result<Vec<(EdgeId, EdgeRow)>, StoreError> {
        let items = self.query_prefix(Table::Usage, keys::EDGES, "").await?;
        let ids = items.iter().filter_map(|item| EdgeId::new(sort_key(item)).ok()).collect::<Vec<_>>();
        let rows = futures_util::future::try_join_all(ids.iter().map(|id| self.edge(id))).await?;
        Ok(ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, row?))).collect())
    }

    /// Ends a life that drained, or that was seen to be over: it leaves its edge's row, and if it
    /// was the last one, the list of edges. Its epoch is never used again.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn end_life(&self, session: &EdgeSession) -> Result<(), StoreError> {
        let Some(row) = self.edge(&session.edge).await? else { return Ok(()) };
        if row.leaving.contains_key(session) {
            let write = || {
                Ok(Write::update(keys::edge(&session.edge), "REMOVE leaving.#s")
                    .when("attribute_exists(leaving.#s)")
                    .name("#s", session.to_string()))
            };
            return match self.write(write).await {
                // It is gone already: another attempt, or a later start that knows it no more.
                Ok(_) | Err(Failure::Condition(_)) => Ok(()),
                Err(e) => Err(e.into_store()),
            };
        }
        if row.epoch != session.epoch || !row.leaving.is_empty() {
            return Ok(());
        }
        // A heartbeat that is still on its way does not hinder it, a later start does.
        let unlist = || {
            let last = Write::update(keys::edge(&session.edge), "SET beats = if_not_exists(beats, :zero) + :one")
                .when("epoch = :e")
                .value(":e", n(session.epoch))
                .value(":zero", n(0))
                .value(":one", n(1));
            Ok(vec![last, Write::delete(keys::edge_entry(&session.edge))])
        };
        match self.transact(unlist).await {
            Ok(()) | Err(Failure::Condition(_)) => Ok(()),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Takes an edge off the list of edges whose row was seen as `row` for so long that it is
    /// dead, if it left nothing open and the row is the same. Returns whether it did.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn unlist_edge(&self, id: &EdgeId, row: &EdgeRow) -> Result<bool, StoreError> {
        let last = EdgeSession { edge: id.clone(), epoch: row.epoch };
        for session in row.leaving.keys().chain([&last]) {
            if !self.is_settled(session).await? {
                return Ok(false);
            }
        }
        let unlist = || {
            let seen = Write::update(keys::edge(id), "SET beats = beats + :one")
                .when("epoch = :e AND beats = :b")
                .value(":e", n(row.epoch))
                .value(":b", n(row.beats))
                .value(":one", n(1));
            Ok(vec![seen, Write::delete(keys::edge_entry(id))])
        };
        match self.transact(unlist).await {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Whether a life left no lease and no line open.
    async fn is_settled(&self, session: &EdgeSession) -> Result<bool, StoreError> {
        let open = self.query(Table::Usage, &keys::roster_list(session), "\u{1}", "\u{10FFFF}", Some(1)).await?;
        Ok(open.is_empty())
    }
}
