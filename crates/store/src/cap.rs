//! Shares: `CAP#<customer>`, the split of a customer's threads, QPS and bandwidth between edges.
//! Read, changed by [`Cap`], written back on its version.

use tollgate_domain::feed::Entity;
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::share::{Cap, Capacity, Node, Usage};
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{encode, n};
use crate::{Store, StoreError, keys, tx};

/// How often a change is tried against other writers before it counts as unavailable.
const ATTEMPTS: u32 = 16;

/// What an edge learns when it says what a customer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareReport {
    /// The share of the edge that asks.
    pub node: Node,
    /// Tunnels of all edges.
    pub in_use_total: u64,
    /// Since when the sum has been above the soft limit; none = the strike clock stands.
    pub strike_since: Option<Timestamp>,
    /// The end of the last lock-out that a strike set: it holds until then.
    pub locked_until: Option<Timestamp>,
}

/// Which life of an edge reports, beside which earlier ones that live on (a hand-over).
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// The one that reports.
    pub session: &'a EdgeSession,
    /// The others: they keep what their tunnels need.
    pub elders: &'a [EdgeSession],
}

impl Store {
    /// Says what `session` uses, and gives it its share and where the strike clock stands. Call
    /// it every 5 s ([`tollgate_domain::strike::SAMPLE`]) for each active customer with a limit.
    ///
    /// Writes only if the session's figures or the clock changed. The write that strikes sets
    /// `locked_until` and tells all edges ([`Entity::Share`]) in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat, with the same `usage.refused`.
    pub async fn report_share(
        &self,
        customer: &CustomerId,
        session: &EdgeSession,
        limits: Capacity,
        soft: u32,
        usage: Usage,
        now: Timestamp,
    ) -> Result<ShareReport, StoreError> {
        self.report_share_beside(customer, Life { session, elders: &[] }, limits, soft, usage, now).await
    }

    /// As [`Self::report_share`], beside earlier lives of the same edge that live on.
    ///
    /// # Errors
    /// As there.
    pub async fn report_share_beside(
        &self,
        customer: &CustomerId,
        life: Life<'_>,
        limits: Capacity,
        soft: u32,
        usage: Usage,
        now: Timestamp,
    ) -> Result<ShareReport, StoreError> {
        let key = keys::cap(customer);
        for attempt in 0..ATTEMPTS {
            let found: Option<Cap> = self.read(&key).await?;
            let mut cap = found.clone().unwrap_or_default();
            let (node, struck) = cap.report(life.session, life.elders, limits, soft, usage, now);
            let report = ShareReport {
                node,
                in_use_total: cap.in_use(),
                strike_since: cap.strike.since,
                locked_until: cap.strike.locked_until,
            };
            if found.as_ref().is_some_and(|f| f.says_the_same_as(&cap)) {
                return Ok(report);
            }
            let done = if struck {
                let told = Entity::Share(customer.clone());
                self.transact(|| Ok(vec![replace_cap(customer, found.as_ref(), &cap)?, announce(&told, cap.ver, now)?]))
                    .await
            } else {
                self.write(|| replace_cap(customer, found.as_ref(), &cap)).await.map(drop)
            };
            match done {
                Ok(()) => return Ok(report),
                Err(Failure::Condition(_)) => tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(kept_changing(customer))
    }

    /// Gives `session` all of the customer's capacity that no other session holds, and records
    /// how many tunnels it carries. Earlier lives of the same edge are over: their shares go to
    /// this one. Shares that no longer fit the limits shrink first.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn join_share(
        &self,
        customer: &CustomerId,
        session: &EdgeSession,
        limits: Capacity,
        in_use: u32,
    ) -> Result<Node, StoreError> {
        self.join_share_beside(customer, session, &[], limits, in_use).await
    }

    /// As [`Self::join_share`], beside earlier lives of the same edge that live on (`elders`, a
    /// hand-over): they keep what their tunnels need, the rest is this session's.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn join_share_beside(
        &self,
        customer: &CustomerId,
        session: &EdgeSession,
        elders: &[EdgeSession],
        limits: Capacity,
        in_use: u32,
    ) -> Result<Node, StoreError> {
        self.change_cap(customer, |cap| cap.enter(session, elders, limits, in_use)).await
    }

    /// Keeps of the share of `session`, which hands over to its successor, what its `in_use`
    /// tunnels need.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn withdraw_share(
        &self,
        customer: &CustomerId,
        session: &EdgeSession,
        limits: Capacity,
        in_use: u32,
    ) -> Result<(), StoreError> {
        self.change_cap(customer, |cap| cap.withdraw(session, limits, in_use)).await
    }

    /// Gives back the share of `session`, if it holds one.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn leave_share(&self, customer: &CustomerId, session: &EdgeSession) -> Result<(), StoreError> {
        self.change_cap(customer, |cap| {
            cap.leave(session);
        })
        .await
    }

    /// The split of a customer's capacity.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cap(&self, customer: &CustomerId) -> Result<Option<Cap>, StoreError> {
        self.read(&keys::cap(customer)).await
    }

    /// A write whose answer was lost is found applied by the next attempt, which then changes
    /// nothing more than the version.
    async fn change_cap<T>(&self, customer: &CustomerId, change: impl Fn(&mut Cap) -> T) -> Result<T, StoreError> {
        let key = keys::cap(customer);
        for attempt in 0..ATTEMPTS {
            let found: Option<Cap> = self.read(&key).await?;
            let mut cap = found.clone().unwrap_or_default();
            let out = change(&mut cap);
            if found.as_ref().is_some_and(|f| f.says_the_same_as(&cap)) || (found.is_none() && cap.nodes.is_empty()) {
                return Ok(out);
            }
            match self.write(|| replace_cap(customer, found.as_ref(), &cap)).await {
                Ok(_) => return Ok(out),
                Err(Failure::Condition(_)) => tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(kept_changing(customer))
    }
}

fn kept_changing(customer: &CustomerId) -> StoreError {
    StoreError::Unavailable(format!("the share of {customer} kept changing"))
}

/// Puts `cap` in the place of `found`, if nobody changed that.
pub(crate) fn replace_cap(customer: &CustomerId, found: Option<&Cap>, cap: &Cap) -> Result<Write, Failure> {
    let key = keys::cap(customer);
    let put = Write::put(key.clone(), encode(&key, cap, None)?);
    Ok(match found {
        None => put.when(ABSENT),
        Some(f) => put.when("ver = :v").value(":v", n(f.ver)),
    })
}
