//! What edges answer when they are asked which tunnels are live: `LIVE#<request> / <session>`
//! (two lives of an edge both have tunnels during a hand-over), collected a minute later.

use std::time::Duration;

use tollgate_domain::id::RequestId;
use tollgate_domain::live::LiveReport;
use tollgate_domain::time::Timestamp;

use crate::expr::Write;
use crate::item::{decode, encode};
use crate::{Store, StoreError, Table, keys};

/// Answers are kept this long: whoever asked has read them after a few seconds.
const KEPT: Duration = Duration::from_secs(60);

impl Store {
    /// Writes an edge's answer to `request`; a later answer of the same session replaces it.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn put_live(&self, request: &RequestId, report: &LiveReport, now: Timestamp) -> Result<(), StoreError> {
        let key = keys::live(request, &report.session);
        let put = || Ok(Write::put(key.clone(), encode(&key, report, Some(now.plus(KEPT)))?));
        self.write(put).await.map(drop).map_err(crate::error::Failure::into_store)
    }

    /// The answers to `request` so far, in order of session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_reports(&self, request: &RequestId) -> Result<Vec<LiveReport>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::live_list(request), "").await?;
        items.into_iter().map(decode).collect()
    }
}
