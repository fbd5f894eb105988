//! The two HTTP APIs through their only door, a request, on the embedded engine and a scripted
//! market.

// Helpers outside `#[test]` functions fail loudly too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod admin;
mod assignments;
mod commands;
mod customers;
mod edges;
mod events;
mod faults;
mod frame;
mod fuzz;
mod idempotency;
mod ips;
mod keys;
mod limits;
mod live;
mod locks;
mod market;
mod providers;
mod proxies;
mod proxy_use;
mod world;
