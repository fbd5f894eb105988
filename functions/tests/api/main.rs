//! The two HTTP APIs through their only door, a request, on the embedded engine and a scripted
//! market.

mod admin;
mod assignments;
mod customers;
mod frame;
mod idempotency;
mod keys;
mod market;
mod providers;
mod proxies;
mod world;
