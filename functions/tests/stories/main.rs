//! The control plane's stories on real parts: the embedded engine with injected faults, the
//! Bright Data client over HTTP, the provider's simulator with its own ledger.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures, reason = "a test's helpers fail by panicking")]

mod support;

mod answers;
mod budgets;
mod caps;
mod crash;
mod fallback;
mod list;
mod one_line;
mod race;
mod slow;
mod units;
