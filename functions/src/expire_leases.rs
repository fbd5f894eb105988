//! Story, every hour: a lease whose bucket ended two days ago, and whose edge does not live, is
//! lost. What it took and did not settle stays charged, in doubt, and is never billed; what its
//! journal says later is shown as late. So a period can be closed though an edge never came back.
//!
//! **Who lives keeps its lease.** An edge closes the lease of an ended bucket by itself within
//! seconds. One that lives and has it open two days later is a fault that a person must see
//! (`lease.overdue`, at each run): its bytes are counted, and will be settled. An edge lives if its
//! sign of life changes while this watches; no two machines' clocks are compared. One that was cut
//! off all the time is taken for dead: should it return, its bytes come late.
//!
//! Found by the list of edges, the lives that each row knows, and their rosters. Running twice, or at
//! once, is harmless: only an open lease is lost, and only once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_domain::budget::{Bucket, LeaseState};
use tollgate_domain::id::{CustomerId, EdgeId, EdgeSession};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::edge::{EdgeRow, Sign};

use crate::edges::{AT_ONCE, by_customer};
use crate::platform::Platform;

/// How long after its bucket's end a lease is lost.
pub const GRACE: Duration = Duration::from_secs(48 * 3600);

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Lives of edges looked at.
    pub lives: u32,
    /// Leases lost now.
    pub lost: u32,
    /// Bytes that are in doubt with them.
    pub doubt: u64,
    /// Overdue leases of edges that live: left to them.
    pub living: u32,
    /// Lives that could not be looked at, and leases that could not be lost; the next run repeats them.
    pub failed: u32,
}

/// Overdue leases of one life.
struct Overdue {
    session: EdgeSession,
    leases: Vec<Held>,
}

/// An overdue lease.
struct Held {
    customer: CustomerId,
    bucket: Bucket,
    taken: u64,
}

impl Overdue {
    fn customers(&self) -> usize {
        self.leases.iter().map(|l| &l.customer).collect::<BTreeSet<_>>().len()
    }

    /// What is told of them, with `bytes` under `name`.
    fn told(&self, leases: u32, name: &str, bytes: u64) -> Value {
        json!({ "session": self.session, "leases": leases, "customers": self.customers(), name: bytes })
    }
}

/// One run at the platform's time. It takes [`crate::platform::Bounds::edge_silence`] if it finds
/// something.
///
/// # Errors
/// [`StoreError`] only when the list of edges cannot be read.
pub async fn expire_leases(platform: &Platform) -> Result<Expired, StoreError> {
    let mut run = Expired::default();
    let mut overdue = Vec::new();
    for (edge, row) in platform.store.edges().await? {
        for session in lives(&edge, &row) {
            run.lives += 1;
            match Box::pin(overdue_of(platform, &session)).await {
                Ok(leases) if leases.is_empty() => {}
                Ok(leases) => overdue.push(Overdue { session, leases }),
                Err(e) => {
                    tracing::error!(%session, error = %e, "the leases of a life could not be looked at");
                    run.failed += 1;
                }
            }
        }
    }
    if overdue.is_empty() {
        return Ok(run);
    }
    let before = Box::pin(signs(platform, &overdue)).await;
    tokio::time::sleep(platform.bounds.edge_silence).await;
    let after = Box::pin(signs(platform, &overdue)).await;
    for life in &overdue {
        match (before.get(&life.session), after.get(&life.session)) {
            (Some(before), Some(after)) if before == after => Box::pin(lose(platform, life, &mut run)).await,
            (Some(_), Some(_)) => leave(platform, life, &mut run).await,
            // The store did not answer.
            _ => run.failed += 1,
        }
    }
    tracing::info!(?run, "overdue leases");
    Ok(run)
}

/// The lives of `edge` that may hold something.
fn lives(edge: &EdgeId, row: &EdgeRow) -> Vec<EdgeSession> {
    let in_force = EdgeSession { edge: edge.clone(), epoch: row.epoch };
    let mut lives = vec![in_force];
    lives.extend(row.unsettled.keys().chain(row.leaving.keys()).cloned());
    lives
}

/// The open leases of `session` whose buckets ended [`GRACE`] ago.
async fn overdue_of(platform: &Platform, session: &EdgeSession) -> Result<Vec<Held>, StoreError> {
    let now = platform.now();
    let over = |end: Timestamp| end.plus(GRACE) <= now;
    let mut roster = platform.store.roster(session).await?;
    // Without this, each run would read the buckets of every active customer.
    roster.retain(|entry| over(entry.bucket.ends_no_sooner_than()));
    let found = stream::iter(by_customer(roster)).map(|(customer, buckets)| async move {
        let mut held = Vec::new();
        for (bucket, allowance) in platform.store.allowances(&customer).await? {
            if !buckets.contains(&bucket) || !over(allowance.spend_until) {
                continue;
            }
            if let Some(lease) = allowance.leases.get(session).filter(|l| l.state == LeaseState::Open) {
                held.push(Held { customer: customer.clone(), bucket, taken: lease.taken });
            }
        }
        Ok::<_, StoreError>(held)
    });
    let found: Vec<Vec<Held>> = found.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The signs of life of those that hold them; none = its edge's row knows it as one that is over.
/// Who is not in the answer could not be looked at.
async fn signs(platform: &Platform, overdue: &[Overdue]) -> BTreeMap<EdgeSession, Option<Sign>> {
    let mut signs = BTreeMap::new();
    for life in overdue {
        match platform.store.edge(&life.session.edge).await {
            Ok(row) => {
                // Whom somebody declared lost may beat: it holds nothing of its own any more.
                let row = row.filter(|row| !row.lost.contains_key(&life.session));
                signs.insert(life.session.clone(), row.and_then(|row| row.sign(&life.session)));
            }
            Err(e) => tracing::error!(session = %life.session, error = %e, "an edge could not be looked at"),
        }
    }
    signs
}

async fn lose(platform: &Platform, life: &Overdue, run: &mut Expired) {
    let (mut lost, mut doubt) = (0u32, 0u64);
    for lease in &life.leases {
        match platform.store.lose_lease(&lease.customer, &lease.bucket, &life.session).await {
            Ok(Some(l)) => {
                lost += 1;
                doubt = doubt.saturating_add(l.doubt);
            }
            // It was closed meanwhile: the edge came back.
            Ok(None) => {}
            Err(e) => {
                let (session, customer) = (&life.session, &lease.customer);
                tracing::error!(%session, %customer, bucket = %lease.bucket, error = %e, "a lease could not be lost");
                run.failed += 1;
            }
        }
    }
    run.lost += lost;
    run.doubt = run.doubt.saturating_add(doubt);
    if lost > 0 {
        tracing::warn!(session = %life.session, leases = lost, doubt_bytes = doubt, "leases of an ended period are lost");
        platform.emit("lease.expired", life.told(lost, "doubtBytes", doubt)).await;
    }
}

async fn leave(platform: &Platform, life: &Overdue, run: &mut Expired) {
    let leases = u32::try_from(life.leases.len()).unwrap_or(u32::MAX);
    let taken = life.leases.iter().fold(0u64, |sum, l| sum.saturating_add(l.taken));
    run.living += leases;
    tracing::error!(session = %life.session, leases, taken_bytes = taken, "an edge lives and keeps leases of an ended period");
    platform.emit("lease.overdue", life.told(leases, "takenBytes", taken)).await;
}
