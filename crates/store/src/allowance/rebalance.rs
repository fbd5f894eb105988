//! What moves bytes between edges: a lease gives back what it does not use, and who lacks bytes says so.

use tollgate_domain::budget::{Bucket, LeaseState, Take};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::time::Timestamp;

use super::{answer, lease_names};
use crate::expr::Write;
use crate::item::{n, value};
use crate::{Store, StoreError, keys};

impl Store {
    /// Gives back `bytes` of a lease and settles it at `settled` (cumulative), if the lease is open, at
    /// `seq`, and holds as much beyond what was settled. The session has given them up *before*:
    /// nobody spends them any more.
    ///
    /// A failed condition reads as the other variants of [`Take`]; a lease at `seq + 1` settled at
    /// `settled` is this write, applied earlier.
    ///
    /// # Errors
    /// [`StoreError`]; repeat with the same arguments.
    pub async fn give_back(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        session: &EdgeSession,
        bytes: u64,
        settled: u64,
        seq: u64,
    ) -> Result<Take, StoreError> {
        let key = keys::allowance(customer, bucket);
        let write = || {
            let w = Write::update(
                key.clone(),
                "SET available = available + :n, #L.#e.t = #L.#e.t - :n, #L.#e.s = :s, #L.#e.k = :next",
            )
            .when("#L.#e.st = :open AND #L.#e.k = :k AND #L.#e.s <= :s AND #L.#e.t >= :least")
            .value(":n", n(bytes))
            .value(":s", n(settled))
            .value(":k", n(seq))
            .value(":next", n(seq + 1))
            // s ≤ t − n, without a sum in the condition; an open lease has no doubt.
            .value(":least", n(settled.saturating_add(bytes)))
            .value(":open", value(&LeaseState::Open)?);
            Ok(lease_names(w, session))
        };
        let done = self.write(write).await;
        answer(done, session, |old| old.refused_take(session, 0, settled, seq))
    }

    /// Tells all edges that `session` has run dry of a bucket of which others hold something
    /// ([`Entity::BytesWanted`]). Each call asks once; one that is sent twice asks twice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn want(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        session: &EdgeSession,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (customer, bucket, by) = (customer.clone(), bucket.clone(), session.clone());
        self.tell(&Entity::BytesWanted { customer, bucket, by }, now).await
    }
}
