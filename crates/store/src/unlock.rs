//! The end of lock-outs: a customer is locked by its row (`CUST#`), by the strike clock in its
//! share (`CAP#`), or by both.

use tollgate_domain::feed::Entity;
use tollgate_domain::id::CustomerId;
use tollgate_domain::share::Cap;
use tollgate_domain::time::Timestamp;

use crate::cap::replace_cap;
use crate::customer::{Changed, replace};
use crate::error::Failure;
use crate::feed::announce;
use crate::{Store, StoreError, keys, tx};

/// How often a change is computed again because another writer was faster.
const RACES: u32 = 16;

impl Store {
    /// Ends every lock of a customer and clears its strike clock, in one transaction that tells
    /// the edges. A customer that is not locked stays as it is. `before` shows the lock that held,
    /// whichever it was. None if there is no such customer.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn unlock_customer(&self, id: &CustomerId, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        let mut first = None;
        for attempt in 0..RACES {
            let (row, cap) = tokio::try_join!(self.customer(id), self.cap(id))?;
            let Some(row) = row else { return Ok(None) };
            let found = row.clone().with_lock(cap.as_ref().and_then(|c| c.strike.locked_until));
            // The lock that an attempt found whose answer was lost is the one that ended.
            let before = first.get_or_insert(found).clone();
            let mut after = row.clone();
            after.locked_until = None;
            let changed = after != row;
            after.ver += u64::from(changed);
            let forgiven = cap.as_ref().and_then(forgiven);
            if !changed && forgiven.is_none() {
                return Ok(Some(Changed { before, after }));
            }
            let key = keys::customer(id);
            let writes = || {
                let mut writes = Vec::new();
                if changed {
                    writes.extend(replace(&key, &row, &after, now)?);
                }
                if let Some(next) = &forgiven {
                    writes.push(replace_cap(id, cap.as_ref(), next)?);
                    writes.push(announce(&Entity::Share(id.clone()), next.ver, now)?);
                }
                Ok(writes)
            };
            match self.transact(writes).await {
                Ok(()) => return Ok(Some(Changed { before, after })),
                Err(Failure::Condition(_)) => tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("customer {id} keeps changing")))
    }
}

/// The share with its clock cleared; none if it is clear.
fn forgiven(cap: &Cap) -> Option<Cap> {
    let mut next = cap.clone();
    next.ver += 1;
    next.strike.forgive().then_some(next)
}
