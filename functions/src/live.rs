//! Story: which tunnels are live, over the fleet. Nobody can call an edge: the question goes out in
//! the change feed, the answers come in as rows, and whoever asked waits for them a moment.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_domain::feed::Command;
use tollgate_domain::id::{CustomerId, EdgeId, EdgeSession, RequestId};
use tollgate_domain::live::LiveReport;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;
use tollgate_store::edge::EdgeRow;

use crate::outcome::store;
use crate::platform::Platform;
use crate::random::ulid;

/// An edge that was not heard of for this long is not waited for: three heartbeats.
pub(crate) const FRESH: Duration = Duration::from_secs(15);
/// An edge that was not heard of for this long is not shown.
const SHOWN: Duration = Duration::from_secs(3600);
/// How often answers are looked for.
const POLL: Duration = Duration::from_millis(150);

/// An edge and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which.
    pub id: EdgeId,
    /// Its life and its last heartbeat.
    pub row: EdgeRow,
    /// Whether the life in force answered in time.
    pub answered: bool,
    /// What came in time: also of earlier lives, which end their tunnels after a hand-over.
    pub reports: Vec<LiveReport>,
}

/// Asks all edges for their tunnels, of one customer or of all, the `limit` newest of each, and
/// waits until every edge that lives has answered or [`crate::platform::Bounds::live_wait`] is
/// over.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn live(platform: &Platform, customer: Option<CustomerId>, limit: u16) -> Result<Vec<Heard>, Refusal> {
    let now = platform.now();
    let mut edges = platform.store.edges().await.map_err(store)?;
    edges.retain(|(_, row)| now.since(row.heartbeat) <= SHOWN);
    let mut reports = Vec::new();
    if edges.iter().any(|(_, row)| lives(row, now)) {
        let request = RequestId::new(ulid(now)).map_err(|e| Refusal::new(Code::Internal, e.to_string()))?;
        let command = Command::ReportLive { request: request.clone(), customer, limit, at: now };
        platform.store.announce_command(&command, now).await.map_err(store)?;
        let deadline = Instant::now() + platform.bounds.live_wait;
        loop {
            reports = platform.store.live_reports(&request).await.map_err(store)?;
            let all = edges.iter().flat_map(|(id, row)| living(id, row, now)).all(|s| answered(&reports, &s));
            let left = deadline.saturating_duration_since(Instant::now());
            if all || left.is_zero() {
                break;
            }
            tokio::time::sleep(POLL.min(left)).await;
        }
    }
    let heard = edges.into_iter().map(|(id, row)| {
        let (of_it, others) = std::mem::take(&mut reports).into_iter().partition(|r| r.session.edge == id);
        reports = others;
        let answered = answered(&of_it, &in_force(&id, &row));
        Heard { id, row, answered, reports: of_it }
    });
    Ok(heard.collect())
}

fn answered(reports: &[LiveReport], session: &EdgeSession) -> bool {
    reports.iter().any(|r| r.session == *session)
}

fn in_force(id: &EdgeId, row: &EdgeRow) -> EdgeSession {
    EdgeSession { edge: id.clone(), epoch: row.epoch }
}

/// The lives of an edge that are waited for.
fn living(id: &EdgeId, row: &EdgeRow, now: Timestamp) -> Vec<EdgeSession> {
    let leaving = row.leaving.iter().filter(|(_, at)| now.since(**at) <= FRESH).map(|(session, _)| session.clone());
    lives(row, now).then(|| in_force(id, row)).into_iter().chain(leaving).collect()
}

fn lives(row: &EdgeRow, now: Timestamp) -> bool {
    now.since(row.heartbeat) <= FRESH
}
