//! Story: an operator says that a life of an edge is dead, its machine gone. Nothing else ends a
//! lease from outside in its period: no time that passes does. Long after it
//! [`crate::expire_leases`] does.
//!
//! The leases become lost: what they took and did not settle is in doubt, charged to the quota and
//! never billed. Lines and shares of the life are free. What its journal says later is shown as
//! late, never billed.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::time::Instant;
use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::lost::Declared;

use super::{AT_ONCE, by_customer, row};
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::{By, NOTHING};

/// How often the heartbeat is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What was lost with a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which life.
    pub session: EdgeSession,
    /// Leases that are lost, now or by an earlier call.
    pub leases: usize,
    /// Customers who had them.
    pub customers: usize,
    /// Bytes that are in doubt.
    pub doubt: u64,
    /// Lines that the life no longer keeps open.
    pub lines: usize,
}

/// Declares a life of `edge` lost: the one in force, or that of `epoch`. Without `force` its
/// heartbeat must stay as it is for [`crate::platform::Bounds::edge_silence`], by this process's own clock.
/// Calling it again finishes what a failed call left.
///
/// # Errors
/// `NOT_FOUND`; `EDGE_ALIVE`: it was heard of meanwhile; `CONFLICT`: it ended by itself;
/// `STORE_UNAVAILABLE`.
pub async fn lost(
    platform: &Platform,
    by: &By,
    edge: &EdgeId,
    epoch: Option<u64>,
    force: bool,
) -> Result<Loss, Refusal> {
    let row = row(platform, edge).await?;
    let session = EdgeSession { edge: edge.clone(), epoch: epoch.unwrap_or(row.epoch) };
    let Some(heard) = row.last_heard(&session) else {
        return Err(Refusal::new(
            Code::NotFound,
            format!("{edge} has no life {} that may hold anything", session.epoch),
        ));
    };
    // What is over beats no more; the declaration says so.
    let over = session.epoch == row.epoch && row.ended_at.is_some();
    if !force && !over && !row.lost.contains_key(&session) {
        Box::pin(watch(platform, &session, heard)).await?;
    }
    let seen = (!force).then_some(heard);
    match Box::pin(platform.store.declare_lost(&session, seen, platform.now())).await.map_err(store)? {
        Declared::Lost => {}
        Declared::Alive { heartbeat } => return Err(alive(&session, heartbeat)),
        Declared::NoLife => return Err(Refusal::new(Code::Conflict, format!("{session} ended by itself"))),
    }
    let loss = Box::pin(settle(platform, &session)).await.map_err(store)?;
    let after = json!({
        "forced": force, "leases": loss.leases, "customers": loss.customers, "doubtBytes": loss.doubt,
        "lines": loss.lines, "lastHeard": heard.to_string(),
    });
    by.record(platform, "edge.lost", &format!("edge:{session}"), NOTHING, Some(&after)).await?;
    let told = json!({ "session": session, "doubtBytes": loss.doubt, "customers": loss.customers, "by": by.actor });
    platform.emit("edge.lost", told).await;
    Ok(loss)
}

/// Returns when the heartbeat has stayed as it is for long enough.
async fn watch(platform: &Platform, session: &EdgeSession, heard: Timestamp) -> Result<(), Refusal> {
    let end = Instant::now() + platform.bounds.edge_silence;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(LOOK.min(left)).await;
        let row = row(platform, &session.edge).await?;
        if let Some(heartbeat) = row.last_heard(session).filter(|at| *at != heard) {
            return Err(alive(session, heartbeat));
        }
    }
}

fn alive(session: &EdgeSession, heartbeat: Timestamp) -> Refusal {
    Refusal::new(Code::EdgeAlive, format!("{session} was heard of at {heartbeat}"))
}

/// Loses every lease of the life, gives up its shares, and says that its lines are quiet. The
/// roster stays: with it, a journal that returns finds what it is about.
async fn settle(platform: &Platform, session: &EdgeSession) -> Result<Loss, StoreError> {
    let (roster, lines) =
        futures_util::future::try_join(platform.store.roster(session), platform.store.roster_lines(session)).await?;
    let lost = stream::iter(by_customer(roster)).map(|(customer, buckets)| async move {
        let mut doubts = Vec::new();
        for bucket in buckets {
            doubts.extend(platform.store.lose_lease(&customer, &bucket, session).await?.map(|lease| lease.doubt));
        }
        platform.store.leave_share(&customer, session).await?;
        Ok::<_, StoreError>(doubts)
    });
    let lost: Vec<Vec<u64>> = lost.buffer_unordered(AT_ONCE).try_collect().await?;
    let left_open = lines.len();
    let quiet = stream::iter(lines).map(|line| async move {
        let now = platform.now();
        platform.store.line_quiet(&line, session, now).await.map(drop)
    });
    quiet.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(Loss {
        session: session.clone(),
        leases: lost.iter().map(Vec::len).sum(),
        customers: lost.iter().filter(|doubts| !doubts.is_empty()).count(),
        doubt: lost.iter().flatten().fold(0, |sum, doubt| u64::saturating_add(sum, *doubt)),
        lines: left_open,
    })
}
