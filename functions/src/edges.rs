//! Story: which lives of edges there are, where each stands, and what it holds of customers'
//! quotas. [`drain`] and [`lost`] act on one of them.

pub mod drain;
pub mod lost;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use tollgate_domain::budget::{Allowance, Bucket, LeaseState};
use tollgate_domain::id::{CustomerId, EdgeId, EdgeSession};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::allowance::Rostered;
use tollgate_store::edge::EdgeRow;

use crate::live::FRESH;
use crate::outcome::store;
use crate::platform::Platform;

/// Most leases of one life that are looked at for one answer.
const MOST_LEASES: usize = 500;
/// Customers looked at, or told of, at a time.
pub(crate) const AT_ONCE: usize = 16;

/// Where a life of an edge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeState {
    /// Heard of within three heartbeats.
    Live,
    /// As [`Self::Live`], and accepts no more.
    Draining,
    /// Not heard of for three heartbeats. Its leases stay charged.
    Silent,
    /// Ended by itself, every lease closed.
    Ended,
    /// Declared lost.
    Lost,
}

impl LifeState {
    /// As the API says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::Ended => "ended",
            Self::Lost => "lost",
        }
    }
}

/// A life of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which.
    pub session: EdgeSession,
    /// Where it stands.
    pub state: LifeState,
    /// When it began, if that is known.
    pub started_at: Option<Timestamp>,
    /// When it was last heard of.
    pub heartbeat: Timestamp,
    /// Tunnels at that time, if it told them.
    pub tunnels: Option<u64>,
    /// What it holds.
    pub held: Held,
}

/// What a life holds of customers' quotas. Bytes are sums over the leases looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open leases.
    pub open: usize,
    /// Leases that were declared lost.
    pub lost: usize,
    /// Customers with one of either.
    pub customers: usize,
    /// Bytes taken.
    pub taken: u64,
    /// Of those, bytes known to have moved.
    pub settled: u64,
    /// Of those, bytes that may have moved: charged, never billed.
    pub doubt: u64,
    /// Whether there are more leases than were looked at.
    pub more: bool,
}

/// The lives of `edge` that may hold something, the one in force first; then earlier ones.
fn lives(edge: &EdgeId, row: &EdgeRow, now: Timestamp) -> Vec<Life> {
    let in_force = EdgeSession { edge: edge.clone(), epoch: row.epoch };
    let mut lives = vec![Life {
        state: state(row, &in_force, row.heartbeat, now),
        session: in_force,
        started_at: Some(row.started_at),
        heartbeat: row.heartbeat,
        tunnels: row.tunnels,
        held: Held::default(),
    }];
    for (session, heard) in row.unsettled.iter().chain(&row.leaving).rev() {
        lives.push(Life {
            session: session.clone(),
            state: state(row, session, *heard, now),
            started_at: None,
            heartbeat: *heard,
            tunnels: None,
            held: Held::default(),
        });
    }
    lives
}

fn state(row: &EdgeRow, session: &EdgeSession, heard: Timestamp, now: Timestamp) -> LifeState {
    let in_force = session.epoch == row.epoch;
    if row.lost.contains_key(session) {
        LifeState::Lost
    } else if in_force && row.ended_at.is_some() {
        LifeState::Ended
    } else if row.unsettled.contains_key(session) || now.since(heard) > FRESH {
        LifeState::Silent
    } else if in_force && row.draining_at.is_none() {
        LifeState::Live
    } else {
        LifeState::Draining
    }
}

/// A page of edges in order of id: the lives of the first `limit` edges after `after`, each with
/// what it holds, and the `after` of the next page if there may be one. Earlier lives that hold
/// nothing any more are left out.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn list(
    platform: &Platform,
    after: Option<&EdgeId>,
    limit: usize,
) -> Result<(Vec<Life>, Option<EdgeId>), Refusal> {
    let now = platform.now();
    let mut edges = platform.store.edges().await.map_err(store)?;
    edges.retain(|(id, _)| after.is_none_or(|after| id > after));
    let more = edges.len() > limit;
    edges.truncate(limit);
    let next = edges.last().filter(|_| more).map(|(id, _)| id.clone());
    let found: Vec<_> =
        edges.iter().flat_map(|(id, row)| lives(id, row, now).into_iter().map(|life| (life, row.epoch))).collect();
    let found = stream::iter(found).map(|(life, in_force)| async move {
        let mut roster = platform.store.roster(&life.session).await?;
        let more = roster.len() > MOST_LEASES;
        roster.truncate(MOST_LEASES);
        Ok::<_, StoreError>((life, in_force, by_customer(roster), more))
    });
    let found: Vec<_> = found.buffered(AT_ONCE).try_collect().await.map_err(store)?;
    // A customer has leases at many edges: its buckets are read once.
    let customers: BTreeSet<CustomerId> = found.iter().flat_map(|(_, _, roster, _)| roster.keys().cloned()).collect();
    let read = stream::iter(customers).map(|customer| async move {
        let buckets = platform.store.allowances(&customer).await?;
        Ok::<_, StoreError>((customer, buckets))
    });
    let read: BTreeMap<_, _> = read.buffer_unordered(AT_ONCE).try_collect().await.map_err(store)?;
    let mut shown = Vec::new();
    for (mut life, in_force, roster, more) in found {
        life.held = Held { more, ..held(&life.session, &roster, &read) };
        let in_force = life.session.epoch == in_force;
        if in_force || life.state == LifeState::Draining || life.held != Held::default() {
            shown.push(life);
        }
    }
    Ok((shown, next))
}

/// What `session` holds, by its roster.
fn held(
    session: &EdgeSession,
    roster: &BTreeMap<CustomerId, BTreeSet<Bucket>>,
    read: &BTreeMap<CustomerId, Vec<(Bucket, Allowance)>>,
) -> Held {
    let mut held = Held::default();
    for (customer, buckets) in roster {
        let before = held.open + held.lost;
        let named = read.get(customer).into_iter().flatten().filter(|(bucket, _)| buckets.contains(bucket));
        for lease in named.filter_map(|(_, a)| a.leases.get(session)) {
            match lease.state {
                LeaseState::Open => held.open += 1,
                LeaseState::Lost => held.lost += 1,
            }
            held.taken = held.taken.saturating_add(lease.taken);
            held.settled = held.settled.saturating_add(lease.settled);
            held.doubt = held.doubt.saturating_add(lease.doubt);
        }
        held.customers += usize::from(held.open + held.lost > before);
    }
    held
}

pub(crate) fn by_customer(roster: Vec<Rostered>) -> BTreeMap<CustomerId, BTreeSet<Bucket>> {
    let mut customers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for entry in roster {
        customers.entry(entry.customer).or_default().insert(entry.bucket);
    }
    customers
}

/// The row of an edge.
async fn row(platform: &Platform, edge: &EdgeId) -> Result<EdgeRow, Refusal> {
    let found = platform.store.edge(edge).await.map_err(store)?;
    found.ok_or_else(|| Refusal::new(Code::NotFound, "no edge of this name ever started"))
}
