//! The control plane's stories on real parts: the embedded engine with injected faults, the
//! Bright Data client over HTTP, the provider's simulator with its own ledger.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]
#![allow(clippy::print_stdout, reason = "the figures that a story costs are printed")]
#![allow(clippy::cast_possible_truncation, clippy::large_futures, clippy::type_complexity, reason = "it is a test")]

mod support;

mod answers;
mod budgets;
mod caps;
mod crash;
mod expire;
mod fallback;
mod list;
mod one_line;
mod race;
mod rollup;
mod slow;
mod units;
