//! Days added up: `ROLLUP#<customer>#<yyyy-mm> / <dd>`, in `billing`. A view of the daily rows, to be read
//! cheaply; it never takes their place, and invoices count the rows.

use serde::{Deserialize, Serialize};
pub use tollgate_domain::daily::{DayTotal, Moved, OfProxy};
use tollgate_domain::id::CustomerId;
use tollgate_domain::time::Timestamp;

use crate::expr::Write;
use crate::item::{decode, encode, n, sort_key};
use crate::{Store, StoreError, Table, keys};

/// A customer's day, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// UTC day, `yyyy-mm-dd`.
    pub day: String,
    /// The sum of its rows.
    pub total: DayTotal,
    /// When it was added up.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct RollupRow {
    /// The total's, where a condition reads it.
    seqs: u64,
    total: DayTotal,
    at: Timestamp,
}

impl Store {
    /// Writes a day's total, unless one of the same rows or of later ones is there. Whether it did.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat, in any order.
    pub async fn record_rollup(
        &self,
        customer: &CustomerId,
        day: &str,
        total: &DayTotal,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = keys::rollup(customer, day);
        let write = || {
            let row = RollupRow { seqs: total.seqs, total: total.clone(), at: now };
            Ok(Write::put(key.clone(), encode(&key, &row, None)?)
                .when("attribute_not_exists(pk) OR seqs < :seqs")
                .value(":seqs", n(total.seqs)))
        };
        self.applied(write).await
    }

    /// The days of a UTC month (`yyyy-mm`) that were added up, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rollups(&self, customer: &CustomerId, month: &str) -> Result<Vec<Rollup>, StoreError> {
        let items = self.query_prefix(Table::Billing, &keys::rollup_month(customer, month), "").await?;
        let read = items.into_iter().map(|item| {
            let day = format!("{month}-{}", sort_key(&item));
            let RollupRow { total, at, .. } = decode(item)?;
            Ok(Rollup { day, total, at })
        });
        read.collect()
    }
}
