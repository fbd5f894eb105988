//! Shares: `CAP#<customer>`, the split of a customer's threads, QPS and bandwidth between edges.
//! Read, changed by [`Cap`], written back on its version.

use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::share::{Cap, Capacity, Node};

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::item::{encode, n};
use crate::{Store, StoreError, keys, tx};

/// How often a change is tried against other writers before it counts as unavailable.
const ATTEMPTS: u32 = 16;

impl Store {
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
        self.change_cap(customer, |cap| {
            cap.nodes.retain(|s, _| s.edge != session.edge || s.epoch >= session.epoch);
            if !cap.fits(limits) {
                cap.shrink(limits);
            }
            cap.join(session, limits, in_use)
        })
        .await
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
            if found.as_ref().is_some_and(|f| f.nodes == cap.nodes) || (found.is_none() && cap.nodes.is_empty()) {
                return Ok(out);
            }
            let write = || {
                let w = Write::put(key.clone(), encode(&key, &cap, None)?);
                Ok(match &found {
                    None => w.when(ABSENT),
                    Some(f) => w.when("ver = :v").value(":v", n(f.ver)),
                })
            };
            match self.write(write).await {
                Ok(_) => return Ok(out),
                Err(Failure::Condition(_)) => tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("the share of {customer} kept changing")))
    }
}
