//! Proof of death: a life of an edge that is declared lost, its leases with it; and the bytes
//! that return all the same, `LATE#<customer> / <session>#<bucket>`: shown, never billed.

use serde::{Deserialize, Serialize};
use tollgate_domain::budget::{Allowance, Bucket, Lease, LeaseState};
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::time::Timestamp;

use crate::allowance::old_item;
use crate::edge::EdgeRow;
use crate::error::Failure;
use crate::expr::Write;
use crate::item::{decode, encode, n, value};
use crate::{Store, StoreError, Table, keys};

/// How often a declaration is tried against heartbeats that it was told to overrule.
const ATTEMPTS: u32 = 16;

/// What came of declaring a life lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It is lost, now or by an earlier attempt.
    Lost,
    /// It was heard of since. Nothing changed.
    Alive {
        /// When.
        heartbeat: Timestamp,
    },
    /// The edge has no such life, or it ended by itself. Nothing changed.
    NoLife,
}

/// Bytes that a lost lease's edge counted, told after the loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Which life of which edge tells.
    pub session: EdgeSession,
    /// Of which bucket.
    pub bucket: Bucket,
    /// Bytes that moved under the lease, by its journal.
    pub moved: u64,
    /// Of those, the bytes that were settled before the loss: they are billed.
    pub settled: u64,
    /// Bytes that may have moved beyond, where the edge crashed.
    pub doubt: u64,
    /// When they were told.
    pub at: Timestamp,
}

impl Late {
    /// Bytes that came too late to be billed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.moved.saturating_sub(self.settled)
    }
}

impl Store {
    /// Declares `session` lost, if it is the edge's life in force, or an earlier one that may hold
    /// leases. `seen`: only if it was last heard of then; none = whatever it says meanwhile. Its
    /// next heartbeat tells it ([`crate::edge::Heartbeat::Lost`]).
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn declare_lost(
        &self,
        session: &EdgeSession,
        seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Declared, StoreError> {
        let key = keys::edge(&session.edge);
        for attempt in 0..ATTEMPTS {
            let Some(row) = self.read::<EdgeRow>(&key).await? else { return Ok(Declared::NoLife) };
            if row.lost.contains_key(session) {
                return Ok(Declared::Lost);
            }
            let ended = session.epoch == row.epoch && row.ended_at.is_some();
            let Some(heard) = row.last_heard(session).filter(|_| !ended) else { return Ok(Declared::NoLife) };
            if seen.is_some_and(|seen| seen != heard) {
                return Ok(Declared::Alive { heartbeat: heard });
            }
            let write = || {
                let lost = Write::update(key.clone(), "SET lost.#s = :now")
                    .name("#s", session.to_string())
                    .value(":now", value(&now)?)
                    .value(":e", n(row.epoch))
                    .value(":heard", value(&heard)?);
                Ok(if session.epoch == row.epoch {
                    lost.when("epoch = :e AND heartbeat = :heard")
                } else if row.leaving.contains_key(session) {
                    lost.when("epoch = :e AND leaving.#s = :heard")
                } else {
                    lost.when("epoch = :e AND unsettled.#s = :heard")
                })
            };
            match self.write(write).await {
                Ok(_) => return Ok(Declared::Lost),
                // Heard of, or started again: looked at anew.
                Err(Failure::Condition(_)) => crate::tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("edge {} kept changing", session.edge)))
    }

    /// Declares the lease that `session` holds of a bucket lost, if it is open: what it took and
    /// did not settle is in doubt from now on, charged to the quota and never billed. Nothing goes
    /// back, so that the bytes of an edge that lives all the same fit the quota too. Returns the
    /// lost lease; none if the session holds none.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn lose_lease(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        session: &EdgeSession,
    ) -> Result<Option<Lease>, StoreError> {
        let write = || {
            Ok(Write::update(
                keys::allowance(customer, bucket),
                "SET #L.#e.d = #L.#e.t - #L.#e.s, #L.#e.st = :lost, #L.#e.k = #L.#e.k + :one",
            )
            .when("#L.#e.st = :open")
            .name("#L", "L")
            .name("#e", session.to_string())
            .value(":lost", value(&LeaseState::Lost)?)
            .value(":open", value(&LeaseState::Open)?)
            .value(":one", n(1)))
        };
        let item = match self.write(write).await {
            Ok(new) => new,
            // Lost before, or closed.
            Err(Failure::Condition(old)) => old_item(old),
            Err(e) => return Err(e.into_store()),
        };
        let Some(item) = item else { return Ok(None) };
        let allowance: Allowance = decode(item)?;
        Ok(allowance.leases.get(session).filter(|l| l.state == LeaseState::Lost).cloned())
    }

    /// Writes down what came late of one lost lease, if more moved than is written. `false` if
    /// this write, or a later one, was applied.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn record_late(&self, customer: &CustomerId, late: &Late) -> Result<bool, StoreError> {
        let key = keys::late(customer, &late.session, &late.bucket);
        let write = || {
            Ok(Write::put(key.clone(), encode(&key, late, None)?)
                .when("attribute_not_exists(pk) OR moved < :moved")
                .value(":moved", n(late.moved)))
        };
        self.applied(write).await
    }

    /// All that came late of a customer's, in order of session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn late(&self, customer: &CustomerId) -> Result<Vec<Late>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::late_list(customer), "").await?;
        items.into_iter().map(decode).collect()
    }

    /// Whether `session` is in a roster: it may hold leases, or have lines open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn holds_something(&self, session: &EdgeSession) -> Result<bool, StoreError> {
        let found = self.query(Table::Usage, &keys::roster_list(session), "\u{1}", "\u{10FFFF}", Some(1)).await?;
        Ok(!found.is_empty())
    }
}
