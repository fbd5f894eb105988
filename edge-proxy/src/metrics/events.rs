//! What became of usage events.

use std::sync::atomic::AtomicU64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EventCounts {
    /// Waiting to be written, of all customers.
    pub waiting: AtomicU64,
    /// Written, each once.
    pub written: AtomicU64,
    /// Given up.
    pub dropped: AtomicU64,
}
