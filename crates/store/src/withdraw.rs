//! Withdrawals: bytes taken back from a bucket that nobody holds yet (a smaller plan).

use serde::Serialize;
use tollgate_domain::budget::{Allowance, Bucket};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::CustomerId;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{encode, n};
use crate::{Store, StoreError, keys};

/// A withdrawal as it is kept in `billing`, beside the grants.
#[derive(Serialize)]
struct WithdrawalRow<'a> {
    bucket: &'a Bucket,
    withdrawn: u64,
    at: Timestamp,
}

impl Store {
    /// Takes back up to `most` bytes that nobody holds, unless the same source withdrew before.
    /// Returns how many it took now.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn withdraw(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        source: &str,
        most: u64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let at = keys::allowance(customer, bucket);
        let row_key = keys::grant(customer, source);
        for attempt in 0..10 {
            let Some(found) = self.read::<Allowance>(&at).await? else { return Ok(0) };
            let bytes = most.min(found.available);
            if bytes == 0 {
                return Ok(0);
            }
            let writes = || {
                let row = encode(&row_key, &WithdrawalRow { bucket, withdrawn: bytes, at: now }, None)?;
                let take = Write::update(at.clone(), "SET granted = granted - :n, available = available - :n")
                    .when("available >= :n")
                    .value(":n", n(bytes));
                let told = announce(&Entity::Allowance(customer.clone()), now.as_millis(), now)?;
                Ok(vec![Write::put(row_key.clone(), row).when(ABSENT), take, told])
            };
            match self.transact(writes).await {
                Ok(()) => return Ok(bytes),
                Err(Failure::Condition(c)) if c.iter().any(|(at, _)| *at == 0) => return Ok(0),
                // An edge took bytes meanwhile: fewer are left.
                Err(Failure::Condition(_)) => crate::tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("bucket {bucket} of {customer} kept changing")))
    }
}
