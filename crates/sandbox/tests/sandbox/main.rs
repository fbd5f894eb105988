//! The sandbox over real sockets, by a client that shares nothing with it.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod control;
mod faults;
mod gateway;
mod management;
mod origin;
mod state;
mod support;
