//! Story, every hour: a customer's UTC day becomes one row, once nobody writes the day any more.
//!
//! **Who may still write a day.** A session marks a day before its first row of it
//! ([`tollgate_store::days`]), so the marks are all who ever wrote, and a day without marks needs no
//! look. A session has passed a day of a customer's if
//! 1. it said so: its clock is past the day, and the store has every row; or
//! 2. it does not live (it ended, or a later life began without it), and its roster names no lease of the
//!    customer's: what it left is settled, and whoever settles raises rows only of leases in the roster; or
//! 3. every lease of the customer's that its roster names is lost, by an operator's word or two days after
//!    its period ([`crate::expire_leases`]): what comes of those is late, and in no row. Once the life itself is
//!    declared lost, a lease that is closed counts as well.
//!
//! A day is looked at from [`AFTER`] its end on, by this clock; the sessions' clocks decide by rule 1.
//!
//! **Late rows.** Rule 3 can be wrong (a machine that was given up returns, with rows of a lease that it had
//! closed). Whoever raises a row marks its day before, so the day is added up once more, however old; a total
//! is only replaced by one of later rows. Totals stand beside the rows that invoices are recomputed
//! from, never in their place.
//!
//! Running twice, or at once, is harmless. The marks that are left are the cursor: a run that is out of time
//! stops, and the next one finds what is left.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tollgate_domain::budget::{Bucket, LeaseState};
use tollgate_domain::daily::DayTotal;
use tollgate_domain::id::{CustomerId, EdgeId, EdgeSession};
use tollgate_store::StoreError;
use tollgate_store::days::{DAY_SHARDS, Mark, MarkedDay};
use tollgate_store::edge::EdgeRow;

use crate::platform::Platform;

/// How long after its end a day is looked at.
pub const AFTER: Duration = Duration::from_secs(3600);
/// Marks read at once, per shard.
const BATCH: usize = 200;

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// Customers' days that were written, for the first time or anew.
    pub written: u32,
    /// Customers' days that nobody writes any more and whose total was there already.
    pub known: u32,
    /// Customers' days that an edge may still write: it lives, or its journal is not settled.
    pub waiting: u32,
    /// Customers' days that could not be added up; the next run repeats them.
    pub failed: u32,
    /// Whether time ran out before the end.
    pub more: bool,
}

/// Adds up the days that are over, for at most about `within`: at least one of each shard.
///
/// # Errors
/// [`StoreError`] only when the marks themselves cannot be read.
pub async fn rollup(platform: &Platform, within: Duration) -> Result<Folded, StoreError> {
    let (began, today) = (Instant::now(), platform.now().minus(AFTER).day());
    let today = today.as_str();
    let shards = stream::iter(0..DAY_SHARDS).map(|shard| async move {
        let mut sweep = Sweep { platform, edges: BTreeMap::new(), run: Folded::default() };
        Box::pin(sweep.shard(shard, today, || began.elapsed() >= within)).await?;
        Ok::<_, StoreError>(sweep.run)
    });
    let runs: Vec<Folded> = shards.buffer_unordered(usize::from(DAY_SHARDS)).try_collect().await?;
    let mut run = Folded::default();
    for one in runs {
        run.written += one.written;
        run.known += one.known;
        run.waiting += one.waiting;
        run.failed += one.failed;
        run.more |= one.more;
    }
    if run != Folded::default() {
        tracing::info!(?run, "days added up");
    }
    Ok(run)
}

/// One run over one shard.
struct Sweep<'a> {
    platform: &'a Platform,
    /// Rows of edges, as read in this run. What they say of a life that is over stays true.
    edges: BTreeMap<EdgeId, Option<EdgeRow>>,
    run: Folded,
}

impl Sweep<'_> {
    async fn shard(
        &mut self,
        shard: u8,
        before: &str,
        out_of_time: impl Fn() -> bool + Send + Sync,
    ) -> Result<(), StoreError> {
        let mut after: Option<MarkedDay> = None;
        loop {
            let days = self.platform.store.days_written(shard, before, after.as_ref(), BATCH).await?;
            if days.is_empty() {
                return Ok(());
            }
            for day in days {
                if out_of_time() && after.is_some() {
                    self.run.more = true;
                    return Ok(());
                }
                if let Err(e) = Box::pin(self.day(&day)).await {
                    tracing::error!(customer = %day.customer, day = day.day, error = %e, "a day could not be added up");
                    self.run.failed += 1;
                }
                after = Some(day);
            }
        }
    }

    async fn day(&mut self, day: &MarkedDay) -> Result<(), StoreError> {
        for mark in &day.marks {
            if !Box::pin(self.passed(&day.customer, mark)).await? {
                self.run.waiting += 1;
                return Ok(());
            }
        }
        let store = &self.platform.store;
        // After the marks: a row that is raised from here on has left another mark.
        let rows = store.usage_of_day(&day.customer, &day.day).await?;
        let total = DayTotal::of(rows.iter().map(|(key, usage)| (&key.proxy, usage)));
        // A session may have died between its mark and its first row.
        let written = total.rows > 0
            && Box::pin(store.record_rollup(&day.customer, &day.day, &total, self.platform.now())).await?;
        // Last: before, a run that dies has changed nothing that the next one cannot repeat.
        store.strike_day(day).await?;
        if written {
            self.run.written += 1;
        } else {
            self.run.known += 1;
        }
        Ok(())
    }

    /// Whether who made `mark` has passed its day: see the module.
    async fn passed(&mut self, customer: &CustomerId, mark: &Mark) -> Result<bool, StoreError> {
        if mark.passed {
            return Ok(true);
        }
        let session = &mark.session;
        let Some(row) = self.edge(&session.edge).await? else { return Ok(false) };
        let lost = row.lost.contains_key(session);
        let lives = !lost && lives(&row, session);
        let store = &self.platform.store;
        let roster = store.roster_of(session, customer).await?;
        if roster.is_empty() {
            return Ok(!lives);
        }
        let buckets: BTreeMap<_, _> = store.allowances(customer).await?.into_iter().collect();
        let over = |bucket: &Bucket| match buckets.get(bucket).and_then(|a| a.leases.get(session)) {
            Some(lease) => lease.state == LeaseState::Lost,
            // Closed, or never taken: who settles it may raise rows still.
            None => lost,
        };
        Ok(roster.iter().all(over))
    }

    async fn edge(&mut self, id: &EdgeId) -> Result<Option<EdgeRow>, StoreError> {
        if let Some(known) = self.edges.get(id) {
            return Ok(known.clone());
        }
        let row = self.platform.store.edge(id).await?;
        self.edges.insert(id.clone(), row.clone());
        Ok(row)
    }
}

/// Whether `session` may carry customers, as far as its edge's row knows.
fn lives(row: &EdgeRow, session: &EdgeSession) -> bool {
    let in_force = session.epoch == row.epoch && row.ended_at.is_none();
    in_force || row.leaving.contains_key(session) || session.epoch > row.epoch
}
