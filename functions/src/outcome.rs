//! How failures of the ports read to callers: the detail is logged here, once, and stays inside.

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_store::StoreError;

use crate::platform::SecretError;

/// The store could not answer, or holds something unreadable.
pub(crate) fn store(e: StoreError) -> Refusal {
    tracing::error!(reason = %e, "the store failed");
    match e {
        StoreError::Unavailable(_) => Refusal::new(Code::StoreUnavailable, "the store does not answer"),
        StoreError::Corrupt { .. } => Refusal::new(Code::Internal, "an item is unreadable"),
    }
}

/// A secret could not be read or written.
pub(crate) fn secret(e: SecretError) -> Refusal {
    tracing::error!(reason = %e, "the secret store failed");
    Refusal::new(Code::StoreUnavailable, "the secret store does not answer")
}
