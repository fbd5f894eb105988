//! Transactions: all writes or none, repeated while other transactions are in the way.

use std::time::Duration;

use ulid::Ulid;

use crate::Store;
use crate::error::Failure;
use crate::expr::Write;

/// How often a write is sent again after a conflict before it counts as unavailable. With
/// pauses of 5–160 ms, doubling, that is about a second.
const CONFLICT_RETRIES: u32 = 8;

impl Store {
    /// Sends `writes` as one transaction, once. A conflict is returned to the caller.
    pub(crate) async fn transact_once(&self, writes: Vec<Write>) -> Result<(), Failure> {
        let items = writes.into_iter().map(|w| w.into_transact(self)).collect::<Result<Vec<_>, _>>()?;
        self.db
            .transact_write_items()
            .set_transact_items(Some(items))
            // The SDK repeats a lost call under the same token: applied once.
            .client_request_token(token())
            .send()
            .await?;
        Ok(())
    }

    /// As [`Self::transact_once`], again after each conflict, with growing, jittered pauses.
    /// `writes` builds the transaction anew for each attempt.
    pub(crate) async fn transact(&self, writes: impl Fn() -> Result<Vec<Write>, Failure>) -> Result<(), Failure> {
        for attempt in 0..CONFLICT_RETRIES {
            match self.transact_once(writes()?).await {
                Err(Failure::Conflict) => pause(attempt).await,
                other => return other,
            }
        }
        self.transact_once(writes()?).await
    }

    /// Sends one write, again after each conflict.
    pub(crate) async fn write(
        &self,
        write: impl Fn() -> Result<Write, Failure>,
    ) -> Result<Option<crate::item::Item>, Failure> {
        for attempt in 0..CONFLICT_RETRIES {
            match write()?.send(self).await {
                Err(Failure::Conflict) => pause(attempt).await,
                other => return other,
            }
        }
        write()?.send(self).await
    }

    /// As [`Self::write`]. Whether it was applied, or its condition did not hold.
    pub(crate) async fn applied(&self, write: impl Fn() -> Result<Write, Failure>) -> Result<bool, crate::StoreError> {
        match self.write(write).await {
            Ok(_) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }
}

/// Waits out a conflict: 5 ms doubled per attempt up to 160 ms, jittered by half.
pub(crate) async fn pause(attempt: u32) {
    let full = 5u64 << attempt.min(5);
    let jitter = u64::try_from(Ulid::generate().random() % u128::from(full.div_ceil(2))).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(full - jitter)).await;
}

/// A token that no other transaction has.
pub(crate) fn token() -> String {
    Ulid::generate().to_string()
}

impl Failure {
    /// The failure as an error, where a condition that does not hold is no answer.
    pub(crate) fn into_store(self) -> crate::StoreError {
        match self {
            Self::Store(e) => e,
            Self::Conflict => crate::StoreError::Unavailable("transactions kept conflicting".to_owned()),
            Self::Condition(c) => {
                let items = c.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join(", ");
                crate::StoreError::Unavailable(format!("an unexpected condition failed (write {items})"))
            }
        }
    }
}
