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

    /// Takes an edge off the list of edges whose row was seen as `row` for so long that it is
    /// dead, if it left nothing open and the row is the same. Returns whether it did.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn unlist_edge(&self, id: &EdgeId, row: &EdgeRow) -> Result<bool, StoreError> {
        let last = EdgeSession { edge: id.clone(), epoch: row.epoch };
        for session in row.leaving.keys().chain(row.unsettled.keys()).chain([&last]) {
            if self.holds_something(session).await? {
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
}
